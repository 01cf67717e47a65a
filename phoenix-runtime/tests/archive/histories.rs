//! Whatever is archived, restored, replayed and repeated in whatever order: it is as if nothing of it had ever moved.

use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::engine::Engine;
use phoenix_runtime::event_store::{EventStore, MemoryStore};
use proptest::prelude::*;

use crate::ledger::{Account, OtherLayout, OtherLogic, ask, engine, post, posts, snapshot};
use crate::world::{Below, stream};

#[derive(Debug, Clone)]
enum Step {
    Post { order: u64, amount: i64 },
    Look,
    Snapshot,
    Archive { up_to: u64 },
    Restore,
    Restart { code: u8 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..60_u64, -1..9_i64).prop_map(|(order, amount)| Step::Post { order, amount }),
        2 => Just(Step::Look),
        2 => Just(Step::Snapshot),
        2 => (0..60_u64).prop_map(|up_to| Step::Archive { up_to }),
        1 => Just(Step::Restore),
        2 => (0..4_u8).prop_map(|code| Step::Restart { code }),
    ];
    proptest::collection::vec(step, 1..120)
}

async fn start(code: u8, store: &Arc<dyn EventStore>) -> Engine {
    match code {
        0 | 1 => engine::<Account>(store).await,
        2 => engine::<OtherLayout>(store).await,
        _ => engine::<OtherLogic>(store).await,
    }
}

/// Plays a history on a store with an archive, and on one without: everything that is told must be the same.
async fn play(below: Below, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let archived = Arc::new(below.archived());
    let store = Arc::clone(&archived) as Arc<dyn EventStore>;
    let plain: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let (mut running, mut twin) = (start(0, &store).await, start(0, &plain).await);
    for step in steps {
        let (client, other) = (running.client(), twin.client());
        match step {
            Step::Post { order, amount } => {
                let (told, mut expected) =
                    (ask(&client, post(order, amount)).await, ask(&other, post(order, amount)).await);
                // the twin's store is in memory, whatever this one is
                if let Ok(expected) = &mut expected {
                    expected.durable = below.store.is_durable();
                }
                prop_assert_eq!(told, expected);
            }
            Step::Look => prop_assert_eq!(posts(&client).await, posts(&other).await),
            Step::Snapshot => {
                let bound = Some(Duration::from_secs(30));
                let (taken, expected) = (client.snapshot("account", "a", bound), other.snapshot("account", "a", bound));
                prop_assert_eq!(taken.await, expected.await);
            }
            Step::Archive { up_to } => drop(archived.archive(stream("a"), up_to).await.unwrap()),
            Step::Restore => drop(archived.restore(stream("a")).await.unwrap()),
            Step::Restart { code } => {
                running.stop().await;
                twin.stop().await;
                (running, twin) = (start(code, &store).await, start(code, &plain).await);
            }
        }
    }
    running.stop().await;
    twin.stop().await;
    let events = async |store: &dyn EventStore| {
        let events = store.read_stream(stream("a"), 1, usize::MAX).await.unwrap();
        events.into_iter().map(|stored| (stored.event, stored.command.map(|c| (c.key, c.outcome)))).collect::<Vec<_>>()
    };
    let found = events(&below.archived()).await;
    prop_assert_eq!(&found, &events(&*plain).await);
    if !found.is_empty() {
        let (running, twin) = (start(2, &store).await, start(2, &plain).await);
        prop_assert_eq!(posts(&running.client()).await, posts(&twin.client()).await);
        let taken = (snapshot(&*store, &running.client()).await, snapshot(&*plain, &twin.client()).await);
        prop_assert_eq!((taken.0.version, taken.0.payload), (taken.1.version, taken.1.payload));
        running.stop().await;
        twin.stop().await;
    }
    Ok(())
}

fn run(play: impl Future<Output = Result<(), TestCaseError>>) -> Result<(), TestCaseError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(play)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn nobody_can_tell_that_there_is_an_archive(steps in steps()) {
        run(play(Below::memory(), steps))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]
    #[test]
    fn nobody_can_tell_which_archive_it_is(steps in steps()) {
        run(async {
            for below in Below::all().await {
                play(below, steps.clone()).await?;
            }
            Ok(())
        })?;
    }
}
