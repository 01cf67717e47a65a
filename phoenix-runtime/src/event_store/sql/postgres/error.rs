//! What the errors of PostgreSQL mean.

use sea_orm::sqlx::postgres::{PgDatabaseError, PgSeverity};
use sea_orm::{DbErr, RuntimeErr, sqlx};

use super::super::dialect::Failure;
use super::super::row::damaged;
use crate::event_store::port::StoreError;

const UNIQUE_VIOLATION: &str = "23505";
const PROGRAM_LIMIT_EXCEEDED: &str = "54000";
/// The class of values that no row can have.
const DATA_EXCEPTION: &str = "22";
/// Classes of damage: what is on the disk, and indexes that do not fit their table.
const DAMAGE: [&str; 2] = ["XX001", "XX002"];

/// Whether it says that a connection is lost, or that nobody knows what became of the statement: as an error of a
/// statement only a proxy says so.
fn is_of_a_proxy(code: &str) -> bool {
    code.starts_with("08") || code == "40003"
}

/// Whether the connection is of no use any more.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match postgres(error) {
        Some(error) => error.severity() != PgSeverity::Error || is_of_a_proxy(error.code()),
        None => !matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_)),
    }
}

/// What an error says, without the line of the server's own source.
pub(super) fn text(error: &sqlx::Error) -> String {
    postgres(error).map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

/// What a failed statement says that only reads, or was not sent.
pub(super) fn read_failed(place: &str, error: &sqlx::Error) -> StoreError {
    match postgres(error).map(PgDatabaseError::code) {
        Some(code) if DAMAGE.contains(&code) => damaged(place, text(error)),
        _ if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => damaged(place, error),
        _ => StoreError::Unavailable(told(place, &text(error))),
    }
}

/// What a failed append says. The server rolls back what it answers with an error; where it ended the session, or the
/// answer is missing, it may have committed before. Where it refuses a value it does not say whose: the largest row is
/// blamed.
pub(super) fn write_failed(place: &str, error: &sqlx::Error, largest: usize) -> Failure {
    match postgres(error) {
        Some(error) if error.severity() == PgSeverity::Error && !is_of_a_proxy(error.code()) => match error.code() {
            UNIQUE_VIOLATION => Failure::Taken,
            PROGRAM_LIMIT_EXCEEDED => {
                let reason = format!("the database takes nothing so large: {}", error.message());
                Failure::Store(StoreError::Refused { index: largest, reason })
            }
            code if code.starts_with(DATA_EXCEPTION) => {
                let reason = format!("the database can't hold it: {}", error.message());
                Failure::Store(StoreError::Refused { index: largest, reason })
            }
            code if DAMAGE.contains(&code) => Failure::Store(damaged(place, error.message())),
            _ => Failure::Store(StoreError::Unavailable(told(place, &error.message()))),
        },
        None if matches!(error, sqlx::Error::Encode(_)) => {
            Failure::Store(StoreError::Refused { index: largest, reason: error.to_string() })
        }
        _ => Failure::Store(StoreError::Unknown(told(place, &text(error)))),
    }
}

/// What an error of sea-orm means.
pub(super) fn database_failed(place: &str, error: &DbErr) -> StoreError {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(e)) | DbErr::Query(RuntimeErr::SqlxError(e)) => read_failed(place, e),
        DbErr::Type(_) | DbErr::TryIntoErr { .. } => damaged(place, error),
        _ => StoreError::Unavailable(told(place, error)),
    }
}

/// What an error of sea-orm means where it is that of a commit, or of a statement that commits by itself.
pub(super) fn perhaps_done(place: &str, error: &DbErr) -> StoreError {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(e)) | DbErr::Query(RuntimeErr::SqlxError(e)) if is_lost(e) => {
            StoreError::Unknown(told(place, e))
        }
        _ => database_failed(place, error),
    }
}

fn told(place: &str, error: &dyn std::fmt::Display) -> String {
    format!("`{place}`: {error}; check that the database runs, that it can be reached, and what its log says")
}

fn postgres(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}
