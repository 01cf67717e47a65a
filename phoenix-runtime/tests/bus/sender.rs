//! A sender of records: many on their way, bounded, in their order, each partition for itself.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use futures_util::poll;
use libtest_mimic::{Failed, Trial};
use phoenix_runtime::bus::sender::{Sender, SenderOptions};
use phoenix_runtime::bus::{Bus, BusError, EmbeddedBus, EmbeddedOptions, Outgoing, Record, TopicPartition};
use phoenix_runtime::clock::SystemClock;
use phoenix_runtime::domain::ports::{BoxFuture, Clock};
use phoenix_runtime::testkit::clock::VirtualClock;
use tokio::sync::mpsc;

use crate::stubborn::{Does, Stubborn};

type Told = (u64, Result<u64, BusError>);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("sender::what_has_no_room_is_left_in_its_order_when_there_is_some", no_room),
        trial("sender::a_sender_that_was_stopped_says_so", stopped),
        trial("sender::a_partition_that_hangs_delays_no_other", hangs),
        trial("sender::what_did_not_fit_into_a_call_follows_when_it_ends", follows),
        trial("sender::a_partition_that_fails_rests_for_itself_and_keeps_its_order", fails),
    ]
}

fn trial<F: Future<Output = Result<(), Failed>> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::test(name, move || tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(test()))
}

/// A sender of numbered records, and what it tells of them.
fn numbered(
    bus: Arc<dyn Bus>,
    options: SenderOptions,
    clock: Arc<dyn Clock>,
) -> (Sender<u64>, BoxFuture<'static, ()>, mpsc::UnboundedReceiver<Told>) {
    let (tell, told) = mpsc::unbounded_channel();
    let (sender, work) = Sender::telling(bus, options, clock, move |answers| {
        for answer in answers {
            // a test that has ended does not wait
            let _ = tell.send(answer);
        }
    });
    (sender, work, told)
}

fn records(to: &TopicPartition, numbers: impl IntoIterator<Item = u64>) -> Vec<(Outgoing, u64)> {
    let outgoing = |number: u64| {
        let record = Record { value: number.to_string().into_bytes(), ..Record::default() };
        Outgoing { to: to.clone(), record }
    };
    numbers.into_iter().map(|number| (outgoing(number), number)).collect()
}

/// A sender with room for about three records, where it sends, and its work.
struct Small {
    sender: Sender<u64>,
    bus: Arc<dyn Bus>,
    to: TopicPartition,
    work: BoxFuture<'static, ()>,
    told: mpsc::UnboundedReceiver<Told>,
}

impl Small {
    async fn new() -> Result<Self, Failed> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::memory_with(EmbeddedOptions::at("sender"), Arc::clone(&clock))?);
        bus.create("t".into(), 1).await?;
        let options = SenderOptions { max_waiting_bytes: 1000, ..SenderOptions::default() };
        let (sender, work, told) = numbered(Arc::clone(&bus), options, clock);
        Ok(Self { sender, bus, to: TopicPartition::new("t", 0), work, told })
    }
}

async fn no_room() -> Result<(), Failed> {
    let Small { sender, bus, to, work, mut told } = Small::new().await?;
    let rest = sender.try_leave(records(&to, 0..20), None);
    assert!((15..20).contains(&rest.len()), "{} had no room", rest.len());
    assert!(sender.try_leave(records(&to, [99]), None).len() == 1, "nor has another one");
    assert!(told.try_recv().is_err(), "nothing is told before the bus has it");
    let later: Vec<_> = rest
        .into_iter()
        .map(|(outgoing, number)| {
            let sender = sender.clone();
            async move { sender.leave(outgoing, number, None).await }
        })
        .collect();
    drop(sender);
    let ((), left) = join(work, join_all(later)).await;
    assert!(left.iter().all(Result::is_ok));
    for number in 0..20 {
        assert_eq!(told.recv().await, Some((number, Ok(number))), "each is told once, with its offset");
    }
    assert_eq!(told.recv().await, None);
    assert_eq!(bus.offsets(to, "g").await?.end, 20);
    Ok(())
}

async fn stopped() -> Result<(), Failed> {
    let Small { sender, bus, to, work, mut told } = Small::new().await?;
    let filling = sender.try_leave(records(&to, 0..4), None);
    assert_eq!(filling.len(), 1, "it is full");
    let (outgoing, number) = records(&to, [7]).remove(0);
    let mut waiting = Box::pin(sender.leave(outgoing.clone(), number, None));
    assert!(poll!(&mut waiting).is_pending());
    drop(work);
    assert!(matches!(waiting.await, Err(BusError::Unknown(_))), "who waits for room is told");
    assert!(matches!(sender.leave(outgoing, number, None).await, Err(BusError::Unknown(_))));
    assert_eq!(sender.try_leave(records(&to, [8]), None).len(), 1, "what is not taken is given back");
    assert_eq!(told.recv().await, None, "what had been left has no answer");
    assert_eq!(bus.offsets(to, "g").await?.end, 0);
    Ok(())
}

/// A sender over two partitions that are stubborn, with calls of three records; nothing happens but by `step`.
struct Two {
    sender: Sender<u64>,
    work: BoxFuture<'static, ()>,
    bus: Arc<Stubborn>,
    clock: VirtualClock,
    told: mpsc::UnboundedReceiver<Told>,
}

impl Two {
    async fn new() -> Result<Self, Failed> {
        let clock = VirtualClock::default();
        let inner = EmbeddedBus::memory(Arc::new(clock.clone()))?;
        inner.create("t".into(), 2).await?;
        let bus = Arc::new(Stubborn::new(Arc::new(inner)));
        let options = SenderOptions { max_batch: 3, ..SenderOptions::default() };
        let (sender, work, told) = numbered(Arc::clone(&bus) as Arc<dyn Bus>, options, Arc::new(clock.clone()));
        Ok(Self { sender, work, bus, clock, told })
    }

    fn leave(&self, partition: u16, numbers: impl IntoIterator<Item = u64>) {
        let rest = self.sender.try_leave(records(&TopicPartition::new("t", partition), numbers), None);
        assert!(rest.is_empty(), "there is room");
    }

    /// Does what can be done now, and gives the numbers and offsets of what the bus has.
    async fn step(&mut self) -> Vec<(u64, u64)> {
        assert!(poll!(&mut self.work).is_pending());
        std::iter::from_fn(|| self.told.try_recv().ok())
            .filter_map(|(number, sent)| Some((number, sent.ok()?)))
            .collect()
    }

    async fn after(&mut self, millis: u64) -> Vec<(u64, u64)> {
        self.clock.advance(Duration::from_millis(millis));
        self.step().await
    }
}

async fn hangs() -> Result<(), Failed> {
    let mut two = Two::new().await?;
    two.bus.now(0, Some(Does::Hang));
    two.leave(0, 0..2);
    two.leave(1, 10..12);
    assert_eq!(two.step().await, [(10, 0), (11, 1)], "those that came with it");
    two.leave(0, 2..3);
    two.leave(1, 12..13);
    assert_eq!(two.step().await, [(12, 2)], "and those that came later");
    two.bus.now(0, None);
    assert_eq!(two.step().await, [(0, 0), (1, 1), (2, 2)]);
    Ok(())
}

async fn follows() -> Result<(), Failed> {
    let mut two = Two::new().await?;
    two.bus.now(0, Some(Does::Hang));
    two.leave(0, 0..8);
    two.leave(1, 10..11);
    assert_eq!(two.step().await, [(10, 0)]);
    two.bus.now(0, None);
    let all: Vec<_> = (0..8).map(|number| (number, number)).collect();
    assert_eq!(two.step().await, all, "nothing else had to happen for it");
    assert_eq!(
        two.bus.calls(),
        [vec![0; 3], vec![1], vec![0; 3], vec![0; 2]],
        "one partition a call, and as much as it takes"
    );
    Ok(())
}

async fn fails() -> Result<(), Failed> {
    let mut two = Two::new().await?;
    two.bus.now(0, Some(Does::Fail));
    two.leave(0, 0..4);
    assert_eq!(two.step().await, []);
    // twenty milliseconds after the first failure, forty after the second one
    for (millis, number) in [(19, 10), (2, 11), (38, 12)] {
        assert_eq!(two.after(millis).await, []);
        two.leave(1, [number]);
        two.leave(0, [number + 10]);
        assert_eq!(two.step().await, [(number, number - 10)], "the other one goes on");
    }
    assert_eq!(two.bus.calls().iter().filter(|of| of[0] == 0).count(), 2, "nothing is tried while it rests");
    two.bus.now(0, None);
    assert_eq!(two.after(2).await, [(0, 0), (1, 1), (2, 2), (3, 3), (20, 4), (21, 5), (22, 6)]);
    Ok(())
}
