//! What leaves a store: snapshots that are too many, and the bytes of events that an archive has.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::reader::signed;
use super::row::position;
use crate::event_store::port::{StoredEvent, StreamId};

const DROP_SNAPSHOTS: &str = "DELETE FROM snapshots WHERE aggregate = ?1 AND id = ?2 AND version < ?3";
/// From the end, so that it costs as much as there is to strip, however long the stream is.
const NEWEST_STRIPPED: &str = "SELECT version FROM events WHERE aggregate = ?1 AND id = ?2 AND version <= ?3 \
     AND version IS NOT NULL AND codec = 0 ORDER BY version DESC LIMIT 1";
const STRIP: &str = "UPDATE events SET codec = 0, payload = x'', outcome_codec = iif(dedup IS NULL, NULL, 0), \
     outcome_body = iif(dedup IS NULL, NULL, x'') \
     WHERE aggregate = ?1 AND id = ?2 AND version > ?3 AND version <= ?4 AND version IS NOT NULL";
const REFILL: &str = "UPDATE events SET codec = ?2, payload = ?3, outcome_codec = ?4, outcome_body = ?5 \
     WHERE position = ?1 AND codec = 0";

/// Removes the snapshots of a stream below a version, and counts them.
pub(super) fn drop_snapshots(db: &Connection, stream: &StreamId, below: u64) -> rusqlite::Result<u64> {
    let key = params![&*stream.aggregate, stream.id.as_str(), signed(below)];
    Ok(db.prepare_cached(DROP_SNAPSHOTS)?.execute(key)? as u64)
}

/// Strips a stream's events up to a version, and counts those that were not.
pub(super) fn strip(db: &Connection, stream: &StreamId, up_to: u64) -> rusqlite::Result<u64> {
    let (aggregate, id, up_to) = (&*stream.aggregate, stream.id.as_str(), signed(up_to));
    let newest = db.prepare_cached(NEWEST_STRIPPED)?.query_row(params![aggregate, id, up_to], |row| row.get(0));
    let behind: i64 = newest.optional()?.unwrap_or(0);
    Ok(db.prepare_cached(STRIP)?.execute(params![aggregate, id, behind, up_to])? as u64)
}

/// Gives stripped events, which were compared with the stored ones, their bytes back.
pub(super) fn refill(db: &Connection, events: &[StoredEvent]) -> rusqlite::Result<()> {
    let mut refill = db.prepare_cached(REFILL)?;
    for StoredEvent { slice, sequence, event, command, .. } in events {
        let outcome = command.as_deref().map(|command| &command.outcome);
        refill.execute(params![
            position(*slice, *sequence),
            event.codec,
            &event.payload[..],
            outcome.map(|outcome| outcome.codec),
            outcome.map(|outcome| &outcome.body[..]),
        ])?;
    }
    Ok(())
}
