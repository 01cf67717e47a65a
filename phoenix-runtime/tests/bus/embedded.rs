//! What the embedded bus promises beyond the port: bounds, retention, one owner, one schema.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use phoenix_runtime::bus::{
    Bus, BusError, Consumer, EmbeddedBus, EmbeddedOptions, Happening, Keep, Outgoing, Record, Subscription,
    TopicPartition,
};
use phoenix_runtime::event_store::sqlite::{OpenError, Synchronous};
use phoenix_runtime::event_store::{SqliteOptions, SqliteStore};
use phoenix_runtime::testkit::clock::VirtualClock;
use tempfile::TempDir;

type Checked = Result<(), Failed>;

macro_rules! trials {
    ($($name:ident)*) => {
        pub(crate) fn trials() -> Vec<Trial> {
            vec![$(Trial::test(concat!("embedded::", stringify!($name)), || {
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on($name())
            })),*]
        }
    };
}

trials! {
    a_full_partition_refuses_and_drops_nothing
    a_call_to_a_full_partition_keeps_its_order
    what_every_group_has_read_goes_when_it_is_old
    what_every_group_has_read_goes_when_it_is_much
    what_a_group_has_not_read_stays
    what_a_new_group_reads_stays
    a_forgotten_group_holds_nothing_back
    what_is_followed_goes_when_it_was_read_and_is_much
    a_full_topic_of_the_newest_gives_up_its_oldest
    who_follows_too_slowly_passes_over_what_was_given_up
    a_full_topic_that_keeps_the_newest_waits_for_no_group
    what_a_topic_keeps_is_in_its_file
    a_file_of_the_first_release_goes_on
    a_backlog_that_was_read_is_removed_without_further_calls
    a_seek_behind_what_was_removed_is_out_of_range
    who_does_not_release_in_time_loses_by_the_clock
    a_file_has_one_owner
    a_file_of_something_else_is_refused
    a_file_of_a_newer_release_is_refused
    a_missing_record_is_damage
    names_that_other_buses_refuse_are_refused
    durability_is_told
}

const KIB: usize = 1024;

struct World {
    bus: EmbeddedBus,
    clock: VirtualClock,
    topic: Arc<str>,
}

impl World {
    async fn new(options: EmbeddedOptions) -> Result<Self, Failed> {
        let clock = VirtualClock::starting_at(1_750_000_000_000_000);
        let bus = EmbeddedBus::memory_with(options, Arc::new(clock.clone()))?;
        let topic: Arc<str> = "t".into();
        bus.create(topic.clone(), 2).await?;
        Ok(Self { bus, clock, topic })
    }

    /// Sends records of a KiB each to a partition.
    async fn send(&self, partition: u16, count: usize) -> Vec<Result<u64, BusError>> {
        let to = TopicPartition::new(self.topic.clone(), partition);
        let record = Record { value: vec![1; KIB], ..Record::default() };
        self.bus.produce((0..count).map(|_| Outgoing { to: to.clone(), record: record.clone() }).collect()).await
    }

    async fn reader(&self, group: &str) -> Result<Box<dyn Consumer>, Failed> {
        let topics = vec![self.topic.clone()];
        let subscription = Subscription { group: group.to_owned(), topics, fixed: None, max_records: 1000 };
        let mut consumer = self.bus.subscribe(subscription).await?;
        let first = consumer.next().await?;
        same("assigned", &matches!(first, Happening::Assigned(_)), &true)?;
        Ok(consumer)
    }

    async fn commit(&self, group: &str, partition: u16, offset: u64) -> Checked {
        let mut consumer = self.reader(group).await?;
        Ok(consumer.commit(vec![(TopicPartition::new(self.topic.clone(), partition), offset)]).await?)
    }

    /// The first offset that is there, after everything that may go had its time to go.
    async fn earliest(&self, partition: u16) -> Result<u64, Failed> {
        // in memory each call removes what may go by then
        for n in 0..3 {
            self.bus.create(format!("other-{n}").into(), 1).await?;
        }
        Ok(self.bus.offsets(TopicPartition::new(self.topic.clone(), partition), "g").await?.earliest)
    }
}

#[track_caller]
fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Checked {
    if found == expected {
        return Ok(());
    }
    let at = std::panic::Location::caller();
    Err(format!("{}:{}: {what}: expected {expected:?}, found {found:?}", at.file(), at.line()).into())
}

fn kept(retention: Duration, retention_bytes: usize) -> EmbeddedOptions {
    EmbeddedOptions { retention, retention_bytes, ..EmbeddedOptions::default() }
}

const LONG: Duration = Duration::from_secs(1_000_000);

async fn a_full_partition_refuses_and_drops_nothing() -> Checked {
    let world = World::new(EmbeddedOptions { partition_bytes: 20 * KIB, retention_bytes: 0, ..kept(LONG, 0) }).await?;
    let answers = world.send(0, 30).await;
    let sent = answers.iter().filter(|answer| answer.is_ok()).count();
    same("how many fit", &sent, &18)?;
    let Some(Err(BusError::Unavailable(text))) = answers.last() else { return Err("the last is not refused".into()) };
    same("it says what to do", &(text.contains("t/0") && text.contains("partition_bytes")), &true)?;
    same("another partition goes on", &world.send(1, 1).await, &vec![Ok(0)])?;
    world.commit("slow", 0, 0).await?;
    let Err(BusError::Unavailable(text)) = world.send(0, 1).await.remove(0) else { return Err("not refused".into()) };
    same("it says who is slow", &text.contains("`slow`"), &true)?;
    world.commit("slow", 0, 10).await?;
    same("there is room for what was read", &world.send(0, 1).await, &vec![Ok(18)])?;
    same("nothing unread is gone", &world.earliest(0).await?, &10)?;
    let again = world.send(0, 30).await;
    same("as much as was read", &again.iter().filter(|answer| answer.is_ok()).count(), &9)
}

async fn a_call_to_a_full_partition_keeps_its_order() -> Checked {
    let world = World::new(EmbeddedOptions { partition_bytes: 10 * KIB, ..EmbeddedOptions::default() }).await?;
    let sized = |bytes| Outgoing {
        to: TopicPartition::new(world.topic.clone(), 0),
        record: Record { value: vec![1; bytes], ..Record::default() },
    };
    let answers = world.bus.produce(vec![sized(8 * KIB), sized(4 * KIB), sized(10)].into()).await;
    let done: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    same("the small one does not overtake", &done, &vec![true, false, false])
}

async fn what_every_group_has_read_goes_when_it_is_old() -> Checked {
    let world = World::new(kept(Duration::from_mins(1), 1 << 30)).await?;
    world.send(0, 10).await;
    world.clock.advance(Duration::from_secs(50));
    world.send(0, 10).await;
    world.commit("g", 0, 20).await?;
    same("it is new", &world.earliest(0).await?, &0)?;
    world.clock.advance(Duration::from_secs(11));
    world.commit("g", 0, 20).await?;
    same("the older ones go", &world.earliest(0).await?, &10)
}

async fn what_every_group_has_read_goes_when_it_is_much() -> Checked {
    let world = World::new(kept(LONG, 5 * (KIB + 64))).await?;
    world.send(0, 20).await;
    world.commit("g", 0, 20).await?;
    same("five stay", &world.earliest(0).await?, &15)?;
    world.send(0, 2).await;
    same("and what is new counts", &world.earliest(0).await?, &17)
}

async fn what_a_group_has_not_read_stays() -> Checked {
    let world = World::new(kept(Duration::ZERO, 0)).await?;
    world.send(0, 20).await;
    world.send(1, 20).await;
    same("nobody has read it", &world.earliest(0).await?, &0)?;
    world.commit("fast", 0, 20).await?;
    same("those of one group", &world.earliest(0).await?, &20)?;
    world.send(0, 20).await;
    // a group that has committed in one partition reads the other one as well
    world.commit("slow", 1, 5).await?;
    world.commit("fast", 0, 40).await?;
    world.commit("fast", 1, 20).await?;
    same("not yet begun by the slow one", &world.earliest(0).await?, &20)?;
    same("read by both", &world.earliest(1).await?, &5)
}

async fn what_a_new_group_reads_stays() -> Checked {
    let world = World::new(kept(Duration::ZERO, 0)).await?;
    world.send(0, 20).await;
    let reader = world.reader("new").await?;
    world.commit("fast", 0, 20).await?;
    same("it may be reading", &world.earliest(0).await?, &0)?;
    drop(reader);
    world.commit("fast", 0, 20).await?;
    same("it went without a commit", &world.earliest(0).await?, &20)
}

async fn a_forgotten_group_holds_nothing_back() -> Checked {
    let world = World::new(kept(Duration::ZERO, 0)).await?;
    world.send(0, 20).await;
    let mut reader = world.reader("gone").await?;
    reader.commit(vec![(TopicPartition::new(world.topic.clone(), 0), 3)]).await?;
    same("it has consumers", &world.bus.forget("gone").await.is_err(), &true)?;
    drop(reader);
    world.commit("fast", 0, 20).await?;
    same("it is waited for", &world.earliest(0).await?, &3)?;
    same("forgotten", &world.bus.forget("gone").await, &Ok(true))?;
    same("it is not there any more", &world.bus.forget("gone").await, &Ok(false))?;
    world.commit("fast", 0, 20).await?;
    same("the others count", &world.earliest(0).await?, &20)
}

/// Nobody of a group says how far replies were read.
async fn what_is_followed_goes_when_it_was_read_and_is_much() -> Checked {
    let world = World::new(kept(Duration::from_hours(1), 0)).await?;
    let mut follower = world.bus.follow(TopicPartition::new(world.topic.clone(), 0), 100).await?;
    world.send(0, 20).await;
    world.send(0, 1).await;
    same("nothing was read", &world.earliest(0).await?, &0)?;
    let mut read = 0;
    while read < 21 {
        read += follower.next().await?.len();
    }
    world.send(0, 1).await;
    same("it was read", &world.earliest(0).await?, &21)?;
    drop(follower);
    world.send(0, 1).await;
    same("nobody follows it any more", &world.earliest(0).await?, &21)
}

fn small() -> EmbeddedOptions {
    EmbeddedOptions { partition_bytes: 20 * KIB, ..kept(LONG, 1 << 30) }
}

/// Replies, for example: nobody of a group reads them.
async fn a_full_topic_of_the_newest_gives_up_its_oldest() -> Checked {
    let world = World::new(small()).await?;
    world.bus.create_keeping(world.topic.clone(), 2, Keep::Newest).await?;
    let partition = TopicPartition::new(world.topic.clone(), 0);
    let mut follower = world.bus.follow(partition.clone(), 100).await?;
    for call in 0..100 {
        let expected: Vec<_> = (call * 3..call * 3 + 3).collect();
        same("there is room", &world.send(0, 3).await, &expected.iter().map(|offset| Ok(*offset)).collect())?;
        let mut read = Vec::new();
        while read.len() < 3 {
            read.extend(follower.next().await?.iter().map(|received| received.offset));
        }
        same("who keeps up misses nothing", &read, &expected)?;
    }
    drop(follower);
    let answers = world.send(0, 50).await;
    same("nobody reads it any more, and it goes on", &answers, &(300..350).map(Ok).collect())?;
    let offsets = world.bus.offsets(partition.clone(), "g").await?;
    same("within its bound", &(1..19).contains(&(offsets.end - offsets.earliest)), &true)?;
    let large = Record { value: vec![1; 21 * KIB], ..Record::default() };
    let refused = world.bus.produce(vec![Outgoing { to: partition.clone(), record: large }].into()).await;
    same("nothing makes room for that", &matches!(refused[..], [Err(BusError::Unavailable(_))]), &true)?;
    same("and nothing is given up for it", &world.bus.offsets(partition, "g").await?, &offsets)
}

async fn who_follows_too_slowly_passes_over_what_was_given_up() -> Checked {
    let world = World::new(small()).await?;
    world.bus.create_keeping(world.topic.clone(), 2, Keep::Newest).await?;
    let mut follower = world.bus.follow(TopicPartition::new(world.topic.clone(), 0), 100).await?;
    let answers = world.send(0, 50).await;
    same("one call takes them all", &answers, &(0..50).map(Ok).collect())?;
    let read: Vec<_> = follower.next().await?.iter().map(|received| received.offset).collect();
    same("the newest", &read, &(50 - read.len() as u64..50).collect())?;
    same("as many as there is room for", &(16..19).contains(&read.len()), &true)?;
    world.send(0, 1).await;
    same("and what comes then", &follower.next().await?[0].offset, &50)
}

async fn a_full_topic_that_keeps_the_newest_waits_for_no_group() -> Checked {
    let world = World::new(small()).await?;
    world.bus.create_keeping(world.topic.clone(), 2, Keep::Newest).await?;
    world.commit("slow", 0, 0).await?;
    same("it goes on", &world.send(0, 50).await.iter().filter(|answer| answer.is_ok()).count(), &50)?;
    let told = world.reader("slow").await?.next().await?;
    same("the group is told", &matches!(told, Happening::OutOfRange { wanted: 0, end: 50, .. }), &true)?;
    // from now on nothing is given up
    world.bus.create(world.topic.clone(), 2).await?;
    let earliest = world.earliest(0).await?;
    same("it is full", &matches!(world.send(0, 30).await[29], Err(BusError::Unavailable(_))), &true)?;
    same("nothing is gone", &world.earliest(0).await?, &earliest)
}

async fn what_a_topic_keeps_is_in_its_file() -> Checked {
    let folder = TempDir::new()?;
    let options = EmbeddedOptions { path: folder.path().join("bus.db"), synchronous: Synchronous::Off, ..small() };
    let open = || EmbeddedBus::open(options.clone(), Arc::new(VirtualClock::default()));
    let bus = open().await?;
    bus.create_keeping("replies".into(), 1, Keep::Newest).await?;
    bus.create("commands".into(), 1).await?;
    drop(bus);
    let bus = open().await?;
    let record = Record { value: vec![1; KIB], ..Record::default() };
    for (topic, expected) in [("replies", 50), ("commands", 18)] {
        let to = TopicPartition::new(topic, 0);
        let answers = bus.produce(vec![Outgoing { to, record: record.clone() }; 50].into()).await;
        same(topic, &answers.iter().filter(|answer| answer.is_ok()).count(), &expected)?;
    }
    Ok(())
}

async fn a_file_of_the_first_release_goes_on() -> Checked {
    let folder = TempDir::new()?;
    let path = folder.path().join("bus.db");
    let bus = open(&path).await?;
    bus.create("t".into(), 1).await?;
    let outgoing = Outgoing { to: TopicPartition::new("t", 0), record: Record::default() };
    bus.produce(vec![outgoing.clone(); 3].into()).await;
    drop(bus);
    let file = rusqlite::Connection::open(&path)?;
    file.execute_batch("ALTER TABLE topics DROP COLUMN newest; PRAGMA user_version = 1")?;
    drop(file);
    let bus = open(&path).await?;
    same("what is there counts", &bus.produce(vec![outgoing].into()).await, &vec![Ok(3)])?;
    same("and is kept until it is read", &bus.offsets(TopicPartition::new("t", 0), "g").await?.earliest, &0)?;
    bus.create_keeping("t".into(), 1, Keep::Newest).await?;
    drop(bus);
    let version: i32 = rusqlite::Connection::open(&path)?.pragma_query_value(None, "user_version", |row| row.get(0))?;
    same("its tables are those of today", &version, &2)
}

async fn a_backlog_that_was_read_is_removed_without_further_calls() -> Checked {
    let folder = TempDir::new()?;
    let clock = Arc::new(phoenix_runtime::clock::SystemClock::default());
    let at = EmbeddedOptions { synchronous: Synchronous::Off, ..EmbeddedOptions::at(folder.path().join("bus.db")) };
    let bus = EmbeddedBus::open(EmbeddedOptions { retention_bytes: 0, ..at }, clock).await?;
    let topic: Arc<str> = "t".into();
    bus.create(topic.clone(), 1).await?;
    let to = TopicPartition::new(topic.clone(), 0);
    let outgoing = Outgoing { to: to.clone(), record: Record::default() };
    bus.produce(vec![outgoing; 5_500].into()).await;
    let subscription = Subscription { group: "g".to_owned(), topics: vec![topic], fixed: None, max_records: 1000 };
    let mut consumer = bus.subscribe(subscription).await?;
    consumer.next().await?;
    consumer.commit(vec![(to.clone(), 5_500)]).await?;
    // in several steps, by the thread that has nothing else to do
    let all_gone = async {
        while bus.offsets(to.clone(), "g").await.is_ok_and(|offsets| offsets.earliest < 5_500) {
            tokio::task::yield_now().await;
        }
    };
    Ok(tokio::time::timeout(Duration::from_secs(30), all_gone).await?)
}

async fn a_seek_behind_what_was_removed_is_out_of_range() -> Checked {
    let world = World::new(kept(Duration::ZERO, 0)).await?;
    world.send(0, 20).await;
    world.commit("g", 0, 12).await?;
    same("earliest", &world.earliest(0).await?, &12)?;
    let mut reader = world.reader("g").await?;
    let partition = TopicPartition::new(world.topic.clone(), 0);
    reader.seek(&partition, 3).await?;
    let told = reader.next().await?;
    same("told", &told, &Happening::OutOfRange { partition: partition.clone(), wanted: 3, earliest: 12, end: 20 })?;
    reader.seek(&partition, 12).await?;
    let Happening::Records(records) = reader.next().await? else { return Err("no records".into()) };
    same("the rest", &records.iter().map(|received| received.offset).collect(), &(12..20).collect::<Vec<_>>())
}

async fn who_does_not_release_in_time_loses_by_the_clock() -> Checked {
    let timeout = Duration::from_secs(10);
    let world = World::new(EmbeddedOptions { release_timeout: timeout, ..EmbeddedOptions::default() }).await?;
    let mut one = world.reader("g").await?;
    let topics = vec![world.topic.clone()];
    let subscription = Subscription { group: "g".to_owned(), topics, fixed: None, max_records: 1 };
    let mut two = world.bus.subscribe(subscription).await?;
    let Happening::Revoking(revoked) = one.next().await? else { return Err("nothing is revoked".into()) };
    let mut waits = Box::pin(two.next());
    same("it waits", &futures_util::poll!(&mut waits).is_pending(), &true)?;
    let moment = Duration::from_nanos(1);
    world.clock.advance(timeout.saturating_sub(moment));
    same("it still waits", &futures_util::poll!(&mut waits).is_pending(), &true)?;
    let offset = vec![(revoked[0].clone(), 0)];
    same("it may commit until then", &one.commit(offset.clone()).await, &Ok(()))?;
    world.clock.advance(moment);
    same("refused", &one.commit(offset).await, &Err(BusError::Lost(revoked[0].clone())))?;
    same("lost", &one.next().await?, &Happening::Lost(revoked.clone()))?;
    same("and had by the other one", &waits.await?, &Happening::Assigned(vec![(revoked[0].clone(), Some(0))]))
}

async fn open(path: &std::path::Path) -> Result<EmbeddedBus, OpenError> {
    EmbeddedBus::open(EmbeddedOptions::at(path), Arc::new(VirtualClock::default())).await
}

async fn a_file_has_one_owner() -> Checked {
    let folder = TempDir::new()?;
    let path = folder.path().join("deeper").join("bus.db");
    let bus = open(&path).await?;
    let second = open(&path).await;
    same("a second owner", &matches!(second, Err(OpenError::Owned { .. })), &true)?;
    drop(bus);
    open(&path).await.map(drop).map_err(Failed::from)
}

async fn a_file_of_something_else_is_refused() -> Checked {
    let folder = TempDir::new()?;
    let events = folder.path().join("events.db");
    drop(SqliteStore::open(SqliteOptions::at(&events)).await?);
    let text = open(&events).await.err().map(|error| error.to_string()).unwrap_or_default();
    same("an event store", &text.contains("something else"), &true)?;
    let garbage = folder.path().join("garbage.db");
    std::fs::write(&garbage, [7; 5000])?;
    same("garbage", &matches!(open(&garbage).await, Err(OpenError::Database { .. })), &true)?;
    drop(SqliteStore::open(SqliteOptions::at(&events)).await?);
    Ok(())
}

async fn a_file_of_a_newer_release_is_refused() -> Checked {
    let folder = TempDir::new()?;
    let path = folder.path().join("bus.db");
    drop(open(&path).await?);
    rusqlite::Connection::open(&path)?.pragma_update(None, "user_version", 3)?;
    let refused = open(&path).await;
    same("newer", &matches!(&refused, Err(OpenError::Newer { found, .. }) if found == "bus 3"), &true)
}

async fn a_missing_record_is_damage() -> Checked {
    let folder = TempDir::new()?;
    let path = folder.path().join("bus.db");
    let (topic, bus): (Arc<str>, _) = ("t".into(), open(&path).await?);
    bus.create(topic.clone(), 1).await?;
    let to = TopicPartition::new(topic.clone(), 0);
    bus.produce(vec![Outgoing { to, record: Record::default() }; 3].into()).await;
    drop(bus);
    let removed = rusqlite::Connection::open(&path)?.execute("DELETE FROM records", [])?;
    same("all of them", &removed, &3)?;
    let bus = open(&path).await?;
    let subscription = Subscription { group: "g".to_owned(), topics: vec![topic], fixed: None, max_records: 9 };
    let mut consumer = bus.subscribe(subscription).await?;
    consumer.next().await?;
    let told = tokio::time::timeout(Duration::from_secs(30), consumer.next()).await?;
    same("damage", &matches!(told, Err(BusError::Damaged(_))), &true)
}

async fn names_that_other_buses_refuse_are_refused() -> Checked {
    let world = World::new(EmbeddedOptions::default()).await?;
    for name in ["", ".", "..", "a b", "a/b", "größe", &"x".repeat(250)] {
        let refused = world.bus.create(name.into(), 1).await;
        same(name, &matches!(refused, Err(BusError::Refused(_))), &true)?;
    }
    same("no partition", &matches!(world.bus.create("a".into(), 0).await, Err(BusError::Refused(_))), &true)?;
    Ok(world.bus.create("Az.0_9-".into(), 1).await?)
}

async fn durability_is_told() -> Checked {
    let folder = TempDir::new()?;
    for (synchronous, durable) in [(Synchronous::Full, true), (Synchronous::Normal, false), (Synchronous::Off, false)] {
        let at = EmbeddedOptions::at(folder.path().join("bus.db"));
        let options = EmbeddedOptions { synchronous, ..at };
        let bus = EmbeddedBus::open(options, Arc::new(VirtualClock::default())).await?;
        same("durable", &bus.is_durable(), &durable)?;
        same("told", &bus.name().contains(&synchronous.to_string()), &true)?;
    }
    same("memory", &EmbeddedBus::memory(Arc::new(VirtualClock::default()))?.is_durable(), &false)
}
