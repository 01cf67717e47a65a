//! The inbox and the dead letters of a store that does what a test says.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;

use super::scripted_store::{Call, ScriptedStore};
use crate::domain::ports::BoxFuture;
use crate::event_store::letters::{
    Backlog, DeadFilter, DeadLetter, Due, InboxKey, InboxRow, Letters, ReadLetters, Standing,
};
use crate::event_store::port::{EventStore, StoreError};

/// Asks for something of the letters, which are there: otherwise nobody has these to ask.
fn ask<'a, T: Send + 'a>(
    store: &'a dyn EventStore,
    question: impl FnOnce(&'a dyn Letters) -> BoxFuture<'a, Result<T, StoreError>>,
) -> BoxFuture<'a, Result<T, StoreError>> {
    match store.letters() {
        Some(letters) => question(letters),
        None => Box::pin(ready(Err(StoreError::Damaged("scripted: the store keeps no letters".to_owned())))),
    }
}

impl ReadLetters for ScriptedStore {
    fn due(&self, question: Due) -> BoxFuture<'_, Result<Vec<InboxRow>, StoreError>> {
        ask(self.inner(), |letters| letters.due(question))
    }

    fn backlog(
        &self,
        topic: Option<Arc<str>>,
    ) -> BoxFuture<'_, Result<BTreeMap<(Arc<str>, u16), Backlog>, StoreError>> {
        ask(self.inner(), |letters| letters.backlog(topic))
    }

    fn dead(&self, filter: DeadFilter, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, StoreError>> {
        ask(self.inner(), |letters| letters.dead(filter, after, limit))
    }

    fn dead_letter(&self, number: u64) -> BoxFuture<'_, Result<Option<DeadLetter>, StoreError>> {
        ask(self.inner(), |letters| letters.dead_letter(number))
    }

    fn dead_counts(&self) -> BoxFuture<'_, Result<BTreeMap<String, u64>, StoreError>> {
        ask(self.inner(), |letters| letters.dead_counts())
    }
}

impl Letters for ScriptedStore {
    fn put(&self, rows: Vec<InboxRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        ask(self.inner(), |letters| letters.put(rows))
    }

    fn note_try(&self, keys: Vec<InboxKey>, due_micros: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        ask(self.inner(), |letters| letters.note_try(keys, due_micros))
    }

    fn replace(&self, key: InboxKey, rows: Vec<InboxRow>) -> BoxFuture<'_, Result<bool, StoreError>> {
        ask(self.inner(), |letters| letters.replace(key, rows))
    }

    fn finish(&self, keys: Vec<InboxKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        ask(self.inner(), |letters| letters.finish(keys))
    }

    fn bury(&self, letters: Vec<DeadLetter>, finished: Vec<InboxKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.play(Call::Bury, None, None, |inner| ask(inner, |kept| kept.bury(letters, finished))))
    }

    fn amend(&self, number: u64, body: Vec<u8>) -> BoxFuture<'_, Result<bool, StoreError>> {
        ask(self.inner(), |letters| letters.amend(number, body))
    }

    fn settle(
        &self,
        numbers: Vec<u64>,
        standing: Standing,
        time_micros: i64,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        ask(self.inner(), |letters| letters.settle(numbers, standing, time_micros))
    }

    fn forget(&self, settled_before_micros: i64) -> BoxFuture<'_, Result<u64, StoreError>> {
        ask(self.inner(), |letters| letters.forget(settled_before_micros))
    }
}
