//! Every read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::address::Address;
use super::hash::Hash;
use super::path::walk;
use super::shared::{Head, Ids, Reading, Shared};
use super::unit::Kept;
use crate::domain::id::{AggregateId, Dedup, Slice};
use crate::event_store::encoding::{Malformed, View};
use crate::event_store::port::{
    ARCHIVED, KnownKeys, Load, Loaded, MOST_ROWS, PAGE_BYTES, Position, Snapshot, SnapshotInfo, StoreError,
    StoredEvent, StoredOutcome, StreamId, fills_page,
};
use crate::event_store::rules::{self, Room};

/// How many records are read at once, before their sizes are known. They are read from the last one back.
const FIRST_PIECE: usize = 64;

impl Shared {
    fn hash(&self, stream: &StreamId) -> Hash {
        Hash::stream(self.seed, &stream.aggregate, stream.id.as_str())
    }

    pub(super) fn read_stream(
        &self,
        stream: &StreamId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let (mut reading, hash) = (Reading::new(self), self.hash(stream));
        let Some(head) = self.head(stream, hash, &mut reading)? else { return Ok(Vec::new()) };
        let kept = self.kept_for_events(stream, hash, &mut reading)?;
        self.events(head, (from, limit), hash, &kept, &mut reading)
    }

    /// What is kept of a stream, as far as its events depend on it.
    fn kept_for_events(&self, stream: &StreamId, hash: Hash, reading: &mut Reading<'_>) -> Result<Kept, StoreError> {
        let stripped = self.index().state.stripped;
        if stripped { self.kept(stream, hash, reading) } else { Ok(Kept::default()) }
    }

    /// At most `limit` events from version `from` on, and no more than fill an answer.
    fn events(
        &self,
        head: Head,
        (from, limit): (u64, usize),
        hash: Hash,
        kept: &Kept,
        reading: &mut Reading<'_>,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let (mut events, mut room, mut piece) = (Vec::new(), Room::default(), FIRST_PIECE);
        let mut from = from.max(1);
        while from <= head.version && events.len() < limit && !room.is_full() {
            let to = head.version.min(from.saturating_add(piece.min(limit - events.len()) as u64 - 1));
            let found = self.piece(head, (from, to), hash, kept, reading)?;
            from = from.saturating_add(found.len() as u64);
            events.extend(found.into_iter().take_while(|stored| room.takes(stored.bytes())));
            piece = (piece * 2).min(MOST_ROWS);
        }
        Ok(events)
    }

    /// Events from one version to another, or as many of the first ones as fill an answer.
    fn piece(
        &self,
        head: Head,
        (from, to): (u64, u64),
        hash: Hash,
        kept: &Kept,
        reading: &mut Reading<'_>,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let mut at = self.walk_versions(head, to, reading)?;
        let mut events = Backwards::default();
        for version in (from..=to).rev() {
            let (links, mut stored) = self.event(at, reading)?;
            let Some(event) = stored.take().filter(|stored| stored.event.version == version) else {
                return Err(self.not_version(at, version));
            };
            let event = self.as_kept(event, hash, kept, reading)?;
            events.push(event.bytes(), event);
            at = links;
        }
        Ok(events.in_order())
    }

    /// The place of a version.
    fn walk_versions(&self, head: Head, to: u64, reading: &mut Reading<'_>) -> Result<Address, StoreError> {
        walk(head.version, head.event, to, |version, at| {
            let (links, view) = reading.record(at)?;
            let found = view.event.map(|event| event.version);
            if found == Some(version) { Ok((links.event, links.jump)) } else { Err(self.not_version(at, version)) }
        })
    }

    fn not_version(&self, at: Address, version: u64) -> StoreError {
        self.segments.spoilt(at, format_args!("it should be version {version} of its stream"))
    }

    /// The event at a place, and the place of the one before it.
    fn event(&self, at: Address, reading: &mut Reading<'_>) -> Result<(Address, Option<StoredEvent>), StoreError> {
        let mut names = std::mem::take(&mut reading.names);
        let result = reading.record(at).and_then(|(links, view)| {
            let event = view.stored_event(&mut names).map_err(|e| self.segments.spoilt(at, e))?;
            Ok((links.event, event))
        });
        reading.names = names;
        result
    }

    /// An event without its bytes where they were stripped, unless it has them back.
    fn as_kept(
        &self,
        mut stored: StoredEvent,
        hash: Hash,
        kept: &Kept,
        reading: &mut Reading<'_>,
    ) -> Result<StoredEvent, StoreError> {
        let version = stored.event.version;
        let Some(stripped) = kept.stripped(version) else { return Ok(stored) };
        match self.find(hash.refilled(self.seed, version))?.filter(|at| *at > stripped) {
            None => rules::strip(&mut stored.event, stored.command.as_deref_mut()),
            Some(at) => {
                let mut names = std::mem::take(&mut reading.names);
                let view = reading.refilled(at)?;
                let same = view.aggregate == &*stored.stream.aggregate && view.id == stored.stream.id.as_str();
                let event = view.stored_event(&mut names).map_err(|e| self.segments.spoilt(at, e))?;
                match event.filter(|event| same && event.event.version == version) {
                    Some(event) => stored = event,
                    None => return Err(self.not_version(at, version)),
                }
                reading.names = names;
            }
        }
        Ok(stored)
    }

    /// How many events up to a version still have their bytes, the version of the newest of them, and what is kept of
    /// the stream.
    pub(super) fn to_strip(&self, stream: &StreamId, hash: Hash, up_to: u64) -> Result<(u64, u64, Kept), StoreError> {
        let mut reading = Reading::new(self);
        let kept = self.kept(stream, hash, &mut reading)?;
        let version = self.head(stream, hash, &mut reading)?.map_or(0, |head| head.version);
        let up_to = up_to.min(version);
        let mut first_stripped = up_to;
        while first_stripped > 0 {
            if let Some(stripped) = kept.stripped(first_stripped) {
                let refilled = self.find(hash.refilled(self.seed, first_stripped))?;
                if refilled.is_none_or(|at| at < stripped) {
                    break;
                }
            }
            first_stripped -= 1;
        }
        Ok((up_to - first_stripped, up_to, kept))
    }

    /// About how many bytes of each segment nobody needs once a stream's events up to a version are stripped.
    pub(super) fn freed_by_strip(&self, stream: &StreamId, up_to: u64) -> Result<BTreeMap<u32, u64>, StoreError> {
        let (mut freed, hash) = (BTreeMap::new(), self.hash(stream));
        let (count, up_to, kept) = self.to_strip(stream, hash, up_to)?;
        let mut reading = Reading::new(self);
        let Some(head) = self.head(stream, hash, &mut reading)?.filter(|_| count > 0) else { return Ok(freed) };
        let mut at = self.walk_versions(head, up_to, &mut reading)?;
        for version in (up_to - count + 1..=up_to).rev() {
            let mut bytes_at = at;
            if kept.stripped(version).is_some() {
                bytes_at = self.find(hash.refilled(self.seed, version))?.unwrap_or(at);
            }
            let (links, view) = reading.record(at)?;
            let bytes = view.event.map_or(0, |event| event.payload.len())
                + view.command.map_or(0, |command| command.body.len());
            *freed.entry(bytes_at.segment()).or_default() += bytes as u64;
            at = links.event;
        }
        Ok(freed)
    }

    pub(super) fn read_all(
        &self,
        mut position: Position,
        limit: usize,
    ) -> Result<(Vec<StoredEvent>, Position), StoreError> {
        let mut reading = Reading::new(self);
        let (slices, stripped) = {
            let index = self.index();
            (index.state.slices.clone(), index.state.stripped)
        };
        let (mut events, mut room, mut piece) = (Vec::new(), Room::default(), FIRST_PIECE);
        let order: Vec<_> = rules::reading_order(&position).collect();
        for (slice, mut behind) in order {
            let (last, at) = slices.get(usize::from(slice.0)).copied().unwrap_or((0, Address::NONE));
            rules::reached(slice, behind, last)?;
            while behind < last && events.len() < limit && !room.is_full() {
                let to = last.min(behind.saturating_add(piece.min(limit - events.len()) as u64));
                piece = (piece * 2).min(MOST_ROWS);
                let at = self.walk_slice((last, at), to, slice, &mut reading)?;
                for stored in self.records(at, (behind, to), slice, &mut reading)? {
                    if let Some(stored) = stored {
                        let stored = if stripped { self.as_it_is(stored, &mut reading)? } else { stored };
                        if !room.takes(stored.bytes()) {
                            break;
                        }
                        events.push(stored);
                    }
                    behind += 1;
                }
                position.0.insert(slice, behind);
            }
            if events.len() >= limit || room.is_full() {
                break;
            }
        }
        Ok((events, position))
    }

    fn walk_slice(
        &self,
        (from, at): (u64, Address),
        to: u64,
        slice: Slice,
        reading: &mut Reading<'_>,
    ) -> Result<Address, StoreError> {
        walk(from, at, to, |sequence, at| {
            let (links, view) = reading.record(at)?;
            self.check_sequence(at, &view, slice, sequence)?;
            Ok((links.in_slice, links.in_slice_jump))
        })
    }

    fn check_sequence(&self, at: Address, view: &View<'_>, slice: Slice, sequence: u64) -> Result<(), StoreError> {
        if (view.slice, view.sequence) == (slice, sequence) {
            return Ok(());
        }
        Err(self.segments.spoilt(at, format_args!("it should be number {sequence} of slice {}", slice.0)))
    }

    /// The records of a slice behind one number and up to another, which is at `at`, or as many of the first ones as fill
    /// an answer; `None` for outcomes.
    fn records(
        &self,
        mut at: Address,
        (behind, to): (u64, u64),
        slice: Slice,
        reading: &mut Reading<'_>,
    ) -> Result<Vec<Option<StoredEvent>>, StoreError> {
        let mut found = Backwards::default();
        let mut names = std::mem::take(&mut reading.names);
        for sequence in (behind + 1..=to).rev() {
            let (links, view) = reading.record(at)?;
            self.check_sequence(at, &view, slice, sequence)?;
            let event = view.stored_event(&mut names).map_err(|e| self.segments.spoilt(at, e))?;
            found.push(event.as_ref().map_or(0, StoredEvent::bytes), event);
            at = links.in_slice;
        }
        reading.names = names;
        Ok(found.in_order())
    }

    /// An event of which it is not known yet whether it was stripped.
    fn as_it_is(&self, stored: StoredEvent, reading: &mut Reading<'_>) -> Result<StoredEvent, StoreError> {
        let hash = self.hash(&stored.stream);
        let kept = self.kept(&stored.stream, hash, reading)?;
        self.as_kept(stored, hash, &kept, reading)
    }

    pub(super) fn outcomes(&self, commands: &[(StreamId, Dedup)]) -> Result<Vec<Option<StoredOutcome>>, StoreError> {
        let mut reading = Reading::new(self);
        commands.iter().map(|(stream, dedup)| self.outcome(stream, *dedup, &mut reading)).collect()
    }

    fn outcome(
        &self,
        stream: &StreamId,
        dedup: Dedup,
        reading: &mut Reading<'_>,
    ) -> Result<Option<StoredOutcome>, StoreError> {
        let hash = self.hash(stream);
        let Some(at) = self.key(stream, hash, dedup, reading)? else { return Ok(None) };
        if let (_, Some(stored)) = self.event(at, reading)? {
            let kept = self.kept_for_events(stream, hash, reading)?;
            let stored = self.as_kept(stored, hash, &kept, reading)?;
            let (version, sequence) = (stored.event.version, stored.sequence);
            let outcome = |command| StoredOutcome { command, first_version: Some(version), sequence };
            return Ok(stored.command.map(|command| outcome(*command)));
        }
        let mut names = std::mem::take(&mut reading.names);
        let (_, view) = reading.record(at)?;
        let sequence = view.sequence;
        let command = view.command.map(|command| command.data(&mut names));
        Ok(command.map(|command| StoredOutcome { command, first_version: None, sequence }))
    }

    pub(super) fn known_keys(&self, stream: &StreamId, limit: usize) -> Result<KnownKeys, StoreError> {
        let mut reading = Reading::new(self);
        let head = self.head(stream, self.hash(stream), &mut reading)?;
        keys(head, limit, &mut reading)
    }

    pub(super) fn snapshots(&self, stream: &StreamId) -> Result<Vec<SnapshotInfo>, StoreError> {
        let kept = self.kept(stream, self.hash(stream), &mut Reading::new(self))?;
        Ok(kept.snapshots.iter().rev().map(|(info, ..)| *info).collect())
    }

    pub(super) fn snapshot(&self, stream: &StreamId, at_most: u64) -> Result<Option<Snapshot>, StoreError> {
        let mut reading = Reading::new(self);
        let kept = self.kept(stream, self.hash(stream), &mut reading)?;
        self.newest(stream, &kept, &|info| info.version <= at_most, &mut reading)
    }

    /// The newest snapshot that is wanted.
    fn newest(
        &self,
        stream: &StreamId,
        kept: &Kept,
        wanted: &dyn Fn(&SnapshotInfo) -> bool,
        reading: &mut Reading<'_>,
    ) -> Result<Option<Snapshot>, StoreError> {
        let Some((info, codec, at)) = kept.snapshots.iter().rev().find(|(info, ..)| wanted(info)) else {
            return Ok(None);
        };
        let (_, view) = reading.kept(*at)?;
        let payload = view.payload.to_vec();
        let whole =
            payload.len() as u64 == info.bytes && view.aggregate == &*stream.aggregate && view.id == stream.id.as_str();
        if !whole {
            let now = self.kept(stream, self.hash(stream), reading)?;
            if !now.has_snapshot_at(*at) {
                // it was dropped meanwhile, and its segment written anew
                return self.newest(stream, &now, wanted, reading);
            }
            return Err(self.segments.spoilt(*at, format_args!("it should be the snapshot of {stream}")));
        }
        Ok(Some(Snapshot {
            stream: stream.clone(),
            version: info.version,
            time_micros: info.time_micros,
            fingerprint: info.fingerprint,
            codec: *codec,
            payload,
        }))
    }

    pub(super) fn load(&self, loads: &[Load]) -> Result<Vec<Loaded>, StoreError> {
        let (mut reading, mut room) = (Reading::new(self), Room::default());
        let load = |load: &Load| {
            if room.is_full() {
                return Ok(Loaded::left_out());
            }
            let loaded = self.load_one(load, &mut reading)?;
            room.takes(loaded.bytes());
            Ok(loaded)
        };
        loads.iter().map(load).collect()
    }

    fn load_one(&self, load: &Load, reading: &mut Reading<'_>) -> Result<Loaded, StoreError> {
        let Load { stream, fingerprint, keys: wanted, events } = load;
        let hash = self.hash(stream);
        // mostly the newest snapshot is where this is, and the newest event at the end of the stream: two reads
        let kept = self.kept(stream, hash, reading)?;
        let snapshot = match fingerprint {
            Some(wanted) => self.newest(stream, &kept, &|info| info.fingerprint == *wanted, reading)?,
            None => None,
        };
        let head = self.head(stream, hash, reading)?;
        let known = match snapshot {
            Some(_) => KnownKeys::default(),
            None => keys(head, *wanted, reading)?,
        };
        let from = snapshot.as_ref().map_or(1, |snapshot| snapshot.version.max(1));
        let events = match head {
            Some(head) => self.events(head, (from, *events), hash, &kept, reading)?,
            None => Vec::new(),
        };
        Ok(Loaded { cut: fills_page(&events), snapshot, events, keys: known })
    }

    pub(super) fn last_sequences(&self, slices: Vec<Slice>) -> BTreeMap<Slice, u64> {
        let index = self.index();
        slices.into_iter().map(|slice| (slice, index.state.slice(slice).0)).collect()
    }

    pub(super) fn event_names(&self, aggregate: &Arc<str>) -> BTreeSet<String> {
        self.index().state.names.get(aggregate).into_iter().flatten().map(ToString::to_string).collect()
    }

    pub(super) fn ids_after(
        &self,
        aggregate: &Arc<str>,
        after: Option<&AggregateId>,
        limit: usize,
    ) -> Result<Vec<AggregateId>, StoreError> {
        let of_aggregate = |known: &BTreeMap<Arc<str>, BTreeSet<AggregateId>>| {
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            let ids = known.get(aggregate).into_iter().flat_map(|ids| ids.range((start, Bound::Unbounded)));
            ids.take(limit).cloned().collect()
        };
        {
            let mut ids = self.ids();
            match &mut *ids {
                Ids::Known(known) => return Ok(of_aggregate(known)),
                Ids::Finding(_) => {}
                // from here on new ones are noted, so those that are not found among the old ones are among these
                Ids::Unknown => *ids = Ids::Finding(BTreeMap::new()),
            }
        }
        let mut found = self.find_ids()?;
        let mut ids = self.ids();
        // somebody who asked at the same time may have been faster
        if let Ids::Finding(noted) = &mut *ids {
            for (aggregate, noted) in std::mem::take(noted) {
                found.entry(aggregate).or_default().extend(noted);
            }
            *ids = Ids::Known(found);
        }
        Ok(match &*ids {
            Ids::Known(known) => of_aggregate(known),
            Ids::Finding(_) | Ids::Unknown => Vec::new(),
        })
    }

    /// Looks at the end of every stream.
    fn find_ids(&self) -> Result<BTreeMap<Arc<str>, BTreeSet<AggregateId>>, StoreError> {
        let mut ids: BTreeMap<Arc<str>, BTreeSet<AggregateId>> = BTreeMap::new();
        let mut reading = Reading::new(self);
        let mut note = |at: Address| {
            let mut names = std::mem::take(&mut reading.names);
            let (links, view) = reading.record(at)?;
            if links.version > 0 {
                let stream = view.stream(&mut names).map_err(|e: Malformed| self.segments.spoilt(at, e))?;
                ids.entry(stream.aggregate).or_default().insert(stream.id);
            }
            reading.names = names;
            Ok::<(), StoreError>(())
        };
        let (newest, runs) = self.index().streams();
        newest.into_iter().try_for_each(|entry| note(entry.at))?;
        for entry in super::run::merged(&runs) {
            let entry = entry.map_err(|e| self.index_failed(&e))?;
            if entry.hash >= Hash::END_OF_STREAMS {
                break;
            }
            note(entry.at)?;
        }
        Ok(ids)
    }
}

/// What is read from its end back, of which no more is kept than an answer holds: what was read first goes first.
struct Backwards<T> {
    kept: VecDeque<(usize, T)>,
    bytes: usize,
}

impl<T> Default for Backwards<T> {
    fn default() -> Self {
        Self { kept: VecDeque::new(), bytes: 0 }
    }
}

impl<T> Backwards<T> {
    fn push(&mut self, bytes: usize, item: T) {
        self.kept.push_front((bytes, item));
        self.bytes += bytes;
        // without the last one it is full
        while let Some((last, _)) = self.kept.back()
            && self.bytes - last >= PAGE_BYTES
        {
            self.bytes -= last;
            self.kept.pop_back();
        }
    }

    fn in_order(self) -> Vec<T> {
        self.kept.into_iter().map(|(_, item)| item).collect()
    }
}

/// The keys of a stream, from its end back until there are too many.
fn keys(head: Option<Head>, limit: usize, reading: &mut Reading<'_>) -> Result<KnownKeys, StoreError> {
    let mut known = KnownKeys { keys: Vec::new(), complete: true };
    let mut at = head.and_then(|head| head.at.some());
    while let Some(place) = at {
        let (links, view) = reading.record(place)?;
        if let Some(command) = &view.command {
            if known.keys.len() >= limit {
                known.complete = false;
                break;
            }
            known.keys.push(command.dedup.short());
        }
        at = links.previous.some();
    }
    known.keys.reverse();
    Ok(known)
}

const _: () = assert!(ARCHIVED == 0, "what was stripped is marked in the log as well");
