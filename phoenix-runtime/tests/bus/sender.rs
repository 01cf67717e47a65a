//! A sender of records: many on their way, bounded, in their order.

use std::sync::Arc;

use futures_util::future::{join, join_all};
use libtest_mimic::{Failed, Trial};
use phoenix_runtime::bus::sender::{Sender, SenderOptions};
use phoenix_runtime::bus::{Bus, BusError, EmbeddedBus, EmbeddedOptions, Outgoing, Record, TopicPartition};
use phoenix_runtime::clock::SystemClock;
use phoenix_runtime::domain::ports::{BoxFuture, Clock};
use tokio::sync::mpsc;

type Told = (u64, Result<u64, BusError>);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("sender::what_has_no_room_is_left_in_its_order_when_there_is_some", no_room),
        trial("sender::a_sender_that_was_stopped_says_so", stopped),
    ]
}

fn trial<F: Future<Output = Result<(), Failed>> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::test(name, move || tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(test()))
}

/// A sender with room for about three records, its work, and where it sends.
async fn sender() -> Result<(Sender, BoxFuture<'static, ()>, Arc<dyn Bus>, TopicPartition), Failed> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::memory_with(EmbeddedOptions::at("sender"), Arc::clone(&clock))?);
    bus.create("t".into(), 1).await?;
    let options = SenderOptions { max_waiting_bytes: 1000, ..SenderOptions::default() };
    let (sender, work) = Sender::new(Arc::clone(&bus), options, clock);
    Ok((sender, work, bus, TopicPartition::new("t", 0)))
}

/// Leaves a record that is told under a number; what is given back leaves it later.
fn leave(
    sender: &Sender,
    to: &TopicPartition,
    number: u64,
    tell: &mpsc::UnboundedSender<Told>,
) -> Option<BoxFuture<'static, ()>> {
    let record = Record { value: number.to_string().into_bytes(), ..Record::default() };
    let tell = tell.clone();
    sender.send_then(Outgoing { to: to.clone(), record }, None, Box::new(move |sent| drop(tell.send((number, sent)))))
}

async fn no_room() -> Result<(), Failed> {
    let (sender, work, bus, to) = sender().await?;
    let (tell, mut told) = mpsc::unbounded_channel();
    let later: Vec<_> = (0..20).filter_map(|number| leave(&sender, &to, number, &tell)).collect();
    assert!((15..20).contains(&later.len()), "{} had no room", later.len());
    assert!(told.try_recv().is_err(), "nothing is told before the bus has it");
    drop((sender, tell));
    join(work, join_all(later)).await;
    for number in 0..20 {
        assert_eq!(told.recv().await, Some((number, Ok(number))), "each is told once, with its offset");
    }
    assert_eq!(told.recv().await, None);
    assert_eq!(bus.offsets(to, "g").await?.end, 20);
    Ok(())
}

async fn stopped() -> Result<(), Failed> {
    let (sender, work, bus, to) = sender().await?;
    let (tell, mut told) = mpsc::unbounded_channel();
    drop(work);
    assert!(leave(&sender, &to, 7, &tell).is_none());
    assert!(matches!(told.recv().await, Some((7, Err(BusError::Unknown(_))))));
    assert_eq!(bus.offsets(to, "g").await?.end, 0);
    Ok(())
}
