//! Connections and servers that are lost.

use phoenix_runtime::event_store::DatabaseUrl;
use phoenix_runtime::event_store::port::{Conflict, ConflictKind, StoreError};
use phoenix_runtime::event_store::{DatabaseOptions, sql::mysql};
use phoenix_test_servers::{Kind, Private, Server};

use crate::fixture::{Checked, Database, batch, equal, own, until, versions};
use crate::proxy::{Door, Proxy};
use crate::tests;

tests! {
    an_append_whose_answer_is_lost_is_unknown_and_conflicts_with_itself
    an_append_that_was_never_sent_is_certainly_not_done
    a_server_that_was_killed_costs_latency_alone
}

async fn an_append_whose_answer_is_lost_is_unknown_and_conflicts_with_itself(server: &'static Server) -> Checked {
    let database = Database::new(server, "answer_lost")?;
    let proxy = Proxy::before(server).await?;
    let url = DatabaseUrl::new(proxy.url(&database.url, server));
    let store = mysql::open(&url, &DatabaseOptions::default()).await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=1)).await?;
    proxy.set(Door::AnswersLost);
    let unknown = store.append(batch(epoch, 2..=3)).await;
    equal("without an answer", matches!(unknown, Err(StoreError::Unknown(_))), true)?;
    equal("answers that were swallowed", proxy.answers_lost() > 0, true)?;
    proxy.set(Door::Open);
    let both = [(0, ConflictKind::Version), (0, ConflictKind::Key), (0, ConflictKind::Sequence)];
    let conflicts = both.iter().chain(&both).enumerate().map(|(n, (_, kind))| Conflict { index: n / 3, kind: *kind });
    let again = store.append(batch(epoch, 2..=3)).await;
    equal("the same rows again", again, Err(StoreError::Conflict(conflicts.collect())))?;
    equal("what is stored", versions(&*store).await?, vec![1, 2, 3])
}

async fn an_append_that_was_never_sent_is_certainly_not_done(server: &'static Server) -> Checked {
    let database = Database::new(server, "never_sent")?;
    let proxy = Proxy::before(server).await?;
    let options = DatabaseOptions { append_connections: 1, ..DatabaseOptions::default() };
    let store = mysql::open(&DatabaseUrl::new(proxy.url(&database.url, server)), &options).await?;
    let epoch = own(&*store).await?;
    proxy.set(Door::Shut);
    // until connections that were open before are found to be lost; then none can be made
    let certain = async || Ok(matches!(store.append(batch(epoch, 1..=1)).await, Err(StoreError::Unavailable(_))));
    until("it is certain that nothing is done", certain).await?;
    proxy.set(Door::Open);
    until("it appends again", async || Ok(store.append(batch(epoch, 1..=1)).await.is_ok())).await?;
    equal("what is stored", versions(&*store).await?, vec![1])
}

async fn a_server_that_was_killed_costs_latency_alone(_: &'static Server) -> Checked {
    let server = Private::start(Kind::MySql)?;
    let database = Database::new(&server, "killed")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=1)).await?;
    server.kill()?;
    equal("an append without a server", store.append(batch(epoch, 2..=2)).await.is_err(), true)?;
    equal("a read without a server", versions(&*store).await.is_err(), true)?;
    server.restart()?;
    until("it appends again", async || Ok(store.append(batch(epoch, 2..=2)).await.is_ok())).await?;
    equal("what is stored", versions(&*store).await?, vec![1, 2])
}
