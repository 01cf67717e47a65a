//! Where jobs are done: on two threads, one that writes and one that reads; or, in memory, where they are asked for,
//! so that equal calls have equal outcomes.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::options::EmbeddedOptions;
use super::read::{self, Read};
use super::schema;
use super::shared::Shared;
use super::writer::{Job, Writer};
use crate::domain::ports::Clock;
use crate::event_store::lock::OwnerLock;
use crate::event_store::sqlite::OpenError;

pub(super) enum Worker {
    Inline(Mutex<Writer>),
    Threads(Threads),
}

pub(super) struct Threads {
    jobs: Option<Sender<Job>>,
    reads: Option<Sender<Read>>,
    running: Vec<JoinHandle<()>>,
    // let go last, when nothing of this bus can write any more
    _lock: OwnerLock,
}

impl Worker {
    pub(super) fn inline(
        options: Arc<EmbeddedOptions>,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
    ) -> Result<Self, OpenError> {
        let db = schema::memory(&options)?;
        let path = options.path.clone();
        let writer = Writer::new(db, options, clock, shared).map_err(|e| OpenError::database(&path, &e))?;
        Ok(Self::Inline(Mutex::new(writer)))
    }

    /// Opens the file on the thread that is to write it, and waits until that is done.
    pub(super) async fn threads(
        options: Arc<EmbeddedOptions>,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
    ) -> Result<Self, OpenError> {
        let path = options.path.clone();
        let io = |source| OpenError::Io { path: path.clone(), source };
        let (jobs, waiting) = channel();
        let (opened, is_open) = oneshot::channel();
        let (reader_path, reader_options) = (path.clone(), Arc::clone(&options));
        let write = move || match open(options, clock, shared) {
            Ok((lock, writer)) => {
                if opened.send(Ok(lock)).is_ok() {
                    writer.run(&waiting);
                }
            }
            // who opened it has gone, and does not care
            Err(error) => drop(opened.send(Err(error))),
        };
        let writer = std::thread::Builder::new().name("phoenix-bus-write".to_owned()).spawn(write).map_err(io)?;
        let ended = || OpenError::database(&path, &"the thread that opens it has ended");
        let lock = is_open.await.map_err(|_| ended())??;
        let mut threads = Threads { jobs: Some(jobs), reads: None, running: vec![writer], _lock: lock };
        let reader = schema::reader(&reader_options)?;
        let (reads, waiting) = channel();
        let read = move || read::run(&reader, &reader_path, &waiting);
        threads.running.push(std::thread::Builder::new().name("phoenix-bus-read".to_owned()).spawn(read).map_err(io)?);
        threads.reads = Some(reads);
        Ok(Self::Threads(threads))
    }

    /// Gives a job to who writes. Jobs are done in the order of these calls. Says whether there is anybody to do it.
    pub(super) fn write(&self, job: Job) -> bool {
        match self {
            Self::Inline(writer) => {
                writer.lock().unwrap_or_else(PoisonError::into_inner).write(vec![job]);
                true
            }
            Self::Threads(threads) => threads.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok()),
        }
    }

    /// Gives a question to who reads; without anybody who does, it is dropped, and so is its reply.
    pub(super) fn read(&self, read: Read) {
        match self {
            Self::Inline(writer) => {
                let writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                read::answer(&writer.db, &writer.options.path, read);
            }
            Self::Threads(threads) => drop(threads.reads.as_ref().map(|reads| reads.send(read))),
        }
    }

    pub(super) const fn is_memory(&self) -> bool {
        matches!(self, Self::Inline(_))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        drop((self.jobs.take(), self.reads.take()));
        for thread in self.running.drain(..) {
            // one that panicked has told its askers
            let _ = thread.join();
        }
    }
}

fn open(
    options: Arc<EmbeddedOptions>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
) -> Result<(OwnerLock, Writer), OpenError> {
    let path = options.path.clone();
    let io = |source| OpenError::Io { path: path.clone(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    // only what is there has a name that is the same for everybody
    std::fs::File::options().create(true).append(true).open(&path).map_err(io)?;
    let lock = OwnerLock::take(&path)?;
    let db = schema::writer(&options)?;
    let writer = Writer::new(db, options, clock, shared).map_err(|e| OpenError::database(&path, &e))?;
    Ok((lock, writer))
}
