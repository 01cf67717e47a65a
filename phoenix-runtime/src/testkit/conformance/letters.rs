//! The inbox and the dead letters beside the events.
//!
//! # Layout
//! - `inbox`: commands that were taken from a bus
//! - `graves`: those that came to no outcome
//! - `histories`: changes by lot against a model, and several at once

mod graves;
mod histories;
mod inbox;

use std::sync::Arc;

use super::{Case, Failure, Place};
use crate::event_store::letters::{DeadFilter, DeadLetter, Due, InboxKey, InboxRow, Letters, Standing};
use crate::event_store::port::{EventStore, PAGE_BYTES, Partition, StoreError};

/// Every case about letters.
pub(super) fn cases() -> Vec<Case> {
    [inbox::CASES, graves::CASES, histories::CASES].concat()
}

const TOPIC: &str = "bank-account.commands";

/// The letters of a store, which has to have some.
fn letters(store: &Arc<dyn EventStore>) -> Result<&dyn Letters, Failure> {
    store.letters().ok_or_else(|| Failure("the store has no inbox and no dead letters".to_owned()))
}

/// Opens a store anew, if it is durable.
async fn reopened(place: Place<'_>, store: Arc<dyn EventStore>) -> Result<Option<Arc<dyn EventStore>>, Failure> {
    if !store.is_durable() {
        return Ok(None);
    }
    drop(store);
    Ok(Some(place.open().await?))
}

/// A row of records from one offset to another one, due at once.
fn row(partition: u16, first: u64, last: u64) -> InboxRow {
    InboxRow {
        topic: TOPIC.into(),
        partition,
        first,
        last,
        messages: u32::try_from(last - first + 1).unwrap_or(0),
        group: Partition(partition % 16),
        tries: 0,
        due_micros: 100,
        hold: None,
        codec: 1,
        body: format!("records {first} to {last}").into_bytes(),
    }
}

fn keys(rows: &[InboxRow]) -> Vec<InboxKey> {
    rows.iter().map(InboxRow::key).collect()
}

/// Everything that is in some partitions.
fn everything(partitions: &[u16]) -> Due {
    Due {
        topic: TOPIC.into(),
        partitions: partitions.to_vec(),
        until_micros: i64::MAX,
        after: None,
        limit: usize::MAX,
        bytes: PAGE_BYTES,
    }
}

async fn rows(letters: &dyn Letters, partition: u16) -> Result<Vec<InboxRow>, StoreError> {
    letters.due(everything(&[partition])).await
}

/// A letter as a store gives it back that has given it this number.
fn letter(number: u64, partition: u16, offset: u64) -> DeadLetter {
    DeadLetter {
        number,
        topic: TOPIC.into(),
        partition,
        offset,
        aggregate: Some("bank-account".into()),
        id: Some(format!("account {}", offset % 3).into()),
        name: Some("deposit".into()),
        message_id: Some(crate::domain::id::MessageId(uuid::Uuid::from_u128(u128::from(offset)))),
        slice: Some(crate::domain::id::Slice(7)),
        code: if offset.is_multiple_of(2) { "panicked" } else { "unreadable" }.into(),
        reason: format!("the handler of offset {offset} panicked: \u{e9}"),
        tries: 3,
        time_micros: 1_700_000_000_000_000,
        standing: Standing::Waiting,
        settled_micros: None,
        codec: 1,
        body: format!("record {offset}").into_bytes(),
        original: None,
    }
}

async fn dead(letters: &dyn Letters) -> Result<Vec<DeadLetter>, StoreError> {
    letters.dead(DeadFilter::default(), 0, usize::MAX).await
}
