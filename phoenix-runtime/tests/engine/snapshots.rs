//! Snapshots shorten the way into memory, and are never more than that.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use phoenix_runtime::engine::{Engine, EngineOptions};
use phoenix_runtime::event_store::port::{Conflict, ConflictKind, EventStore as _, Snapshot, StoreError, StreamId};
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::scripted_store::{Call, Step};
use serde::{Deserialize, Serialize};

use crate::world::{World, answers, options, sent, simulate};

/// Adds a page to an album.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = album, reply = i64)]
struct Page {
    album: String,
    title: String,
}

fn page(title: impl ToString) -> Page {
    Page { album: "a".to_owned(), title: title.to_string() }
}

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(name = "paged")]
struct Paged {
    title: String,
}

macro_rules! album {
    ($name:ident, $logic:literal, $weight:literal, {$($field:ident: $type:ty),*}) => {
        #[aggregate(name = "album", snapshot_every = 5, logic_version = $logic)]
        #[derive(Debug, Default, Serialize, Deserialize)]
        struct $name { pages: BTreeMap<String, i64>, $($field: $type),* }

        #[event_sourced]
        impl $name {
            #[command_handler(reply = self.pages.values().sum())]
            fn page(&self, command: Page) -> Paged {
                Paged { title: command.title }
            }

            #[event_handler]
            fn paged(&mut self, event: &Paged) {
                *self.pages.entry(event.title.clone()).or_default() += $weight;
            }
        }
    };
}
album!(Album, 1, 1, {});
album!(OtherLogic, 2, 100, {});
album!(OtherLayout, 1, 1, { cover: Option<String> });

async fn start<A: Aggregate>(world: &World) -> Engine {
    world.builder().aggregate::<A>().start().await.unwrap()
}

/// An album with so many pages, and the engine stopped again.
async fn album(world: &World, pages: u64) {
    let engine = start::<Album>(world).await;
    for number in 0..pages {
        engine.client().of::<Album>().ask(page(number % 7)).await.unwrap();
    }
    world.quiet().await;
    engine.stop().await;
}

fn stream() -> StreamId {
    StreamId { aggregate: "album".into(), id: AggregateId::new("a").unwrap() }
}

async fn newest(world: &World) -> Option<Snapshot> {
    world.memory.snapshot(stream(), u64::MAX).await.unwrap()
}

/// How many events are read by `work`.
async fn read_during<T>(world: &World, work: impl Future<Output = T>) -> (T, u64) {
    let before = world.store.events_read();
    let done = work.await;
    (done, world.store.events_read() - before)
}

#[test]
fn a_snapshot_is_taken_every_so_many_events() {
    simulate(|world| async move {
        album(&world, 4).await;
        assert_eq!(newest(&world).await, None);
        album(&world, 9).await;
        let mut versions = Vec::new();
        let mut at_most = u64::MAX;
        while let Some(snapshot) = world.memory.snapshot(stream(), at_most).await.unwrap() {
            versions.push(snapshot.version);
            at_most = snapshot.version - 1;
        }
        assert_eq!(versions, [10, 5]);
    });
}

#[test]
fn a_snapshot_shortens_the_way_into_memory() {
    simulate(|world| async move {
        album(&world, 13).await;
        let engine = start::<Album>(&world).await;
        let of = engine.client().of::<Album>();
        let (answer, read) = read_during(&world, of.ask(page("new"))).await;
        assert_eq!(answer, Ok(14));
        assert_eq!(read, 4, "from version 10, the snapshot's own, to 13");
    });
}

#[test]
fn a_snapshot_is_held_back_until_its_version_is_durable() {
    simulate(|world| async move {
        let engine = start::<Album>(&world).await;
        let of = engine.client().of::<Album>();
        world.store.hold(Call::Append);
        let conflict = StoreError::Conflict(vec![Conflict { index: 0, kind: ConflictKind::Version }]);
        world.store.next(Call::Append, Step::Fail(conflict));
        let mut all = Vec::new();
        for number in 0..12 {
            all.push(sent(of.ask(page(number))).await);
            world.quiet().await;
        }
        assert_eq!(world.store.calls(Call::PutSnapshot), 0);
        // the batch fails, and with it what was encoded behind it
        world.store.pass(Call::Append, 1);
        world.quiet().await;
        assert_eq!(world.store.calls(Call::PutSnapshot), 0);
        world.store.release(Call::Append);
        assert!(answers(all).await.iter().all(Result::is_ok));
        world.quiet().await;
        assert_eq!(newest(&world).await.unwrap().version, 10);
        assert_eq!(world.store.calls(Call::PutSnapshot), 2);
    });
}

#[test]
fn a_snapshot_that_can_not_be_written_harms_nobody() {
    simulate(|world| async move {
        world.store.next(Call::PutSnapshot, Step::Fail(StoreError::Unavailable("scripted".to_owned())));
        album(&world, 12).await;
        assert_eq!(world.events("album", "a").await.len(), 12);
        assert_eq!(newest(&world).await.unwrap().version, 10);
    });
}

#[test]
fn a_snapshot_of_another_layout_or_logic_is_ignored() {
    simulate(|world| async move {
        album(&world, 12).await;
        let engine = start::<OtherLayout>(&world).await;
        let (answer, read) = read_during(&world, engine.client().of::<OtherLayout>().ask(page("new"))).await;
        assert_eq!((answer, read), (Ok(13), 12));
        engine.stop().await;
        let engine = start::<OtherLogic>(&world).await;
        let (answer, read) = read_during(&world, engine.client().of::<OtherLogic>().ask(page("new"))).await;
        assert_eq!((answer, read), (Ok(1400), 13));
    });
}

#[test]
fn the_newest_snapshot_that_fits_counts_also_behind_others() {
    simulate(|world| async move {
        album(&world, 12).await;
        let engine = start::<OtherLayout>(&world).await;
        for number in 0..4 {
            engine.client().of::<OtherLayout>().ask(page(number)).await.unwrap();
        }
        world.quiet().await;
        assert_eq!(newest(&world).await.unwrap().version, 13, "of the other layout");
        engine.stop().await;
        // back to the build before
        let engine = start::<Album>(&world).await;
        let (answer, read) = read_during(&world, engine.client().of::<Album>().ask(page("new"))).await;
        assert_eq!((answer, read), (Ok(17), 7), "from version 10 on");
    });
}

#[test]
fn a_snapshot_that_can_not_be_read_is_ignored() {
    for (payload, codec, ahead) in [
        (b"{\"pages\":".to_vec(), None, 0),
        (b"[]".to_vec(), None, 0),
        (Vec::new(), None, 0),
        (b"{\"pages\":{}}".to_vec(), Some(120), 0),
        (b"{\"pages\":{\"never\":77}}".to_vec(), None, 40),
    ] {
        simulate(move |world| {
            let payload = payload.clone();
            async move {
                album(&world, 12).await;
                let stored = newest(&world).await.unwrap();
                let (version, codec) = (stored.version + ahead, codec.unwrap_or(stored.codec));
                world.memory.put_snapshot(Snapshot { version, payload, codec, ..stored }).await.unwrap();
                let engine = start::<Album>(&world).await;
                let (answer, read) = read_during(&world, engine.client().of::<Album>().ask(page("new"))).await;
                let behind = if ahead == 0 { 3 } else { 0 };
                assert_eq!((answer, read), (Ok(13), 12 + behind), "all of them, once it was seen to be of no use");
            }
        });
    }
}

#[test]
fn equal_streams_give_equal_snapshots() {
    simulate(|world| async move {
        // at once, and with a restart before each command, over its own snapshots
        album(&world, 10).await;
        let at_once = newest(&world).await.unwrap();
        let other = World {
            memory: phoenix_runtime::event_store::memory::MemoryStore::new(),
            store: world.store.clone(),
            simulation: world.simulation.clone(),
            fuse: world.fuse.clone(),
            tries: world.tries.clone(),
        };
        let store = std::sync::Arc::new(other.memory.clone());
        let other = World { store: phoenix_runtime::testkit::scripted_store::ScriptedStore::new(store), ..other };
        for number in 0..10 {
            let engine = start::<Album>(&other).await;
            engine.client().of::<Album>().ask(page(number % 7)).await.unwrap();
            other.quiet().await;
            engine.stop().await;
        }
        let again = newest(&other).await.unwrap();
        assert_eq!((again.version, again.payload), (10, at_once.payload));
    });
}

/// A book whose snapshots are bounded in number, and whose old events may leave.
#[aggregate(name = "book", snapshot_every = 4, snapshots_kept = 2, archive = true)]
#[derive(Debug, Default, Serialize, Deserialize)]
struct Book {
    lines: u64,
}

/// A diary that counts bytes.
#[aggregate(name = "diary", snapshot_every = 1000, snapshot_bytes = "100B", snapshots_kept = 1)]
#[derive(Debug, Default, Serialize, Deserialize)]
struct Diary {
    lines: u64,
}

#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = name, reply = u64)]
struct Write {
    name: String,
    text: String,
}

fn write(text: &str) -> Write {
    Write { name: "a".to_owned(), text: text.to_owned() }
}

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(name = "written")]
struct Written {
    text: String,
}

macro_rules! writes {
    ($name:ident) => {
        #[event_sourced]
        impl $name {
            #[command_handler(reply = self.lines)]
            fn write(&self, command: Write) -> Written {
                Written { text: command.text }
            }

            #[event_handler]
            fn written(&mut self, _: &Written) {
                self.lines += 1;
            }
        }
    };
}
writes!(Book);
writes!(Diary);

async fn versions(world: &World, aggregate: &str) -> Vec<u64> {
    let stream = StreamId { aggregate: aggregate.into(), id: AggregateId::new("a").unwrap() };
    world.memory.snapshots(stream).await.unwrap().into_iter().map(|info| info.version).collect()
}

#[test]
fn snapshots_are_also_taken_by_size() {
    simulate(|world| async move {
        let engine = start::<Diary>(&world).await;
        let of = engine.client().of::<Diary>();
        for _ in 0..3 {
            of.ask(write(&"x".repeat(30))).await.unwrap();
        }
        world.quiet().await;
        assert_eq!(versions(&world, "diary").await, [3], "each event has about 41 bytes");
        of.ask(write("short")).await.unwrap();
        engine.stop().await;
        // what it wrote since counts also after it was away
        let engine = start::<Diary>(&world).await;
        let of = engine.client().of::<Diary>();
        of.ask(write(&"x".repeat(80))).await.unwrap();
        world.quiet().await;
        assert_eq!(versions(&world, "diary").await, [5]);
    });
}

#[test]
fn only_the_newest_snapshots_stay_and_what_is_below_may_leave() {
    simulate(|world| async move {
        let engine = start::<Book>(&world).await;
        let of = engine.client().of::<Book>();
        for _ in 0..17 {
            of.ask(write("line")).await.unwrap();
            world.quiet().await;
        }
        assert_eq!(versions(&world, "book").await, [16, 12]);
        let retained: Vec<u64> = world.store.retained().into_iter().map(|(_, from)| from).collect();
        assert_eq!(retained, [4, 4, 8, 12]);
    });
}

#[test]
fn nothing_is_let_go_before_its_snapshot_is_durable() {
    simulate(|world| async move {
        let engine = start::<Book>(&world).await;
        let of = engine.client().of::<Book>();
        for _ in 0..8 {
            of.ask(write("line")).await.unwrap();
        }
        world.quiet().await;
        // the next one can't be written, the one after it waits
        let before = (world.store.calls(Call::DropSnapshots), world.store.calls(Call::Retain));
        world.store.next(Call::PutSnapshot, Step::Fail(StoreError::Unavailable("scripted".to_owned())));
        for _ in 0..4 {
            of.ask(write("line")).await.unwrap();
        }
        world.quiet().await;
        world.store.hold(Call::PutSnapshot);
        for _ in 0..4 {
            of.ask(write("line")).await.unwrap();
        }
        world.quiet().await;
        assert_eq!((world.store.calls(Call::DropSnapshots), world.store.calls(Call::Retain)), before);
        assert_eq!(versions(&world, "book").await, [8, 4]);
        world.store.release(Call::PutSnapshot);
        world.quiet().await;
        assert_eq!(versions(&world, "book").await, [16, 8]);
        assert_eq!(world.store.retained().pop().unwrap().1, 8);
    });
}

#[test]
fn tidying_is_never_in_the_way_and_is_done_with_the_next_snapshot() {
    simulate(|world| async move {
        let engine = start::<Book>(&world).await;
        let of = engine.client().of::<Book>();
        world.store.hold(Call::Retain);
        let fault = || Step::Fail(StoreError::Unavailable("scripted".to_owned()));
        world.store.next(Call::Snapshots, fault());
        world.store.next(Call::DropSnapshots, fault());
        for number in 1..=100 {
            assert_eq!(of.ask(write("line")).await, Ok(number));
            world.quiet().await;
        }
        assert!(world.store.calls(Call::Retain) <= 4, "a few at a time");
        world.store.release(Call::Retain);
        world.quiet().await;
        assert_eq!(versions(&world, "book").await, [100, 96]);
        assert!(engine.drain(Duration::from_secs(10)).await);
    });
}

#[test]
fn snapshots_that_wait_for_a_slow_store_are_bounded_by_bytes() {
    simulate(|world| async move {
        // each has 11 or 12 bytes
        let limits = EngineOptions { max_batch_bytes: 40, ..options() };
        let engine = world.builder().aggregate::<Book>().options(limits).start().await.unwrap();
        let of = engine.client().of::<Book>();
        world.store.hold(Call::PutSnapshot);
        for number in 1..=100 {
            assert_eq!(of.ask(write("line")).await, Ok(number));
        }
        world.store.release(Call::PutSnapshot);
        world.quiet().await;
        assert_eq!(world.store.calls(Call::PutSnapshot), 4 + 3, "four on their way, three behind them");
        assert_eq!(versions(&world, "book").await, [28, 24]);
    });
}

#[test]
fn a_snapshot_can_be_asked_for() {
    simulate(|world| async move {
        let engine = start::<Book>(&world).await;
        let (client, of) = (engine.client(), engine.client().of::<Book>());
        assert_eq!(client.snapshot("book", "a", None).await, Err(QueryError::NotFound));
        of.ask(write("line")).await.unwrap();
        assert_eq!(client.snapshot("book", "a", None).await, Ok(1));
        assert_eq!(versions(&world, "book").await, [1]);
        // it waits until its version is durable, also when that is done anew
        world.store.hold(Call::Append);
        let conflict = StoreError::Conflict(vec![Conflict { index: 0, kind: ConflictKind::Version }]);
        world.store.next(Call::Append, Step::Fail(conflict));
        let line = sent(of.ask(write("line"))).await;
        let mut asked = sent(client.snapshot("book", "a", None)).await;
        world.quiet().await;
        assert!(!asked.is_told().await);
        world.store.release(Call::Append);
        assert_eq!(line.answer().await, Ok(2));
        assert_eq!(asked.answer().await, Ok(2));
        assert_eq!(versions(&world, "book").await, [2, 1]);
        let unknown = client.snapshot("shelf", "a", None).await.unwrap_err();
        assert_eq!(unknown.code(), Code::UnknownName);
        world.store.next(Call::PutSnapshot, Step::Fail(StoreError::Unavailable("scripted".to_owned())));
        assert_eq!(client.snapshot("book", "a", None).await.unwrap_err().code(), Code::StoreFailed);
    });
}

#[test]
fn time_goes_on_from_a_snapshot() {
    simulate(|world| async move {
        album(&world, 10).await;
        world.simulation.clock().jump_wall(-3_600_000_000);
        album(&world, 1).await;
        let times: Vec<_> = world.events("album", "a").await.iter().map(|stored| stored.time_micros).collect();
        assert!(times.is_sorted(), "{times:?}");
    });
}
