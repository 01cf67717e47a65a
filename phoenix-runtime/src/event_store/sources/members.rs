//! The databases by their names, and how they come to belong together.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::id::Slice;
use crate::event_store::port::StoreError;
use crate::event_store::sources::map::{HOME, SliceMap};
use crate::event_store::sources::port::{Joined, MEMBER_DOCUMENT, Source, Tenures};

/// Why databases do not belong together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MembersError {
    /// The store belongs to another home.
    #[error(
        "the database of `store` is no home: it is the source `{0}` of another database; name that one as `store`, and \
         this one as `sources.{0}`"
    )]
    NotHome(String),
    /// The map names a source that nobody can reach.
    #[error(
        "the source `{name}` has {slices} of the 1024 slices, and the configuration does not say how to reach it: add \
         `{name} = \"<url>\"` to `[sources]`; a source without slices is given up by `phoenix-cli slices forget {name}`, \
         with that line, before the line is taken out"
    )]
    Missing {
        /// Its name.
        name: String,
        /// How many slices it has.
        slices: u16,
    },
    /// A name that can't be that of a source.
    #[error(
        "a source can't be named `{0}`: names are lower-case letters, digits and `-`, and `home` is `store` itself"
    )]
    Name(String),
    /// A database that is a source of somebody else, or under another name.
    #[error("the database of `sources.{name}` is already the source `{other}` of {}", if *.same { "this home" } else { "another home" })]
    Taken {
        /// The name that it was given.
        name: String,
        /// The name that it has.
        other: String,
        /// Whether its home is this one.
        same: bool,
    },
    /// A database that is in use by itself.
    #[error("the database of `sources.{0}` has data of its own: a source begins with an empty database")]
    InUse(String),
    /// A database that does not belong to this home yet, and that was only to be looked at.
    #[error(
        "the source `{0}` has not joined this home yet: it does when a node starts with it, or when `phoenix-cli slices \
         move` names it"
    )]
    NotJoined(String),
    /// A home without any source.
    #[error("no source has joined this home: it has all 1024 slices for itself")]
    Alone,
    /// A database did not answer.
    #[error("the source `{name}`: {error}")]
    Store {
        /// Its name.
        name: String,
        /// What it said.
        error: StoreError,
    },
}

impl MembersError {
    /// What the home said.
    #[must_use]
    pub fn at_home(error: StoreError) -> Self {
        Self::Store { name: HOME.to_owned(), error }
    }
}

/// To whom a database belongs.
#[derive(Debug, Serialize, Deserialize)]
struct Membership {
    home: String,
    name: String,
}

/// One of the databases.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) source: Arc<dyn Source>,
    tenures: Mutex<Option<Arc<Tenures>>>,
}

impl Member {
    fn new(name: &str, source: Arc<dyn Source>) -> Self {
        Self { name: name.to_owned(), source, tenures: Mutex::new(None) }
    }

    /// Its errors, with its name.
    pub(super) fn says(&self, error: StoreError) -> StoreError {
        let named = |text: String| format!("source `{}`: {text}", self.name);
        match error {
            StoreError::Unavailable(text) => StoreError::Unavailable(named(text)),
            StoreError::Unknown(text) => StoreError::Unknown(named(text)),
            StoreError::Damaged(text) => StoreError::Damaged(named(text)),
            other => other,
        }
    }

    /// What it is to all slices, at some time after this was called.
    pub(super) async fn tenures(&self) -> Result<Arc<Tenures>, StoreError> {
        let known = self.tenures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match self.source.tenures(known.as_ref().map(|known| known.version)).await.map_err(|e| self.says(e))? {
            None => known.ok_or_else(|| self.says(StoreError::Damaged("it does not say what it holds".to_owned()))),
            Some(tenures) => {
                let tenures = Arc::new(tenures);
                let mut slot = self.tenures.lock().unwrap_or_else(PoisonError::into_inner);
                if slot.as_ref().is_none_or(|known| known.version < tenures.version) {
                    *slot = Some(Arc::clone(&tenures));
                }
                Ok(tenures)
            }
        }
    }
}

/// The databases that share the slices. Clones are the same.
#[derive(Clone)]
pub struct Members(Arc<Vec<Member>>);

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|member| (&member.name, &member.source))).finish()
    }
}

impl Members {
    /// Brings the databases together: checks that home is one, that every source of its map is there, and that each
    /// other one belongs to it under its name; an empty database joins.
    ///
    /// # Errors
    /// Whatever keeps them apart, by name.
    pub async fn open(home: Arc<dyn Source>, others: BTreeMap<String, Arc<dyn Source>>) -> Result<Self, MembersError> {
        let at_home = MembersError::at_home;
        if let Some(name) = others.keys().find(|name| !is_name(name)) {
            return Err(MembersError::Name(name.clone()));
        }
        let mut map = known_map(&*home).await?;
        if map.is_none() {
            // whoever is faster names this home
            SliceMap::new(Uuid::new_v4().to_string()).write(&*home, 1).await.map_err(at_home)?;
            map = known_map(&*home).await?;
        }
        let nothing = || at_home(StoreError::Damaged("it does not keep its map of slices".to_owned()));
        let (mut version, mut map) = map.ok_or_else(nothing)?;
        all_named(&map, |name| others.contains_key(name))?;
        for (name, source) in &others {
            join(&map.home, name, &**source).await?;
            while map.members.insert(name.clone()) {
                if map.write(&*home, version + 1).await.map_err(at_home)? {
                    version += 1;
                } else {
                    (version, map) = known_map(&*home).await?.ok_or_else(nothing)?;
                }
            }
        }
        // whoever has opened the home for itself hears of no move, and is fenced before there can be one
        while !(map.fenced || map.members.is_empty()) {
            home.fence().await.map_err(at_home)?;
            map.fenced = true;
            if !map.write(&*home, version + 1).await.map_err(at_home)? {
                (version, map) = known_map(&*home).await?.ok_or_else(nothing)?;
            }
        }
        Ok(Self::of(home, others))
    }

    /// Brings databases together that belong together already; nothing is written.
    ///
    /// # Errors
    /// As [`Members::open`], and a database that has not joined.
    pub async fn look(home: Arc<dyn Source>, others: BTreeMap<String, Arc<dyn Source>>) -> Result<Self, MembersError> {
        let not_joined = |name: &String| MembersError::NotJoined(name.clone());
        let Some((_, map)) = known_map(&*home).await? else {
            return Err(others.keys().next().map_or(MembersError::Alone, not_joined));
        };
        all_named(&map, |name| others.contains_key(name))?;
        for (name, source) in &others {
            let says = |error| MembersError::Store { name: name.clone(), error };
            let document = source.document(MEMBER_DOCUMENT).await.map_err(says)?;
            let joined = document.filter(|_| map.members.contains(name)).ok_or_else(|| not_joined(name))?;
            is_ours(&map.home, name, &joined.text)?;
        }
        Ok(Self::of(home, others))
    }

    fn of(home: Arc<dyn Source>, others: BTreeMap<String, Arc<dyn Source>>) -> Self {
        let mut members = vec![Member::new(HOME, home)];
        members.extend(others.into_iter().map(|(name, source)| Member::new(&name, source)));
        Self(Arc::new(members))
    }

    pub(super) fn all(&self) -> &[Member] {
        &self.0
    }

    pub(super) fn home(&self) -> &Member {
        // there is always one
        &self.0[0]
    }

    pub(super) fn named(&self, name: &str) -> Option<(u16, &Member)> {
        (0..).zip(self.0.iter()).find(|(_, member)| member.name == name)
    }

    /// The map as it is now, with its version.
    ///
    /// # Errors
    /// What the home says.
    pub async fn map(&self) -> Result<(u64, SliceMap), StoreError> {
        let read = SliceMap::read(&*self.home().source).await.map_err(|e| self.home().says(e))?;
        read.ok_or_else(|| self.home().says(StoreError::Damaged("its map of slices is gone".to_owned())))
    }
}

/// Checks that a database has all slices for itself, as one that is opened alone must.
///
/// # Errors
/// It is a source of another one, or sources have some of its slices.
pub async fn sole(store: &dyn Source) -> Result<(), MembersError> {
    match known_map(store).await? {
        Some((_, map)) => all_named(&map, |_| false),
        None => Ok(()),
    }
}

async fn known_map(home: &dyn Source) -> Result<Option<(u64, SliceMap)>, MembersError> {
    let at_home = MembersError::at_home;
    if let Some(document) = home.document(MEMBER_DOCUMENT).await.map_err(at_home)? {
        return Err(MembersError::NotHome(membership(&document.text).map_err(at_home)?.name));
    }
    SliceMap::read(home).await.map_err(at_home)
}

fn all_named(map: &SliceMap, known: impl Fn(&str) -> bool) -> Result<(), MembersError> {
    let count = |name: &str| (0..1024).filter(|slice| map.place(Slice(*slice)).0 == name).fold(0, |sum, _| sum + 1);
    match map.names().into_iter().find(|name| *name != HOME && !known(name)) {
        Some(name) => Err(MembersError::Missing { name: name.to_owned(), slices: count(name) }),
        None => Ok(()),
    }
}

async fn join(home: &str, name: &str, source: &dyn Source) -> Result<(), MembersError> {
    let says = |error| MembersError::Store { name: name.to_owned(), error };
    let ours = Membership { home: home.to_owned(), name: name.to_owned() };
    let text = serde_json::to_string(&ours).map_err(|e| says(StoreError::Unavailable(e.to_string())))?;
    // joining waits for all appends, so it is for those only who do not belong anywhere yet
    let joined = match source.document(MEMBER_DOCUMENT).await.map_err(says)? {
        Some(document) => Joined::Before(document.text),
        None => source.join(text).await.map_err(says)?,
    };
    match joined {
        Joined::Now => Ok(()),
        Joined::InUse => Err(MembersError::InUse(name.to_owned())),
        Joined::Before(text) => is_ours(home, name, &text),
    }
}

fn is_ours(home: &str, name: &str, text: &str) -> Result<(), MembersError> {
    let theirs = membership(text).map_err(|error| MembersError::Store { name: name.to_owned(), error })?;
    let same = theirs.home == home;
    if same && theirs.name == name {
        return Ok(());
    }
    Err(MembersError::Taken { name: name.to_owned(), other: theirs.name, same })
}

fn membership(text: &str) -> Result<Membership, StoreError> {
    let damaged = |e| StoreError::Damaged(format!("the document `{MEMBER_DOCUMENT}` names no home: {e}"));
    serde_json::from_str(text).map_err(damaged)
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= 63 && name != HOME && name.chars().all(plain)
}
