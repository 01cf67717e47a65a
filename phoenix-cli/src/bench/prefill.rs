//! Events that are stored before a measurement: what the engine would have written, appended in large batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::ProgressBar;
use phoenix_bench::messages::name;
use phoenix_runtime::domain::aggregate::Aggregate;
use phoenix_runtime::domain::codec::{Codec as _, Json};
use phoenix_runtime::domain::id::{AggregateId, Dedup, MessageId, SLICES, Slice};
use phoenix_runtime::domain::outcome::{Outcome, OutcomeKind};
use phoenix_runtime::domain::ports::{Seed as _, SplitMix};
use phoenix_runtime::engine::options::DEFAULT_PARTITIONS;
use phoenix_runtime::event_store::port::{
    Batch, CommandData, Epoch, EventData, EventStore, Partition, Record, StoreError, StreamId,
};
use xxhash_rust::xxh3::xxh3_64;

use super::error::BenchError;
use super::workload::{Account, deposit, deposited};

/// Records of a batch.
const BATCH: usize = 4096;

/// Writers: each has the slices of a remainder, as shards do.
const WRITERS: u16 = 2;

/// What is stored: the same number of events of each of these accounts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct History {
    /// The number of the first account.
    pub(crate) first: u64,
    pub(crate) accounts: u64,
    pub(crate) events: u64,
}

/// Stores them; the accounts are new.
pub(crate) async fn prefill(
    store: &Arc<dyn EventStore>,
    history: History,
    progress: &ProgressBar,
) -> Result<(), BenchError> {
    let count = store.partitions(DEFAULT_PARTITIONS).await?;
    let partitions = (0..count).map(Partition).collect();
    let epochs: BTreeMap<Partition, Epoch> = store.acquire(partitions).await?.into_iter().collect();
    let last = store.last_sequences((0..SLICES).map(Slice).collect()).await?;
    let done = Arc::new(AtomicU64::new(0));
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        let mut writer = Writer {
            store: Arc::clone(store),
            partitions: count,
            epochs: epochs.clone(),
            sequences: last.clone(),
            random: SplitMix::from_entropy(),
            done: Arc::clone(&done),
        };
        writers.spawn(async move { writer.write(history, number).await });
    }
    let all = history.accounts * history.events;
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            ended = writers.join_next() => match ended {
                Some(ended) => ended??,
                None => return Ok(()),
            },
            _ = tick.tick() => {
                progress.set_message(format!("{} of {all} events stored beforehand", done.load(Ordering::Relaxed)));
            }
        }
    }
}

struct Writer {
    store: Arc<dyn EventStore>,
    partitions: u16,
    epochs: BTreeMap<Partition, Epoch>,
    sequences: BTreeMap<Slice, u64>,
    random: SplitMix,
    done: Arc<AtomicU64>,
}

impl Writer {
    /// Every account gets its next event before any gets the one after it.
    async fn write(&mut self, history: History, number: u16) -> Result<(), StoreError> {
        let aggregate: Arc<str> = Account::NAME.into();
        let mine = (history.first..history.first + history.accounts).filter_map(|account| {
            let name = name(account);
            let slice = Slice::of(&aggregate, &name);
            let stream = StreamId { aggregate: Arc::clone(&aggregate), id: AggregateId::new(name).ok()? };
            (slice.0 % WRITERS == number).then_some((account, stream, slice))
        });
        let mine: Vec<_> = mine.collect();
        let names = ["deposited", "deposit"].map(Arc::<str>::from);
        let mut records = Vec::with_capacity(BATCH);
        for version in 1..=history.events {
            for (account, stream, slice) in &mine {
                records.push(self.record(*account, stream.clone(), *slice, version, &names));
                if records.len() == BATCH {
                    self.append(std::mem::replace(&mut records, Vec::with_capacity(BATCH))).await?;
                }
            }
        }
        self.append(records).await
    }

    async fn append(&self, records: Vec<Record>) -> Result<(), StoreError> {
        let touched: std::collections::BTreeSet<Partition> =
            records.iter().map(|record| Partition::of(record.slice, self.partitions)).collect();
        let epochs = touched.into_iter().filter_map(|p| Some((p, *self.epochs.get(&p)?))).collect();
        let count = records.len() as u64;
        self.store.append(Arc::new(Batch { epochs, records })).await?;
        self.done.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    fn record(
        &mut self,
        account: u64,
        stream: StreamId,
        slice: Slice,
        version: u64,
        [event, command]: &[Arc<str>; 2],
    ) -> Record {
        let sequence = self.sequences.entry(slice).or_default();
        *sequence += 1;
        let message = deposit(account);
        let balance = version * message.amount;
        let time_micros = jiff::Timestamp::now().as_microsecond();
        let random = [self.random.next_u64().to_le_bytes(), self.random.next_u64().to_le_bytes()].concat();
        let random = random.first_chunk::<10>().copied().unwrap_or_default();
        let id = MessageId::generate(time_micros.unsigned_abs() / 1000, random);
        let (mut bytes, mut payload, mut body) = (Vec::new(), Vec::new(), Vec::new());
        // plain structs and a number: JSON has no reason to refuse them
        let _ = Json::encode(&message, &mut bytes);
        let _ = Json::encode(&deposited(message, balance), &mut payload);
        let _ = Json::encode(&balance, &mut body);
        Record {
            stream,
            slice,
            sequence: *sequence,
            time_micros,
            event: Some(EventData { version, name: Arc::clone(event), schema_version: 1, codec: Json::ID, payload }),
            command: Some(Box::new(CommandData {
                id,
                dedup: Dedup::of_id(id),
                name: Arc::clone(command),
                key: None,
                payload_hash: xxh3_64(&bytes),
                outcome: Outcome { kind: OutcomeKind::Replied, version, codec: Json::ID, body },
                correlation_id: None,
                causation_id: None,
            })),
        }
    }
}
