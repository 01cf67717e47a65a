//! The inbox and the dead letters in memory.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;

use super::MemoryStore;
use crate::domain::ports::BoxFuture;
use crate::event_store::letters::{
    Backlog, Change, DeadFilter, DeadLetter, Due, Grave, InboxKey, InboxRow, Letters, ReadLetters, Sealed, Standing,
};
use crate::event_store::port::StoreError;

impl MemoryStore {
    fn change<T: Send + 'static>(
        &self,
        change: Result<Change<Vec<u8>>, StoreError>,
        answer: impl FnOnce(u64) -> T,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        Box::pin(ready(change.map(|change| answer(self.contents().letters.apply(change)))))
    }
}

impl ReadLetters for MemoryStore {
    fn due(&self, question: Due) -> BoxFuture<'_, Result<Vec<InboxRow>, StoreError>> {
        let contents = self.contents();
        Box::pin(ready(Ok(contents.letters.due(&question).into_iter().map(Sealed::whole).collect())))
    }

    fn backlog(
        &self,
        topic: Option<Arc<str>>,
    ) -> BoxFuture<'_, Result<BTreeMap<(Arc<str>, u16), Backlog>, StoreError>> {
        Box::pin(ready(Ok(self.contents().letters.backlog(topic.as_deref()))))
    }

    fn dead(&self, filter: DeadFilter, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, StoreError>> {
        let contents = self.contents();
        let found = contents.letters.dead(&filter, after, limit);
        Box::pin(ready(Ok(found.into_iter().map(Grave::whole).collect())))
    }

    fn dead_letter(&self, number: u64) -> BoxFuture<'_, Result<Option<DeadLetter>, StoreError>> {
        Box::pin(ready(Ok(self.contents().letters.dead_letter(number).map(Grave::whole))))
    }

    fn dead_counts(&self) -> BoxFuture<'_, Result<BTreeMap<String, u64>, StoreError>> {
        Box::pin(ready(Ok(self.contents().letters.dead_counts())))
    }
}

impl Letters for MemoryStore {
    fn put(&self, rows: Vec<InboxRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.change(Change::put(rows), drop)
    }

    fn note_try(&self, keys: Vec<InboxKey>, due_micros: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.change(Ok(Change::tried(keys, due_micros)), drop)
    }

    fn replace(&self, key: InboxKey, rows: Vec<InboxRow>) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.change(Change::replace(key, rows), |changed| changed > 0)
    }

    fn finish(&self, keys: Vec<InboxKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.change(Ok(Change::finish(keys)), drop)
    }

    fn bury(&self, letters: Vec<DeadLetter>, finished: Vec<InboxKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.change(Change::bury(letters, finished), drop)
    }

    fn amend(&self, number: u64, body: Vec<u8>) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.change(Change::amend(number, body), |changed| changed > 0)
    }

    fn settle(
        &self,
        numbers: Vec<u64>,
        standing: Standing,
        time_micros: i64,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.change(Ok(Change::settle(numbers, standing, time_micros)), |changed| changed)
    }

    fn forget(&self, settled_before_micros: i64) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.change(Ok(Change::Forget(settled_before_micros)), |changed| changed)
    }
}
