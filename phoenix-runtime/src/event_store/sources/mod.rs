//! Several databases that share the slices, as one event store.
//!
//! One of them is the home: its [`SliceMap`] says which slice is where. Every other one is a member of this home, and every
//! one of them knows for itself which slices it holds, under the lock that an append holds as well; so whoever has an
//! old map is told so, and no slice is ever appended to in two places.
//!
//! Epochs have the same numbers everywhere: an owner acquires at home first, and makes the others adopt what home gave,
//! before it reads anything anywhere. So no later owner was there yet when a database confirms an epoch, whichever it is.
//!
//! # Layout
//! - [`port`]: what a database must be able to do for this
//! - `map`: which slice is where
//! - `members`: the databases by their names, and how they come to belong together
//! - `store`: the event store over all of them
//! - `table`: their tables of archived events as one
//! - `standing`: whether an answer counts that a database gave of a slice
//! - `mover`: moves slices from one to another while nodes work

mod map;
mod members;
mod mover;
pub mod port;
mod standing;
mod store;
mod table;

pub use self::map::{HOME, Moving, Placement, SliceMap};
pub use self::members::{Members, MembersError, sole};
pub use self::mover::{MoveError, MoveStep, Mover};
pub use self::port::Source;
pub use self::store::SourcesStore;
