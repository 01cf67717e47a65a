//! Why a store in a database could not be opened.

use super::url::DatabaseUrl;

/// Why a store in a database could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseOpenError {
    /// The address or the options make no sense.
    #[error("failed to open `{url}`: {reason}")]
    Options {
        /// Which database.
        url: DatabaseUrl,
        /// What is wrong.
        reason: String,
    },
    /// The database answers, and refuses.
    #[error("failed to open `{url}`: {reason}; {remedy}")]
    Refused {
        /// Which database.
        url: DatabaseUrl,
        /// What the database said.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The database does not answer, and who opened it does not wait.
    #[error("failed to reach `{url}`: {reason}; check that the database runs and that this machine may reach it")]
    Unreachable {
        /// Which database.
        url: DatabaseUrl,
        /// Why not.
        reason: String,
    },
    /// The schema was written by a newer Phoenix.
    #[error(
        "failed to open `{url}`: it has the schema `{found}`, which is newer than this program (it knows `{known}`); \
         run the newer release, or restore a backup from before the upgrade"
    )]
    Newer {
        /// Which database.
        url: DatabaseUrl,
        /// The migration that is not known here.
        found: String,
        /// The last migration that is known here.
        known: String,
    },
    /// The schema is older, and who opened the database only reads.
    #[error(
        "failed to read `{url}`: it lacks the schema `{missing}`; it is no event store, or an older one: \
         start the service once, which upgrades it"
    )]
    Older {
        /// Which database.
        url: DatabaseUrl,
        /// The first migration that it lacks.
        missing: String,
    },
}
