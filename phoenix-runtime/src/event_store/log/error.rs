//! What the log's errors mean to those who use the port.

use std::fmt::Display;
use std::io;
use std::path::Path;

use crate::event_store::port::StoreError;

/// What is in the folder is not what Phoenix wrote.
pub(super) fn damaged(path: &Path, what: impl Display) -> StoreError {
    StoreError::Damaged(format!(
        "`{}`: {what}; stop the service, keep a copy of the folder, and restore it from a backup",
        path.display()
    ))
}

/// Something that certainly was not done.
pub(super) fn failed(path: &Path, what: impl Display, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!(
        "`{}`: failed to {what}: {error}; check the disk's space and health",
        path.display()
    ))
}
