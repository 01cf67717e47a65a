//! Slices with events in the archive that is a table of each database: what can be read, repeated and restored
//! wherever they move to.

use std::sync::Arc;

use phoenix_runtime::domain::id::Slice;
use phoenix_runtime::event_store::archive::{BlockInfo, Moved, Restored};
use phoenix_runtime::event_store::port::{Load, Position, StoreError, StoredEvent};
use phoenix_runtime::event_store::sources::port::{Rows, Turn};
use phoenix_runtime::event_store::sources::{Mover, SourcesStore};
use phoenix_runtime::event_store::{Archived, EventStore};

use crate::support::{
    Databases, Deadly, Owner, behind, deal, drain, dump, filled, id_in, row, snapshot, sorted, stream,
};

const FIRST: BlockInfo = BlockInfo { to: 3, from: 1 };

/// As a node opens them.
async fn archived(databases: &Databases) -> Archived {
    let store: Arc<SourcesStore> = databases.store().await;
    Archived::new(Arc::clone(&store) as Arc<dyn EventStore>, store)
}

/// Rows of which each stream's first three events are in the archive; and what could be read before.
async fn moved_to_the_archive(databases: &Databases) -> (Owner, Archived, Vec<String>) {
    let owner = filled(databases.store().await).await;
    let store = archived(databases).await;
    let before = dump(&store, 5).await;
    for slice in [5, 6] {
        for nth in 0..3 {
            let moved = store.archive(stream(&id_in(slice, nth)), u64::MAX).await;
            assert_eq!(moved, Ok(Moved { events: 3, blocks: 1, up_to: 3 }));
        }
    }
    (owner, store, before)
}

pub(crate) async fn blocks_move_with_their_slice(databases: Databases) {
    let (mut owner, store, before) = moved_to_the_archive(&databases).await;
    let (mover, id) = (databases.mover().await, stream(&id_in(5, 0)));
    let all = sorted(drain(&store, Position::default(), 7).await);
    for (to, old) in [("b", 0), ("home", 1), ("b", 0)] {
        deal(&mover, [5], to).await.unwrap();
        mover.purge(Slice(5), |_| {}).await.unwrap();
        let [old, new] = [databases.all()[old], databases.all()[1 - old]];
        assert!(old.block_keys(Slice(5)).await.unwrap().is_empty(), "left over");
        assert_eq!(old.table().get(id.clone(), FIRST).await, Ok(None));
        assert_eq!(new.block_keys(Slice(5)).await.unwrap().len(), 3);
        assert_eq!(databases.home.block_keys(Slice(6)).await.unwrap().len(), 3, "those of another slice stay");
        // by whoever has an old map and blocks in its memory, and by whoever opens it now
        for store in [&store, &archived(&databases).await] {
            assert_eq!(dump(store, 5).await, before);
            assert_eq!(sorted(drain(store, Position::default(), 7).await), all);
            let load = Load { stream: id.clone(), fingerprint: None, keys: 100, events: 100 };
            assert_eq!(store.load(vec![load]).await.unwrap()[0].events.len(), 7, "a replay from the first version");
            let known = row("x", None, 0).command.unwrap();
            let told = store.outcomes(vec![(id.clone(), known.dedup)]).await.unwrap().remove(0).unwrap();
            assert_eq!(told.command.outcome.body, known.outcome.body, "the first reply of a repeated command");
        }
    }
    // a repeat is refused, and the next events go to the archive of the new database
    for number in 100..105 {
        owner.follow(&id_in(5, 0), number).await.unwrap();
    }
    let repeat = owner.decide(&id_in(5, 0), 0, true).await.unwrap();
    let refused = owner.store.append_in(owner.lane(&repeat), repeat).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    store.put_snapshot(snapshot(&id_in(5, 0), 9)).await.unwrap();
    store.drop_snapshots(id.clone(), 9).await.unwrap();
    let newer = store.archive(id.clone(), u64::MAX).await;
    assert_eq!(newer, Ok(Moved { events: 5, blocks: 1, up_to: 8 }));
    assert!(databases.b.table().get(id.clone(), BlockInfo { to: 8, from: 4 }).await.unwrap().is_some());
    let whole = store.read_stream(id.clone(), 1, 100).await.unwrap();

    // and back from there
    assert_eq!(store.restore(id.clone()).await, Ok(Restored { blocks: 2, up_to: 8 }));
    assert_eq!(databases.b.block_keys(Slice(5)).await.unwrap().len(), 4, "blocks stay");
    let found = databases.store().await.read_stream(id.clone(), 1, 100).await.unwrap();
    assert!(!found.iter().any(StoredEvent::is_archived));
    assert_eq!(found, whole);
    deal(&mover, [5], "home").await.unwrap();
    assert_eq!(store.read_stream(id, 1, 100).await.unwrap(), whole);
}

pub(crate) async fn movers_die_with_blocks(databases: Databases) {
    let (mut owner, store, mut before) = moved_to_the_archive(&databases).await;
    let (mut number, mut targets, mut deaths) = (300, ["b", "home"].into_iter().cycle(), 0);
    for done in [false, true] {
        for calls in 0.. {
            let to = targets.next().unwrap();
            let mover = Mover::new(behind(&databases, Arc::new(Deadly::new(calls, done))).await);
            let died = mover.move_slice(Slice(5), to, |_| {}).await.is_err();
            number += 1;
            // the archive takes what it is given, or nothing of it
            let id = stream(&id_in(5, 1));
            let restored = store.restore(id.clone()).await;
            assert!(matches!(restored, Ok(_) | Err(StoreError::Unavailable(_))), "after {calls} calls: {restored:?}");
            let again = store.archive(id.clone(), u64::MAX).await;
            assert!(matches!(again, Ok(_) | Err(StoreError::Unavailable(_))), "after {calls} calls: {again:?}");
            owner.append(&id_in(6, 0), number).await.unwrap();
            deal(&databases.mover().await, [5], to).await.unwrap();
            store.archive(id, u64::MAX).await.unwrap();
            let now = dump(&archived(&databases).await, 5).await;
            assert_eq!(now[1..], before[1..], "after {calls} calls");
            before = now;
            if !died {
                break;
            }
            deaths += 1;
        }
    }
    assert!(deaths > 30, "{deaths}");
}

/// What is about to move is not touched, and what comes too late has no effect.
pub(crate) async fn blocks_stay_while_they_are_copied(databases: Databases) {
    let (_, store, before) = moved_to_the_archive(&databases).await;
    let (home, id) = (databases.home.table(), stream(&id_in(5, 0)));
    let bytes = home.get(id.clone(), FIRST).await.unwrap().unwrap();
    let unavailable =
        |done: Result<(), StoreError>| assert!(matches!(done, Err(StoreError::Unavailable(_))), "{done:?}");
    databases.store().await;
    databases.home.turn(Slice(5), Turn::Leave, 1).await.unwrap();
    unavailable(home.put(id.clone(), FIRST, bytes.clone()).await);
    unavailable(databases.b.table().put(id.clone(), FIRST, bytes.clone()).await.map_err(|e| match e {
        // it does not even know the stream
        StoreError::Refused { .. } => StoreError::Unavailable(String::new()),
        other => other,
    }));
    databases.home.turn(Slice(5), Turn::Stay, 1).await.unwrap();
    let keys = databases.home.block_keys(Slice(5)).await.unwrap();
    let late = Rows { blocks: vec![(keys[0].clone(), bytes)], ..Rows::default() };
    for database in databases.all() {
        assert_eq!(database.copy_in(Slice(5), 1, late.clone()).await, Err(StoreError::Moved(vec![Slice(5)])));
    }
    deal(&databases.mover().await, [5], "b").await.unwrap();
    assert_eq!(dump(&store, 5).await, before);
}

#[tokio::test]
async fn blocks_move() {
    blocks_move_with_their_slice(Databases::default()).await;
}

#[tokio::test]
async fn a_mover_that_dies_at_any_call_is_resumed() {
    movers_die_with_blocks(Databases::default()).await;
}

#[tokio::test]
async fn blocks_stay() {
    blocks_stay_while_they_are_copied(Databases::default()).await;
}
