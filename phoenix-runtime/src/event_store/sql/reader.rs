//! Every read of events, keys and outcomes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::SqlStore;
use super::dialect::{Dialect, Part};
use super::known::Stream;
use super::page::{Page, size};
use super::row::{Cells, Rows, column, damaged};
use super::turns::SliceSet;
use crate::domain::id::{Dedup, Slice};
use crate::event_store::port::{
    KnownKeys, Load, Loaded, PAGE_BYTES, Position, StoreError, StoredEvent, StoredOutcome, StreamId, row_bytes,
};
use crate::event_store::rules;
use crate::event_store::sources::port::Hold;

/// Rows that are read at once, at last, while outcomes without events are passed over.
const LEAST_PAGE: usize = 256;

impl<D: Dialect> SqlStore<D> {
    pub(super) async fn stream_events(
        &self,
        stream: StreamId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let from = from.max(1);
        let connections = self.dialect.connections();
        let mut read = Rows::new(self.dialect.place());
        let (mut found, mut page, mut last_place) = (Vec::new(), Page::default(), None);
        while found.len() < limit && !page.is_full() {
            let wanted = self.rows_of_a_page(limit - found.len());
            let next = signed(from.saturating_add(found.len() as u64));
            let rows = self.dialect.stream_page(&stream, next, signed(wanted as u64), &mut page).await?;
            self.note_sizes(&rows);
            let before = found.len();
            for row in &rows {
                self.push_event(&mut read, row, &stream, from, &mut found)?;
            }
            if let Some(row) = rows.last() {
                last_place = Some(read.place(row)?);
            }
            if found.len() - before < wanted {
                break;
            }
        }
        self.make_durable(connections, last_place.into_iter()).await?;
        if let Some(last) = found.last() {
            let version = last.event.version;
            self.learn(connections, |known| known.note_stream(&stream, Stream { number: None, version }));
        }
        Ok(found)
    }

    /// How many rows are asked for: what there is no room for would be sent in vain.
    fn rows_of_a_page(&self, most: usize) -> usize {
        let size = self.row_bytes.load(Ordering::Relaxed).max(row_bytes(0, 0));
        most.min(2 * PAGE_BYTES / size).max(1)
    }

    /// Remembers how large rows are that were taken.
    fn note_sizes(&self, rows: &[D::Row]) {
        let bytes: usize = rows.iter().filter_map(|row| size(row).ok()).sum();
        if let Some(mean) = bytes.checked_div(rows.len()) {
            let known = self.row_bytes.load(Ordering::Relaxed);
            // it only decides how much is asked for at once
            self.row_bytes.store(if known == 0 { mean } else { known.midpoint(mean) }, Ordering::Relaxed);
        }
    }

    /// Adds the event of a row, which must be the next version.
    fn push_event(
        &self,
        read: &mut Rows<'_>,
        row: &D::Row,
        stream: &StreamId,
        from: u64,
        found: &mut Vec<StoredEvent>,
    ) -> Result<(), StoreError> {
        let Some(event) = read.event(row, stream.clone())? else { return Ok(()) };
        let expected = from + found.len() as u64;
        if event.event.version != expected {
            let version = event.event.version;
            return Err(damaged(
                self.dialect.place(),
                format_args!("{stream} lacks version {expected} before {version}"),
            ));
        }
        found.push(event);
        Ok(())
    }

    pub(super) async fn all_events(
        &self,
        mut position: Position,
        limit: usize,
    ) -> Result<(Vec<StoredEvent>, Position), StoreError> {
        let (found, ends) = self.events_behind(rules::reading_order(&position).collect(), limit).await?;
        position.0.extend(ends);
        Ok((found, position))
    }

    /// Events of slices, each behind a number, and how far each slice was read where it was read any further.
    pub(super) async fn events_behind(
        &self,
        slices: Vec<(Slice, u64)>,
        limit: usize,
    ) -> Result<(Vec<StoredEvent>, BTreeMap<Slice, u64>), StoreError> {
        self.check_reached(&slices).await?;
        let connections = self.dialect.connections();
        let page = self.page_behind(slices, limit).await?;
        self.learn(connections, |known| page.1.iter().for_each(|(slice, last)| known.note_sequence(*slice, *last)));
        self.make_durable(connections, page.1.iter().map(|(slice, last)| (*slice, *last))).await?;
        Ok(page)
    }

    /// Waits until records are durable that were seen when so many connections had been made, by slices and sequence
    /// numbers: nobody hears of what a crash could take back.
    async fn make_durable(&self, connections: u64, seen: impl Iterator<Item = (Slice, u64)>) -> Result<(), StoreError> {
        let open: Vec<_> = {
            let known = self.known();
            seen.filter(|(slice, sequence)| !known.is_durable(*slice, *sequence)).collect()
        };
        if open.is_empty() {
            return Ok(());
        }
        self.dialect.flush().await?;
        self.learn(connections, |known| {
            for (slice, sequence) in open {
                known.note_durable(slice, sequence);
            }
        });
        Ok(())
    }

    /// Refuses a number that is ahead of the end of its slice; asked is what is not known to be there.
    async fn check_reached(&self, behind: &[(Slice, u64)]) -> Result<(), StoreError> {
        let connections = self.dialect.connections();
        let ahead: Vec<(Slice, u64)> = {
            let known = self.known();
            behind.iter().copied().filter(|(slice, behind)| *behind > known.sequence(*slice)).collect()
        };
        if ahead.is_empty() {
            return Ok(());
        }
        let slices: Vec<Slice> = ahead.iter().map(|(slice, _)| *slice).collect();
        let last = self.last(&slices).await?;
        self.learn(connections, |known| last.iter().for_each(|(slice, last)| known.note_sequence(*slice, *last)));
        if ahead.iter().all(|(slice, behind)| last.get(slice).is_some_and(|last| behind <= last)) {
            return Ok(());
        }
        // rows of a slice that moves come and go
        let before = self.tenures_now(None).await?.unwrap_or_default();
        let last = self.last(&slices).await?;
        let after = self.tenures_now(None).await?.unwrap_or_default();
        for (slice, behind) in ahead {
            if before.of(slice) == after.of(slice) && after.of(slice).hold == Hold::Held {
                rules::reached(slice, behind, last.get(&slice).copied().unwrap_or(0))?;
            }
        }
        Ok(())
    }

    async fn page_behind(
        &self,
        mut slices: Vec<(Slice, u64)>,
        limit: usize,
    ) -> Result<(Vec<StoredEvent>, BTreeMap<Slice, u64>), StoreError> {
        let mut read = Rows::new(self.dialect.place());
        let (mut found, mut ends, mut page) = (Vec::new(), BTreeMap::new(), Page::default());
        let mut least = 1;
        let starts: BTreeMap<Slice, u64> = slices.iter().copied().collect();
        // slices whose next record is missing
        let mut waiting = SliceSet::default();
        while found.len() < limit && (found.is_empty() || !page.is_full()) {
            if page.is_full() {
                // of outcomes without events alone
                page = Page::default();
            }
            let wanted = self.rows_of_a_page((limit - found.len()).max(least));
            least = (least * 4).min(LEAST_PAGE);
            slices.retain(|(slice, _)| !waiting.contains(*slice));
            let behind = |(slice, start): &(Slice, u64)| (*slice, ends.get(slice).copied().unwrap_or(*start));
            let after: Vec<_> =
                slices.iter().map(behind).filter_map(|(slice, behind)| rules::position(slice, behind)).collect();
            let rows = self.dialect.page_after(&after, signed(wanted as u64), &mut page).await?;
            self.note_sizes(&rows);
            let (last_page, mut gap) = (rows.len() < wanted && !page.is_full(), false);
            for row in &rows {
                if found.len() == limit {
                    return Ok((found, ends));
                }
                let (slice, sequence) = read.place(row)?;
                let behind = ends.get(&slice).or(starts.get(&slice)).copied().unwrap_or(0);
                if behind + 1 != sequence {
                    if !waiting.contains(slice) {
                        self.wait_at_gap(slice, behind, sequence)?;
                        waiting.insert(slice);
                    }
                    gap = true;
                    continue;
                }
                ends.insert(slice, sequence);
                if !self.gaps.is_empty() {
                    self.gaps.closed(slice, sequence);
                }
                let stream = read.stream(row, column::OWN)?;
                found.extend(read.event(row, stream)?);
            }
            if last_page && !gap {
                break;
            }
        }
        Ok((found, ends))
    }

    fn wait_at_gap(&self, slice: Slice, behind: u64, sequence: u64) -> Result<(), StoreError> {
        let missing = format_args!("slice {} lacks sequence {} before {sequence}", slice.0, behind + 1).to_string();
        if self.gaps.stays(slice, behind) {
            tracing::error!(place = self.dialect.place(), missing, "a gap stays: records are lost");
            return Err(damaged(self.dialect.place(), missing));
        }
        tracing::warn!(place = self.dialect.place(), missing, "waiting in front of a gap");
        Ok(())
    }

    pub(super) async fn stored_outcomes(
        &self,
        commands: Vec<(StreamId, Dedup)>,
    ) -> Result<Vec<Option<StoredOutcome>>, StoreError> {
        let mut found = vec![None; commands.len()];
        if commands.is_empty() {
            return Ok(found);
        }
        let connections = self.dialect.connections();
        let (mut read, mut seen) = (Rows::new(self.dialect.place()), Vec::new());
        for row in &self.dialect.commands(&commands).await? {
            let index = usize::try_from(read.number(row, column::OWN)?).unwrap_or(usize::MAX);
            let (slice, sequence) = read.place(row)?;
            seen.push((slice, sequence));
            let (Some(command), Some((_, dedup)), Some(slot)) =
                (read.command(row)?, commands.get(index), found.get_mut(index))
            else {
                continue;
            };
            if command.dedup == *dedup {
                let first_version = row.number(column::VERSION).ok().flatten().map(i64::cast_unsigned);
                *slot = Some(StoredOutcome { command: *command, first_version, sequence });
            }
        }
        self.make_durable(connections, seen.into_iter()).await?;
        Ok(found)
    }

    /// For owners alone: what others did before is durable since they took over, and what they do themselves is
    /// acknowledged before it counts.
    pub(super) async fn load_all(&self, loads: Vec<Load>) -> Result<Vec<Loaded>, StoreError> {
        if loads.is_empty() {
            return Ok(Vec::new());
        }
        let connections = self.dialect.connections();
        let mut page = Page::default();
        let rows = self.dialect.load(&loads, &mut page).await?;
        let nothing = || Loaded {
            snapshot: None,
            events: Vec::new(),
            keys: KnownKeys { keys: Vec::new(), complete: true },
            cut: false,
        };
        let mut all: Vec<_> = loads.iter().map(|_| nothing()).collect();
        let mut numbers = vec![None; loads.len()];
        let mut read = Rows::new(self.dialect.place());
        for row in &rows {
            let index = usize::try_from(read.number(row, column::OWN)?).unwrap_or(usize::MAX);
            let (Some(loaded), Some(load)) = (all.get_mut(index), loads.get(index)) else { continue };
            match Part::from_number(read.number(row, column::OWN + 1)?) {
                Some(Part::Snapshot) => {
                    loaded.snapshot = Some(read.snapshot(row, load.stream.clone())?);
                    loaded.keys = KnownKeys::default();
                    if let Some(number) = numbers.get_mut(index) {
                        *number = Some(read.number(row, column::POSITION)?);
                    }
                }
                Some(Part::Keys) => {
                    let short = |key: &[u8; 8]| u64::from_be_bytes(*key);
                    loaded.keys.keys = read.bytes(row, column::PAYLOAD)?.as_chunks().0.iter().map(short).collect();
                    loaded.keys.complete = read.number(row, column::VERSION)? == 1;
                    if let Some(number) = numbers.get_mut(index) {
                        *number = Some(read.number(row, column::POSITION)?);
                    }
                }
                Some(Part::Event) => {
                    let from = loaded.snapshot.as_ref().map_or(1, |snapshot| snapshot.version.max(1));
                    self.push_event(&mut read, row, &load.stream, from, &mut loaded.events)?;
                }
                None => {}
            }
        }
        for (question, loaded) in (0..).zip(&mut all) {
            if page.is_left_out(question, loaded.events.len()) {
                *loaded = Loaded::left_out();
            }
            loaded.cut |= page.is_cut(question);
        }
        self.learn(connections, |known| {
            for ((load, loaded), number) in
                loads.iter().zip(&all).zip(numbers).filter(|((_, loaded), _)| !loaded.is_left_out())
            {
                let version = loaded.events.last().map_or(0, |event| event.event.version);
                known.note_stream(&load.stream, Stream { number, version });
            }
        });
        Ok(all)
    }

    /// The number of a stream; `None` if it has no record.
    pub(super) async fn number_of(&self, stream: &StreamId) -> Result<Option<i64>, StoreError> {
        if let Some(number) = self.known().stream(stream).and_then(|known| known.number) {
            return Ok(Some(number));
        }
        let connections = self.dialect.connections();
        let found = self.dialect.streams(&[stream]).await?.pop();
        if let Some((_, found)) = found {
            self.learn(connections, |known| known.note_stream(stream, found));
        }
        Ok(found.and_then(|(_, found)| found.number))
    }
}

/// As a number of the database, which has no larger ones.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
