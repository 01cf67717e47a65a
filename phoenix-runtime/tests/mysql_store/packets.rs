//! Batches that are larger than a packet, and texts that look alike.

use std::sync::Arc;

use phoenix_runtime::event_store::port::{Load, Snapshot, StoreError};
use phoenix_test_servers::{Kind, Private, Server};

use crate::fixture::{Checked, Database, batch, batch_of, equal, event, fenced, own, says, versions};
use crate::tests;

tests! {
    a_batch_may_be_larger_than_a_packet
    names_differ_by_case_and_by_blanks_at_their_end
    a_name_that_no_column_holds_is_refused
    a_snapshot_may_be_dropped_while_it_is_loaded
}

async fn a_batch_may_be_larger_than_a_packet(_: &'static Server) -> Checked {
    let server = Private::start(Kind::MySql)?;
    server.execute("SET GLOBAL max_allowed_packet = 1048576")?;
    let database = Database::new(&server, "packets")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    let of_size = |version, bytes| {
        let mut record = event(version);
        record.event.as_mut().unwrap().payload = vec![b'\''; bytes];
        record
    };
    let large: Vec<_> = (1..=20).map(|version| of_size(version, 200_000)).collect();
    store.append(batch_of(epoch, large.clone())).await?;
    let found = store.read_stream(event(1).stream, 1, 100).await?;
    equal("what is stored", found.len(), large.len())?;
    equal(
        "byte for byte",
        found.iter().map(|stored| Some(&stored.event)).eq(large.iter().map(|r| r.event.as_ref())),
        true,
    )?;
    let mut again = large.clone();
    again.push(event(21));
    let refused = store.append(batch_of(epoch, again)).await;
    equal("a conflict in the first part", matches!(refused, Err(StoreError::Conflict(_))), true)?;
    let refused = store.append(batch_of(epoch, vec![event(21), of_size(22, 600_000), event(23)])).await;
    equal("which record", matches!(refused, Err(StoreError::Refused { index: 1, .. })), true)?;
    says(refused, &["max_allowed_packet"])?;
    equal("nothing of these", versions(&*store).await?.len(), 20)?;
    equal("a new owner", own(&*store).await?, epoch + 1)?;
    let late = (21..=40).map(|version| of_size(version, 200_000)).collect();
    equal("an old one", store.append(batch_of(epoch, late)).await, fenced(epoch + 1, epoch))?;
    store.append(batch(epoch + 1, 21..=21)).await?;
    equal("the next version", versions(&*store).await?.len(), 21)
}

async fn names_differ_by_case_and_by_blanks_at_their_end(server: &'static Server) -> Checked {
    let database = Database::new(server, "alike")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    let spellings = ["e", "E", "e ", "\u{e9}", "e\u{301}"];
    let named = |(name, version): (&&str, u64)| {
        let mut record = event(version);
        record.event.as_mut().unwrap().name = (*name).into();
        record
    };
    store.append(batch_of(epoch, spellings.iter().zip(1..).map(named).collect())).await?;
    let expected = spellings.iter().map(|name| (*name).to_owned()).collect();
    equal("names", store.event_names("a".into()).await?, expected)?;
    equal("of another type", store.event_names("A".into()).await?.len(), 0)
}

async fn a_name_that_no_column_holds_is_refused(server: &'static Server) -> Checked {
    let database = Database::new(server, "long_name")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    let mut record = event(2);
    record.event.as_mut().unwrap().name = "n".repeat(256).into();
    let refused = store.append(batch_of(epoch, vec![event(1), record])).await;
    equal("which record", matches!(refused, Err(StoreError::Refused { index: 1, .. })), true)?;
    store.append(batch(epoch, 1..=1)).await?;
    equal("what is stored", versions(&*store).await?, vec![1])
}

async fn a_snapshot_may_be_dropped_while_it_is_loaded(server: &'static Server) -> Checked {
    let database = Database::new(server, "dropped")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=300)).await?;
    let of = |version| Snapshot {
        stream: event(1).stream,
        version,
        time_micros: 0,
        fingerprint: 7,
        codec: 1,
        payload: vec![1],
    };
    store.put_snapshot(of(1)).await?;
    let keeper = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for version in 2..=300 {
                store.put_snapshot(of(version)).await?;
                store.drop_snapshots(event(1).stream, version).await?;
            }
            Ok::<_, StoreError>(())
        }
    });
    while !keeper.is_finished() {
        let load = Load { stream: event(1).stream, fingerprint: Some(7), keys: 0, events: 1000 };
        let loaded = store.load(vec![load]).await?;
        let whole = |loaded: &phoenix_runtime::event_store::port::Loaded| {
            let from = loaded.snapshot.as_ref().map_or(0, |snapshot| snapshot.version);
            from > 0 && loaded.events.len() as u64 == 301 - from
        };
        equal("whether it is whole", loaded.iter().all(whole), true)?;
    }
    keeper.await??;
    Ok(())
}
