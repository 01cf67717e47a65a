//! Records as they are in a row of the inbox.
//!
//! One after the other: the offset, the key's length plus one (0 for none) and its bytes, how many headers, the name and
//! value of each and the record's value with their lengths; numbers in 8 and 4 bytes, the lowest first. Equal records are
//! equal bytes, so a row that is written again is the same row.

use std::sync::Arc;

use crate::bus::port::Record;
use crate::event_store::letters::{InboxRow, MOST_BODY_BYTES};
use crate::event_store::port::{Partition, StreamId};

/// The encoding of a row.
const CODEC: u8 = 1;
/// How many records a row holds at most, and how many bytes, but for the last of them.
const ROW_MESSAGES: u32 = 512;
const ROW_BYTES: usize = 256 << 10;

/// The largest record that fits into a row for certain, however many headers it has.
pub(super) const MOST_RECORD_BYTES: usize = 3 << 20;

/// What the rows of a partition have in common.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) topic: Arc<str>,
    pub(super) partition: u16,
    pub(super) now_micros: i64,
}

/// Packs records into as few rows as bounds allow.
#[derive(Debug)]
pub(super) struct Packer {
    place: Place,
    hold: Option<StreamId>,
    tries: u32,
    /// How many records a row may have.
    most: u32,
    /// Whether the next record begins a row.
    is_cut: bool,
    /// The rows, each with the serial numbers of its records.
    rows: Vec<(InboxRow, Vec<u64>)>,
}

/// The bytes of a record in a row.
fn size(record: &Record) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| 8 + name.len() + value.len()).sum();
    20 + record.key.as_ref().map_or(0, Vec::len) + headers + record.value.len()
}

/// Whether a row can hold it.
pub(super) fn fits(record: &Record) -> bool {
    size(record) <= MOST_BODY_BYTES
}

impl Packer {
    pub(super) fn new(place: Place, hold: Option<StreamId>) -> Self {
        Self { place, hold, tries: 0, most: ROW_MESSAGES, is_cut: false, rows: Vec::new() }
    }

    /// A row for each record, each tried as often.
    pub(super) fn one_by_one(place: Place, hold: Option<StreamId>, tries: u32) -> Self {
        Self { place, hold, tries, most: 1, is_cut: false, rows: Vec::new() }
    }

    /// What comes now does not follow what came before.
    pub(super) fn cut(&mut self) {
        self.is_cut = true;
    }

    pub(super) fn push(&mut self, offset: u64, record: &Record, serial: u64) {
        let is_cut = std::mem::take(&mut self.is_cut);
        let room = |(row, _): &&mut (InboxRow, Vec<u64>)| {
            !is_cut
                && row.messages < self.most
                && row.body.len() < ROW_BYTES
                && row.body.len() + size(record) <= MOST_BODY_BYTES
                && row.last < offset
        };
        if let Some((row, serials)) = self.rows.last_mut().filter(room) {
            row.last = offset;
            row.messages += 1;
            write(&mut row.body, offset, record);
            serials.push(serial);
            return;
        }
        let mut body = Vec::with_capacity(size(record));
        write(&mut body, offset, record);
        let row = InboxRow {
            topic: Arc::clone(&self.place.topic),
            partition: self.place.partition,
            first: offset,
            last: offset,
            messages: 1,
            group: Partition(self.place.partition),
            tries: self.tries,
            due_micros: self.place.now_micros,
            hold: self.hold.clone(),
            codec: CODEC,
            body,
        };
        self.rows.push((row, vec![serial]));
    }

    pub(super) fn into_rows(self) -> Vec<(InboxRow, Vec<u64>)> {
        self.rows
    }
}

fn number(body: &mut Vec<u8>, length: usize) {
    // a row has less than 4 GiB
    body.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

fn bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    number(body, bytes.len());
    body.extend_from_slice(bytes);
}

fn write(body: &mut Vec<u8>, offset: u64, record: &Record) {
    body.extend_from_slice(&offset.to_le_bytes());
    match &record.key {
        Some(key) => {
            number(body, key.len() + 1);
            body.extend_from_slice(key);
        }
        None => number(body, 0),
    }
    number(body, record.headers.len());
    for (name, value) in &record.headers {
        bytes(body, name.as_bytes());
        bytes(body, value);
    }
    bytes(body, &record.value);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<usize> {
        let four = self.take(4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(four)).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = self.number()?;
        self.take(count)
    }

    fn record(&mut self) -> Option<(u64, Record)> {
        let offset = u64::from_le_bytes(self.take(8)?.try_into().ok()?);
        let key = match self.number()?.checked_sub(1) {
            Some(count) => Some(self.take(count)?.to_vec()),
            None => None,
        };
        let count = self.number()?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = String::from_utf8(self.bytes()?.to_vec()).ok()?;
            headers.push((name, self.bytes()?.to_vec()));
        }
        Some((offset, Record { key, headers, value: self.bytes()?.to_vec() }))
    }
}

/// The records of a row, each with its offset.
///
/// # Errors
/// An encoding of a newer release, and bytes that are no row.
pub(super) fn unpack(row: &InboxRow) -> Result<Vec<(u64, Record)>, String> {
    if row.codec != CODEC {
        return Err(format!("its encoding is {}, and this release knows {CODEC}: use a newer one", row.codec));
    }
    let mut reader = Reader(&row.body);
    let mut records = Vec::new();
    while !reader.0.is_empty() {
        records.push(reader.record().ok_or_else(|| "its bytes end within a record, or are none".to_owned())?);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records() -> impl Strategy<Value = Vec<Record>> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        let headers = prop::collection::vec((".{0,8}", bytes()), 0..4);
        let record = (prop::option::of(bytes()), headers, bytes());
        let record = record.prop_map(|(key, headers, value)| Record { key, headers, value });
        prop::collection::vec(record, 1..40)
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_again(records in records(), most in 1..20_u32, cut in any::<prop::sample::Index>()) {
            let place = Place { topic: "t".into(), partition: 3, now_micros: 7 };
            let mut packer = Packer { most, ..Packer::new(place, None) };
            for (offset, record) in (10..).zip(&records) {
                packer.push(offset, record, offset + 1);
            }
            let mut found = Vec::new();
            for (row, serials) in packer.into_rows() {
                let inside = unpack(&row).unwrap();
                prop_assert_eq!(inside.len(), serials.len());
                prop_assert!(inside.len() as u64 == u64::from(row.messages) && row.messages <= most);
                prop_assert_eq!((row.first, row.last), (inside[0].0, inside[inside.len() - 1].0));
                prop_assert_eq!(row.body.len(), inside.iter().map(|(_, record)| size(record)).sum::<usize>());
                let mut cut_row = row.clone();
                cut_row.body.truncate(cut.index(row.body.len()));
                // what is cut between two records has fewer of them, and anything else is told
                prop_assert!(unpack(&cut_row).map_or(true, |fewer| fewer.len() < inside.len()));
                found.extend(inside);
            }
            let expected: Vec<_> = (10..).zip(records).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
