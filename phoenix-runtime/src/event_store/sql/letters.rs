//! The inbox and the dead letters. What comes with every batch of a bus is one statement; what is rare is a transaction.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use sea_orm::DbErr;

use super::SqlStore;
use super::database::Database;
use super::dialect::Dialect;
use super::row::damaged;
use crate::domain::ports::BoxFuture;
use crate::event_store::letters::{
    self, Backlog, Change, DeadFilter, DeadLetter, Due, InboxKey, InboxRow, Letters, ReadLetters, Standing, Tables,
};
use crate::event_store::port::StoreError;

impl<D: Dialect> Tables for SqlStore<D> {
    type Connection = Database;

    fn connection(&self) -> &Database {
        self.dialect.database()
    }

    fn asked(&self, error: &DbErr) -> StoreError {
        self.dialect.failed(error)
    }

    fn spoilt(&self, what: &dyn Display) -> StoreError {
        damaged(self.dialect.place(), what)
    }
}

impl<D: Dialect> SqlStore<D> {
    async fn change(&self, change: Change<Vec<u8>>) -> Result<u64, StoreError> {
        match change {
            change if change.is_empty() => Ok(0),
            Change::Put(rows) => self.dialect.put_rows(&rows).await.map(|()| 0),
            Change::Tried(keys, due_micros) => self.dialect.note_tries(&keys, due_micros).await.map(|()| 0),
            Change::Finish(keys) => self.dialect.finish_rows(&keys).await.map(|()| 0),
            change => {
                let transaction = self.begin().await?;
                let changed = self.db(letters::write(&transaction, change).await)?;
                self.end(transaction).await?;
                // and what an earlier one did, of which this one found nothing more to do
                self.dialect.flush().await?;
                Ok(changed)
            }
        }
    }
}

impl<D: Dialect> ReadLetters for SqlStore<D> {
    fn due(&self, question: Due) -> BoxFuture<'_, Result<Vec<InboxRow>, StoreError>> {
        Box::pin(letters::due(self, question))
    }

    fn backlog(
        &self,
        topic: Option<Arc<str>>,
    ) -> BoxFuture<'_, Result<BTreeMap<(Arc<str>, u16), Backlog>, StoreError>> {
        Box::pin(letters::backlog(self, topic))
    }

    fn dead(&self, filter: DeadFilter, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, StoreError>> {
        Box::pin(letters::dead(self, filter, after, limit))
    }

    fn dead_letter(&self, number: u64) -> BoxFuture<'_, Result<Option<DeadLetter>, StoreError>> {
        Box::pin(letters::dead_letter(self, number))
    }

    fn dead_counts(&self) -> BoxFuture<'_, Result<BTreeMap<String, u64>, StoreError>> {
        Box::pin(letters::dead_counts(self))
    }
}

impl<D: Dialect> Letters for SqlStore<D> {
    fn put(&self, rows: Vec<InboxRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.change(Change::put(rows)?).await.map(drop) })
    }

    fn note_try(&self, keys: Vec<InboxKey>, due_micros: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.change(Change::tried(keys, due_micros)).await.map(drop) })
    }

    fn replace(&self, key: InboxKey, rows: Vec<InboxRow>) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.change(Change::replace(key, rows)?).await? > 0) })
    }

    fn finish(&self, keys: Vec<InboxKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.change(Change::finish(keys)).await.map(drop) })
    }

    fn bury(&self, letters: Vec<DeadLetter>, finished: Vec<InboxKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.change(Change::bury(letters, finished)?).await.map(drop) })
    }

    fn amend(&self, number: u64, body: Vec<u8>) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.change(Change::amend(number, body)?).await? > 0) })
    }

    fn settle(
        &self,
        numbers: Vec<u64>,
        standing: Standing,
        time_micros: i64,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.change(Change::settle(numbers, standing, time_micros)))
    }

    fn forget(&self, settled_before_micros: i64) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.change(Change::Forget(settled_before_micros)))
    }
}
