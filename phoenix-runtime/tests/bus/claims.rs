//! Large messages: bodies that are kept elsewhere while their messages travel.

#![allow(clippy::panic, reason = "a test that can't go on stops at the line that says so")]

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use phoenix_runtime::bus::claims::{Claim, ClaimCheck, ClaimCheckOptions, Claims, FolderClaims, MemoryClaims};
use phoenix_runtime::bus::envelope::{Call, Message, Unreadable, without_body};
use phoenix_runtime::bus::{
    Bus, BusError, Consumer, EmbeddedBus, EmbeddedOptions, Follower, Happening, Keep, Offsets, Outgoing, Record,
    Subscription, TopicPartition, Traits,
};
use phoenix_runtime::domain::id::MessageId;
use phoenix_runtime::domain::metadata::Metadata;
use phoenix_runtime::domain::ports::{BoxFuture, Clock};
use phoenix_runtime::testkit::clock::VirtualClock;
use tempfile::TempDir;

type Checked = Result<(), Failed>;

macro_rules! trials {
    ($($name:ident)*) => {
        pub(crate) fn trials() -> Vec<Trial> {
            vec![$(Trial::test(concat!("claims::", stringify!($name)), || {
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on($name())
            })),*]
        }
    };
}

trials! {
    large_messages_come_whole_and_small_ones_do_not_go_there
    a_body_is_kept_before_its_message_is_sent
    what_is_larger_than_the_most_is_refused
    a_body_that_is_missing_or_damaged_is_told_with_the_reason
    while_bodies_are_out_of_reach_nothing_is_lost_or_overtaken
    one_who_is_often_interrupted_gets_on
    what_was_read_of_a_paused_partition_waits
    what_is_no_claim_of_ours_is_not_fetched
    a_record_of_a_dead_letter_can_do_without_its_body
    a_folder_keeps_bodies_and_nothing_leads_out_of_it
    a_folder_forgets_what_is_old
}

const ABOVE: usize = 200;
const SMALL: usize = 10;
const LARGE: usize = 5000;

/// A bus as kafka-rust is one.
#[derive(Debug)]
struct Headerless(EmbeddedBus);

impl Bus for Headerless {
    fn name(&self) -> String {
        self.0.name()
    }

    fn traits(&self) -> Traits {
        Traits { headers: false, ..self.0.traits() }
    }

    fn is_durable(&self) -> bool {
        self.0.is_durable()
    }

    fn partitions(&self, topic: Arc<str>) -> BoxFuture<'_, Result<Option<u16>, BusError>> {
        self.0.partitions(topic)
    }

    fn create_keeping(&self, topic: Arc<str>, partitions: u16, keep: Keep) -> BoxFuture<'_, Result<(), BusError>> {
        self.0.create_keeping(topic, partitions, keep)
    }

    fn produce(&self, records: Arc<[Outgoing]>) -> BoxFuture<'_, Vec<Result<u64, BusError>>> {
        assert!(records.iter().all(|outgoing| outgoing.record.headers.is_empty()));
        self.0.produce(records)
    }

    fn subscribe(&self, subscription: Subscription) -> BoxFuture<'_, Result<Box<dyn Consumer>, BusError>> {
        self.0.subscribe(subscription)
    }

    fn follow(&self, of: TopicPartition, max_records: usize) -> BoxFuture<'_, Result<Box<dyn Follower>, BusError>> {
        self.0.follow(of, max_records)
    }

    fn offsets(&self, partition: TopicPartition, group: &str) -> BoxFuture<'_, Result<Offsets, BusError>> {
        self.0.offsets(partition, group)
    }
}

struct World {
    bus: ClaimCheck,
    /// What travels.
    inner: Arc<dyn Bus>,
    claims: MemoryClaims,
    clock: VirtualClock,
    topic: Arc<str>,
}

impl World {
    async fn new(headers: bool) -> Result<Self, Failed> {
        Self::patient(headers, Duration::ZERO).await
    }

    /// With a pause before a body is looked for again.
    async fn patient(headers: bool, pause: Duration) -> Result<Self, Failed> {
        let time = VirtualClock::starting_at(1_750_000_000_000_000);
        let clock: Arc<dyn Clock> = Arc::new(time.clone());
        let inner = EmbeddedBus::memory_with(EmbeddedOptions::at("claims"), Arc::clone(&clock))?;
        let inner: Arc<dyn Bus> = if headers { Arc::new(inner) } else { Arc::new(Headerless(inner)) };
        let claims = MemoryClaims::new(Arc::clone(&clock));
        let kept = Arc::new(claims.clone());
        let options = ClaimCheckOptions { above: ABOVE, most: 1 << 20, tries: 3, pause };
        let bus = ClaimCheck::new(Arc::clone(&inner), kept, options, clock);
        let topic: Arc<str> = "t".into();
        bus.create(Arc::clone(&topic), 2).await?;
        Ok(Self { bus, inner, claims, clock: time, topic })
    }

    fn outgoing(&self, partition: u16, call: Call) -> Outgoing {
        let record = Message::Call(call).into_record(Some(b"k".to_vec()), self.bus.traits());
        Outgoing { to: TopicPartition::new(Arc::clone(&self.topic), partition), record }
    }

    async fn send(&self, partition: u16, calls: impl IntoIterator<Item = Call>) -> Vec<Result<u64, BusError>> {
        self.bus.produce(calls.into_iter().map(|call| self.outgoing(partition, call)).collect()).await
    }

    async fn consumer(&self) -> Result<Box<dyn Consumer>, Failed> {
        let topics = vec![Arc::clone(&self.topic)];
        let subscription = Subscription { group: "g".to_owned(), topics, fixed: None, max_records: 100 };
        let mut consumer = self.bus.subscribe(subscription).await?;
        match consumer.next().await? {
            Happening::Assigned(_) => Ok(consumer),
            other => Err(format!("{other:?}").into()),
        }
    }
}

fn call(number: u128, bytes: usize) -> Call {
    let body = format!("\"{}\"", "x".repeat(bytes));
    let metadata = Metadata { headers: [("mine".to_owned(), "\"x\"".to_owned())].into(), ..Metadata::default() };
    Call { metadata, ..Call::command(MessageId(uuid(number)), "a", "s", "n", body) }
}

fn uuid(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(number)
}

async fn read(consumer: &mut dyn Consumer, count: usize) -> Result<Vec<Record>, Failed> {
    let mut records = Vec::new();
    while records.len() < count {
        match consumer.next().await? {
            Happening::Records(more) => records.extend(more.into_iter().map(|received| received.record)),
            other => return Err(format!("{other:?}").into()),
        }
    }
    Ok(records)
}

fn calls(records: &[Record]) -> Vec<Call> {
    let call = |record: &Record| match Message::from_record(record) {
        Ok(Message::Call(call)) => call,
        other => panic!("{other:?}"),
    };
    records.iter().map(call).collect()
}

#[track_caller]
fn why(record: &Record) -> String {
    match Message::from_record(record) {
        Err(reason @ Unreadable::Claim { .. }) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

async fn large_messages_come_whole_and_small_ones_do_not_go_there() -> Checked {
    for headers in [true, false] {
        let world = World::new(headers).await?;
        let mut follower = world.bus.follow(TopicPartition::new(Arc::clone(&world.topic), 0), 100).await?;
        let all: Vec<Call> = (0..20).map(|n| call(n, if n % 3 == 0 { LARGE } else { SMALL })).collect();
        assert!(world.send(0, all.clone()).await.iter().all(Result::is_ok));
        let plain = Subscription {
            group: "o".to_owned(),
            topics: vec![Arc::clone(&world.topic)],
            fixed: None,
            max_records: 100,
        };
        let mut plain = world.inner.subscribe(plain).await?;
        plain.next().await?;
        let travelled = read(&mut *plain, 20).await?;
        assert!(travelled.iter().all(|record| record.bytes() < 600), "{headers}");
        assert_eq!(world.claims.claims().len(), 7);
        let read = read(&mut *world.consumer().await?, 20).await?;
        assert_eq!(calls(&read), all);
        assert!(read.iter().all(|record| record.key.as_deref() == Some(b"k")));
        let mut heard = Vec::new();
        while heard.len() < 20 {
            heard.extend(follower.next().await?.into_iter().map(|received| received.record));
        }
        assert_eq!(calls(&heard), all);
        // what was read is sent again as it is
        let to = TopicPartition::new(Arc::clone(&world.topic), 1);
        let again = read.iter().map(|record| Outgoing { to: to.clone(), record: record.clone() }).collect();
        assert!(world.bus.produce(again).await.iter().all(Result::is_ok));
        assert_eq!(world.claims.claims().len(), 7, "a claim is named after its message");
    }
    Ok(())
}

async fn a_body_is_kept_before_its_message_is_sent() -> Checked {
    let world = World::new(true).await?;
    world.claims.set_away(true);
    let answers = world.send(0, [call(1, SMALL), call(2, LARGE), call(3, SMALL)]).await;
    assert!(answers[0].is_ok());
    assert!(matches!(&answers[1], Err(BusError::Unavailable(_))), "{answers:?}");
    assert!(matches!(&answers[2], Err(BusError::Unavailable(_))), "it would overtake: {answers:?}");
    assert!(world.send(1, [call(4, SMALL)]).await[0].is_ok(), "another partition does not wait");
    let to = TopicPartition::new(Arc::clone(&world.topic), 0);
    assert_eq!(world.inner.offsets(to, "g").await?.end, 1);
    Ok(())
}

async fn what_is_larger_than_the_most_is_refused() -> Checked {
    let world = World::new(true).await?;
    let answers = world.send(0, [call(1, 1 << 20), call(2, SMALL)]).await;
    assert!(matches!(&answers[0], Err(BusError::Refused(why)) if why.contains("1048576 are the most")), "{answers:?}");
    assert!(answers[1].is_ok());
    // what is no message has nobody who could fetch its body
    let to = TopicPartition::new(Arc::clone(&world.topic), 0);
    let most = world.inner.traits().max_record_bytes;
    let record = Record { value: vec![7; most], ..Record::default() };
    assert!(world.bus.produce(vec![Outgoing { to, record }].into()).await[0].is_ok());
    assert_eq!(world.claims.claims(), []);
    Ok(())
}

async fn a_body_that_is_missing_or_damaged_is_told_with_the_reason() -> Checked {
    for headers in [true, false] {
        for (body, reason) in [(None, "it is not there"), (Some(&b"\"other\""[..]), "it is damaged")] {
            let world = World::new(headers).await?;
            assert!(world.send(0, [call(1, LARGE), call(2, SMALL)]).await.iter().all(Result::is_ok));
            let claim = world.claims.claims()[0];
            world.claims.replace(body);
            let mut consumer = world.consumer().await?;
            let records = read(&mut *consumer, 2).await?;
            let said = why(&records[0]);
            assert!(said.contains(reason) && said.contains(&claim.to_string()), "{said}");
            assert_eq!(calls(&records[1..]), [call(2, SMALL)]);
            // as it came it is sent again, once its body is there
            world.claims.put(claim, call(1, LARGE).payload.into()).await?;
            let to = TopicPartition::new(Arc::clone(&world.topic), 0);
            world.bus.produce(vec![Outgoing { to, record: records[0].clone() }].into()).await.remove(0)?;
            assert_eq!(calls(&read(&mut *consumer, 1).await?), [call(1, LARGE)]);
        }
    }
    Ok(())
}

async fn while_bodies_are_out_of_reach_nothing_is_lost_or_overtaken() -> Checked {
    let world = World::new(true).await?;
    let all: Vec<Call> = (0..6).map(|n| call(n, if n == 2 { LARGE } else { SMALL })).collect();
    assert!(world.send(0, all.clone()).await.iter().all(Result::is_ok));
    world.claims.set_away(true);
    let mut consumer = world.consumer().await?;
    let mut got = read(&mut *consumer, 2).await?;
    for _ in 0..5 {
        let told = consumer.next().await;
        assert!(matches!(told, Err(BusError::Unavailable(_))), "{told:?}");
    }
    world.claims.set_away(false);
    got.extend(read(&mut *consumer, 4).await?);
    assert_eq!(calls(&got), all);
    Ok(())
}

/// A loop that also does other things drops the call each time.
async fn one_who_is_often_interrupted_gets_on() -> Checked {
    let pause = Duration::from_secs(10);
    let world = World::patient(true, pause).await?;
    world.send(0, [call(1, LARGE)]).await;
    world.claims.replace(None);
    let mut consumer = world.consumer().await?;
    for _ in 0..2 {
        for _ in 0..10 {
            assert!(futures_util::poll!(consumer.next()).is_pending());
            world.clock.advance(pause / 10);
        }
    }
    why(&read(&mut *consumer, 1).await?[0]);
    Ok(())
}

async fn what_was_read_of_a_paused_partition_waits() -> Checked {
    let world = World::new(true).await?;
    world.send(0, [call(1, LARGE), call(2, SMALL)]).await;
    world.send(1, [call(3, LARGE)]).await;
    world.claims.set_away(true);
    let mut consumer = world.consumer().await?;
    assert!(consumer.next().await.is_err());
    world.claims.set_away(false);
    let first = TopicPartition::new(Arc::clone(&world.topic), 0);
    consumer.pause(std::slice::from_ref(&first));
    assert_eq!(calls(&read(&mut *consumer, 1).await?), [call(3, LARGE)]);
    consumer.resume(std::slice::from_ref(&first));
    assert_eq!(calls(&read(&mut *consumer, 2).await?), [call(1, LARGE), call(2, SMALL)]);
    // and what was held is forgotten by a seek
    consumer.seek(&first, 1).await?;
    assert_eq!(calls(&read(&mut *consumer, 1).await?), [call(2, SMALL)]);
    Ok(())
}

async fn what_is_no_claim_of_ours_is_not_fetched() -> Checked {
    for headers in [true, false] {
        let world = World::new(headers).await?;
        world.send(0, [call(1, LARGE)]).await;
        let huge = format!("phoenix-claim:{}.{:032x}.{}", uuid(1), 7, u64::MAX);
        for foreign in ["https://example.com/body", "file:///etc/passwd", "phoenix-claim:../../etc/passwd", &huge] {
            let mut outgoing = world.outgoing(1, Call { payload: b"1".to_vec(), ..call(2, SMALL) });
            if headers {
                outgoing.record.headers.push("ce_dataref", foreign.as_bytes());
                outgoing.record.value.clear();
            } else {
                let text = String::from_utf8(outgoing.record.value)?;
                outgoing.record.value =
                    text.replace(",\"data\":1}", &format!(",\"dataref\":\"{foreign}\"}}")).into_bytes();
            }
            world.inner.produce(vec![outgoing].into()).await.remove(0)?;
        }
        let records = read(&mut *world.consumer().await?, 5).await?;
        let said: Vec<String> =
            records.iter().filter(|record| Message::from_record(record).is_err()).map(why).collect();
        assert_eq!(said.len(), 4);
        assert!(said[..3].iter().all(|said| said.contains("nothing else is fetched")), "{said:?}");
        assert!(said[3].contains("are the most that are fetched"), "{said:?}");
    }
    Ok(())
}

async fn a_record_of_a_dead_letter_can_do_without_its_body() -> Checked {
    for headers in [true, false] {
        let world = World::new(headers).await?;
        world.send(0, [call(1, LARGE), call(2, SMALL)]).await;
        let mut consumer = world.consumer().await?;
        let records = read(&mut *consumer, 2).await?;
        assert_eq!(without_body(&records[1]), None, "no claim of it is kept");
        let short = without_body(&records[0]).ok_or("it has a claim")?;
        assert!(short.bytes() < 600);
        assert!(why(&short).contains("messaging.claim_check"), "whoever reads it without the bodies is told");
        let to = TopicPartition::new(Arc::clone(&world.topic), 0);
        world.bus.produce(vec![Outgoing { to, record: short }].into()).await.remove(0)?;
        assert_eq!(calls(&read(&mut *consumer, 1).await?), [call(1, LARGE)]);
    }
    Ok(())
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

async fn a_folder_keeps_bodies_and_nothing_leads_out_of_it() -> Checked {
    let above = TempDir::new()?;
    let folder = above.path().join("deeper").join("claims");
    let claims = FolderClaims::open(&folder)?;
    let bodies: Vec<Vec<u8>> = (0..20_u8).map(|n| vec![n; usize::from(n) * 100]).collect();
    let named: Vec<Claim> = (0..).zip(&bodies).map(|(n, body)| Claim::of(MessageId(uuid(n)), body)).collect();
    for (claim, body) in named.iter().zip(&bodies) {
        assert_eq!(claims.get(*claim).await?, None);
        claims.put(*claim, body.as_slice().into()).await?;
        claims.put(*claim, body.as_slice().into()).await?;
    }
    let other = FolderClaims::open(&folder)?;
    for (claim, body) in named.iter().zip(&bodies) {
        assert_eq!(other.get(*claim).await?.as_ref(), Some(body));
    }
    assert_eq!(files(above.path()).len(), 20);
    assert!(files(above.path()).iter().all(|file| file.starts_with(&folder)));
    // a file that grew is not read as a whole, and is none of the claim
    let grown = files(&folder).into_iter().find(|file| file.to_string_lossy().ends_with(".1900")).ok_or("the last")?;
    std::fs::write(grown, vec![1; 100_000])?;
    let found = claims.get(named[19]).await?.ok_or("it is there")?;
    assert!(found.len() == 1901 && !named[19].fits(&found));
    std::fs::write(above.path().join("file"), "")?;
    let said = FolderClaims::open(above.path().join("file")).err().ok_or("a file is no folder")?.to_string();
    assert!(said.contains("check that it is a folder"), "{said}");
    Ok(())
}

async fn a_folder_forgets_what_is_old() -> Checked {
    let folder = TempDir::new()?;
    let claims = FolderClaims::open(folder.path())?;
    std::fs::write(folder.path().join("README"), "not ours")?;
    std::fs::write(folder.path().join("new").join("left-by-a-crash"), "half")?;
    let (old, kept) = (Claim::of(MessageId(uuid(1)), b"old"), Claim::of(MessageId(uuid(2)), b"kept"));
    claims.put(old, b"old"[..].into()).await?;
    claims.put(kept, b"kept"[..].into()).await?;
    let hour = Duration::from_hours(1);
    let now = std::time::SystemTime::now();
    for file in files(folder.path()).iter().filter(|file| !file.to_string_lossy().contains(&kept.file_name())) {
        std::fs::File::options().append(true).open(file)?.set_modified(now - hour * 3)?;
    }
    let micros = |at: std::time::SystemTime| {
        i64::try_from(at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_micros())
    };
    assert_eq!(claims.expire(micros(now - hour * 4)?).await?, 0);
    assert_eq!(claims.expire(micros(now - hour)?).await?, 2);
    assert_eq!(claims.get(old).await?, None);
    assert_eq!(claims.get(kept).await?.as_deref(), Some(&b"kept"[..]));
    assert!(folder.path().join("README").exists());
    Ok(())
}
