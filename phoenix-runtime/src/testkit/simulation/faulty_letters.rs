//! Letters that fail as the store does: before, after, never answered, done late.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::faulty_store::FaultyStore;
use crate::domain::ports::BoxFuture;
use crate::event_store::letters::{
    Backlog, DeadFilter, DeadLetter, Due, InboxKey, InboxRow, Letters, ReadLetters, Standing,
};
use crate::event_store::port::{EventStore, StoreError};

fn of(store: &Arc<dyn EventStore>) -> Result<&dyn Letters, StoreError> {
    store.letters().ok_or_else(|| StoreError::Damaged("the store that is simulated has no letters".to_owned()))
}

impl ReadLetters for FaultyStore {
    fn due(&self, question: Due) -> BoxFuture<'_, Result<Vec<InboxRow>, StoreError>> {
        Box::pin(async move {
            self.question().await?;
            of(self.inner())?.due(question).await
        })
    }

    fn backlog(
        &self,
        topic: Option<Arc<str>>,
    ) -> BoxFuture<'_, Result<BTreeMap<(Arc<str>, u16), Backlog>, StoreError>> {
        Box::pin(async move {
            self.question().await?;
            of(self.inner())?.backlog(topic).await
        })
    }

    fn dead(&self, filter: DeadFilter, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, StoreError>> {
        Box::pin(async move {
            self.question().await?;
            of(self.inner())?.dead(filter, after, limit).await
        })
    }

    fn dead_letter(&self, number: u64) -> BoxFuture<'_, Result<Option<DeadLetter>, StoreError>> {
        Box::pin(async move {
            self.question().await?;
            of(self.inner())?.dead_letter(number).await
        })
    }

    fn dead_counts(&self) -> BoxFuture<'_, Result<BTreeMap<String, u64>, StoreError>> {
        Box::pin(async move {
            self.question().await?;
            of(self.inner())?.dead_counts().await
        })
    }
}

impl Letters for FaultyStore {
    fn put(&self, rows: Vec<InboxRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.change(move |store| Box::pin(async move { of(&store)?.put(rows).await })))
    }

    fn note_try(&self, keys: Vec<InboxKey>, due_micros: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.change(move |store| Box::pin(async move { of(&store)?.note_try(keys, due_micros).await })))
    }

    fn replace(&self, key: InboxKey, rows: Vec<InboxRow>) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.change(move |store| Box::pin(async move { of(&store)?.replace(key, rows).await })))
    }

    fn finish(&self, keys: Vec<InboxKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.change(move |store| Box::pin(async move { of(&store)?.finish(keys).await })))
    }

    fn bury(&self, letters: Vec<DeadLetter>, finished: Vec<InboxKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.change(move |store| Box::pin(async move { of(&store)?.bury(letters, finished).await })))
    }

    fn amend(&self, number: u64, body: Vec<u8>) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.change(move |store| Box::pin(async move { of(&store)?.amend(number, body).await })))
    }

    fn settle(
        &self,
        numbers: Vec<u64>,
        standing: Standing,
        time_micros: i64,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(
            self.change(move |store| Box::pin(async move { of(&store)?.settle(numbers, standing, time_micros).await })),
        )
    }

    fn forget(&self, settled_before_micros: i64) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.change(move |store| Box::pin(async move { of(&store)?.forget(settled_before_micros).await })))
    }
}
