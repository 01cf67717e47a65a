//! Shares its slices with other databases: for tests and simulations.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;

use crate::domain::id::{SLICES, Slice};
use crate::domain::ports::BoxFuture;
use crate::event_store::archive::{Archive, BlockInfo};
use crate::event_store::memory::{Contents, MemoryStore, record_of, stored_event};
use crate::event_store::port::{Batch, Epoch, Partition, Record, StoreError, StreamId};
use crate::event_store::rules::{self, Room};
use crate::event_store::sources::port::{
    BlockKey, Document, Hold, Joined, MEMBER_DOCUMENT, Page, Rows, SnapshotKey, Source, Tenure, Tenures, Turn,
};

/// What a database knows of being one of several.
#[derive(Default)]
pub(super) struct Shared {
    tenures: Tenures,
    documents: BTreeMap<&'static str, Document>,
}

impl Shared {
    /// Refuses slices that are not held.
    pub(super) fn holds(&self, batch: &Batch) -> Result<(), StoreError> {
        if self.tenures.of.is_empty() {
            return Ok(());
        }
        let mut away: Vec<Slice> = batch.records.iter().map(|record| record.slice).collect();
        away.retain(|slice| !self.tenures.of(*slice).appends());
        away.sort_unstable();
        away.dedup();
        if away.is_empty() { Ok(()) } else { Err(StoreError::Moved(away)) }
    }

    /// Refuses to change bytes that are perhaps being copied.
    pub(super) fn settled(&self, slice: Slice) -> Result<(), StoreError> {
        match self.tenures.of(slice).hold {
            Hold::Held => Ok(()),
            _ => Err(StoreError::Unavailable(format!("slice {} is being moved, or was", slice.0))),
        }
    }
}

impl Contents {
    fn rows(&self, slice: Slice) -> u64 {
        self.slices.get(usize::from(slice.0)).map_or(0, |places| places.len() as u64)
    }

    fn join(&mut self, member: String) -> Joined {
        if let Some(document) = self.shared.documents.get(MEMBER_DOCUMENT) {
            return Joined::Before(document.text.clone());
        }
        let used = !self.epochs.is_empty() || !self.batches.is_empty() || !self.shared.documents.is_empty();
        if used {
            return Joined::InUse;
        }
        self.shared.documents.insert(MEMBER_DOCUMENT, Document { version: 1, text: member });
        self.shared.tenures.version += 1;
        let away = Tenure { hold: Hold::Away, since: 0 };
        self.shared.tenures.of = (0..SLICES).map(|slice| (Slice(slice), away)).collect();
        Joined::Now
    }

    fn adopt(&mut self, epochs: &[(Partition, Epoch)]) -> Result<(), StoreError> {
        for &(partition, given) in epochs {
            let current = self.epoch(partition);
            if current > given {
                return Err(StoreError::Fenced { partition, current, given });
            }
        }
        self.epochs.extend(epochs.iter().copied());
        Ok(())
    }

    fn turn(&mut self, slice: Slice, turn: Turn, number: u64) -> Tenure {
        let before = self.shared.tenures.of(slice);
        let after = before.after(turn, number, self.rows(slice) == 0);
        if after != before {
            self.shared.tenures.of.insert(slice, after);
            self.shared.tenures.version += 1;
        }
        after
    }

    fn read_slices(&self, behind: &[(Slice, u64)], limit: usize) -> Result<Page, StoreError> {
        let (mut events, mut ends, mut room) = (Vec::new(), BTreeMap::new(), Room::default());
        for (slice, behind) in behind {
            if self.shared.tenures.of(*slice).hold == Hold::Held {
                rules::reached(*slice, *behind, self.rows(*slice))?;
            }
            for record in self.behind(*slice, *behind) {
                if events.len() == limit || (record.event.is_some() && !room.takes(record.bytes())) {
                    return Ok((events, ends));
                }
                events.extend(stored_event(record));
                ends.insert(*slice, record.sequence);
            }
        }
        Ok((events, ends))
    }

    fn behind(&self, slice: Slice, behind: u64) -> impl Iterator<Item = &Record> {
        let places = self.slices.get(usize::from(slice.0)).map_or(&[][..], Vec::as_slice);
        let start = usize::try_from(behind).unwrap_or(usize::MAX);
        places.get(start..).unwrap_or_default().iter().filter_map(|place| self.record(*place))
    }

    fn snapshot_keys(&self, slice: Slice) -> Vec<SnapshotKey> {
        let of_slice = self.snapshots.iter().filter(|(stream, _)| stream.slice() == slice);
        let all = of_slice.flat_map(|(_, versions)| versions.values());
        all.map(|s| SnapshotKey { stream: s.stream.clone(), version: s.version, fingerprint: s.fingerprint }).collect()
    }

    fn copy_in(&mut self, slice: Slice, number: u64, rows: Rows) -> Result<(), StoreError> {
        if !self.shared.tenures.of(slice).receives(number) {
            return Err(StoreError::Moved(vec![slice]));
        }
        let last = self.rows(slice);
        let records: Vec<Record> = rows.records.into_iter().filter(|record| record.sequence > last).collect();
        if !records.is_empty() {
            let batch = Arc::new(Batch { epochs: Vec::new(), records });
            self.take(&batch).map_err(|e| StoreError::Damaged(format!("copied rows of slice {}: {e}", slice.0)))?;
        }
        for (BlockKey { stream, info }, bytes) in rows.blocks {
            self.table.keep(stream, info, bytes);
        }
        for snapshot in rows.snapshots {
            self.snapshots.entry(snapshot.stream.clone()).or_default().insert(snapshot.version, snapshot);
        }
        Ok(())
    }

    fn purge(&mut self, slice: Slice, number: u64, limit: usize) -> Result<bool, StoreError> {
        if !self.shared.tenures.of(slice).purges(number) {
            return Err(StoreError::Moved(vec![slice]));
        }
        self.snapshots.retain(|stream, _| stream.slice() != slice);
        self.table.forget(slice);
        let Some(places) = self.slices.get(usize::from(slice.0)) else { return Ok(false) };
        let newest: Vec<_> = places.iter().rev().take(limit).copied().collect();
        for place in newest {
            // a place belongs to a batch: the same way that takes away what a refused batch left
            let Some(record) = record_of(&self.batches, place).cloned() else { continue };
            self.undo(std::slice::from_ref(&record), 1);
        }
        Ok(self.rows(slice) > 0)
    }
}

impl Source for MemoryStore {
    fn table(&self) -> &dyn Archive {
        self
    }

    fn block_keys(&self, slice: Slice) -> BoxFuture<'_, Result<Vec<BlockKey>, StoreError>> {
        let keys = self.contents().table.keys(slice);
        Box::pin(ready(Ok(keys.into_iter().map(|(stream, info)| BlockKey { stream, info }).collect())))
    }

    fn document(&self, name: &'static str) -> BoxFuture<'_, Result<Option<Document>, StoreError>> {
        Box::pin(ready(Ok(self.contents().shared.documents.get(name).cloned())))
    }

    fn put_document(&self, name: &'static str, document: Document) -> BoxFuture<'_, Result<bool, StoreError>> {
        let mut contents = self.contents();
        let known = contents.shared.documents.get(name).map_or(0, |document| document.version);
        let follows = known + 1 == document.version;
        if follows {
            contents.shared.documents.insert(name, document);
        }
        Box::pin(ready(Ok(follows)))
    }

    fn join(&self, member: String) -> BoxFuture<'_, Result<Joined, StoreError>> {
        Box::pin(ready(Ok(self.contents().join(member))))
    }

    fn adopt(&self, epochs: Vec<(Partition, Epoch)>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(ready(self.contents().adopt(&epochs)))
    }

    fn fence(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.contents().epochs.values_mut().for_each(|epoch| epoch.0 += 1);
        Box::pin(ready(Ok(())))
    }

    fn tenures(&self, known: Option<u64>) -> BoxFuture<'_, Result<Option<Tenures>, StoreError>> {
        let contents = self.contents();
        let tenures = &contents.shared.tenures;
        Box::pin(ready(Ok((known != Some(tenures.version)).then(|| tenures.clone()))))
    }

    fn turn(&self, slice: Slice, turn: Turn, number: u64) -> BoxFuture<'_, Result<Tenure, StoreError>> {
        Box::pin(ready(Ok(self.contents().turn(slice, turn, number))))
    }

    fn read_slices(&self, behind: Vec<(Slice, u64)>, limit: usize) -> BoxFuture<'_, Result<Page, StoreError>> {
        Box::pin(ready(self.contents().read_slices(&behind, limit)))
    }

    fn copy_out(&self, slice: Slice, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let contents = self.contents();
        let mut room = Room::default();
        let records = contents.behind(slice, after).take(limit).take_while(|record| room.takes(record.bytes()));
        Box::pin(ready(Ok(records.cloned().collect())))
    }

    fn snapshot_keys(&self, slice: Slice) -> BoxFuture<'_, Result<Vec<SnapshotKey>, StoreError>> {
        Box::pin(ready(Ok(self.contents().snapshot_keys(slice))))
    }

    fn copy_in(&self, slice: Slice, number: u64, rows: Rows) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(ready(self.contents().copy_in(slice, number, rows)))
    }

    fn purge(&self, slice: Slice, number: u64, limit: usize) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(ready(self.contents().purge(slice, number, limit)))
    }
}

/// As the table beside the events in a database.
impl Archive for MemoryStore {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn place(&self, stream: &StreamId, block: BlockInfo) -> String {
        self.contents().table.place(stream, block)
    }

    fn put(&self, stream: StreamId, block: BlockInfo, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        let contents = self.contents();
        let settled = contents.shared.settled(stream.slice());
        Box::pin(ready(settled.map(|()| contents.table.keep(stream, block, bytes))))
    }

    fn get(&self, stream: StreamId, block: BlockInfo) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(ready(Ok(self.contents().table.found(&stream, block))))
    }

    fn blocks(&self, stream: StreamId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<BlockInfo>, StoreError>> {
        Box::pin(ready(Ok(self.contents().table.list(&stream, from, limit))))
    }
}
