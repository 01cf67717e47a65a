//! Rows that can't be told apart, are missing, or are not what Phoenix wrote.

use std::sync::Arc;

use phoenix_runtime::domain::id::{AggregateId, Slice};
use phoenix_runtime::event_store::DatabaseOptions;
use phoenix_runtime::event_store::port::{Position, Record, StoreError};
use phoenix_test_servers::Server;

use crate::fixture::{Checked, Database, batch, batch_of, command, equal, event, own, says, stream, versions};
use crate::tests;

tests! {
    keys_with_one_short_hash_are_refused
    a_reader_of_all_events_stops_in_front_of_a_gap
    rows_that_are_missing_or_spoilt_are_damage
    what_no_text_can_hold_is_refused
    a_batch_may_have_more_streams_than_are_remembered
    names_of_events_are_added_in_one_order
}

async fn keys_with_one_short_hash_are_refused(server: &'static Server) -> Checked {
    let database = Database::new(server, "alike")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    let with_key = |version, dedup| {
        let mut record = event(version);
        record.command = Some(command(dedup));
        record
    };
    // both fold to nothing
    let (one, alike) = ([1; 16], [2; 16]);
    store.append(batch_of(epoch, vec![with_key(1, one)])).await?;
    let refused = store.append(batch_of(epoch, vec![event(2), with_key(3, alike)])).await;
    equal("which record", matches!(refused, Err(StoreError::Refused { index: 1, .. })), true)?;
    says(refused, &["the same 64-bit hash", "another key"])?;
    let within = store.append(batch_of(epoch, vec![event(2), with_key(3, [3; 16]), with_key(4, [4; 16])])).await;
    equal("within a batch", matches!(within, Err(StoreError::Refused { .. })), true)?;
    let commands = vec![(stream(), phoenix_runtime::domain::id::Dedup(alike))];
    equal("its outcome", store.outcomes(commands).await?, vec![None])?;
    store.append(batch_of(epoch, vec![event(2)])).await?;
    equal("what is stored", versions(&*store).await?, vec![1, 2])
}

async fn a_reader_of_all_events_stops_in_front_of_a_gap(server: &'static Server) -> Checked {
    let database = Database::new(server, "gap")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=5)).await?;
    database.execute("CREATE TABLE kept AS SELECT * FROM events WHERE version = 3").await?;
    database.execute("DELETE FROM events WHERE version = 3").await?;
    let (events, position) = store.read_all(Position::default(), 10).await?;
    equal("in front of the gap", events.len(), 2)?;
    equal("nothing behind it", store.read_all(position.clone(), 10).await?.0, vec![])?;
    database.execute("INSERT INTO events SELECT * FROM kept").await?;
    let (events, _) = store.read_all(position, 10).await?;
    let found: Vec<_> = events.iter().map(|stored| stored.event.version).collect();
    equal("when the gap has closed", found, vec![3, 4, 5])
}

async fn rows_that_are_missing_or_spoilt_are_damage(server: &'static Server) -> Checked {
    let database = Database::new(server, "damage")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=5)).await?;
    let damaged = |result: &Result<_, StoreError>| matches!(result, Err(StoreError::Damaged(_)));
    database.execute("UPDATE events SET codec = 256 WHERE version = 4").await?;
    let read = store.read_stream(stream(), 4, 10).await;
    equal("a codec that there is not", damaged(&read), true)?;
    says(read, &["the event in the row at position", "restore it from a backup", ":***@"])?;
    database.execute("UPDATE events SET dedup = '\\x01' WHERE version = 5").await?;
    equal("a key of another length", damaged(&store.read_stream(stream(), 5, 10).await), true)?;
    database.execute("DELETE FROM events WHERE version = 2").await?;
    let read = store.read_stream(stream(), 1, 10).await;
    equal("a version that is missing", damaged(&read), true)?;
    says(read, &["a/1 lacks version 2 before 3"])
}

async fn what_no_text_can_hold_is_refused(server: &'static Server) -> Checked {
    let database = Database::new(server, "nul")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    let mut record = event(2);
    if let Some(command) = &mut record.command {
        command.key = Some("a\0b".to_owned());
    }
    let refused = store.append(batch_of(epoch, vec![event(1), record])).await;
    equal("which record", matches!(refused, Err(StoreError::Refused { index: 1, .. })), true)?;
    store.append(batch_of(epoch, vec![event(1)])).await?;
    Ok(())
}

async fn a_batch_may_have_more_streams_than_are_remembered(server: &'static Server) -> Checked {
    let database = Database::new(server, "many_streams")?;
    let store = database.open_with(DatabaseOptions { remembered_streams: 4, ..DatabaseOptions::default() }).await?;
    let epoch = own(&*store).await?;
    let of = |id: u64, version: u64| {
        let mut record = event(version);
        record.stream.id = AggregateId::new(id.to_string()).unwrap();
        record.sequence = (version - 1) * 10 + id;
        record
    };
    for version in 1..=3 {
        store.append(batch_of(epoch, (1..=10).map(|id| of(id, version)).collect())).await?;
    }
    equal("rows", database.count("SELECT count(*) FROM events").await?, 30)
}

/// Two shards that meet the same new names.
async fn names_of_events_are_added_in_one_order(server: &'static Server) -> Checked {
    let database = Database::new(server, "names")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    let named = |slice: u16, round: u64| -> Vec<Record> {
        let rows = (1..=200).map(|n| {
            let mut record = event((round - 1) * 200 + n);
            (record.slice, record.stream.id) = (Slice(slice), AggregateId::new(slice.to_string()).unwrap());
            record.event.as_mut().unwrap().name = format!("{round}-{n}").into();
            record
        });
        rows.collect()
    };
    for round in 1..=5 {
        let appends = [1, 2].map(|slice| {
            let (store, batch) = (Arc::clone(&store), batch_of(epoch, named(slice, round)));
            tokio::spawn(async move { store.append(batch).await })
        });
        for append in appends {
            equal("an append", append.await?, Ok(()))?;
        }
    }
    equal("names", store.event_names("a".into()).await?.len(), 1000)
}
