//! Partitions that come to a node and go: what the engine as a whole believes to own, and how its shards are told.
//!
//! A partition is taken by raising its epoch, before anything of it is read; so whoever had it can append no more. It is
//! given back by finishing what is open. Both go to every shard, in the order in which they were asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard, mpsc, oneshot, watch};

use crate::domain::id::{SLICES, Slice};
use crate::domain::ports::Clock;
use crate::engine::health::Health;
use crate::event_store::port::{Batch, Epoch, EventStore, Partition, StoreError};

/// How many words may wait for a shard.
const WAITING: usize = 16;

/// How long shards have, after the bound of a give-back, to say that they have let go.
const LET_GO: Duration = Duration::from_secs(1);

/// What an engine owns when it starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Owning {
    /// Every partition: one node alone.
    #[default]
    All,
    /// No partition: somebody deals them, by [`Partitions::take`] and [`Partitions::give_back`].
    Nothing,
}

/// What the shards are told.
pub(crate) enum Control {
    /// These are this node's, under these epochs, with the last sequence numbers of their slices.
    Take(Arc<Taken>, oneshot::Sender<()>),
    /// Nothing new of these is taken; told when everything that is open is finished.
    Leave(Arc<BTreeSet<Partition>>, oneshot::Sender<()>),
    /// Whatever is still open of these is let go.
    Abandon(Arc<BTreeSet<Partition>>, oneshot::Sender<()>),
}

/// Partitions that were acquired, and how far their slices are.
pub(crate) struct Taken {
    pub(crate) epochs: Vec<(Partition, Epoch)>,
    pub(crate) last: BTreeMap<Slice, u64>,
}

impl Taken {
    /// Raises the epochs, and then reads the last sequence numbers.
    pub(crate) async fn acquire(
        store: &dyn EventStore,
        partitions: BTreeSet<Partition>,
        count: u16,
    ) -> Result<Self, StoreError> {
        let slices = (0..SLICES).map(Slice).filter(|slice| partitions.contains(&Partition::of(*slice, count)));
        let slices: Vec<Slice> = slices.collect();
        if partitions.is_empty() {
            return Ok(Self { epochs: Vec::new(), last: BTreeMap::new() });
        }
        let epochs = store.acquire(partitions.into_iter().collect()).await?;
        let last = store.last_sequences(slices).await?;
        Ok(Self { epochs, last })
    }
}

/// What the engine as a whole believes of one partition.
#[derive(Debug, Clone, Copy, Default)]
struct Belief {
    owned: bool,
    /// Whether it was found to be another owner's while it was believed to be owned.
    lost: bool,
    /// The last epoch that was heard of.
    epoch: Epoch,
}

/// What the engine as a whole believes to own.
pub(crate) struct Standing {
    beliefs: Mutex<Vec<Belief>>,
    owned: watch::Sender<Arc<BTreeSet<Partition>>>,
    health: Arc<Health>,
}

impl Standing {
    pub(crate) fn new(count: u16, health: Arc<Health>) -> Self {
        let beliefs = Mutex::new(vec![Belief::default(); usize::from(count)]);
        Self { beliefs, owned: watch::Sender::default(), health }
    }

    fn beliefs(&self) -> MutexGuard<'_, Vec<Belief>> {
        self.beliefs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn epoch(&self, partition: Partition) -> Option<Epoch> {
        self.beliefs().get(usize::from(partition.0)).filter(|belief| belief.owned).map(|belief| belief.epoch)
    }

    fn owns(&self, partition: Partition) -> bool {
        self.beliefs().get(usize::from(partition.0)).is_some_and(|belief| belief.owned)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Belief>)) {
        let mut beliefs = self.beliefs();
        change(&mut beliefs);
        self.health.fenced.store(beliefs.iter().any(|belief| belief.lost), Ordering::Relaxed);
        let owned = (0..).map(Partition).zip(beliefs.iter()).filter(|(_, belief)| belief.owned);
        let owned: BTreeSet<Partition> = owned.map(|(partition, _)| partition).collect();
        self.owned.send_if_modified(|known| {
            let changed = **known != owned;
            if changed {
                *known = Arc::new(owned);
            }
            changed
        });
    }

    /// Every shard acts on these epochs.
    pub(crate) fn taken(&self, epochs: &[(Partition, Epoch)]) {
        self.change(|beliefs| {
            for (partition, epoch) in epochs {
                let Some(belief) = beliefs.get_mut(usize::from(partition.0)) else { continue };
                // a shard may have found out already that the next owner has it
                if !belief.lost || belief.epoch < *epoch {
                    *belief = Belief { owned: true, lost: false, epoch: *epoch };
                }
            }
        });
    }

    fn given_back(&self, partitions: &BTreeSet<Partition>) {
        self.change(|beliefs| {
            for partition in partitions {
                if let Some(belief) = beliefs.get_mut(usize::from(partition.0)) {
                    (belief.owned, belief.lost) = (false, false);
                }
            }
        });
    }

    /// A shard was told that a partition, which it had under this epoch, has another owner.
    pub(crate) fn lost(&self, partition: Partition, epoch: Epoch) {
        self.change(|beliefs| {
            let Some(belief) = beliefs.get_mut(usize::from(partition.0)) else { return };
            // not if it was given back meanwhile: nobody believes in it any more
            if (belief.owned && belief.epoch == epoch) || belief.epoch < epoch {
                *belief = Belief { owned: false, lost: true, epoch };
            }
        });
    }
}

/// The partitions of an engine: taken and given back here. Clones are of the same engine.
#[derive(Clone)]
pub struct Partitions(Arc<Dealt>);

struct Dealt {
    count: u16,
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    standing: Arc<Standing>,
    shards: Vec<mpsc::Sender<Control>>,
    /// One a partition: who takes it, or gives it back, has it.
    turns: Vec<Arc<Turn<()>>>,
}

/// Where the shards are told, and where each of them hears it.
pub(crate) fn controls(shards: usize) -> (Vec<mpsc::Sender<Control>>, Vec<mpsc::Receiver<Control>>) {
    (0..shards).map(|_| mpsc::channel(WAITING)).unzip()
}

impl Partitions {
    pub(crate) fn new(
        count: u16,
        store: Arc<dyn EventStore>,
        clock: Arc<dyn Clock>,
        standing: Arc<Standing>,
        shards: Vec<mpsc::Sender<Control>>,
    ) -> Self {
        let turns = (0..count).map(|_| Arc::default()).collect();
        Self(Arc::new(Dealt { count, store, clock, standing, shards, turns }))
    }

    /// How many there are, of all nodes together; a slice is of the partition [`Partition::of`].
    #[must_use]
    pub fn count(&self) -> u16 {
        self.0.count
    }

    /// Those that this engine believes to own: it changes when they are taken, given back, and found to be another
    /// owner's.
    #[must_use]
    pub fn owned(&self) -> watch::Receiver<Arc<BTreeSet<Partition>>> {
        self.0.standing.owned.subscribe()
    }

    /// Takes partitions: whoever had them can append no more, and commands of their aggregates are decided here when this
    /// returns. Those that this engine has already stay as they are; one that is just being given back waits for that.
    ///
    /// # Errors
    /// A store that does not answer, a partition that does not exist, and an engine that has ended. Then none of those
    /// that were not owned before is owned; try again.
    ///
    /// # Cancel safety
    /// Dropping the future may leave them without an owner until somebody takes them.
    pub async fn take(&self, partitions: impl IntoIterator<Item = Partition>) -> Result<(), StoreError> {
        let Dealt { count, store, standing, .. } = &*self.0;
        let wanted: Vec<Partition> = partitions.into_iter().collect();
        if let Some(index) = wanted.iter().position(|partition| partition.0 >= *count) {
            let reason = format!("partition {}: there are {count}, from 0 on", wanted.get(index).map_or(0, |p| p.0));
            return Err(StoreError::Refused { index, reason });
        }
        let wanted: BTreeSet<Partition> = wanted.into_iter().collect();
        let _turns = self.turns(&wanted).await;
        let missing: BTreeSet<Partition> = wanted.into_iter().filter(|partition| !standing.owns(*partition)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let taken = Arc::new(Taken::acquire(&**store, missing, *count).await?);
        if !self.tell(|done| Control::Take(Arc::clone(&taken), done)).await {
            return Err(StoreError::Unavailable("the engine has ended; nothing is taken by it any more".to_owned()));
        }
        standing.taken(&taken.epochs);
        tracing::info!(partitions = taken.epochs.len(), first = ?taken.epochs.first(), "partitions taken");
        Ok(())
    }

    /// Gives partitions back: new messages for their aggregates are refused at once, what was taken before is finished
    /// and told, and then their aggregates are forgotten. After `bound` what is still open is let go: its callers get
    /// `outcome-unknown` where an append was sent, and `ownership-lost` where nothing was. Says whether all was finished.
    /// Those that this engine does not have are passed over.
    ///
    /// # Cancel safety
    /// Dropping the future leaves them on their way: they are finished without a bound, and nothing new is taken.
    pub async fn give_back(&self, partitions: impl IntoIterator<Item = Partition>, bound: Duration) -> bool {
        let Dealt { count, clock, standing, .. } = &*self.0;
        let partitions: BTreeSet<Partition> = partitions.into_iter().filter(|partition| partition.0 < *count).collect();
        if partitions.is_empty() {
            return true;
        }
        let _turns = self.turns(&partitions).await;
        standing.given_back(&partitions);
        let partitions = Arc::new(partitions);
        let leaving = Box::pin(self.tell(|done| Control::Leave(Arc::clone(&partitions), done)));
        // an engine that has ended has nothing open
        let finished = matches!(select(leaving, clock.sleep(bound)).await, Either::Left(_));
        if !finished {
            tracing::warn!(partitions = partitions.len(), ?bound, "partitions were not finished in time; letting go");
            let abandoned = Box::pin(self.tell(|done| Control::Abandon(Arc::clone(&partitions), done)));
            // a handler that blocks its thread can't be stopped: the next owner raises the epochs all the same
            let _ = select(abandoned, clock.sleep(LET_GO)).await;
        }
        tracing::info!(partitions = partitions.len(), first = ?partitions.first(), finished, "partitions given back");
        finished
    }

    /// The epoch under which this engine believes to own a partition.
    #[must_use]
    pub fn epoch(&self, partition: Partition) -> Option<Epoch> {
        self.0.standing.epoch(partition)
    }

    /// Asks the store whether this is still the partition's epoch: for what is done beside the events and is not fenced by
    /// itself.
    ///
    /// # Errors
    /// A store that does not answer.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn confirm(&self, partition: Partition, epoch: Epoch) -> Result<bool, StoreError> {
        let question = Batch { epochs: vec![(partition, epoch)], records: Vec::new() };
        match self.0.store.append(Arc::new(question)).await {
            Ok(()) => Ok(true),
            // the shards find it out by themselves, with what they have to undo
            Err(StoreError::Fenced { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits for who is about to take or give back any of these; always in their order, so that nobody waits for ever.
    async fn turns(&self, partitions: &BTreeSet<Partition>) -> Vec<OwnedMutexGuard<()>> {
        let mut turns = Vec::with_capacity(partitions.len());
        for partition in partitions {
            if let Some(turn) = self.0.turns.get(usize::from(partition.0)) {
                turns.push(Arc::clone(turn).lock_owned().await);
            }
        }
        turns
    }

    /// Tells every shard, and waits until each has done it. Says whether all have.
    async fn tell(&self, control: impl Fn(oneshot::Sender<()>) -> Control) -> bool {
        let told = self.0.shards.iter().map(|shard| {
            let (done, waits) = oneshot::channel();
            let word = control(done);
            async move { shard.send(word).await.is_ok() && waits.await.is_ok() }
        });
        join_all(told).await.into_iter().all(|done| done)
    }
}

impl fmt::Debug for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partitions({} of {})", self.0.standing.owned.borrow().len(), self.0.count)
    }
}
