//! Answers that are lost, or never come, to what need not be fast; the same for every database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::DatabaseOptions;
use phoenix_runtime::event_store::archive::BlockInfo;
use phoenix_runtime::event_store::port::{Load, Snapshot, StoreError};
use phoenix_runtime::event_store::sql::StoreWithTable;
use phoenix_test_servers::Server;

use crate::fixture::{Checked, Database, batch, equal, execute, own, says, stream, versions};
use crate::proxy::{Door, Proxy};
use crate::tests;

tests! {
    a_commit_whose_answer_is_lost_is_unknown
    a_snapshot_whose_answer_is_lost_is_unknown
    a_server_that_hangs_keeps_nobody_for_longer_than_the_limit
    a_connection_that_hangs_is_never_used_again
    who_waits_for_a_connection_in_vain_has_done_nothing
    a_long_stream_is_stripped_in_steps
}

fn snapshot(version: u64) -> Snapshot {
    Snapshot { stream: stream(), version, time_micros: 0, fingerprint: 7, codec: 1, payload: vec![1; 100] }
}

async fn a_commit_whose_answer_is_lost_is_unknown(server: &'static Server) -> Checked {
    let database = Database::new(server, "lost_commit")?;
    let proxy = Proxy::before(server).await?;
    let store = Database::open_at(proxy.url(&database.url, server), &DatabaseOptions::default()).await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=5)).await?;
    let whole = store.read_stream(stream(), 1, 10).await?;
    let block = BlockInfo { from: 1, to: 3 };
    let is_unknown = |error: &StoreError| matches!(error, StoreError::Unknown(_));

    proxy.set(Door::AnswerLost("COMMIT"));
    let lost = store.strip(stream(), 3).await;
    equal("a strip", lost.as_ref().err().map(is_unknown), Some(true))?;
    let lost = store.refill(whole.clone()).await;
    equal("a refill", lost.as_ref().err().map(is_unknown), Some(true))?;
    let lost = store.put(stream(), block, vec![7]).await;
    equal("a block", lost.as_ref().err().map(is_unknown), Some(true))?;
    says(lost, &["the outcome is unknown", "127.0.0.1"])?;
    proxy.set(Door::Open);
    // whoever looks finds all of it done
    equal("what was put", store.get(stream(), block).await?, Some(vec![7]))?;
    equal("what was refilled", store.read_stream(stream(), 1, 10).await?, whole)?;
    equal("the same again", store.strip(stream(), 3).await?, 3)?;
    equal("and again", store.strip(stream(), 3).await?, 0)
}

async fn a_snapshot_whose_answer_is_lost_is_unknown(server: &'static Server) -> Checked {
    let database = Database::new(server, "lost_snapshot")?;
    let proxy = Proxy::before(server).await?;
    let store = Database::open_at(proxy.url(&database.url, server), &DatabaseOptions::default()).await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=5)).await?;
    // statements that the connection has not seen yet, so that they go by their text
    proxy.set(Door::AnswerLost("INSERT INTO"));
    let lost = store.put_snapshot(snapshot(4)).await;
    equal("a snapshot that is kept", matches!(lost, Err(StoreError::Unknown(_))), true)?;
    proxy.set(Door::AnswerLost("DELETE FROM"));
    let lost = store.drop_snapshots(stream(), 4).await;
    equal("snapshots that are dropped", matches!(lost, Err(StoreError::Unknown(_))), true)?;
    equal("answers that were lost", proxy.answers_lost(), 2)?;
    proxy.set(Door::Open);
    store.put_snapshot(snapshot(3)).await?;
    store.put_snapshot(snapshot(4)).await?;
    store.drop_snapshots(stream(), 4).await?;
    let kept: Vec<_> = store.snapshots(stream()).await?.iter().map(|info| info.version).collect();
    equal("what is kept", kept, vec![4])
}

type Ask = fn(&dyn StoreWithTable) -> BoxFuture<'_, Result<(), StoreError>>;

/// What goes through sea-orm, and what does not.
const QUESTIONS: [(&str, Ask); 12] = [
    ("a snapshot that is kept", |store| store.put_snapshot(snapshot(3))),
    ("a snapshot", |store| Box::pin(async { store.snapshot(stream(), 9).await.map(drop) })),
    ("snapshots", |store| Box::pin(async { store.snapshots(stream()).await.map(drop) })),
    ("snapshots that are dropped", |store| Box::pin(async { store.drop_snapshots(stream(), 2).await.map(drop) })),
    ("a strip", |store| Box::pin(async { store.strip(stream(), 2).await.map(drop) })),
    ("a block that is put", |store| store.put(stream(), BlockInfo { from: 1, to: 1 }, vec![1])),
    ("a block", |store| Box::pin(async { store.get(stream(), BlockInfo { from: 1, to: 1 }).await.map(drop) })),
    ("ids", |store| Box::pin(async { store.ids("a".into(), None, 10).await.map(drop) })),
    ("names", |store| Box::pin(async { store.event_names("a".into()).await.map(drop) })),
    ("tenures", |store| Box::pin(async { store.tenures(None).await.map(drop) })),
    ("a stream", |store| Box::pin(async { store.read_stream(stream(), 1, 10).await.map(drop) })),
    ("a load", |store| {
        let load = Load { stream: stream(), fingerprint: None, keys: 10, events: 10 };
        Box::pin(async { store.load(vec![load]).await.map(drop) })
    }),
];

async fn a_server_that_hangs_keeps_nobody_for_longer_than_the_limit(server: &'static Server) -> Checked {
    let database = Database::new(server, "hangs")?;
    let proxy = Proxy::before(server).await?;
    let limit = Duration::from_millis(500);
    let options = DatabaseOptions { statement_timeout: limit, connect_timeout: limit, ..DatabaseOptions::default() };
    let store = Database::open_at(proxy.url(&database.url, server), &options).await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=5)).await?;
    for (what, ask) in QUESTIONS {
        ask(&*store).await.map_err(|e| format!("{what}: {e}"))?;
    }
    for round in 1..=2 {
        proxy.set(Door::Silent);
        // more of them than there are connections; each may wait for one, ask it, and try once more
        let asked = QUESTIONS.iter().chain(&QUESTIONS).map(async |(what, ask)| {
            let began = Instant::now();
            (*what, ask(&*store).await, began.elapsed())
        });
        for (what, answer, took) in join_all(asked).await {
            let is_told = matches!(answer, Err(StoreError::Unavailable(_) | StoreError::Unknown(_)));
            equal(&format!("round {round}: {what}, told {answer:?}"), is_told, true)?;
            equal(&format!("{what} took {took:?}"), took < 8 * limit, true)?;
        }
        // the connections that hang stay so, and others are made
        proxy.set(Door::Open);
        for (what, ask) in QUESTIONS {
            ask(&*store).await.map_err(|e| format!("round {round}, {what}, when the server answers again: {e}"))?;
        }
    }
    equal("what is stored", versions(&*store).await?.len(), 5)
}

async fn a_connection_that_hangs_is_never_used_again(server: &'static Server) -> Checked {
    let database = Database::new(server, "never")?;
    let proxy = Proxy::before(server).await?;
    let limit = Duration::from_millis(200);
    let options = DatabaseOptions { statement_timeout: limit, connect_timeout: limit, ..DatabaseOptions::default() };
    let store = Database::open_at(proxy.url(&database.url, server), &options).await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=9)).await?;
    // more often than there are connections
    for up_to in 1..=6 {
        proxy.set(Door::AnswerNever("COMMIT"));
        let lost = store.strip(stream(), up_to).await;
        equal(&format!("the strip up to {up_to}: {lost:?}"), matches!(lost, Err(StoreError::Unknown(_))), true)?;
        says(lost, &["no answer within 400ms", "`statement_timeout`"])?;
        proxy.set(Door::Open);
        equal("when it is asked again", store.strip(stream(), up_to).await?, 0)?;
    }
    equal("answers that never came", proxy.answers_lost(), 6)
}

/// All connections of sea-orm are in use.
async fn who_waits_for_a_connection_in_vain_has_done_nothing(server: &'static Server) -> Checked {
    let database = Database::new(server, "in_vain")?;
    let options = DatabaseOptions { connect_timeout: Duration::from_millis(500), ..DatabaseOptions::default() };
    let store = database.open_with(options.clone()).await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=5)).await?;
    let mut holder = database.administrator().await?;
    execute(&mut holder, "BEGIN").await?;
    execute(&mut holder, "SELECT * FROM slices FOR UPDATE").await?;
    let strips = [(); 4].map(|()| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.strip(stream(), 2).await })
    });
    database.waiting(4).await?;
    let refused = store.put_snapshot(snapshot(3)).await;
    equal("a fifth one", matches!(refused, Err(StoreError::Unavailable(_))), true)?;
    execute(&mut holder, "ROLLBACK").await?;
    let mut stripped = 0;
    for strip in strips {
        stripped += strip.await??;
    }
    equal("how many were stripped", stripped, 2)
}

/// A row in the third thousand is held by somebody else.
async fn a_long_stream_is_stripped_in_steps(server: &'static Server) -> Checked {
    let database = Database::new(server, "steps")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=2500)).await?;
    let whole = store.read_stream(stream(), 1, 3000).await?;
    let mut holder = database.administrator().await?;
    execute(&mut holder, "BEGIN").await?;
    // by its key, or MySQL locks all that it looks at
    let held = (7_i64 << 44) + 2200;
    execute(&mut holder, &format!("SELECT position FROM events WHERE position = {held} FOR UPDATE")).await?;
    let strip = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.strip(stream(), u64::MAX).await }
    });
    database.waiting(1).await?;
    let stripped = "SELECT count(*) FROM events WHERE codec = 0";
    equal("what is done, and held by nobody", database.count(stripped).await?, 2000)?;
    strip.abort();
    execute(&mut holder, "ROLLBACK").await?;
    drop(holder);
    // the statement that waited may be done as well, although nobody heard of it
    let rest = store.strip(stream(), u64::MAX).await?;
    equal("what was left", rest == 500 || rest == 0, true)?;
    equal("all of them", database.count(stripped).await?, 2500)?;
    store.refill(whole.clone()).await?;
    equal("what was given back", store.read_stream(stream(), 1, 3000).await? == whole, true)?;
    equal("nothing is stripped", database.count(stripped).await?, 0)
}
