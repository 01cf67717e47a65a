//! The loop without Phoenix: it reads the same commands with the same client library, inserts the same rows in batches of the
//! same size on two connections, and sends the same replies. It checks nothing, knows no aggregate, and decides nothing.
//!
//! Reading, inserting and replying go on side by side; offsets are committed behind what was acknowledged.
//!
//! # Layout
//! - [`reply`]: replies with the bytes that Phoenix would send
//! - [`librdkafka`], [`kafka_rust`]: reading and replying by either library

mod kafka_rust;
mod librdkafka;
mod reply;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use phoenix_bench::LoadError;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::backlog::Start;
use super::broker::{Broker, Library};
use crate::bench::error::BenchError;
use crate::bench::subject::Rows;

/// How many batches wait between reading and inserting.
const READ_AHEAD: usize = 4;

/// How often offsets are committed, as delivery does.
const COMMIT_EVERY: Duration = Duration::from_millis(200);

/// Without a command, or an acknowledgement, for so long nothing is expected any more.
const PATIENCE: Duration = Duration::from_mins(1);

/// A command, as far as the loop needs it.
#[derive(Debug)]
struct Taken {
    partition: i32,
    offset: i64,
    /// Its id, which the reply repeats.
    id: String,
    /// The aggregate's id.
    subject: String,
    /// Read like any service would, and not needed: the rows are ready.
    #[allow(dead_code, reason = "copying it is part of reading")]
    payload: Vec<u8>,
}

/// Commands whose rows are one transaction.
#[derive(Debug)]
struct Batch {
    number: usize,
    commands: Vec<Taken>,
    /// Replies that were not acknowledged yet.
    open: AtomicUsize,
}

impl Batch {
    fn acknowledged(&self, replies: usize) {
        self.open.fetch_sub(replies, Ordering::AcqRel);
    }
}

/// Reads the topic of commands from its beginning on.
trait Reads: Send {
    /// Takes up to so many of what is there; waits for a short while where nothing is.
    fn take(&mut self, into: &mut Vec<Taken>, most: usize) -> Result<(), BenchError>;

    /// Notes how far each partition was read.
    fn commit(&mut self, next: &BTreeMap<i32, i64>) -> Result<(), BenchError>;
}

/// Sends replies.
trait Replies: Send + Sync {
    /// Sends the reply to each command of a batch, and tells the batch when they are acknowledged. Replies need not be
    /// acknowledged when it returns.
    fn send(&self, batch: &Arc<Batch>) -> Result<(), BenchError>;
}

/// From where to where.
pub(super) struct Way {
    pub(super) commands: Arc<str>,
    pub(super) partitions: u16,
    pub(super) replies: Arc<str>,
    pub(super) group: String,
}

/// Does it until all rows are inserted and all replies acknowledged.
pub(super) async fn run(broker: &Broker, way: &Way, rows: Rows, start: Start) -> Result<(), BenchError> {
    let (reads, replies): (Box<dyn Reads>, Arc<dyn Replies>) = match broker.library {
        Library::RdKafka => (
            Box::new(librdkafka::Reader::new(&broker.hosts, way)?),
            Arc::new(librdkafka::Replier::new(&broker.hosts, way)?),
        ),
        Library::KafkaRust => (
            Box::new(kafka_rust::Reader::new(&broker.hosts, way)?),
            Arc::new(kafka_rust::Replier::new(&broker.hosts, way)?),
        ),
    };
    let (batches, next) = mpsc::channel(READ_AHEAD);
    let Rows { sizes, connections } = rows;
    let reading = tokio::task::spawn_blocking(move || read(reads, &sizes, &batches, &start));
    let next = Arc::new(Mutex::new(next));
    let mut inserting = JoinSet::new();
    for mut connection in connections {
        let (next, replies) = (Arc::clone(&next), Arc::clone(&replies));
        inserting.spawn(async move {
            loop {
                let batch: Option<Arc<Batch>> = next.lock().await.recv().await;
                let Some(batch) = batch else { return Ok::<_, BenchError>(()) };
                connection.insert(batch.number).await?;
                tokio::task::block_in_place(|| replies.send(&batch))?;
            }
        });
    }
    drop(next);
    while let Some(inserted) = inserting.join_next().await {
        inserted??;
    }
    reading.await?
}

/// Reads as many commands as there are rows, batch by batch, and commits what is done.
fn read(
    mut reads: Box<dyn Reads>,
    sizes: &[usize],
    batches: &mpsc::Sender<Arc<Batch>>,
    start: &Start,
) -> Result<(), BenchError> {
    let mut done = Done::default();
    for (number, size) in sizes.iter().enumerate() {
        let mut commands = Vec::with_capacity(*size);
        let mut last = Instant::now();
        while commands.len() < *size {
            let before = commands.len();
            reads.take(&mut commands, *size)?;
            if commands.len() > before {
                start.now();
                last = Instant::now();
            }
            silent(last, "a command")?;
            done.commit(&mut *reads)?;
        }
        let batch = Arc::new(Batch { number, commands, open: AtomicUsize::new(*size) });
        done.open.push_back(Arc::clone(&batch));
        if batches.blocking_send(batch).is_err() {
            // whoever inserts has failed, and says why
            return Ok(());
        }
    }
    let last = Instant::now();
    while !done.open.is_empty() {
        silent(last, "an acknowledgement")?;
        std::thread::sleep(Duration::from_millis(1));
        done.commit(&mut *reads)?;
    }
    Ok(())
}

fn silent(since: Instant, what: &str) -> Result<(), BenchError> {
    if since.elapsed() < PATIENCE {
        return Ok(());
    }
    Err(LoadError::Command(format!("the bare loop waited for {what} for {PATIENCE:?}")).into())
}

/// How far everything is done.
struct Done {
    open: VecDeque<Arc<Batch>>,
    next: BTreeMap<i32, i64>,
    at: Instant,
}

impl Default for Done {
    fn default() -> Self {
        Self { open: VecDeque::new(), next: BTreeMap::new(), at: Instant::now() }
    }
}

impl Done {
    fn commit(&mut self, reads: &mut dyn Reads) -> Result<(), BenchError> {
        if self.at.elapsed() < COMMIT_EVERY {
            while let Some(batch) = self.open.pop_front_if(|batch| batch.open.load(Ordering::Acquire) == 0) {
                self.passed(&batch);
            }
            return Ok(());
        }
        self.at = Instant::now();
        let next = std::mem::take(&mut self.next);
        if next.is_empty() { Ok(()) } else { reads.commit(&next) }
    }

    fn passed(&mut self, batch: &Batch) {
        for command in &batch.commands {
            let next = self.next.entry(command.partition).or_default();
            *next = (*next).max(command.offset + 1);
        }
    }
}
