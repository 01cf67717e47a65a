//! Owners that take over from each other in the middle of an append.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Failed;
use phoenix_runtime::event_store::DatabaseOptions;
use phoenix_runtime::event_store::port::StoreError;
use phoenix_test_servers::Server;

use crate::fixture::{Checked, Database, batch, equal, execute, fenced, own, versions};
use crate::tests;

tests! {
    an_append_that_waited_for_a_new_owner_is_refused
    an_append_that_waited_for_an_owner_who_gave_up_is_stored
    a_new_owner_waits_for_open_appends
    an_append_that_waits_too_long_is_certainly_not_done
    slices_that_were_taken_away_are_told
}

const TAKE_OVER: &str = "START TRANSACTION; UPDATE partitions SET epoch = epoch + 1 WHERE `partition` = 0";
/// A row that an append with a new name has to wait for.
const HOLD_NAME: &str = "START TRANSACTION; INSERT INTO event_names (aggregate, event_name) VALUES ('a', 'e')";

/// What its transaction saw when it began is older than the new epoch, and must not win.
async fn an_append_that_waited_for_a_new_owner_is_refused(server: &'static Server) -> Checked {
    let database = Database::new(server, "late_append")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=1)).await?;
    let mut next = database.administrator().await?;
    execute(&mut next, TAKE_OVER).await?;
    let late = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.append(batch(epoch, 2..=3)).await }
    });
    database.waiting(1).await?;
    execute(&mut next, "COMMIT").await?;
    equal("the late append", late.await?, fenced(epoch + 1, epoch))?;
    equal("what is stored", versions(&*store).await?, vec![1])?;
    equal("rows", database.count("SELECT COUNT(*) FROM events").await?, 1)
}

async fn an_append_that_waited_for_an_owner_who_gave_up_is_stored(server: &'static Server) -> Checked {
    let database = Database::new(server, "gave_up")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    let mut next = database.administrator().await?;
    execute(&mut next, TAKE_OVER).await?;
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.append(batch(epoch, 1..=2)).await }
    });
    database.waiting(1).await?;
    execute(&mut next, "ROLLBACK").await?;
    equal("the append", waiting.await?, Ok(()))?;
    equal("what is stored", versions(&*store).await?, vec![1, 2])
}

/// An append that has locked its partitions, and hangs at a row that a transaction of the administrator holds.
async fn a_new_owner_waits_for_open_appends(server: &'static Server) -> Checked {
    let database = Database::new(server, "open_append")?;
    let (old, new) = (database.open().await?, database.open().await?);
    let epoch = own(&*old).await?;
    let mut holder = database.administrator().await?;
    execute(&mut holder, HOLD_NAME).await?;
    let append = tokio::spawn({
        let old = Arc::clone(&old);
        async move { old.append(batch(epoch, 1..=1)).await }
    });
    database.waiting(1).await?;
    let acquire = tokio::spawn(async move {
        let acquired = own(&*new).await?;
        // what the old owner had under way is there at the first read
        Ok::<_, Failed>((acquired, versions(&*new).await?))
    });
    database.waiting(2).await?;
    equal("whether the new owner waits", acquire.is_finished(), false)?;
    execute(&mut holder, "ROLLBACK").await?;
    equal("the open append", append.await?, Ok(()))?;
    equal("what the new owner finds", acquire.await??, (epoch + 1, vec![1]))?;
    equal("the old owner", old.append(batch(epoch, 2..=2)).await, fenced(epoch + 1, epoch))
}

async fn an_append_that_waits_too_long_is_certainly_not_done(server: &'static Server) -> Checked {
    let database = Database::new(server, "too_long")?;
    let options = DatabaseOptions { lock_timeout: Duration::from_secs(1), ..DatabaseOptions::default() };
    let store = database.open_with(options).await?;
    let epoch = own(&*store).await?;
    let mut holder = database.administrator().await?;
    execute(&mut holder, HOLD_NAME).await?;
    let refused = store.append(batch(epoch, 1..=1)).await;
    equal("what is told", matches!(refused, Err(StoreError::Unavailable(_))), true)?;
    // neither the epoch's lock nor a part of the batch is left behind
    equal("a new owner", own(&*store).await?, epoch + 1)?;
    execute(&mut holder, "ROLLBACK").await?;
    store.append(batch(epoch + 1, 1..=1)).await?;
    equal("what is stored", versions(&*store).await?, vec![1])
}

async fn slices_that_were_taken_away_are_told(server: &'static Server) -> Checked {
    let database = Database::new(server, "moved")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=1)).await?;
    database.execute("UPDATE partitions SET moves = moves + 1").await?;
    equal("moves of other slices", store.append(batch(epoch, 2..=2)).await, Ok(()))?;
    database.execute("UPDATE partitions SET moves = moves + 1; INSERT INTO away_slices VALUES (7)").await?;
    let moved = store.append(batch(epoch, 3..=3)).await;
    equal("a slice that is away", matches!(moved, Err(StoreError::Moved(_))), true)?;
    database.execute("UPDATE partitions SET moves = moves + 1; DELETE FROM away_slices").await?;
    equal("a slice that has come back", store.append(batch(epoch, 3..=3)).await, Ok(()))?;
    equal("what is stored", versions(&*store).await?, vec![1, 2, 3])
}
