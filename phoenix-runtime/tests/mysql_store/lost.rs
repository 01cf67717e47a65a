//! Connections and servers that are lost.

use libtest_mimic::Failed;
use phoenix_runtime::domain::id::Dedup;
use phoenix_runtime::event_store::DatabaseUrl;
use phoenix_runtime::event_store::letters::InboxRow;
use phoenix_runtime::event_store::port::{Conflict, ConflictKind, Partition, Position, StoreError};
use phoenix_runtime::event_store::{DatabaseOptions, sql::mysql};
use phoenix_test_servers::{Kind, Private, Server};

use crate::fixture::{Checked, Database, batch, equal, own, stream, until, versions};
use crate::proxy::{Door, Proxy};
use crate::tests;

tests! {
    an_append_whose_answer_is_lost_is_unknown_and_conflicts_with_itself
    an_append_that_was_never_sent_is_certainly_not_done
    a_server_that_was_killed_costs_latency_alone
    what_was_shown_to_readers_outlives_the_server
    what_was_stored_before_is_durable_when_it_is_stored_again
    commands_that_were_put_before_are_durable_when_they_are_put_again
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

/// Commits that are seen, and whose log is not on the disk yet: as between the two in each commit, only longer.
async fn hold_the_log(database: &Database, held: bool) -> Checked {
    let (at_commit, every) = if held { (0, 2700) } else { (1, 2700) };
    database
        .execute(&format!(
            "SET GLOBAL innodb_flush_log_at_timeout = {every}; SET GLOBAL innodb_flush_log_at_trx_commit = {at_commit}"
        ))
        .await
}

/// Loses what is not on the disk.
fn lose(server: &Private) -> Checked {
    server.kill()?;
    server.restart()?;
    Ok(())
}

/// How often what was not shown is lost at least once: the server writes its log by itself now and then.
const TRIES: u64 = 20;

async fn what_was_shown_to_readers_outlives_the_server(_: &'static Server) -> Checked {
    let server = Private::start(Kind::MySql)?;
    let database = Database::new(&server, "shown")?;
    let reader = database.open().await?;
    let (mut position, mut lost, mut shown) = (Position::default(), 0, 0);
    for attempt in 0..TRIES {
        let owner = database.open().await?;
        let epoch = own(&*owner).await?;
        let stored = versions(&*owner).await?.len() as u64;
        equal("what was shown is there", stored >= shown, true)?;
        hold_the_log(&database, true).await?;
        owner.append(batch(epoch, stored + 1..=stored + 1)).await?;
        hold_the_log(&database, false).await?;
        match attempt % 4 {
            0 => {}
            1 => {
                let (_, behind) = reader.read_all(position, 100).await?;
                shown = behind.0.values().copied().max().unwrap_or(0);
                position = behind;
            }
            2 => shown = versions(&*reader).await?.len() as u64,
            _ => {
                let key = Dedup(u128::from(stored + 1).to_be_bytes());
                let outcomes = reader.outcomes(vec![(stream(), key)]).await?;
                shown = outcomes.into_iter().flatten().map(|outcome| outcome.sequence).max().unwrap_or(0);
            }
        }
        equal("what is there is shown", attempt % 4 == 0 || shown == stored + 1, true)?;
        lose(&server)?;
        let left = until_read(&database).await?.len() as u64;
        equal("what was shown is left", left >= shown, true)?;
        lost += u64::from(left == stored);
        if attempt >= 4 && lost > 0 {
            break;
        }
    }
    equal("what was not shown may be lost", lost > 0, true)
}

async fn until_read(database: &Database) -> Result<Vec<u64>, Failed> {
    let store = database.open().await?;
    versions(&*store).await
}

/// A sender that did not hear the answer sends again, and takes the conflict with itself for it.
async fn what_was_stored_before_is_durable_when_it_is_stored_again(_: &'static Server) -> Checked {
    let server = Private::start(Kind::MySql)?;
    let database = Database::new(&server, "again")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    hold_the_log(&database, true).await?;
    store.append(batch(epoch, 1..=1)).await?;
    hold_the_log(&database, false).await?;
    equal("again", matches!(store.append(batch(epoch, 1..=1)).await, Err(StoreError::Conflict(_))), true)?;
    lose(&server)?;
    equal("what is stored", until_read(&database).await?, vec![1])
}

async fn commands_that_were_put_before_are_durable_when_they_are_put_again(_: &'static Server) -> Checked {
    let server = Private::start(Kind::MySql)?;
    let database = Database::new(&server, "put")?;
    let store = database.open().await?;
    let letters = store.letters().ok_or("a store with letters")?;
    let row = InboxRow {
        topic: "commands".into(),
        partition: 0,
        first: 1,
        last: 1,
        messages: 1,
        group: Partition(0),
        tries: 0,
        due_micros: 0,
        hold: None,
        codec: 1,
        body: vec![1],
    };
    hold_the_log(&database, true).await?;
    letters.put(vec![row.clone()]).await?;
    hold_the_log(&database, false).await?;
    letters.put(vec![row]).await?;
    lose(&server)?;
    let store = database.open().await?;
    let backlog = store.letters().ok_or("a store with letters")?.backlog(None).await?;
    equal("rows that are left", backlog.len(), 1)
}
