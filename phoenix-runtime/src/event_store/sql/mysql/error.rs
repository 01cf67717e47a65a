//! What the errors of MySQL and MariaDB mean.

use sea_orm::sqlx::mysql::MySqlDatabaseError;
use sea_orm::{DbErr, RuntimeErr, sqlx};

use super::super::row::damaged;
use crate::event_store::port::StoreError;

pub(super) const DUPLICATE: u16 = 1062;
/// A sum that is too large: what the fence answers with.
pub(super) const OUT_OF_RANGE: u16 = 1690;
pub(super) const DEADLOCK: u16 = 1213;
const ERROR_DURING_COMMIT: u16 = 1180;
const PACKET_TOO_LARGE: u16 = 1153;
/// A packet, a value, a row that is too large.
const TOO_LARGE: [u16; 3] = [PACKET_TOO_LARGE, 1406, 1118];
/// Indexes and tables that are not what the server wrote.
const DAMAGE: [u16; 9] = [1034, 1035, 1194, 1195, 1296, 1459, 1712, 1812, 1877];
/// The server ends the session with these: shutdown, kill, idle for too long.
const SESSION_ENDS: [u16; 6] = [1053, 1077, PACKET_TOO_LARGE, 1927, 3169, 4031];

/// The number that the server gave an error.
pub(super) fn number(error: &sqlx::Error) -> Option<u16> {
    server(error).map(MySqlDatabaseError::number)
}

/// Whether a number is not the server's own: a client's, or a proxy's, that says that the connection behind it is lost.
pub(super) const fn is_of_a_proxy(number: u16) -> bool {
    matches!(number, 2000..3000 | 9000..)
}

/// Whether the connection is of no use any more.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match number(error) {
        Some(number) => SESSION_ENDS.contains(&number) || is_of_a_proxy(number),
        None => !matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_)),
    }
}

/// What a failed statement says that only reads, or whose transaction was certainly not committed.
pub(super) fn failed(place: &str, error: &sqlx::Error) -> StoreError {
    match number(error) {
        Some(number) if DAMAGE.contains(&number) => damaged(place, error),
        Some(number) if TOO_LARGE.contains(&number) => {
            let reason = format!("the database takes nothing so large: {error}");
            StoreError::Refused { index: 0, reason }
        }
        _ if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => damaged(place, error),
        _ => StoreError::Unavailable(told(place, error)),
    }
}

/// What a failed commit says, or an answer that never came: perhaps it is done.
pub(super) fn unknown(place: &str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unknown(told(place, error))
}

/// What an error of sea-orm means.
pub(super) fn database_failed(place: &str, error: &DbErr) -> StoreError {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(e)) | DbErr::Query(RuntimeErr::SqlxError(e)) => failed(place, e),
        DbErr::Type(_) | DbErr::TryIntoErr { .. } => damaged(place, error),
        _ => StoreError::Unavailable(told(place, error)),
    }
}

/// What an error of sea-orm means where it is that of a commit, or of a statement that commits by itself.
pub(super) fn perhaps_done(place: &str, error: &DbErr) -> StoreError {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(e)) | DbErr::Query(RuntimeErr::SqlxError(e))
            if (is_lost(e) && number(e) != Some(PACKET_TOO_LARGE)) || number(e) == Some(ERROR_DURING_COMMIT) =>
        {
            unknown(place, e)
        }
        _ => database_failed(place, error),
    }
}

fn told(place: &str, error: &dyn std::fmt::Display) -> String {
    format!("`{place}`: {error}; check that the database runs, that it can be reached, and what its log says")
}

fn server(error: &sqlx::Error) -> Option<&MySqlDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}
