//! The event store over several databases: every call goes to the one that has the slice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::future::{join_all, try_join_all};

use crate::domain::id::{AggregateId, Dedup, SLICES, Slice};
use crate::domain::ports::BoxFuture;
use crate::event_store::letters::Letters;
use crate::event_store::port::{
    Batch, Epoch, EventStore, KnownKeys, Lane, Load, Loaded, Partition, Position, Snapshot, SnapshotInfo, StoreError,
    StoredEvent, StoredOutcome, StreamId, fills_page,
};
use crate::event_store::rules;
use crate::event_store::sources::members::{Member, Members};
use crate::event_store::sources::port::Source;
use crate::event_store::sources::standing::{Doubts, Seats, doubts};

/// The lane of the home.
const HOME_LANE: Lane = Lane(0);
/// How often a question follows a slice that moves before it is given up as not available.
const ROUNDS: usize = 4;

/// One event store over several databases. A batch holds slices of one of them only.
#[derive(Debug)]
pub struct SourcesStore {
    members: Members,
    seats: RwLock<Arc<Seats>>,
}

/// Whether an answer counts that was given while nobody had the slice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Frozen {
    Counts,
    Waits,
}

impl SourcesStore {
    /// The store over these databases.
    ///
    /// # Errors
    /// What the home says when it is asked for its map.
    pub async fn open(members: Members) -> Result<Self, StoreError> {
        let (version, map) = members.map().await?;
        let seats = RwLock::new(Arc::new(Seats::new(version, &map, &members)));
        Ok(Self { members, seats })
    }

    pub(super) fn members(&self) -> &Members {
        &self.members
    }

    /// The database that has a slice, as far as is known here.
    pub(super) fn member_of(&self, slice: Slice) -> Option<&Member> {
        self.members.all().get(usize::from(self.seats().of(slice).lane?.0))
    }

    fn seats(&self) -> Arc<Seats> {
        Arc::clone(&self.seats.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the map again.
    async fn refresh(&self) -> Result<Arc<Seats>, StoreError> {
        let (version, map) = self.members.map().await?;
        let new = Arc::new(Seats::new(version, &map, &self.members));
        let mut known = self.seats.write().unwrap_or_else(PoisonError::into_inner);
        if known.version < version {
            *known = new;
        }
        Ok(Arc::clone(&known))
    }

    fn member(&self, lane: Option<Lane>, slice: Slice) -> Result<(Lane, &Member), StoreError> {
        let found = lane.and_then(|lane| Some((lane, self.members.all().get(usize::from(lane.0))?)));
        found.ok_or_else(|| {
            let text = format!(
                "slice {} is on a source that the configuration of this node does not name: add it to `[sources]` and \
                 start the node again",
                slice.0
            );
            StoreError::Unavailable(text)
        })
    }

    async fn doubts(
        &self,
        lane: Lane,
        slices: impl IntoIterator<Item = Slice>,
        seats: &Seats,
    ) -> Result<Doubts, StoreError> {
        doubts(&self.members, lane, slices, seats, async || self.refresh().await).await
    }

    /// Asks the database of one slice, and again where the slice moved meanwhile.
    pub(super) async fn ask<'a, T>(
        &'a self,
        slice: Slice,
        frozen: Frozen,
        question: impl Fn(&'a dyn Source) -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        for _ in 0..ROUNDS {
            let seats = self.seats();
            let (lane, member) = self.member(seats.of(slice).lane, slice)?;
            let answer = question(&*member.source).await;
            let doubts = self.doubts(lane, [slice], &seats).await?;
            if !doubts.gone.is_empty() {
                continue;
            }
            if frozen == Frozen::Waits && !doubts.frozen.is_empty() {
                break;
            }
            return answer.map_err(|e| member.says(e));
        }
        Err(on_its_way(slice))
    }

    /// Asks the databases of many slices, each about its own, all at once, and gives the answers in their order.
    async fn ask_many<'a, Q: Clone, T>(
        &'a self,
        questions: Vec<(Slice, Q)>,
        frozen: Frozen,
        ask: impl Fn(&'a dyn Source, Vec<Q>) -> BoxFuture<'a, Result<Vec<T>, StoreError>>,
    ) -> Result<Vec<T>, StoreError> {
        let mut found: Vec<Option<T>> = questions.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..questions.len()).collect();
        for _ in 0..ROUNDS {
            let seats = self.seats();
            let mut by_lane: BTreeMap<Lane, Vec<usize>> = BTreeMap::new();
            for index in std::mem::take(&mut open) {
                let Some((slice, _)) = questions.get(index) else { continue };
                let (lane, _) = self.member(seats.of(*slice).lane, *slice)?;
                by_lane.entry(lane).or_default().push(index);
            }
            let asked = by_lane.into_iter().map(|(lane, indices)| {
                let of_lane: Vec<_> = indices.iter().filter_map(|index| questions.get(*index).cloned()).collect();
                let (slices, asked): (Vec<Slice>, Vec<Q>) = of_lane.into_iter().unzip();
                let member = self.member(Some(lane), Slice(0));
                let answers = member.map(|(_, member)| (member, ask(&*member.source, asked)));
                let seats = &seats;
                async move {
                    let (member, answers) = answers?;
                    let answers = answers.await.map_err(|e| member.says(e));
                    let doubts = self.doubts(lane, slices.iter().copied(), seats).await?;
                    let answers = if doubts.gone.is_empty() { Some(answers?) } else { answers.ok() };
                    Ok::<_, StoreError>((indices, answers.unwrap_or_default(), doubts))
                }
            });
            for (indices, answers, doubts) in try_join_all(asked).await? {
                let mut answers = answers.into_iter();
                for index in indices {
                    let slice = questions.get(index).map_or(Slice(0), |(slice, _)| *slice);
                    match answers.next() {
                        _ if frozen == Frozen::Waits && doubts.frozen.contains(&slice) => {
                            return Err(on_its_way(slice));
                        }
                        Some(answer) if !doubts.gone.contains(&slice) => found[index] = Some(answer),
                        _ => open.push(index),
                    }
                }
            }
            if open.is_empty() {
                return Ok(found.into_iter().flatten().collect());
            }
        }
        Err(on_its_way(open.first().and_then(|index| questions.get(*index)).map_or(Slice(0), |(slice, _)| *slice)))
    }

    async fn acquire_all(&self, partitions: Vec<Partition>) -> Result<Vec<(Partition, Epoch)>, StoreError> {
        let home = self.members.home();
        let epochs = home.source.acquire(partitions).await.map_err(|e| home.says(e))?;
        let others = self.members.all().iter().skip(1);
        let adopted = others.map(async |member| member.source.adopt(epochs.clone()).await.map_err(|e| member.says(e)));
        // all are waited for, also when one fails: none may be raised later
        join_all(adopted).await.into_iter().collect::<Result<(), _>>()?;
        // the owner before may have moved to databases that this map does not know of; it can append there no more
        self.refresh().await?;
        Ok(epochs)
    }

    async fn append_to(&self, lane: Lane, batch: Arc<Batch>) -> Result<(), StoreError> {
        check_lane(&self.seats(), lane, &batch)?;
        let (_, member) = self.member(Some(lane), Slice(0))?;
        match member.source.append(Arc::clone(&batch)).await {
            Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                // it may have been emptied before it went
                let Ok(seats) = self.refresh().await else { return Err(member.says(error)) };
                if batch.records.is_empty() && lane != HOME_LANE {
                    // the next owner begins when every source has its epochs, the home first
                    let home = self.members.home();
                    return home.source.append(batch).await.map_err(|e| home.says(e));
                }
                if matches!(error, StoreError::Unavailable(_)) {
                    check_lane(&seats, lane, &batch)?;
                }
                Err(member.says(error))
            }
            Err(StoreError::Moved(slices)) => {
                // whoever asks for the lane of a slice next should be told the new one; if the home does not answer,
                // its reads find out
                let _ = self.refresh().await;
                Err(StoreError::Moved(slices))
            }
            done => done.map_err(|e| member.says(e)),
        }
    }

    /// The lane of a batch that does not say it.
    async fn lane_of(&self, batch: &Batch) -> Result<Lane, StoreError> {
        let lanes: Vec<_> = batch.records.iter().map(|record| self.lane(record.slice)).collect();
        let Some(first) = lanes.first() else { return Ok(Lane(0)) };
        if let Some(index) = lanes.iter().position(|lane| lane != first) {
            let fence = Batch { epochs: batch.epochs.clone(), records: Vec::new() };
            self.members.home().source.append(Arc::new(fence)).await?;
            let reason = "its slice is in another database than that of the batch's first record".to_owned();
            return Err(StoreError::Refused { index, reason });
        }
        Ok(*first)
    }

    async fn page(&self, position: Position, limit: usize) -> Result<(Vec<StoredEvent>, Position), StoreError> {
        let mut trouble = None;
        for _ in 0..ROUNDS {
            let seats = self.seats();
            let mut by_lane: Vec<(Lane, Vec<(Slice, u64)>)> = Vec::new();
            for (slice, behind) in rules::reading_order(&position) {
                match self.member(seats.of(slice).lane, slice) {
                    Err(unknown) => trouble = Some(unknown),
                    Ok((lane, _)) => match by_lane.iter_mut().find(|(of, _)| *of == lane) {
                        Some((_, slices)) => slices.push((slice, behind)),
                        None => by_lane.push((lane, vec![(slice, behind)])),
                    },
                }
            }
            let (mut events, mut behind) = (Vec::new(), position.clone());
            let mut again = false;
            for (lane, slices) in by_lane {
                if events.len() >= limit || fills_page(&events) {
                    break;
                }
                match self.part(lane, slices, limit - events.len(), &seats).await {
                    Ok((part, ends, gone)) => {
                        events.extend(part);
                        behind.0.extend(ends);
                        if let Some(slice) = gone.first() {
                            (trouble, again) = (Some(on_its_way(*slice)), true);
                        }
                    }
                    // what the others have is served; one that has nothing must not look like the end
                    Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => trouble = Some(error),
                    Err(error) => return Err(error),
                }
            }
            if !events.is_empty() || trouble.is_none() {
                return Ok((events, behind));
            }
            if !again {
                break;
            }
            trouble = None;
        }
        Err(trouble.unwrap_or_else(|| StoreError::Unavailable("slices are on their way".to_owned())))
    }

    /// The part of a page that one database has, and the slices that it does not have any more.
    async fn part(
        &self,
        lane: Lane,
        slices: Vec<(Slice, u64)>,
        limit: usize,
        seats: &Seats,
    ) -> Result<(Vec<StoredEvent>, BTreeMap<Slice, u64>, BTreeSet<Slice>), StoreError> {
        let (_, member) = self.member(Some(lane), Slice(0))?;
        let asked: Vec<Slice> = slices.iter().map(|(slice, _)| *slice).collect();
        let page = member.source.read_slices(slices, limit).await.map_err(|e| member.says(e));
        let Doubts { gone, .. } = self.doubts(lane, asked, seats).await?;
        let (mut events, mut ends) = match page {
            Err(_) if !gone.is_empty() => Default::default(),
            page => page?,
        };
        events.retain(|stored| !gone.contains(&stored.slice));
        ends.retain(|slice, _| !gone.contains(slice));
        Ok((events, ends, gone))
    }

    async fn ids_of(
        &self,
        aggregate: Arc<str>,
        after: Option<AggregateId>,
        limit: usize,
    ) -> Result<Vec<AggregateId>, StoreError> {
        let mut gone = None;
        for _ in 0..ROUNDS {
            let seats = self.seats();
            let lanes = (0..self.lanes()).map(Lane);
            let all =
                try_join_all(lanes.map(|lane| self.ids_in(lane, &aggregate, after.as_ref(), limit, &seats))).await?;
            gone = all.iter().find_map(|(_, gone)| *gone);
            if gone.is_none() {
                let ids: BTreeSet<AggregateId> = all.into_iter().flat_map(|(ids, _)| ids).collect();
                return Ok(ids.into_iter().take(limit).collect());
            }
        }
        Err(on_its_way(gone.unwrap_or(Slice(0))))
    }

    /// Ids of the slices that one database has, and one slice that it does not have any more.
    async fn ids_in(
        &self,
        lane: Lane,
        aggregate: &Arc<str>,
        after: Option<&AggregateId>,
        limit: usize,
        seats: &Seats,
    ) -> Result<(Vec<AggregateId>, Option<Slice>), StoreError> {
        let (_, member) = self.member(Some(lane), Slice(0))?;
        let here = seats.in_lane(lane);
        let (mut ids, mut after) = (Vec::new(), after.cloned());
        if here.is_empty() {
            return Ok((ids, None));
        }
        while ids.len() < limit {
            let page = match member.source.ids(Arc::clone(aggregate), after, limit).await {
                Ok(page) => page,
                Err(error) => {
                    let doubts = self.doubts(lane, here, seats).await?;
                    let gone = doubts.gone.first().copied().ok_or_else(|| member.says(error))?;
                    return Ok((Vec::new(), Some(gone)));
                }
            };
            let (full, last) = (page.len() == limit, page.last().cloned());
            // rows that are not there yet, or left over, are those of another database
            ids.extend(page.into_iter().filter(|id| seats.of(Slice::of(aggregate, id.as_str())).lane == Some(lane)));
            after = last;
            if !full {
                break;
            }
        }
        ids.truncate(limit);
        let doubts = self.doubts(lane, here, seats).await?;
        Ok((ids, doubts.gone.first().copied()))
    }
}

/// Refuses records of slices that are in another lane.
fn check_lane(seats: &Seats, lane: Lane, batch: &Batch) -> Result<(), StoreError> {
    let is_elsewhere = |slice: &Slice| slice.0 < SLICES && seats.of(*slice).lane != Some(lane);
    let moved: BTreeSet<Slice> = batch.records.iter().map(|record| record.slice).filter(is_elsewhere).collect();
    if moved.is_empty() { Ok(()) } else { Err(StoreError::Moved(moved.into_iter().collect())) }
}

fn on_its_way(slice: Slice) -> StoreError {
    StoreError::Unavailable(format!("slice {} is on its way from one source to another", slice.0))
}

impl EventStore for SourcesStore {
    fn name(&self) -> String {
        let all = self.members.all().iter().map(|member| format!("{}: {}", member.name, member.source.name()));
        format!("sources ({})", all.collect::<Vec<_>>().join("; "))
    }

    fn is_durable(&self) -> bool {
        self.members.all().iter().all(|member| member.source.is_durable())
    }

    fn partitions(&self, wanted: u16) -> BoxFuture<'_, Result<u16, StoreError>> {
        Box::pin(async move {
            let home = self.members.home();
            home.source.partitions(wanted).await.map_err(|e| home.says(e))
        })
    }

    fn acquire(&self, partitions: Vec<Partition>) -> BoxFuture<'_, Result<Vec<(Partition, Epoch)>, StoreError>> {
        Box::pin(self.acquire_all(partitions))
    }

    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.append_to(self.lane_of(&batch).await?, batch).await })
    }

    fn append_in(&self, lane: Lane, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.append_to(lane, batch))
    }

    fn lanes(&self) -> u16 {
        u16::try_from(self.members.all().len()).unwrap_or(u16::MAX)
    }

    fn lane(&self, slice: Slice) -> Lane {
        self.seats.read().unwrap_or_else(PoisonError::into_inner).of(slice).lane.unwrap_or_default()
    }

    fn last_sequences(&self, slices: Vec<Slice>) -> BoxFuture<'_, Result<BTreeMap<Slice, u64>, StoreError>> {
        Box::pin(async move {
            let questions = slices.into_iter().map(|slice| (slice, slice)).collect();
            let last = self.ask_many(questions, Frozen::Counts, |source, slices| {
                Box::pin(async move {
                    let last = source.last_sequences(slices.clone()).await?;
                    Ok(slices.iter().map(|slice| (*slice, last.get(slice).copied().unwrap_or(0))).collect())
                })
            });
            Ok(last.await?.into_iter().collect())
        })
    }

    fn read_stream(
        &self,
        stream: StreamId,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        Box::pin(self.ask(stream.slice(), Frozen::Waits, move |source| source.read_stream(stream.clone(), from, limit)))
    }

    fn read_all(
        &self,
        position: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<(Vec<StoredEvent>, Position), StoreError>> {
        Box::pin(self.page(position, limit))
    }

    fn outcomes(
        &self,
        commands: Vec<(StreamId, Dedup)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredOutcome>>, StoreError>> {
        let questions = commands.into_iter().map(|command| (command.0.slice(), command)).collect();
        Box::pin(self.ask_many(questions, Frozen::Waits, |source, commands| source.outcomes(commands)))
    }

    fn known_keys(&self, stream: StreamId, limit: usize) -> BoxFuture<'_, Result<KnownKeys, StoreError>> {
        Box::pin(self.ask(stream.slice(), Frozen::Waits, move |source| source.known_keys(stream.clone(), limit)))
    }

    fn put_snapshot(&self, snapshot: Snapshot) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.ask(snapshot.stream.slice(), Frozen::Waits, move |source| source.put_snapshot(snapshot.clone())))
    }

    fn snapshot(&self, stream: StreamId, at_most: u64) -> BoxFuture<'_, Result<Option<Snapshot>, StoreError>> {
        Box::pin(self.ask(stream.slice(), Frozen::Waits, move |source| source.snapshot(stream.clone(), at_most)))
    }

    fn load(&self, loads: Vec<Load>) -> BoxFuture<'_, Result<Vec<Loaded>, StoreError>> {
        let questions = loads.into_iter().map(|load| (load.stream.slice(), load)).collect();
        Box::pin(self.ask_many(questions, Frozen::Waits, |source, loads| source.load(loads)))
    }

    fn snapshots(&self, stream: StreamId) -> BoxFuture<'_, Result<Vec<SnapshotInfo>, StoreError>> {
        Box::pin(self.ask(stream.slice(), Frozen::Waits, move |source| source.snapshots(stream.clone())))
    }

    fn drop_snapshots(&self, stream: StreamId, below: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.ask(stream.slice(), Frozen::Waits, move |source| source.drop_snapshots(stream.clone(), below)))
    }

    fn strip(&self, stream: StreamId, up_to: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.ask(stream.slice(), Frozen::Waits, move |source| source.strip(stream.clone(), up_to)))
    }

    fn refill(&self, events: Vec<StoredEvent>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let mut by_slice: BTreeMap<Slice, Vec<StoredEvent>> = BTreeMap::new();
            for stored in events {
                by_slice.entry(stored.slice).or_default().push(stored);
            }
            for (slice, events) in by_slice {
                self.ask(slice, Frozen::Waits, |source| source.refill(events.clone())).await?;
            }
            Ok(())
        })
    }

    fn event_names(&self, aggregate: Arc<str>) -> BoxFuture<'_, Result<BTreeSet<String>, StoreError>> {
        Box::pin(async move {
            let all = self.members.all().iter().map(async |member| {
                member.source.event_names(Arc::clone(&aggregate)).await.map_err(|e| member.says(e))
            });
            Ok(try_join_all(all).await?.into_iter().flatten().collect())
        })
    }

    fn ids(
        &self,
        aggregate: Arc<str>,
        after: Option<AggregateId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AggregateId>, StoreError>> {
        Box::pin(self.ids_of(aggregate, after, limit))
    }

    fn letters(&self) -> Option<&dyn Letters> {
        self.members.home().source.letters()
    }
}
