//! What the errors of the database mean to those who use the port.

use std::fmt::Display;
use std::path::Path;

use rusqlite::{ErrorCode, ffi};

use crate::bus::port::BusError;

/// A call that certainly changed nothing.
pub(super) fn failed(path: &Path, what: &str, error: &rusqlite::Error) -> BusError {
    match error {
        rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => damaged(path, error),
        _ => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(path, error),
            _ => BusError::Unavailable(told(what, path, error)),
        },
    }
}

/// A commit that failed. It was not done where the transaction is still open, and where the log can't have got it.
pub(super) fn commit_failed(path: &Path, error: &rusqlite::Error, still_open: bool) -> BusError {
    let write = error.sqlite_error().is_some_and(|e| e.extended_code == ffi::SQLITE_IOERR_WRITE);
    if still_open || write || error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
        return failed(path, "write", error);
    }
    // after a failed flush, for example, the log may hold a whole commit that a restart would find
    BusError::Unknown(told("commit to", path, error))
}

/// What is in the file is not what the bus wrote.
pub(super) fn damaged(path: &Path, what: impl Display) -> BusError {
    BusError::Damaged(format!(
        "`{}`: {what}; stop the service, keep a copy of the file, and restore it from a backup",
        path.display()
    ))
}

fn told(what: &str, path: &Path, error: &dyn Display) -> String {
    format!(
        "failed to {what} `{}`: {error}; check the disk's space and health, and who else uses the file",
        path.display()
    )
}
