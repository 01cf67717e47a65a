//! What is appended is there, whole or not at all.

use super::fixture::{
    Checked, Owner, as_stored, conflicts, decided, dedup, drain, equal, further, holds, rejected, sorted, stream,
};
use super::{Place, promises};
use crate::domain::id::{AggregateId, MAX_ID_BYTES, Slice};
use crate::domain::outcome::OutcomeKind;
use crate::event_store::port::{Batch, ConflictKind, Position, Record, StoreError, StoredOutcome};

promises! {
    every_field_comes_back
    odd_ids_are_ids
    payloads_may_be_empty_or_a_mebibyte
    a_batch_is_appended_whole_or_not_at_all
    an_empty_batch_stores_nothing
    records_that_nobody_can_take_are_refused
    last_sequences_follow_the_appends
}

async fn every_field_comes_back(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    let mut odd = decided("a", 1, 1);
    odd.time_micros = -1;
    if let (Some(event), Some(command)) = (&mut odd.event, &mut odd.command) {
        event.name = "geöffnet".into();
        event.schema_version = u32::MAX;
        event.codec = 255;
        event.payload = vec![0, 255, 128];
        command.name = "it's \"odd\"".into();
        command.key = None;
        command.payload_hash = 0;
        command.outcome.kind = OutcomeKind::NotFound;
        command.outcome.version = u64::MAX;
        command.outcome.codec = 127;
        command.outcome.body = Vec::new();
        command.correlation_id = Some("conversation \u{1f525}".to_owned());
        command.causation_id = Some(String::new());
    }
    let mut late = decided("b", 1, 2);
    late.time_micros = i64::MAX;
    if let Some(command) = &mut late.command {
        command.payload_hash = u64::MAX;
        command.key = Some("k".repeat(255));
    }
    let records = vec![odd, further("a", 2), decided("a", 3, 3), late, rejected("a", 4), rejected("c", 5)];
    let batch = owner.batch(records);
    owner.send(batch.clone()).await?;

    let of = |id: &str| -> Vec<_> {
        let records = batch.records.iter().filter(|record| record.stream == stream(id));
        records.filter_map(as_stored).collect()
    };
    for id in ["a", "b", "c"] {
        equal("the stream", &owner.store.read_stream(stream(id), 1, 10).await?, &of(id))?;
    }
    let (all, _) = drain(&*owner.store, Position::default(), 100).await?;
    let expected = batch.records.iter().filter_map(as_stored).collect();
    equal("all events", &sorted(all), &sorted(expected))?;
    for record in &batch.records {
        let Some(command) = &record.command else { continue };
        let expected = StoredOutcome {
            command: (**command).clone(),
            first_version: record.event.as_ref().map(|event| event.version),
            sequence: record.sequence,
        };
        let found = owner.store.outcomes(vec![(record.stream.clone(), command.dedup)]).await?;
        equal("the outcome", &found, &vec![Some(expected)])?;
    }
    Ok(())
}

/// Ids that quoting, collation, normalization or a length in characters would spoil.
pub(super) fn odd_ids() -> Vec<String> {
    let mut ids: Vec<String> = [
        "a",
        "A",
        "é",
        "e\u{301}",
        "'",
        "\"",
        "';--",
        "%",
        "_",
        "\\",
        "a b",
        " a",
        "a ",
        "\n",
        "\t",
        "ÿ",
        "日本",
        "🔥",
        "1:a2:bc",
        "null",
        "0",
        "00",
        "-1",
        "1e3",
        "\u{1}",
        "\u{10ffff}",
        "a/b",
        "a?b=c",
    ]
    .map(str::to_owned)
    .to_vec();
    ids.push("x".repeat(MAX_ID_BYTES));
    ids.push("é".repeat(MAX_ID_BYTES / 2));
    ids
}

async fn odd_ids_are_ids(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    let ids = odd_ids();
    for id in &ids {
        owner.append(vec![decided(id, 1, 1)]).await?;
    }
    for id in &ids {
        let events = owner.store.read_stream(stream(id), 1, 10).await?;
        let found: Vec<_> = events.iter().map(|stored| stored.stream.id.as_str()).collect();
        equal("the stream of an odd id", &found, &vec![id.as_str()])?;
        let outcomes = owner.store.outcomes(vec![(stream(id), dedup(1))]).await?;
        holds("the outcome of an odd id", outcomes.iter().all(Option::is_some))?;
    }
    let mut expected: Vec<_> = ids.iter().filter_map(|id| AggregateId::new(id).ok()).collect();
    expected.sort();
    equal("ids in the order of their bytes", &owner.store.ids(stream("a").aggregate, None, 1000).await?, &expected)
}

async fn payloads_may_be_empty_or_a_mebibyte(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    let sizes = [0, 1, 1024 * 1024];
    let mut records = Vec::new();
    for (version, size) in (1..).zip(sizes) {
        let mut record = decided("a", version, version);
        if let (Some(event), Some(command)) = (&mut record.event, &mut record.command) {
            event.payload = vec![7; size];
            command.outcome.body = vec![9; size];
        }
        records.push(record);
    }
    let batch = owner.batch(records);
    owner.send(batch.clone()).await?;
    let expected = batch.records.iter().filter_map(as_stored).collect();
    equal("payloads", &owner.store.read_stream(stream("a"), 1, 10).await?, &expected)
}

async fn a_batch_is_appended_whole_or_not_at_all(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    owner.append(vec![decided("a", 1, 1)]).await?;
    let before = drain(&*owner.store, Position::default(), 10).await?;
    for bad in [decided("a", 1, 9), decided("a", 4, 9), decided("a", 3, 1), rejected("a", 1)] {
        let records = vec![decided("b", 1, 2), decided("a", 2, 3), rejected("c", 4), bad, decided("d", 1, 5)];
        let refused = owner.append(records).await;
        holds("a batch with one bad record is refused", matches!(refused, Err(StoreError::Conflict(_))))?;
        let after = drain(&*owner.store, Position::default(), 10).await?;
        equal("nothing of a refused batch is stored", &after, &before)?;
        let commands = vec![(stream("b"), dedup(2)), (stream("a"), dedup(3)), (stream("c"), dedup(4))];
        equal("no outcome of a refused batch", &owner.store.outcomes(commands).await?, &vec![None, None, None])?;
        let keys = owner.store.known_keys(stream("a"), 10).await?;
        equal("no key of a refused batch", &keys.keys.len(), &1)?;
        equal("no id of a refused batch", &owner.store.ids(stream("a").aggregate, None, 10).await?.len(), &1)?;
        let slices: Vec<_> = ["b", "c"].map(|id| rejected(id, 1).slice).to_vec();
        let last = owner.store.last_sequences(slices).await?;
        holds("no sequence number of a refused batch", last.values().all(|last| *last == 0))?;
    }
    owner.append(vec![decided("b", 1, 2), decided("a", 2, 3), rejected("c", 4), decided("d", 1, 5)]).await?;
    equal("the good batch", &owner.versions("a").await?, &vec![1, 2])
}

async fn an_empty_batch_stores_nothing(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    owner.append(Vec::new()).await?;
    owner.store.append(Batch::default().into()).await?;
    let (events, position) = owner.store.read_all(Position::default(), 10).await?;
    equal("events", &events, &Vec::new())?;
    holds("the position is at the start", position.0.values().all(|sequence| *sequence == 0))
}

async fn records_that_nobody_can_take_are_refused(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    let mut neither = rejected("a", 1);
    neither.command = None;
    let mut nowhere = decided("a", 1, 1);
    nowhere.slice = Slice(1024);
    let bad: [(&str, Record); 3] =
        [("version 0", decided("a", 0, 1)), ("neither event nor outcome", neither), ("slice 1024", nowhere)];
    for (what, record) in bad {
        let refused = owner.append(vec![decided("b", 1, 2), record]).await;
        holds(what, matches!(refused, Err(StoreError::Refused { index: 1, .. })))?;
    }
    let mut anonymous = owner.batch(vec![decided("b", 1, 2)]);
    anonymous.epochs.clear();
    let refused = owner.send(anonymous).await;
    holds("records without an epoch", matches!(refused, Err(StoreError::Refused { .. })))?;
    equal("nothing is stored", &owner.versions("b").await?, &Vec::new())
}

async fn last_sequences_follow_the_appends(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    owner.append(vec![decided("a", 1, 1), rejected("a", 2), further("a", 2)]).await?;
    let wrong = owner.append(vec![decided("a", 3, 3), decided("a", 3, 4)]).await;
    conflicts("version 3 twice", wrong, &[(1, ConflictKind::Version)])?;
    let slice = rejected("a", 1).slice;
    let other = Slice((slice.0 + 1) % 1024);
    let last = owner.store.last_sequences(vec![slice, other]).await?;
    equal("last sequences", &last, &[(slice, 3), (other, 0)].into())
}
