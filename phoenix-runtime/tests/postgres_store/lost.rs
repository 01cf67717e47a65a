//! Connections that are lost, and statements that take too long.

use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::domain::id::{AggregateId, Slice};
use phoenix_runtime::event_store::port::{Conflict, ConflictKind, StoreError};
use phoenix_runtime::event_store::sql::postgres;
use phoenix_runtime::event_store::{DatabaseOptions, DatabaseUrl};
use phoenix_test_servers::{Kind, Private, Server};

use crate::fixture::{Checked, Database, batch, batch_of, equal, event, execute, own, says, until, versions};
use crate::proxy::{Door, Proxy};
use crate::tests;

tests! {
    an_answer_that_is_lost_leaves_the_outcome_unknown
    an_append_that_was_not_sent_is_not_done
    connections_that_ended_while_idle_cost_latency_only
    a_statement_that_takes_too_long_is_not_done
    a_server_that_was_killed_is_found_again
    another_server_may_know_less
}

async fn an_answer_that_is_lost_leaves_the_outcome_unknown(server: &'static Server) -> Checked {
    let database = Database::new(server, "lost_answer")?;
    let proxy = Proxy::before(server).await?;
    let url = DatabaseUrl::new(proxy.url(&database.url, server));
    let store = postgres::open(&url, &DatabaseOptions::default()).await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=1)).await?;
    proxy.set(Door::AnswersLost);
    let lost = store.append(batch(epoch, 2..=2)).await;
    equal("whether it is told that nobody knows", matches!(lost, Err(StoreError::Unknown(_))), true)?;
    equal("answers that were lost", proxy.answers_lost(), 1)?;
    proxy.set(Door::Open);
    // the identical rows conflict with themselves, by each of their keys
    let Err(StoreError::Conflict(conflicts)) = store.append(batch(epoch, 2..=2)).await else {
        return Err("the rows are not there".into());
    };
    let kinds: Vec<_> = conflicts.iter().map(|conflict| conflict.kind).collect();
    equal("conflicts", kinds, vec![ConflictKind::Version, ConflictKind::Key, ConflictKind::Sequence])?;
    store.append(batch(epoch, 3..=3)).await?;
    equal("what is stored", versions(&*store).await?, vec![1, 2, 3])
}

async fn an_append_that_was_not_sent_is_not_done(server: &'static Server) -> Checked {
    let database = Database::new(server, "not_sent")?;
    let proxy = Proxy::before(server).await?;
    let url = DatabaseUrl::new(proxy.url(&database.url, server));
    let store = postgres::open(&url, &DatabaseOptions::default()).await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=1)).await?;
    proxy.set(Door::Shut);
    // the first may find the old connection; then there is none, and nothing is sent
    let _ = store.append(batch(epoch, 2..=2)).await;
    let refused = store.append(batch(epoch, 2..=2)).await;
    equal("whether it is told that it was not done", matches!(refused, Err(StoreError::Unavailable(_))), true)?;
    says(refused, &["not available", "127.0.0.1"])?;
    equal("reads say so as well", versions(&*store).await.is_err(), true)?;
    proxy.set(Door::Open);
    store.append(batch(epoch, 2..=2)).await?;
    equal("what is stored", versions(&*store).await?, vec![1, 2])
}

async fn connections_that_ended_while_idle_cost_latency_only(server: &'static Server) -> Checked {
    let database = Database::new(server, "ended")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=1)).await?;
    equal("before", versions(&*store).await?, vec![1])?;
    let end_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.execute(end_all).await?;
    equal("a read", versions(&*store).await?, vec![1])?;
    database.execute(end_all).await?;
    // it may have been stored before the session ended; the identical rows say so
    if let Err(error) = store.append(batch(epoch, 2..=2)).await {
        equal("whether it is told that nobody knows", matches!(error, StoreError::Unknown(_)), true)?;
        store.append(batch(epoch, 2..=2)).await?;
    }
    equal("what is stored", versions(&*store).await?, vec![1, 2])
}

async fn a_statement_that_takes_too_long_is_not_done(server: &'static Server) -> Checked {
    let database = Database::new(server, "too_long")?;
    let patient = DatabaseOptions::default();
    let short = Duration::from_millis(200);
    let limits = [
        ("statement timeout", DatabaseOptions { statement_timeout: short, ..patient.clone() }),
        ("lock timeout", DatabaseOptions { lock_timeout: short, ..patient }),
    ];
    for (n, (limit, options)) in (1..).zip(limits) {
        let store = database.open_with(options).await?;
        let epoch = own(&*store).await?;
        let mut holder = database.administrator().await?;
        execute(&mut holder, "BEGIN").await?;
        execute(&mut holder, "SELECT * FROM partitions FOR UPDATE").await?;
        let refused = store.append(batch(epoch, n..=n)).await;
        equal("whether it is told that it was not done", matches!(refused, Err(StoreError::Unavailable(_))), true)?;
        says(refused, &[limit])?;
        execute(&mut holder, "ROLLBACK").await?;
        store.append(batch(epoch, n..=n)).await?;
    }
    Ok(())
}

async fn a_server_that_was_killed_is_found_again(_: &'static Server) -> Checked {
    let server = Private::start(Kind::Postgres)?;
    let database = Database::new(&server, "killed")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=1)).await?;
    server.kill()?;
    equal("an append without a server", store.append(batch(epoch, 2..=2)).await.is_err(), true)?;
    server.restart()?;
    let (store, again) = (Arc::clone(&store), batch(epoch, 2..=2));
    until("it appends again", async || Ok(store.append(Arc::clone(&again)).await.is_ok())).await?;
    equal("what is stored", versions(&*store).await?, vec![1, 2])
}

/// A new connection may lead to a standby that has taken over and lacks the last rows: what was stored through an
/// older one proves nothing there.
async fn another_server_may_know_less(server: &'static Server) -> Checked {
    let database = Database::new(server, "knows_less")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=5)).await?;
    // the one connection for appends is in use, so that the next append makes another
    let mut holder = database.administrator().await?;
    execute(&mut holder, "BEGIN").await?;
    execute(&mut holder, "INSERT INTO event_names VALUES ('a', 'held')").await?;
    let mut held = event(1);
    (held.slice, held.stream.id) = (Slice(8), AggregateId::new("2").unwrap());
    held.event.as_mut().unwrap().name = "held".into();
    let waiting = tokio::spawn({
        let (store, held) = (Arc::clone(&store), batch_of(epoch, vec![held]));
        async move { store.append(held).await }
    });
    database.waiting(1).await?;
    database.execute("DELETE FROM events WHERE version = 5").await?;
    let kinds = [ConflictKind::Predecessor, ConflictKind::Sequence];
    let expected = Err(StoreError::Conflict(kinds.map(|kind| Conflict { index: 0, kind }).to_vec()));
    equal("v6 on v4", store.append(batch(epoch, 6..=6)).await, expected)?;
    execute(&mut holder, "ROLLBACK").await?;
    equal("the open append", waiting.await?, Ok(()))?;
    store.append(batch(epoch, 5..=6)).await?;
    equal("what is stored", versions(&*store).await?, vec![1, 2, 3, 4, 5, 6])
}
