//! Why a `SQLite` store could not be opened, and what its errors mean to those who use the port.

use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};
use sea_orm::{DbErr, RuntimeErr, sqlx};

use crate::event_store::port::StoreError;

/// Why a `SQLite` store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another store of this one, owns the file.
    #[error(
        "failed to open `{}`: {owner} owns it and holds `{}`; stop that one first, or use another path",
        path.display(), lock.display()
    )]
    Owned {
        /// The database.
        path: PathBuf,
        /// The lock file beside it.
        lock: PathBuf,
        /// Who it is, as far as the lock file tells.
        owner: String,
    },
    /// The lock file, or the folder of the database, could not be made or opened.
    #[error("failed to open `{}`: {source}; check that the folder exists and may be written to", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// There is no such file.
    #[error("failed to open `{}`: there is no such file; a service makes it when it starts with this path", .0.display())]
    Missing(PathBuf),
    /// The file was written by a newer Phoenix.
    #[error(
        "failed to open `{}`: it has the schema `{found}`, which is newer than this program (it knows `{known}`); \
         run the newer release, or restore a backup from before the upgrade",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// The migration that is not known here.
        found: String,
        /// The last migration that is known here.
        known: String,
    },
    /// The file has an older schema, and who opened it only reads.
    #[error(
        "failed to read `{}`: it lacks the schema `{missing}`; it is no event store, or an older one: \
         start the service once, which upgrades it",
        path.display()
    )]
    Older {
        /// The database.
        path: PathBuf,
        /// The first migration that it lacks.
        missing: String,
    },
    /// The file is no database, or could not be read or written.
    #[error("failed to open `{}`: {reason}; check that it is a Phoenix store and that the disk is well", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What the database said.
        reason: String,
    },
}

impl OpenError {
    pub(crate) fn database(path: &Path, reason: &impl ToString) -> Self {
        Self::Database { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// A read that failed.
pub(super) fn read_failed(path: &Path, error: &DbErr) -> StoreError {
    let of_sqlx = match error {
        DbErr::Exec(RuntimeErr::SqlxError(e)) | DbErr::Query(RuntimeErr::SqlxError(e)) => Some(&**e),
        _ => None,
    };
    let is_damage = match of_sqlx {
        Some(sqlx::Error::Database(e)) => {
            let primary = e.code().and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff);
            primary.is_some_and(|code| code == ffi::SQLITE_CORRUPT || code == ffi::SQLITE_NOTADB)
        }
        Some(sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => true,
        _ => matches!(error, DbErr::Type(_) | DbErr::TryIntoErr { .. }),
    };
    if is_damage { damaged(path, error) } else { StoreError::Unavailable(told("read", path, error)) }
}

/// A write that certainly was not done.
pub(super) fn write_failed(path: &Path, error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(path, error),
        _ => StoreError::Unavailable(told("write", path, error)),
    }
}

/// A commit that failed. It was not done where the transaction is still open, and where the log can't have got it.
pub(super) fn commit_failed(path: &Path, error: &rusqlite::Error, still_open: bool) -> StoreError {
    let write = error.sqlite_error().is_some_and(|e| e.extended_code == ffi::SQLITE_IOERR_WRITE);
    if still_open || write || error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
        return write_failed(path, error);
    }
    // after a failed flush, for example, the log may hold a whole commit that a restart would find
    StoreError::Unknown(told("commit to", path, error))
}

fn told(what: &str, path: &Path, error: &dyn std::fmt::Display) -> String {
    format!(
        "failed to {what} `{}`: {error}; check the disk's space and health, and who else uses the file",
        path.display()
    )
}

/// What is in the file is not what Phoenix wrote.
pub(super) fn damaged(path: &Path, what: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!(
        "`{}`: {what}; stop the service, keep a copy of the file, and restore it from a backup",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: i32, still_open: bool, expected: fn(&StoreError) -> bool) {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        let found = commit_failed(Path::new("a.db"), &error, still_open);
        assert!(expected(&found), "{code}: {found:?}");
        assert!(found.to_string().contains("a.db"), "{found}");
    }

    #[test]
    fn a_failed_commit_is_called_undone_only_where_that_is_certain() {
        let undone = |error: &StoreError| matches!(error, StoreError::Unavailable(_));
        let unknown = |error: &StoreError| matches!(error, StoreError::Unknown(_));
        check(ffi::SQLITE_BUSY, true, undone);
        check(ffi::SQLITE_CONSTRAINT_FOREIGNKEY, true, undone);
        check(ffi::SQLITE_FULL, false, undone);
        check(ffi::SQLITE_IOERR_WRITE, false, undone);
        check(ffi::SQLITE_IOERR_FSYNC, false, unknown);
        check(ffi::SQLITE_IOERR, false, unknown);
        check(ffi::SQLITE_NOMEM, false, unknown);
    }
}
