//! Reads records.

use std::path::Path;
use std::sync::mpsc::Receiver;

use rusqlite::{Connection, params};

use super::error::{damaged, failed};
use super::schema::{offset, place};
use super::writer::Reply;
use crate::bus::headers::Headers;
use crate::bus::port::{BusError, Received, Record, TopicPartition};

/// The most bytes that are read at once; a single record is read whatever it has.
const READ_BYTES: usize = 4 << 20;

/// A piece of a partition that is there.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) number: u32,
    pub(super) of: TopicPartition,
    pub(super) from: u64,
    pub(super) end: u64,
}

/// Records of these pieces, at most so many.
pub(super) struct Read {
    pub(super) pieces: Vec<Piece>,
    pub(super) max_records: usize,
    pub(super) reply: Reply<Vec<Received>>,
}

const RECORDS: &str =
    "SELECT place, key, headers, value FROM records WHERE place >= ?1 AND place < ?2 ORDER BY place LIMIT ?3";

/// Reads until nobody can ask any more.
pub(super) fn run(db: &Connection, path: &Path, reads: &Receiver<Read>) {
    while let Ok(read) = reads.recv() {
        answer(db, path, read);
    }
}

/// Reads, and tells what was found.
pub(super) fn answer(db: &Connection, path: &Path, read: Read) {
    let found = records(db, path, &read);
    drop(read.reply.send(found));
}

fn records(db: &Connection, path: &Path, read: &Read) -> Result<Vec<Received>, BusError> {
    let mut found = Vec::new();
    let mut bytes = 0;
    for piece in &read.pieces {
        let left = read.max_records - found.len();
        if left == 0 || bytes >= READ_BYTES {
            break;
        }
        let query = |found: &mut Vec<Received>, bytes: &mut usize| {
            let (Some(from), Some(end)) = (place(piece.number, piece.from), place(piece.number, piece.end)) else {
                return Ok(Ok(()));
            };
            let mut statement = db.prepare_cached(RECORDS)?;
            let mut rows = statement.query(params![from, end, i64::try_from(left).unwrap_or(i64::MAX)])?;
            while let Some(row) = rows.next()? {
                let headers: Option<Vec<u8>> = row.get(2)?;
                let headers = match headers.map_or(Ok(Headers::new()), |bytes| postcard::from_bytes(&bytes)) {
                    Ok(headers) => headers,
                    Err(error) => return Ok(Err(error)),
                };
                let record = Record { key: row.get(1)?, headers, value: row.get(3)? };
                // one that does not fit is looked at and left, but never the first
                if !found.is_empty() && *bytes + record.bytes() > READ_BYTES {
                    *bytes = READ_BYTES;
                    break;
                }
                *bytes += record.bytes();
                found.push(Received { from: piece.of.clone(), offset: offset(piece.number, row.get(0)?), record });
            }
            Ok(Ok(()))
        };
        query(&mut found, &mut bytes)
            .map_err(|e: rusqlite::Error| failed(path, "read", &e))?
            .map_err(|e| damaged(path, format_args!("the headers of a record of {} can't be read: {e}", piece.of)))?;
    }
    Ok(found)
}
