//! Owners that take over from each other in the middle of an append.

use std::sync::Arc;

use libtest_mimic::Failed;
use phoenix_runtime::domain::id::Slice;
use phoenix_runtime::event_store::port::{Batch, Epoch, Partition, Position, StoreError};
use phoenix_test_servers::Server;

use crate::fixture::{Checked, Database, SLICE, batch, equal, execute, own, versions};
use crate::tests;

tests! {
    an_append_that_waited_for_a_new_owner_is_refused
    an_append_that_waited_for_an_owner_who_gave_up_is_stored
    a_new_owner_waits_for_open_appends
    a_reader_stops_at_nothing_while_an_append_is_open
    owners_are_not_starved_by_appends
    slices_that_were_taken_away_are_told
}

fn fenced(current: u64, given: u64) -> Result<(), StoreError> {
    Err(StoreError::Fenced { partition: Partition(0), current: Epoch(current), given: Epoch(given) })
}

/// The snapshot of the append's statement is older than the new epoch, and must not win.
async fn an_append_that_waited_for_a_new_owner_is_refused(server: &'static Server) -> Checked {
    let database = Database::new(server, "late_append")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=1)).await?;
    let mut next = database.administrator().await?;
    execute(&mut next, "BEGIN").await?;
    execute(&mut next, "UPDATE partitions SET epoch = epoch + 1 WHERE partition = 0").await?;
    let late = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.append(batch(epoch, 2..=3)).await }
    });
    database.waiting(1).await?;
    execute(&mut next, "COMMIT").await?;
    equal("the late append", late.await?, fenced(epoch + 1, epoch))?;
    equal("what is stored", versions(&*store).await?, vec![1])?;
    equal("names, streams and rows", database.count("SELECT count(*) FROM events").await?, 1)
}

async fn an_append_that_waited_for_an_owner_who_gave_up_is_stored(server: &'static Server) -> Checked {
    let database = Database::new(server, "gave_up")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    let mut next = database.administrator().await?;
    execute(&mut next, "BEGIN").await?;
    execute(&mut next, "UPDATE partitions SET epoch = epoch + 1 WHERE partition = 0").await?;
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
    execute(&mut holder, "BEGIN").await?;
    execute(&mut holder, "INSERT INTO event_names VALUES ('a', 'e')").await?;
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

/// Rows of a later append are visible before those of an earlier one: their slices are others, so nothing is skipped.
async fn a_reader_stops_at_nothing_while_an_append_is_open(server: &'static Server) -> Checked {
    let database = Database::new(server, "out_of_order")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    let mut holder = database.administrator().await?;
    execute(&mut holder, "BEGIN").await?;
    execute(&mut holder, "INSERT INTO event_names VALUES ('a', 'e')").await?;
    let open = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.append(batch(epoch, 1..=1)).await }
    });
    database.waiting(1).await?;
    // of another slice, and decided later
    let mut later = (*batch(epoch, 1..=1)).clone();
    for record in &mut later.records {
        record.stream.aggregate = "b".into();
        record.slice = Slice(8);
    }
    store.append(Arc::new(later)).await?;
    let (events, position) = store.read_all(Position::default(), 10).await?;
    let slices: Vec<_> = events.iter().map(|stored| stored.slice).collect();
    equal("what is there", slices, vec![Slice(8)])?;
    execute(&mut holder, "ROLLBACK").await?;
    open.await??;
    let (events, _) = store.read_all(position, 10).await?;
    let slices: Vec<_> = events.iter().map(|stored| stored.slice).collect();
    equal("what committed late", slices, vec![SLICE])
}

async fn owners_are_not_starved_by_appends(server: &'static Server) -> Checked {
    let database = Database::new(server, "starved")?;
    let (old, new) = (database.open().await?, database.open().await?);
    let epoch = own(&*old).await?;
    // two appends overlap at any time: of two slices in one partition
    let appends = [Slice(0), Slice(16)].map(|slice| {
        let old = Arc::clone(&old);
        tokio::spawn(async move {
            for version in 1.. {
                let mut batch: Batch = (*batch(epoch, version..=version)).clone();
                for record in &mut batch.records {
                    record.slice = slice;
                    record.stream.aggregate = slice.0.to_string().into();
                }
                if let Err(error) = old.append(Arc::new(batch)).await {
                    return (version, error);
                }
            }
            unreachable!("it ends with an error")
        })
    });
    let both = async || Ok(database.count("SELECT count(DISTINCT stream) FROM events").await? == 2);
    crate::fixture::until("both append", both).await?;
    equal("the new owner", own(&*new).await?, epoch + 1)?;
    for append in appends {
        let (_, error) = append.await?;
        equal("the old owner", Err(error), fenced(epoch + 1, epoch))?;
    }
    Ok(())
}

async fn slices_that_were_taken_away_are_told(server: &'static Server) -> Checked {
    let database = Database::new(server, "moved")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=1)).await?;
    database.execute("UPDATE partitions SET moves = moves + 1").await?;
    equal("moves of other slices", store.append(batch(epoch, 2..=2)).await, Ok(()))?;
    database.execute("WITH m AS (UPDATE partitions SET moves = moves + 1) INSERT INTO away_slices VALUES (7)").await?;
    let moved = Err(StoreError::Moved(vec![SLICE]));
    equal("a slice that is away", store.append(batch(epoch, 3..=3)).await, moved.clone())?;
    equal("and still is", store.append(batch(epoch, 3..=3)).await, moved)?;
    equal("an old epoch goes before", store.append(batch(epoch + 1, 3..=3)).await, fenced(epoch, epoch + 1))?;
    database.execute("WITH m AS (UPDATE partitions SET moves = moves + 1) DELETE FROM away_slices").await?;
    equal("a slice that has come back", store.append(batch(epoch, 3..=3)).await, Ok(()))?;
    equal("what is stored", versions(&*store).await?, vec![1, 2, 3])
}
