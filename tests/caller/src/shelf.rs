//! The aggregate, as a service keeps it in a crate that its callers know as well: they get calls that its handlers check.

use phoenix_runtime::prelude::*;
use phoenix_test_messages::{Count, Pieces, Put, Take, TooFew};
use serde::{Deserialize, Serialize};

/// A shelf of a warehouse.
#[aggregate(name = "shelf")]
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Shelf {
    pieces: Pieces,
}

/// There are so many pieces on it now.
#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "pieces-changed")]
pub struct Changed {
    pieces: Pieces,
}

#[event_sourced]
impl Shelf {
    #[command_handler(reply = self.pieces)]
    fn put(&self, command: Put) -> Changed {
        Changed { pieces: self.pieces + command.pieces }
    }

    #[command_handler(reply = self.pieces, create = false)]
    fn take(&self, command: Take) -> Result<Changed, TooFew> {
        let left = self.pieces.checked_sub(command.pieces);
        left.map(|pieces| Changed { pieces }).ok_or(TooFew { left: self.pieces })
    }

    #[event_handler]
    fn changed(&mut self, event: &Changed) {
        self.pieces = event.pieces;
    }

    #[query_handler]
    fn count(&self, _: Count) -> Pieces {
        self.pieces
    }
}
