//! The thread that writes: it takes every change that waits, and makes them durable with one write and one sync.

use std::io;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::super::error::failed;
use super::super::files::{Files, LogFile};
use super::entry::{Entry, FORM, Place, grave, of, row};
use super::file::{NAME, NEW, body, frame, read, replay};
use crate::event_store::letters::{Book, Change, Grave};
use crate::event_store::port::StoreError;

/// How many bytes are made durable by one sync at most; a single change is never divided.
const BYTES_A_COMMIT: usize = 4 << 20;
/// How much room is reserved at once.
const ROOM: u64 = 1 << 20;
/// A change, and where the answer goes.
pub(super) type Job = (Change<Vec<u8>>, oneshot::Sender<Result<u64, StoreError>>);

/// What is durable, for those who read.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) book: Book<Place>,
    /// Where the bodies are; `None` until something is written.
    pub(super) file: Option<Arc<dyn LogFile>>,
}

/// What the writer and those who read have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) path: Arc<Path>,
    files: Arc<dyn Files>,
    state: Mutex<State>,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // nothing panics while the lock is held
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the file.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    file: Option<Arc<dyn LogFile>>,
    /// Where the next frame goes.
    end: u64,
    durable: u64,
    reserved: u64,
    /// A file below this size is never written anew.
    small: u64,
    /// At which size it is seen whether to write it anew.
    look_at: u64,
    /// Why nothing is written any more: nobody knows what the disk has.
    broken: Option<StoreError>,
}

impl Writer {
    /// Opens what is there, cuts off what was never acknowledged, and marks the rest as durable.
    pub(super) fn open(files: Arc<dyn Files>, path: Arc<Path>, small: u64) -> Result<Self, StoreError> {
        let found = read(&*files, &path, true)?;
        let shared = Shared { path, files, state: Mutex::default() };
        let mut writer = Self {
            shared: Arc::new(shared),
            file: None,
            end: 0,
            durable: 0,
            reserved: 0,
            small,
            look_at: small,
            broken: None,
        };
        if let Some(found) = found {
            let repair = || {
                // what is behind the end must never be read as frames that follow
                found.file.cut(found.end)?;
                let mut mark = Vec::new();
                if found.durable < found.end {
                    frame(&mut mark, found.end, found.end, &Entry::Mark, &[]);
                }
                found.file.sync()?;
                found.file.write_at(&mark, found.end)?;
                found.file.sync()?;
                Ok(found.end + mark.len() as u64)
            };
            let end = repair().map_err(|e: io::Error| failed(&writer.shared.path, "repair the file `letters`", &e))?;
            (writer.end, writer.durable, writer.reserved) = (end, end, end);
            writer.file = Some(Arc::clone(&found.file));
            *writer.shared.state() = State { book: found.book, file: Some(found.file) };
        }
        Ok(writer)
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Writes until nobody can send any more.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut bytes = size(&first.0);
            let mut group = vec![first];
            while bytes < BYTES_A_COMMIT
                && let Ok(job) = jobs.try_recv()
            {
                bytes += size(&job.0);
                group.push(job);
            }
            let (changes, askers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
            match self.commit(&changes) {
                Ok(counts) => {
                    for (asker, count) in askers.into_iter().zip(counts) {
                        // who does not wait any more is not told
                        let _ = asker.send(Ok(count));
                    }
                }
                Err(error) => {
                    for asker in askers {
                        let _ = asker.send(Err(error.clone()));
                    }
                }
            }
            self.tidy();
        }
    }

    /// Makes changes durable, and shows them to those who read.
    fn commit(&mut self, changes: &[Change<Vec<u8>>]) -> Result<Vec<u64>, StoreError> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => self.rewrite()?,
        };
        let mut bytes = Vec::new();
        for change in changes {
            let (entry, bodies) = of(change);
            frame(&mut bytes, self.end, self.durable, &entry, &bodies);
        }
        let end = self.end + bytes.len() as u64;
        if end > self.reserved {
            let room = end.next_multiple_of(ROOM);
            // a full disk shows while nothing has happened yet
            file.reserve(room).map_err(|e| failed(&self.shared.path, "reserve room for the file `letters`", &e))?;
            self.reserved = room;
        }
        if let Err(error) = file.write_at(&bytes, self.end).and_then(|()| file.sync()) {
            return Err(self.break_for("write and sync the file `letters`", &error));
        }
        // what is shown is what a start would read
        let replayed = replay(&mut self.shared.state().book, &self.shared.path, self.end, &bytes);
        (self.end, self.durable) = (end, end);
        if let Err(error) = &replayed {
            self.broken = Some(error.clone());
        }
        replayed
    }

    /// Refuses everything from now on. What was being written is unknown.
    fn break_for(&mut self, what: &str, error: &io::Error) -> StoreError {
        let told = failed(&self.shared.path, what, error);
        let text = format!("{told}; nothing more is written until the service is started again");
        self.broken = Some(StoreError::Unavailable(text.clone()));
        StoreError::Unknown(text)
    }

    /// Writes the file anew where most of it is finished.
    fn tidy(&mut self) {
        if self.end < self.look_at || self.broken.is_some() {
            return;
        }
        let state = self.shared.state();
        let rows: usize = state.book.rows().map(|held| held.bytes).sum();
        let letters: usize = state.book.graves().map(Grave::size).sum();
        drop(state);
        let live = (rows + letters) as u64;
        if live * 2 > self.end {
            self.look_at = live * 2;
            return;
        }
        match self.rewrite() {
            Ok(_) => self.look_at = self.small.max(self.end * 2),
            Err(error) => {
                tracing::warn!(%error, "the file `letters` was not written anew; it goes on as it is");
                self.look_at = self.end + self.small;
            }
        }
    }

    /// Writes everything that is kept into a new file, which then takes the name of the old one.
    fn rewrite(&mut self) -> Result<Arc<dyn LogFile>, StoreError> {
        let path = Arc::clone(&self.shared.path);
        let says = |error: io::Error| failed(&path, "write the file `letters` anew", &error);
        // only this thread changes it
        let State { book, file: old } = {
            let state = self.shared.state();
            State { book: state.book.clone(), file: state.file.clone() }
        };
        let bodies = |places: Vec<Place>| match &old {
            Some(old) => places.into_iter().map(|place| body(&**old, &path, place)).collect(),
            None => Ok(Vec::new()),
        };
        let files = Arc::clone(&self.shared.files);
        let file = files.create(NEW).map_err(says)?;
        // the first frame is written last: only then it is known where the file ends
        let opening = |end: u64| {
            let mut bytes = Vec::new();
            let entry = Entry::Opening { form: FORM, last: book.last(), synced: end.to_le_bytes() };
            frame(&mut bytes, 0, 0, &entry, &[]);
            bytes
        };
        let start = opening(0).len() as u64;
        let (mut end, mut new) = (start, Book::default());
        new.begin_after(book.last());
        let mut bytes = Vec::new();
        let mut flush = |bytes: &mut Vec<u8>, end: &mut u64, most: usize| {
            if bytes.len() > most {
                file.write_at(bytes, *end).map_err(says)?;
                replay(&mut new, &path, *end, bytes)?;
                *end += bytes.len() as u64;
                bytes.clear();
            }
            Ok::<_, StoreError>(())
        };
        for held in book.rows() {
            let body: Vec<Vec<u8>> = bodies(vec![held.body])?;
            let body: Vec<&[u8]> = body.iter().map(|body| &body[..]).collect();
            frame(&mut bytes, end, 0, &Entry::Put(vec![row(held)]), &body);
            flush(&mut bytes, &mut end, 1 << 20)?;
        }
        for dead in book.graves() {
            let body: Vec<Vec<u8>> = bodies(std::iter::once(dead.body).chain(dead.original).collect())?;
            let body: Vec<&[u8]> = body.iter().map(|body| &body[..]).collect();
            frame(&mut bytes, end, 0, &grave(dead), &body);
            flush(&mut bytes, &mut end, 1 << 20)?;
        }
        flush(&mut bytes, &mut end, 0)?;
        file.write_at(&opening(end), 0).and_then(|()| file.sync()).map_err(says)?;
        // whether the name was given is not known after an error: what is acknowledged later could be in the other file
        if let Err(error) = files.rename(NEW, NAME).and_then(|()| files.sync()) {
            return Err(self.break_for("give the file `letters` its name", &error));
        }
        (self.end, self.durable, self.reserved) = (end, end, end);
        self.file = Some(Arc::clone(&file));
        *self.shared.state() = State { book: new, file: Some(Arc::clone(&file)) };
        Ok(file)
    }
}

/// How many bytes a change brings.
fn size(change: &Change<Vec<u8>>) -> usize {
    of(change).1.iter().map(|body| body.len()).sum()
}
