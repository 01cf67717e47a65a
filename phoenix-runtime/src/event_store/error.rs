//! Why an event store could not be opened.

use super::sql::DatabaseOpenError;
use super::sqlite;

/// Why an event store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file, or a folder.
    #[error(transparent)]
    File(#[from] sqlite::OpenError),
    /// A database.
    #[error(transparent)]
    Database(#[from] DatabaseOpenError),
}
