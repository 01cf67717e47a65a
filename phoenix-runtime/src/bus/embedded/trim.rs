//! What leaves a partition: records that every group has read, once they are old or many; and the oldest of a full one that
//! keeps the newest.

use rusqlite::{Connection, params};

use super::marks::Mark;
use super::schema::{OFFSET_BITS, offset, place};
use super::writer::OVERHEAD;

/// What may go.
pub(super) struct Limits {
    /// Records before this offset were read by every group.
    pub(super) unread: u64,
    /// Those of before this time may go,
    pub(super) before: i64,
    /// and those that have more than this behind them,
    pub(super) bytes: u64,
    /// and those that are the oldest of more than this.
    pub(super) most: u64,
    /// The most records of this step.
    pub(super) step: usize,
}

/// The length of a blob is known without reading it.
const OLDEST: &str = "SELECT place, time_micros, ifnull(length(key), 0) + ifnull(length(headers), 0) + length(value) \
     FROM records WHERE place >= ?1 AND place < ?2 ORDER BY place LIMIT ?3";
const REMOVE: &str = "DELETE FROM records WHERE place >= ?1 AND place < ?2";

/// Removes the oldest records of a partition, and tells how many.
pub(super) fn step(db: &Connection, number: u32, mark: &mut Mark, limits: &Limits) -> rusqlite::Result<usize> {
    if mark.earliest >= limits.unread.min(mark.end) {
        return Ok(0);
    }
    let (Some(from), Some(unread)) =
        (place(number, mark.earliest), place(number, limits.unread.min((1 << OFFSET_BITS) - 1)))
    else {
        return Ok(0);
    };
    let mut oldest = db.prepare_cached(OLDEST)?;
    let mut rows = oldest.query(params![from, unread, i64::try_from(limits.step).unwrap_or(i64::MAX)])?;
    let (mut removed, mut up_to, mut left) = (0, from, mark.bytes);
    while let Some(row) = rows.next()? {
        let (at, time, bytes): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let behind = left.saturating_sub(bytes.cast_unsigned() + OVERHEAD);
        if time >= limits.before && behind < limits.bytes && left <= limits.most {
            break;
        }
        (removed, up_to, left) = (removed + 1, at + 1, behind);
    }
    drop(rows);
    if removed > 0 {
        db.prepare_cached(REMOVE)?.execute([from, up_to])?;
        mark.earliest = offset(number, up_to);
        mark.bytes = left;
    }
    Ok(removed)
}
