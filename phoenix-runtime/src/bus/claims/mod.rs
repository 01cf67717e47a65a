//! Claim check: bodies that are too large for a bus are kept elsewhere while a message that names them travels.
//!
//! Whoever sends keeps the body durably, and sends the message with its claim (`dataref` of `CloudEvents`) in the place of the
//! body; whoever reads fetches it, so that nobody above the bus sees a difference. A claim says of which message it is, and
//! the length and hash of the body: what was damaged is found, and the place of a body is made of these alone, never of a
//! text that came from outside.
//!
//! # Layout
//! - [`claim`]: what a message says in the place of its body
//! - [`port`]: [`Claims`], where bodies are kept; [`memory`], [`folder`]: its adapters
//! - [`check`]: [`ClaimCheck`], the bus with it; `reading`: its consumers and followers

pub mod check;
pub mod claim;
pub mod folder;
pub mod memory;
pub mod port;
mod reading;

pub use check::{ClaimCheck, ClaimCheckOptions};
pub use claim::{Claim, InvalidClaim};
pub use folder::{ClaimsFolderError, FolderClaims};
pub use memory::MemoryClaims;
pub use port::{Claims, ClaimsError};
