//! Random worlds: owners that fence each other, movers that die, readers, and databases that fail. Equal seeds give equal
//! worlds; `PHOENIX_WORLD=<seed>` repeats one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use phoenix_runtime::domain::id::Slice;
use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::port::{Batch, Lane, Position, StoreError, StoredEvent};
use phoenix_runtime::event_store::sources::port::Source;
use phoenix_runtime::event_store::sources::{Members, MoveError, Mover, SourcesStore};
use phoenix_runtime::event_store::{EventStore, MemoryStore};
use phoenix_runtime::testkit::gated_source::{Gate, GatedSource};
use phoenix_runtime::testkit::simulation::{Simulation, TaskGroup};

use crate::support::{Owner, id_in, stream};

const WORLDS: u64 = 12;
const SLICES: [u16; 4] = [5, 6, 7, 8];
const NAMES: [&str; 3] = ["home", "b", "c"];
const COMMANDS: u64 = 150;

/// A network between a process and a database: slow, and failing unless the world has healed.
struct Network {
    world: Simulation,
    healed: Arc<AtomicBool>,
}

impl Network {
    fn fails(&self) -> bool {
        !self.healed.load(Ordering::Relaxed) && self.world.once_in(25)
    }

    async fn travel(&self) {
        if self.world.once_in(3) {
            self.world.sleep(Duration::from_micros(1 + self.world.below(500))).await;
        } else {
            self.world.yield_now().await;
        }
    }
}

impl Gate for Network {
    fn before(&self, _: &'static str) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            self.travel().await;
            if self.fails() { Err(StoreError::Unavailable("simulated: refused".to_owned())) } else { Ok(()) }
        })
    }

    fn after(&self, _: &'static str) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            self.travel().await;
            if self.fails() { Err(StoreError::Unknown("simulated: reset".to_owned())) } else { Ok(()) }
        })
    }
}

/// What outlives every process of a world.
#[derive(Clone)]
struct World {
    simulation: Simulation,
    databases: [MemoryStore; 3],
    healed: Arc<AtomicBool>,
    ids: Arc<Vec<String>>,
    /// The number of the next command, and those that were acknowledged.
    next: Arc<AtomicU64>,
    acknowledged: Arc<Mutex<BTreeSet<u64>>>,
    moved: Arc<AtomicU64>,
}

impl World {
    fn new(seed: u64, ids: Arc<Vec<String>>) -> Self {
        let simulation = Simulation::new(seed);
        let (databases, healed) = (Default::default(), Arc::default());
        let (next, acknowledged, moved) = (Arc::default(), Arc::default(), Arc::default());
        Self { simulation, databases, healed, ids, next, acknowledged, moved }
    }

    async fn members(&self) -> Members {
        loop {
            let gate: Arc<dyn Gate> =
                Arc::new(Network { world: self.simulation.clone(), healed: Arc::clone(&self.healed) });
            let [home, b, c] = self
                .databases
                .clone()
                .map(|inner| Arc::new(GatedSource::new(Arc::new(inner), Arc::clone(&gate))) as Arc<dyn Source>);
            let others = BTreeMap::from([("b".to_owned(), b), ("c".to_owned(), c)]);
            if let Ok(members) = Members::open(home, others).await {
                return members;
            }
        }
    }

    async fn store(&self) -> Arc<dyn EventStore> {
        loop {
            if let Ok(store) = SourcesStore::open(self.members().await).await {
                return Arc::new(store);
            }
        }
    }

    /// Until somebody else owns everything.
    async fn own(self) {
        let mut owner = loop {
            match Owner::of(self.store().await).await {
                Ok(owner) => break owner,
                Err(_) => self.simulation.sleep(Duration::from_millis(1)).await,
            }
        };
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let id = &self.ids[usize::try_from(self.simulation.below(self.ids.len() as u64)).unwrap()];
            match self.command(&mut owner, id, number).await {
                Ok(()) => drop(self.acknowledged.lock().unwrap().insert(number)),
                Err(StoreError::Fenced { .. }) => return,
                Err(error) => panic!("an append of the only owner: {error:?}"),
            }
        }
    }

    async fn command(&self, owner: &mut Owner, id: &str, number: u64) -> Result<(), StoreError> {
        let event = !number.is_multiple_of(5);
        'decide: loop {
            let Ok(batch) = owner.decide(id, number, event).await else {
                self.simulation.sleep(Duration::from_millis(1)).await;
                continue;
            };
            let mut uncertain = false;
            let lane: Lane = owner.lane(&batch);
            loop {
                match owner.store.append_in(lane, Arc::clone(&batch)).await {
                    Err(StoreError::Unavailable(_)) => {}
                    Err(StoreError::Unknown(_)) => uncertain = true,
                    Ok(()) => {
                        owner.appended(&batch);
                        return Ok(());
                    }
                    Err(error @ (StoreError::Moved(_) | StoreError::Conflict(_))) => {
                        assert!(uncertain || matches!(error, StoreError::Moved(_)), "{error:?}");
                        if uncertain && self.is_stored(owner, &batch).await {
                            owner.appended(&batch);
                            return Ok(());
                        }
                        self.simulation.sleep(Duration::from_micros(300)).await;
                        continue 'decide;
                    }
                    Err(error) => return Err(error),
                }
                self.simulation.sleep(Duration::from_micros(100)).await;
            }
        }
    }

    async fn is_stored(&self, owner: &Owner, batch: &Batch) -> bool {
        let record = &batch.records[0];
        let question = vec![(record.stream.clone(), record.command.as_ref().unwrap().dedup)];
        loop {
            match owner.store.outcomes(question.clone()).await {
                Ok(found) => return found[0].is_some(),
                Err(_) => self.simulation.sleep(Duration::from_micros(500)).await,
            }
        }
    }

    /// Moves slices back and forth, wherever the one before was killed.
    async fn moves(self) {
        let mover = Mover::new(self.members().await);
        loop {
            let slice = Slice(SLICES[usize::try_from(self.simulation.below(4)).unwrap()]);
            let to = NAMES[usize::try_from(self.simulation.below(3)).unwrap()];
            let done = match self.simulation.below(8) {
                0 => mover.purge(slice, |_| {}).await,
                1 => mover.stay(slice).await,
                _ => mover.move_slice(slice, to, |_| {}).await,
            };
            match done {
                Ok(()) => drop(self.moved.fetch_add(1, Ordering::Relaxed)),
                Err(MoveError::Busy { to, .. }) => drop(mover.move_slice(slice, &to, |_| {}).await),
                Err(MoveError::Store(StoreError::Damaged(text))) => panic!("a mover: {text}"),
                Err(_) => {}
            }
            self.simulation.sleep(Duration::from_micros(self.simulation.below(3000))).await;
        }
    }

    /// Follows all events from the start; checks that each stream comes whole and in order.
    async fn follow(self, seen: Arc<Mutex<Vec<StoredEvent>>>) {
        let store = self.store().await;
        let mut position = Position::default();
        loop {
            let limit = 1 + usize::try_from(self.simulation.below(12)).unwrap();
            if let Ok((page, behind)) = store.read_all(position.clone(), limit).await {
                assert!(page.len() <= limit);
                position = behind;
                seen.lock().unwrap().extend(page);
            }
            self.simulation.sleep(Duration::from_micros(self.simulation.below(800))).await;
        }
    }

    async fn run(self) -> usize {
        let group = || self.simulation.group();
        let spawn = |group: TaskGroup, task: BoxFuture<'static, ()>| self.simulation.spawn(group, task);
        let seen: [Arc<Mutex<Vec<StoredEvent>>>; 2] = Default::default();
        let (readers, owners) = (group(), group());
        for seen in &seen {
            spawn(readers, Box::pin(self.clone().follow(Arc::clone(seen))));
        }
        let mut movers = [group(), group()];
        for mover in movers {
            spawn(mover, Box::pin(self.clone().moves()));
        }
        spawn(owners, Box::pin(self.clone().own()));
        while self.next.load(Ordering::Relaxed) < COMMANDS {
            self.simulation.sleep(Duration::from_micros(self.simulation.below(20_000))).await;
            if self.simulation.once_in(4) {
                spawn(owners, Box::pin(self.clone().own()));
            } else {
                let mover = &mut movers[usize::try_from(self.simulation.below(2)).unwrap()];
                self.simulation.kill(*mover);
                *mover = group();
                spawn(*mover, Box::pin(self.clone().moves()));
            }
        }
        movers.into_iter().chain([owners]).for_each(|killed| self.simulation.kill(killed));
        self.healed.store(true, Ordering::Relaxed);
        let owner = Owner::of(self.store().await).await.unwrap();
        let mover = Mover::new(self.members().await);
        for (slice, moving) in mover.status().await.unwrap().moving {
            mover.move_slice(Slice(slice), &moving.to, |_| {}).await.unwrap();
        }
        self.check(&owner, seen).await
    }

    async fn check(&self, owner: &Owner, seen: [Arc<Mutex<Vec<StoredEvent>>>; 2]) -> usize {
        let mut events = 0;
        let mut numbers = BTreeSet::new();
        for slice in SLICES {
            let lane = usize::from(owner.store.lane(Slice(slice)).0);
            let rows = self.databases[lane].copy_out(Slice(slice), 0, usize::MAX).await.unwrap();
            for (row, sequence) in rows.iter().zip(1..) {
                assert_eq!(row.sequence, sequence, "slice {slice} has no gap");
                let number = row.command.as_ref().unwrap().payload_hash;
                assert!(numbers.insert(number), "command {number} is there twice");
                events += usize::from(row.event.is_some());
            }
            for database in &self.databases {
                let others = database.copy_out(Slice(slice), 0, usize::MAX).await.unwrap();
                assert_eq!(others[..], rows[..others.len()], "what is left over elsewhere is a beginning");
            }
        }
        let missing: Vec<u64> = self.acknowledged.lock().unwrap().difference(&numbers).copied().collect();
        assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
        for id in &*self.ids {
            let versions = owner.store.read_stream(stream(id), 1, usize::MAX).await.unwrap();
            let versions: Vec<u64> = versions.iter().map(|stored| stored.event.version).collect();
            assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>(), "{id}");
        }
        for seen in seen {
            // the reader catches up
            while seen.lock().unwrap().len() < events {
                self.simulation.sleep(Duration::from_millis(1)).await;
            }
            let mut last: BTreeMap<String, u64> = BTreeMap::new();
            for stored in &*seen.lock().unwrap() {
                let before = last.insert(stored.stream.to_string(), stored.event.version).unwrap_or(0);
                assert_eq!(stored.event.version, before + 1, "a reader of {}", stored.stream);
            }
            assert_eq!(last.values().sum::<u64>(), events as u64);
        }
        events
    }
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order() {
    let ids: Vec<String> = SLICES.iter().flat_map(|slice| [id_in(*slice, 0), id_in(*slice, 1)]).collect();
    let ids = Arc::new(ids);
    let seeds = match std::env::var("PHOENIX_WORLD") {
        Ok(seed) => seed.parse::<u64>().unwrap()..=seed.parse().unwrap(),
        Err(_) => 1..=WORLDS,
    };
    let (mut events, mut all_moves) = (0, 0);
    for seed in seeds {
        let world = World::new(seed, Arc::clone(&ids));
        let done = Arc::clone(&world.moved);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.simulation.clone().run(3_000_000, world.run())
        }));
        let Ok(Some(seen)) = run else {
            panic!(
                "this world failed or stood still: PHOENIX_WORLD={seed} cargo test -p phoenix-runtime --test sources random"
            )
        };
        events += seen;
        all_moves += done.load(Ordering::Relaxed);
    }
    assert!(events > 50 && all_moves > 5, "{events} events and {all_moves} moves are no trial");
}
