//! Which slice is where, as one document of the home database.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::id::{SLICES, Slice};
use crate::event_store::port::StoreError;
use crate::event_store::sources::port::{Document, SLICES_DOCUMENT, Source};

/// The name of the home database among the sources.
pub const HOME: &str = "home";

/// Which slice is where, and which are on their way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceMap {
    /// Names this home, so that no other one takes its databases.
    pub home: String,
    /// The number of the newest move.
    pub newest: u64,
    /// Slices that were ever moved; all others are at home since move 0.
    pub slices: BTreeMap<u16, Placement>,
    /// Moves that are not finished.
    pub moving: BTreeMap<u16, Moving>,
    /// Databases that belong to this home.
    pub members: BTreeSet<String>,
    /// Whether those were fenced who had opened the home for itself, and so would not hear of moves.
    #[serde(default)]
    pub fenced: bool,
}

/// Where a slice is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The source's name.
    pub source: String,
    /// The move that brought it there.
    pub since: u64,
}

/// An unfinished move of a slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// The source's name.
    pub to: String,
    /// The move's number.
    pub number: u64,
}

impl SliceMap {
    /// Everything at home.
    pub(crate) fn new(home: String) -> Self {
        Self {
            home,
            newest: 0,
            slices: BTreeMap::new(),
            moving: BTreeMap::new(),
            members: BTreeSet::new(),
            fenced: false,
        }
    }

    /// Where a slice is, by the source's name, and since which move.
    #[must_use]
    pub fn place(&self, slice: Slice) -> (&str, u64) {
        self.slices.get(&slice.0).map_or((HOME, 0), |at| (&*at.source, at.since))
    }

    /// How many slices each source has.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&str, u16> {
        let mut counts: BTreeMap<&str, u16> = self.members.iter().map(|name| (&**name, 0)).collect();
        for slice in (0..SLICES).map(Slice) {
            *counts.entry(self.place(slice).0).or_default() += 1;
        }
        counts
    }

    /// Every source that the map names.
    #[must_use]
    pub fn names(&self) -> BTreeSet<&str> {
        let placed = self.slices.values().map(|at| &*at.source);
        let moving = self.moving.values().map(|moving| &*moving.to);
        let members = self.members.iter().map(|name| &**name);
        placed.chain(moving).chain(members).chain([HOME]).collect()
    }

    /// Reads the map of this home, with its version.
    ///
    /// # Errors
    /// What the store says, and a document that is no map.
    pub async fn read(home: &dyn Source) -> Result<Option<(u64, Self)>, StoreError> {
        let Some(document) = home.document(SLICES_DOCUMENT).await? else { return Ok(None) };
        let map = serde_json::from_str(&document.text)
            .map_err(|e| StoreError::Damaged(format!("the document `{SLICES_DOCUMENT}` says no map of slices: {e}")))?;
        Ok(Some((document.version, map)))
    }

    /// Keeps the map in place of the one of the version before; false where somebody else was faster.
    pub(crate) async fn write(&self, home: &dyn Source, version: u64) -> Result<bool, StoreError> {
        let text = serde_json::to_string(self)
            .map_err(|e| StoreError::Unavailable(format!("the map of slices can't be written: {e}")))?;
        home.put_document(SLICES_DOCUMENT, Document { version, text }).await
    }
}
