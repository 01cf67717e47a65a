//! A service on two databases: clients send, slices move back and forth, and a second node takes over in the middle.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use phoenix_runtime::domain::id::Slice;
use phoenix_runtime::engine::Engine;
use phoenix_runtime::event_store::EventStore as _;
use phoenix_runtime::event_store::port::Position;
use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::Two;
use crate::support::drain;

const CLIENTS: u64 = 24;
const COUNTERS: u64 = 64;
const MOVED: usize = 12;
/// How many slices move while each of the two nodes owns them.
const MOVES: u64 = 5;

/// Counts.
#[aggregate(name = "counter")]
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counter {
    count: u64,
}

#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = counter, reply = u64, aggregate = "counter")]
pub(crate) struct Count {
    pub(crate) counter: String,
}

/// How far it is.
#[derive(Debug, Clone, Query, Serialize, Deserialize)]
#[query(id = counter, reply = u64, aggregate = "counter")]
pub(crate) struct Total {
    pub(crate) counter: String,
}

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(name = "counted")]
struct Counted {}

#[event_sourced]
impl Counter {
    #[command_handler(reply = self.count)]
    fn count(&self, _: Count) -> Counted {
        Counted {}
    }

    #[query_handler]
    fn total(&self, _: Total) -> u64 {
        self.count
    }

    #[event_handler]
    fn counted(&mut self, _: &Counted) {
        self.count += 1;
    }
}

async fn node(two: &Two) -> Engine {
    Engine::builder(two.open().await.store().await).aggregate::<Counter>().start().await.unwrap()
}

/// Sends commands until it is told to stop, each one until it is answered, by whichever node there is.
async fn client(
    number: u64,
    nodes: watch::Receiver<Arc<Engine>>,
    stop: Arc<AtomicBool>,
) -> (BTreeSet<String>, Duration) {
    let (mut acknowledged, mut slowest) = (BTreeSet::new(), Duration::ZERO);
    for nth in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let counter = format!("c{}", (number * 7 + nth * 13) % COUNTERS);
        let key = format!("{number} {nth}");
        let begun = Instant::now();
        loop {
            let of = nodes.borrow().client().of::<Counter>();
            let answer = of.ask(Count { counter: counter.clone() }).idempotency_key(&key).await;
            if answer.is_ok() {
                break;
            }
            assert!(begun.elapsed() < Duration::from_mins(1), "{answer:?}");
            tokio::task::yield_now().await;
        }
        slowest = slowest.max(begun.elapsed());
        acknowledged.insert(key);
    }
    (acknowledged, slowest)
}

async fn until(happened: impl Fn() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < Duration::from_mins(1), "it does not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn moves_under_load(two: Two) {
    let first = Arc::new(node(&two).await);
    let (nodes, observed) = watch::channel(Arc::clone(&first));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> =
        (0..CLIENTS).map(|number| tokio::spawn(client(number, observed.clone(), Arc::clone(&stop)))).collect();
    let slices: BTreeSet<Slice> = (0..COUNTERS).map(|n| Slice::of("counter", &format!("c{n}"))).collect();
    let count = Arc::new(AtomicU64::new(0));
    let operator = tokio::spawn({
        let (two, count, stop) = (two.clone(), Arc::clone(&count), Arc::clone(&stop));
        async move {
            let mover = two.open().await.mover().await;
            for to in ["b", "home"].into_iter().cycle() {
                for slice in slices.iter().take(MOVED) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    mover.move_slice(*slice, to, |_| {}).await.unwrap();
                    mover.purge(*slice, |_| {}).await.unwrap();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    // set when the last command was acknowledged: the reader reads to the end after that
    let ended = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (two, ended) = (two.clone(), Arc::clone(&ended));
        async move {
            let store = two.open().await.store().await;
            let (mut seen, mut position) = (Vec::new(), Position::default());
            while !ended.load(Ordering::Acquire) {
                if let Ok((page, behind)) = store.read_all(position.clone(), 500).await {
                    seen.extend(page);
                    position = behind;
                }
            }
            let (rest, _) = drain(&*store, position, 500).await;
            seen.extend(rest);
            seen
        }
    });
    until(|| count.load(Ordering::Relaxed) >= MOVES).await;
    // the second node takes over while the first one is alive, and slices move on
    let second = Arc::new(node(&two).await);
    nodes.send_replace(Arc::clone(&second));
    let so_far = count.load(Ordering::Relaxed);
    until(|| count.load(Ordering::Relaxed) >= so_far + MOVES).await;
    stop.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut slowest) = (BTreeSet::new(), Duration::ZERO);
    for client in clients {
        let (keys, time) = client.await.unwrap();
        acknowledged.extend(keys);
        slowest = slowest.max(time);
    }
    operator.await.unwrap();
    ended.store(true, Ordering::Release);
    let seen = reader.await.unwrap();
    let count = count.load(Ordering::Relaxed);
    println!("{} commands, {count} moves, the slowest command {slowest:?}", acknowledged.len());
    assert!(acknowledged.len() > 100, "{} commands are no trial", acknowledged.len());
    assert!(first.health().is_fenced() && !second.health().is_fenced());

    let mut stored: Vec<String> = seen.iter().filter_map(|event| event.command.as_ref()?.key.clone()).collect();
    stored.sort();
    let twice = stored.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(twice, None, "a command is there twice");
    let stored: BTreeSet<String> = stored.into_iter().collect();
    assert_eq!(acknowledged.difference(&stored).next(), None, "acknowledged and lost");
    let mut versions = std::collections::BTreeMap::new();
    for event in &seen {
        let last = versions.insert(event.stream.clone(), event.event.version).unwrap_or(0);
        assert_eq!(event.event.version, last + 1, "a reader of {}", event.stream);
    }
    let fresh = two.open().await.store().await;
    for (stream, last) in versions {
        assert_eq!(fresh.read_stream(stream, 1, usize::MAX).await.unwrap().len() as u64, last);
    }
}
