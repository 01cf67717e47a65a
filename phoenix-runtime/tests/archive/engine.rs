//! An engine over an archive: repeats, changed code, crashes and damage.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use phoenix_runtime::domain::error::Code;
use phoenix_runtime::domain::pending::Answer;
use phoenix_runtime::event_store::archive::BlockInfo;
use phoenix_runtime::event_store::port::Snapshot;
use phoenix_runtime::event_store::{Archived, EventStore, MemoryStore};
use phoenix_runtime::prelude::*;

use crate::ledger::{Account, OtherLayout, OtherLogic, archived_up_to, ask, engine, post, posts, snapshot};
use crate::world::{Below, Faulty, stream};

/// A store with its archive, and the same as who moves events.
fn over(below: &Below) -> (Arc<dyn EventStore>, Arc<Archived>) {
    let archived = Arc::new(below.archived());
    (Arc::clone(&archived) as Arc<dyn EventStore>, archived)
}

/// 23 orders and a refused one, of which 19 events are archived, and what was told of each.
async fn filled(below: &Below) -> Vec<crate::ledger::Told> {
    let (store, archived) = over(below);
    let running = engine::<Account>(&store).await;
    let mut told = Vec::new();
    for order in 0..24 {
        let amount = if order == 3 { -1 } else { 10 + i64::try_from(order).unwrap() };
        told.push(ask(&running.client(), post(order, amount)).await);
    }
    archived_up_to(&archived, 19).await;
    below.until_stripped(19).await;
    running.stop().await;
    told
}

#[tokio::test]
async fn a_repeat_of_an_archived_command_is_told_its_first_outcome() {
    for below in Below::all().await {
        let first = filled(&below).await;
        let (store, _) = over(&below);
        let running = engine::<Account>(&store).await;
        let client = running.client();
        for (order, first) in (0..24).zip(first) {
            let amount = if order == 3 { -1 } else { 10 + i64::try_from(order).unwrap() };
            let expected = match first {
                Ok(first) => Ok(Answer { replayed: true, ..first }),
                Err(AskError::Rejected { rejection, version, .. }) => {
                    Err(AskError::Rejected { rejection, version, replayed: true })
                }
                other => other,
            };
            assert_eq!(ask(&client, post(order, amount)).await, expected, "{}: order {order}", below.name);
        }
        let other = ask(&client, post(2, 99)).await.unwrap_err();
        assert_eq!(other.code(), Code::KeyReused, "another payload under an archived key");
        assert_eq!(below.store.read_stream(stream("a"), 1, 100).await.unwrap().len(), 23, "nothing was done twice");
        running.stop().await;
    }
}

#[tokio::test]
async fn changed_code_replays_through_the_archive() {
    for below in Below::all().await {
        filled(&below).await;
        // the same orders, and never an archive
        let plain: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        let twin = engine::<Account>(&plain).await;
        for order in (0..24).filter(|order| *order != 3) {
            ask(&twin.client(), post(order, 10 + i64::try_from(order).unwrap())).await.unwrap();
        }
        let (state, bytes) = (posts(&twin.client()).await, snapshot(&*plain, &twin.client()).await);
        twin.stop().await;

        let (store, _) = over(&below);
        let running = engine::<OtherLayout>(&store).await;
        assert_eq!(posts(&running.client()).await, state, "{}", below.name);
        let taken = snapshot(&*store, &running.client()).await;
        assert_ne!(taken.fingerprint, bytes.fingerprint);
        running.stop().await;

        let running = engine::<OtherLogic>(&store).await;
        let twice = posts(&running.client()).await.unwrap();
        assert!(twice.starts_with("{0: 20, 1: 22, 2: 24, 4: 28,"), "{twice}");
        running.stop().await;

        // back to the first code: neither of the newer snapshots is read, and its own gives the same bytes
        let running = engine::<Account>(&store).await;
        assert_eq!(posts(&running.client()).await, state, "{}", below.name);
        let again = snapshot(&*store, &running.client()).await;
        let (time_micros, stream) = (bytes.time_micros, bytes.stream.clone());
        assert_eq!(Snapshot { time_micros, stream, ..again }, bytes, "{}", below.name);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_crash_between_block_and_strip_harms_nobody() {
    for below in Below::all().await {
        let faulty = Faulty::over(&below.archive);
        faulty.killed_puts.store(1, Ordering::Relaxed);
        let crashing: Arc<dyn EventStore> = Arc::new(Archived::new(Arc::clone(&below.store), faulty));
        let running = engine::<Account>(&crashing).await;
        for order in 0..7 {
            ask(&running.client(), post(order, 1)).await.unwrap();
        }
        archived_up_to(&below.archived(), 4).await;
        running.stop().await;
        assert_eq!(below.stripped().await, [0; 0], "{}", below.name);

        let (store, archived) = over(&below);
        let running = engine::<Account>(&store).await;
        for order in 7..12 {
            ask(&running.client(), post(order, 1)).await.unwrap();
        }
        archived_up_to(&archived, 9).await;
        below.until_stripped(9).await;
        let blocks = vec![BlockInfo { from: 1, to: 4 }, BlockInfo { from: 5, to: 9 }];
        assert_eq!(archived.archived_blocks(stream("a")).await, Ok(blocks));
        let state = posts(&running.client()).await;
        running.stop().await;
        let running = engine::<OtherLayout>(&store).await;
        assert_eq!(posts(&running.client()).await, state, "{}", below.name);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_damaged_block_stops_replay_and_nothing_else() {
    for below in Below::all().await {
        let told = filled(&below).await;
        let blocks = below.archive.blocks(stream("a"), 0, 100).await.unwrap();
        let whole = below.archive.get(stream("a"), blocks[0]).await.unwrap().unwrap();
        let mut damaged = whole.clone();
        let end = damaged.len() - 20;
        damaged[end] ^= 64;
        below.archive.put(stream("a"), blocks[0], damaged).await.unwrap();

        // from its snapshot the aggregate comes into memory as before
        let (store, _) = over(&below);
        let running = engine::<Account>(&store).await;
        assert!(posts(&running.client()).await.is_ok(), "{}", below.name);
        running.stop().await;
        // other code can't be brought there, says which block it is, and is never told half of it
        let running = engine::<OtherLayout>(&store).await;
        let QueryError::Fault(fault) = posts(&running.client()).await.unwrap_err() else { panic!("a fault") };
        assert_eq!(fault.code, Code::Parked, "{fault:?}");
        let place = below.archive.place(&stream("a"), blocks[0]);
        assert!(fault.detail.contains(&place) && fault.detail.contains("backup"), "{fault:?}");
        running.stop().await;

        below.archive.put(stream("a"), blocks[0], whole).await.unwrap();
        let (store, _) = over(&below);
        let running = engine::<OtherLayout>(&store).await;
        let last = told.iter().rev().flatten().next().unwrap();
        assert!(posts(&running.client()).await.unwrap().ends_with(&last.reply), "{}", below.name);
        running.stop().await;
    }
}
