//! Dead letters for operators: listed, mended, sent again, put aside.
//!
//! A letter is sent again with its own id and key, so a command that was done after all is only a repeat. Those of one
//! aggregate go in the order of their numbers: whatever can't be sent stops all that come after it.
//!
//! # Layout
//! - `view`: a letter as operators see it
//! - `amend`: another payload, or another record, in its place
//! - `upcast`: the new form of a command that was written for an older release
//! - `replay`: the way back to the topic of commands
//! - `error`: why something was not done

mod amend;
mod error;
mod replay;
mod upcast;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Mutex as Turn;

pub use self::error::DeadError;
pub use self::replay::Replay;
pub use self::upcast::Upcasts;
pub use self::view::LetterView;
use crate::bus::port::Bus;
use crate::client::Client;
use crate::domain::ports::Clock;
use crate::event_store::EventStore;
use crate::event_store::letters::{DeadFilter, DeadLetter, Letters, ReadLetters, Standing};

/// The most letters of a list, whoever asks for more.
pub const MOST_LISTED: usize = 1000;
/// The most letters that are sent again by one call, whoever asks for more.
pub const MOST_REPLAYED: usize = 10_000;
/// The most codes that are counted each by itself.
const MOST_CODES: usize = 100;

/// The way back to the topic of commands.
#[derive(Debug, Clone)]
pub struct Way {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The topic of commands.
    pub topic: Arc<str>,
    /// How many partitions it has.
    pub partitions: u16,
}

/// What an operator can do with the dead letters of a node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DeadLetters(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Arc<dyn EventStore>,
    client: Client,
    clock: Arc<dyn Clock>,
    way: Option<Way>,
    upcasts: Upcasts,
    /// One change at a time: what is amended is not on its way, and two replays do not mix their orders.
    turn: Turn<()>,
    /// Codes that were counted once: they are told with 0 when none is left.
    codes: Mutex<BTreeSet<String>>,
}

impl DeadLetters {
    /// Over a store. Nothing can be sent again without a way.
    #[must_use]
    pub fn new(
        store: Arc<dyn EventStore>,
        client: Client,
        clock: Arc<dyn Clock>,
        way: Option<Way>,
        upcasts: Upcasts,
    ) -> Self {
        Self(Arc::new(Shared { store, client, clock, way, upcasts, turn: Turn::default(), codes: Mutex::default() }))
    }

    fn letters(&self) -> Result<&dyn Letters, DeadError> {
        self.0.store.letters().ok_or(DeadError::NoneKept)
    }

    /// At most `limit` letters behind a number, in the order of their numbers, without their records.
    ///
    /// # Errors
    /// A store that does not answer, or keeps none.
    pub async fn list(&self, filter: DeadFilter, after: u64, limit: usize) -> Result<Vec<LetterView>, DeadError> {
        list(self.letters()?, filter, after, limit).await
    }

    /// One letter, with its record.
    ///
    /// # Errors
    /// As [`DeadLetters::list`], and where there is none.
    pub async fn show(&self, number: u64) -> Result<LetterView, DeadError> {
        Ok(LetterView::whole(&self.letter(number).await?))
    }

    async fn letter(&self, number: u64) -> Result<DeadLetter, DeadError> {
        self.letters()?.dead_letter(number).await?.ok_or(DeadError::NotFound(number))
    }

    /// Notes that a waiting letter is not needed. It stays, and can still be sent again by its number.
    ///
    /// # Errors
    /// As [`DeadLetters::show`], and a letter that does not wait.
    pub async fn discard(&self, number: u64) -> Result<LetterView, DeadError> {
        let _turn = self.0.turn.lock().await;
        let standing = self.letter(number).await?.standing;
        if standing != Standing::Waiting {
            return Err(DeadError::NotWaiting { number, standing });
        }
        self.letters()?.settle(vec![number], Standing::Discarded, self.0.clock.wall_micros()).await?;
        self.show(number).await
    }

    /// How many letters wait, by their codes; codes without any more are there with 0.
    ///
    /// # Errors
    /// As [`DeadLetters::list`].
    pub async fn counts(&self) -> Result<BTreeMap<String, u64>, DeadError> {
        let found = self.letters()?.dead_counts().await?;
        let mut known = self.0.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts: BTreeMap<String, u64> = known.iter().map(|code| (code.clone(), 0)).collect();
        for (code, count) in found {
            // codes come from releases of this service: there are few
            if known.len() < MOST_CODES || known.contains(&code) {
                known.insert(code.clone());
                counts.insert(code, count);
            } else {
                *counts.entry("other".to_owned()).or_default() += count;
            }
        }
        Ok(counts)
    }
}

/// At most `limit` letters behind a number, in the order of their numbers, without their records; never more than
/// [`MOST_LISTED`].
///
/// # Errors
/// A store that does not answer.
pub async fn list(
    letters: &(impl ReadLetters + ?Sized),
    filter: DeadFilter,
    after: u64,
    limit: usize,
) -> Result<Vec<LetterView>, DeadError> {
    let limit = limit.min(MOST_LISTED);
    let (mut found, mut last) = (Vec::new(), after);
    while found.len() < limit {
        // a page has as many as there is room for their bodies
        let page = letters.dead(filter.clone(), last, limit - found.len()).await?;
        let Some(newest) = page.last() else { break };
        last = newest.number;
        found.extend(page.iter().map(LetterView::brief));
    }
    Ok(found)
}
