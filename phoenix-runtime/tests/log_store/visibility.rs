//! What is not durable yet is nothing for anybody, whoever sent what before whom.

use std::future::poll_fn;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::port::{Partition, Position, StoreError, StoredEvent};
use phoenix_runtime::event_store::{EventStore, LogReader, LogStore};

use crate::disk::{Disk, Faults, Hooked};
use crate::rows::{Rows, dedup, open_small, stream};

const LIMIT: Duration = Duration::from_mins(1);

/// Holds back each sync of the writer.
struct Gate {
    begun: Receiver<()>,
    go_on: Sender<()>,
}

impl Gate {
    /// A log on this disk, whose next syncs wait.
    async fn before(disk: &Disk) -> (LogStore, Self) {
        let ((begins, begun), (go_on, released)) = (channel(), channel::<()>());
        let released = Mutex::new(released);
        let synced = move |_: &str| {
            if std::thread::current().name() == Some("phoenix-log") {
                // once the test is over, nobody waits any more
                let _ = begins.send(());
                let _ = released.lock().unwrap().recv();
            }
        };
        let store = open_small(Hooked { synced: Arc::new(synced), ..Hooked::new(disk.clone()) }).await.unwrap();
        // a test that fails lets go of the gate first, for which the store waits
        (store, Self { begun, go_on })
    }

    /// Waits until something is written, and not synced.
    fn wait(&self) {
        self.begun.recv_timeout(LIMIT).unwrap();
    }

    fn open(&self) {
        self.go_on.send(()).unwrap();
    }
}

async fn is_pending<T>(answer: &mut BoxFuture<'_, T>) -> bool {
    poll_fn(|context| Poll::Ready(answer.as_mut().poll(context).is_pending())).await
}

/// Two who follow all events: one in the owner's process, one in another.
struct Followers<'s> {
    store: &'s LogStore,
    disk: Disk,
    early: LogReader,
    seen: Vec<StoredEvent>,
    behind: [Position; 2],
}

impl Followers<'_> {
    /// Takes what is new, and checks that both have seen the same: so many events.
    async fn see(&mut self, events: usize) {
        let [own, other] = std::mem::take(&mut self.behind);
        let (new, own) = self.store.read_all(own, 1000).await.unwrap();
        let (same, other) = self.early.read_all(other, 1000).await.unwrap();
        assert_eq!(new, same);
        self.behind = [own, other];
        self.seen.extend(new);
        assert_eq!(self.seen.len(), events);
        // and one that begins now
        let late = LogReader::open_on(Arc::new(self.disk.clone()), "log").await.unwrap();
        assert_eq!(late.read_all(Position::default(), 1000).await.unwrap().0.len(), events);
    }
}

#[tokio::test]
async fn nobody_sees_what_is_not_durable_and_nobody_misses_it_later() {
    let disk = Disk::default();
    let (store, gate) = Gate::before(&disk).await;
    let acquired = store.acquire(vec![Partition(0)]);
    gate.wait();
    gate.open();
    acquired.await.unwrap();
    let early = LogReader::open_on(Arc::new(disk.clone()), "log").await.unwrap();
    let mut followers = Followers { store: &store, disk, early, seen: Vec::new(), behind: Default::default() };
    followers.see(0).await;

    let mut rows = Rows::new(3);
    let mut append = |of: &[u64]| {
        let records = of.iter().map(|of| rows.event(*of, 10)).collect();
        store.append(rows.batch(records))
    };
    // the first is on the disk, but not for good; the others, of other slices, wait behind it
    let mut first = append(&[0]);
    gate.wait();
    let mut others = [append(&[1]), append(&[2, 1]), append(&[0])];
    assert!(is_pending(&mut first).await);
    followers.see(0).await;
    assert_eq!(store.read_stream(stream(0), 1, 9).await.unwrap(), []);
    assert_eq!(store.outcomes(vec![(stream(0), dedup(1))]).await.unwrap(), [None]);

    // those who waited are written together
    gate.open();
    first.await.unwrap();
    gate.wait();
    followers.see(1).await;
    for other in &mut others {
        assert!(is_pending(other).await);
    }
    assert_eq!(store.read_stream(stream(0), 1, 9).await.unwrap().len(), 1);
    gate.open();
    for other in others {
        other.await.unwrap();
    }
    followers.see(5).await;

    let mut order: Vec<_> = followers.seen.iter().map(|stored| (stored.slice, stored.sequence)).collect();
    order.sort_unstable();
    order.dedup();
    assert_eq!(order.len(), 5, "each once");
}

#[tokio::test]
async fn a_batch_that_is_lost_was_never_seen() {
    let disk = Disk::default();
    let (store, gate) = Gate::before(&disk).await;
    gate.open();
    store.acquire(vec![Partition(0)]).await.unwrap();
    gate.wait();
    let mut rows = Rows::new(1);
    let records = vec![rows.event(0, 10)];
    let lost = store.append(rows.batch(records));
    gate.wait();
    let early = LogReader::open_on(Arc::new(disk.clone()), "log").await.unwrap();
    assert_eq!(early.read_all(Position::default(), 9).await.unwrap(), (Vec::new(), Position::default()));
    // the power fails here, or the disk does
    disk.set(Faults { sync: true, ..Faults::default() });
    gate.open();
    assert!(matches!(lost.await, Err(StoreError::Unknown(_))));
    assert_eq!(early.read_all(Position::default(), 9).await.unwrap(), (Vec::new(), Position::default()));
    drop((gate, store));
    let store = open_small(disk).await.unwrap();
    assert_eq!(store.read_all(Position::default(), 9).await.unwrap().0, []);
    rows.back_to(&Rows::new(1));
    let records = vec![rows.event(0, 20)];
    store.append(rows.batch(records)).await.unwrap();
    assert_eq!(early.read_all(Position::default(), 9).await.unwrap().0.len(), 1);
}
