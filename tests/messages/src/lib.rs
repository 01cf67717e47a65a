//! The messages of a warehouse's shelves: all that a caller has to know of them.
#![deny(warnings, missing_docs)]

use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

/// How many pieces of an article there are.
pub type Pieces = u32;

/// Puts pieces on a shelf.
#[derive(Debug, Clone, PartialEq, Eq, Command, Serialize, Deserialize)]
#[command(id(hall, shelf), aggregate = "shelf", reply = Pieces)]
pub struct Put {
    /// The hall's letter.
    pub hall: char,
    /// The shelf's number in the hall.
    pub shelf: u16,
    /// How many.
    pub pieces: Pieces,
}

/// Takes pieces from a shelf, once for each order.
#[derive(Debug, Clone, PartialEq, Eq, Command, Serialize, Deserialize)]
#[command(
    id(hall, shelf),
    aggregate = "shelf",
    name = "take-pieces",
    reply = Pieces,
    rejection = TooFew,
    idempotent_by(order)
)]
pub struct Take {
    /// The hall's letter.
    pub hall: char,
    /// The shelf's number in the hall.
    pub shelf: u16,
    /// How many.
    pub pieces: Pieces,
    /// The order that they are taken for.
    pub order: String,
}

/// Why nothing was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct TooFew {
    /// How many there are.
    pub left: Pieces,
}

/// How many pieces are on a shelf?
#[derive(Debug, Clone, PartialEq, Eq, Query, Serialize, Deserialize)]
#[query(id(hall, shelf), aggregate = "shelf", reply = Pieces)]
pub struct Count {
    /// The hall's letter.
    pub hall: char,
    /// The shelf's number in the hall.
    pub shelf: u16,
}
