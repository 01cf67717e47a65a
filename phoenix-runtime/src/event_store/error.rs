//! Why an event store could not be opened.

use super::archive::FolderError;
use super::port::StreamId;
use super::sources::MembersError;
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
    /// An archive in a folder.
    #[error(transparent)]
    Archive(#[from] FolderError),
    /// The archive should be a table, and the store has none.
    #[error("the store `{0}` has no table for an archive: write `archive = \"folder:<path>\"`")]
    NoTable(String),
    /// Events were moved to an archive, and this is not it.
    #[error(
        "the events of {stream}, and perhaps of others, were moved to an archive, and {}: these aggregates could not be \
         brought into memory; set `archive` to where they were moved, or bring its files back from a backup, or set \
         `node.without_archived = true` to start without them",
        match .archive {
            Some(archive) => format!("the {archive} has none of their blocks"),
            None => "`archive` is off".to_owned(),
        }
    )]
    ArchiveAstray {
        /// One of those whose events are not found.
        stream: StreamId,
        /// The archive's name, if there is one.
        archive: Option<String>,
    },
    /// Several databases that do not belong together.
    #[error(transparent)]
    Sources(#[from] MembersError),
    /// A store that can't be one of several.
    #[error("{0} names a store that can't be one of several sources: use databases of PostgreSQL or MySQL")]
    NotShared(String),
}
