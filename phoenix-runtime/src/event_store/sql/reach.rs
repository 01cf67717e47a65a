//! The first connection: what is waited for, and what is an error at once.

use std::time::Duration;

use sea_orm::sqlx;
use tokio::time::{sleep, timeout};

use super::connections::Connect;
use super::{DatabaseOpenError, DatabaseOptions, DatabaseUrl};

const FIRST_BACKOFF: Duration = Duration::from_millis(200);

/// What waiting does not mend; `None` for what may pass.
pub(super) type Refusal = fn(&DatabaseUrl, &sqlx::Error) -> Option<DatabaseOpenError>;

/// Waits until the database answers, and says what it waits for.
pub(super) async fn wait<C>(
    url: &DatabaseUrl,
    options: &DatabaseOptions,
    connect: &Connect<C>,
    refusal: Refusal,
) -> Result<C, DatabaseOpenError> {
    let mut backoff = FIRST_BACKOFF;
    loop {
        let error = match first(options, connect).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        if let Some(refused) = refusal(url, &error) {
            return Err(refused);
        }
        tracing::warn!(
            database = %url,
            reason = %error,
            next_attempt = ?backoff,
            "waiting for the database: the node takes no commands until it answers"
        );
        sleep(backoff).await;
        backoff = (backoff * 2).min(options.max_connect_backoff);
    }
}

/// Pauses before a database is opened once more that went away while it was opened.
pub(super) async fn went_away(url: &DatabaseUrl, options: &DatabaseOptions, reason: &str) {
    tracing::warn!(database = %url, reason, "the database went away while it was opened: once more");
    sleep(FIRST_BACKOFF.min(options.max_connect_backoff)).await;
}

/// Asks once.
pub(super) async fn once<C>(
    url: &DatabaseUrl,
    options: &DatabaseOptions,
    connect: &Connect<C>,
    refusal: Refusal,
) -> Result<C, DatabaseOpenError> {
    first(options, connect).await.map_err(|error| failed(url, &error, refusal))
}

/// What an error says while a database is opened.
pub(super) fn failed(url: &DatabaseUrl, error: &sqlx::Error, refusal: Refusal) -> DatabaseOpenError {
    let unreachable = || DatabaseOpenError::Unreachable { url: url.clone(), reason: error.to_string() };
    refusal(url, error).unwrap_or_else(unreachable)
}

/// Whether the two sides do not agree on how safe a connection is, or the certificate is not one that is trusted.
pub(super) fn is_tls(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        // how a certificate that was refused comes through
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

async fn first<C>(options: &DatabaseOptions, connect: &Connect<C>) -> Result<C, sqlx::Error> {
    let silent = || std::io::Error::new(std::io::ErrorKind::TimedOut, "the database does not answer");
    timeout(options.connect_timeout, connect()).await.map_err(|_| silent())?
}
