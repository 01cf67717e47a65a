//! Two nodes over one store that hand partitions to and fro under load: every command that was told is there once, and
//! nothing is stored by a node that has given its partition back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use phoenix_runtime::domain::context::Resources;
use phoenix_runtime::engine::{Engine, EngineOptions, Owning};
use phoenix_runtime::event_store::port::Partition;
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::scripted_store::ScriptedStore;

use crate::tally::{Tally, add, add_later};
use crate::world::{World, options, simulate, tallies};

/// How many partitions: each has several tallies.
const PARTITIONS: u16 = 3;

struct Node {
    engine: Engine,
    store: ScriptedStore,
}

async fn node(world: &World) -> Node {
    let store = ScriptedStore::new(Arc::new(world.memory.clone()));
    let simulation = &world.simulation;
    let engine = Engine::builder(Arc::new(store.clone()))
        .aggregate::<Tally>()
        .options(EngineOptions { shards: Some(2), partitions: PARTITIONS, max_batch: 4, ..options() })
        .resources(Resources::default().with(simulation.clone()))
        .clock(Arc::new(simulation.clock()))
        .seed(simulation.seed())
        .spawn(simulation.spawner(simulation.group()))
        .owning(Owning::Nothing)
        .start()
        .await
        .unwrap();
    Node { engine, store }
}

/// How many records of a partition a node has stored.
fn stored(node: &Node, partition: Partition) -> usize {
    let appended = node.store.appended();
    let done = appended.iter().filter(|appended| appended.outcome.is_ok());
    done.flat_map(|appended| &appended.batch.records)
        .filter(|r| Partition::of(r.slice, PARTITIONS) == partition)
        .count()
}

/// Deals a partition to the two in turn; now and then it is taken away without being asked for.
async fn deal(world: World, nodes: Arc<[Node; 2]>, partition: Partition) {
    let mut owner = 0_usize;
    for _ in 0..12 {
        nodes[owner].engine.take([partition]).await.unwrap();
        let before = stored(&nodes[1 - owner], partition);
        world.pass(Duration::from_micros(world.simulation.below(40_000))).await;
        assert_eq!(stored(&nodes[1 - owner], partition), before, "stored by a node that had given it back");
        if !world.simulation.once_in(4) {
            let bound = Duration::from_micros(world.simulation.below(8_000));
            nodes[owner].engine.give_back([partition], bound).await;
        }
        owner = 1 - owner;
    }
    nodes[owner].engine.take([partition]).await.unwrap();
}

/// Sends numbered commands to any of the two until each is told.
async fn call(world: World, nodes: Arc<[Node; 2]>, first: i64, told: Arc<Mutex<BTreeMap<String, Vec<i64>>>>) {
    for number in first..first + 40 {
        let tally = format!("t{}", world.simulation.below(12));
        let key = number.to_string();
        for attempt in 0.. {
            assert!(attempt < 5000, "{number} has no outcome");
            let node = &nodes[usize::try_from(world.simulation.below(2)).unwrap()];
            let of = tallies(&node.engine);
            let answer = if number % 5 == 0 {
                of.ask(add_later(&tally, number, world.simulation.below(3)))
                    .idempotency_key(&key)
                    .await
                    .map_err(|e| e.code())
            } else {
                of.ask(add(&tally, number)).idempotency_key(&key).await.map_err(|e| e.code())
            };
            match answer {
                Ok(_) => break,
                Err(Code::OwnershipLost | Code::OutcomeUnknown) => world.pass(Duration::from_millis(1)).await,
                Err(other) => panic!("{number} was told {other}"),
            }
        }
        told.lock().unwrap().entry(tally).or_default().push(number);
    }
}

#[test]
fn partitions_go_to_and_fro_under_load() {
    simulate(|world| async move {
        let nodes = Arc::new([node(&world).await, node(&world).await]);
        let told = Arc::default();
        let mut all: Vec<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
        for partition in (0..PARTITIONS).map(Partition) {
            all.push(Box::pin(deal(world.clone(), Arc::clone(&nodes), partition)));
        }
        for caller in 0..6 {
            all.push(Box::pin(call(world.clone(), Arc::clone(&nodes), caller * 1000, Arc::clone(&told))));
        }
        futures_util::future::join_all(all).await;
        let told: BTreeMap<String, Vec<i64>> = told.lock().unwrap().clone();
        assert_eq!(told.values().map(Vec::len).sum::<usize>(), 240);
        for (tally, mut numbers) in told {
            let mut stored = Vec::new();
            for stored_event in world.events("tally", &tally).await {
                let event: crate::tally::Added = serde_json::from_slice(&stored_event.event.payload).unwrap();
                stored.push(event.amount);
            }
            numbers.sort_unstable();
            stored.sort_unstable();
            assert_eq!(stored, numbers, "{tally}");
        }
    });
}
