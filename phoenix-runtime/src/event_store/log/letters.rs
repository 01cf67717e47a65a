//! The inbox and the dead letters of a log: a file of changes beside the segments, and what they come to in memory, but
//! for the bodies, which are read from the file. It is written anew once most of it is finished, and it is larger than a
//! segment; so it stays about as large as what is kept. There is none until something is kept.
//!
//! # Layout
//! - `entry`: a change as it is written
//! - `file`: frames, and what they come to
//! - `writer`: the thread that writes

mod entry;
mod file;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use self::entry::Place;
use self::writer::{Job, Shared, Writer};
use super::error::failed;
use super::files::{Files, LogFile};
use super::{LogReader, LogStore, blocking};
use crate::domain::ports::BoxFuture;
use crate::event_store::letters::{
    Backlog, Book, Change, DeadFilter, DeadLetter, Due, Grave, InboxKey, InboxRow, Letters, ReadLetters, Sealed,
    Standing,
};
use crate::event_store::port::StoreError;

/// The file of a log's owner. Dropping it waits for what was sent to be written.
#[derive(Debug)]
pub(super) struct LetterFile {
    shared: Arc<Shared>,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl LetterFile {
    pub(super) fn open(files: Arc<dyn Files>, path: &Arc<Path>, small: u64) -> Result<Self, StoreError> {
        let writer = Writer::open(files, Arc::clone(path), small)?;
        let shared = writer.shared();
        let (jobs, waiting) = channel();
        let thread = std::thread::Builder::new().name("phoenix-letters".to_owned()).spawn(move || writer.run(&waiting));
        let thread = thread.map_err(|e| failed(path, "start the thread that writes letters", &e))?;
        Ok(Self { shared, jobs: Some(jobs), thread: Some(thread) })
    }

    fn change<T>(
        &self,
        change: Result<Change<Vec<u8>>, StoreError>,
        told: impl FnOnce(u64) -> T + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        // sent at once, so that changes are done in the order in which they were asked for
        let sent = change.map(|change| {
            let (reply, answer) = oneshot::channel();
            let nothing = change.is_empty();
            let sent = nothing || self.jobs.as_ref().is_some_and(|jobs| jobs.send((change, reply)).is_ok());
            (nothing, sent, answer)
        });
        let ended = |what: &str| {
            let path = self.shared.path.display();
            format!("the thread that writes `letters` in `{path}` has ended, and this {what}; restart the service")
        };
        Box::pin(async move {
            match sent? {
                (true, ..) => Ok(told(0)),
                (_, false, _) => Err(StoreError::Unavailable(ended("was not sent"))),
                (_, true, answer) => {
                    answer.await.unwrap_or_else(|_| Err(StoreError::Unknown(ended("was perhaps written")))).map(told)
                }
            }
        })
    }

    /// Finds places under the lock, and reads what is there without it: a file that is written anew stays as it was for
    /// those who have it open.
    fn read<T: Send + 'static, F: Send + 'static>(
        &self,
        find: impl FnOnce(&Book<Place>) -> F,
        read: impl FnOnce(F, &Reading) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let state = self.shared.state();
        let (found, file) = (find(&state.book), state.file.clone());
        drop(state);
        let reading = Reading { path: Arc::clone(&self.shared.path), file };
        Box::pin(blocking(move || read(found, &reading)))
    }
}

impl Drop for LetterFile {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // one that panicked has told its askers
            let _ = thread.join();
        }
    }
}

/// Reads bodies.
struct Reading {
    path: Arc<Path>,
    file: Option<Arc<dyn LogFile>>,
}

impl Reading {
    fn body(&self, place: Place) -> Result<Vec<u8>, StoreError> {
        // without a file nothing is kept
        self.file.as_ref().map_or_else(|| Ok(Vec::new()), |file| file::body(&**file, &self.path, place))
    }

    fn row(&self, held: Sealed<Place>) -> Result<InboxRow, StoreError> {
        Ok(InboxRow { body: self.body(held.body)?, ..held.row })
    }

    fn letter(&self, grave: Grave<Place>) -> Result<DeadLetter, StoreError> {
        let original = grave.original.map(|place| self.body(place)).transpose()?;
        Ok(DeadLetter { body: self.body(grave.body)?, original, ..grave.letter })
    }

    fn letters(&self, graves: Vec<Grave<Place>>) -> Result<Vec<DeadLetter>, StoreError> {
        graves.into_iter().map(|grave| self.letter(grave)).collect()
    }
}

/// The letters of a log that perhaps another process writes, as they are now.
#[derive(Debug)]
struct Look {
    book: Book<Place>,
    path: Arc<Path>,
    file: Option<Arc<dyn LogFile>>,
}

impl Look {
    fn at(files: &dyn Files, path: &Arc<Path>) -> Result<Self, StoreError> {
        let found = file::read(files, path, false)?;
        let (book, file) = found.map_or_else(Default::default, |found| (found.book, Some(found.file)));
        Ok(Self { book, path: Arc::clone(path), file })
    }

    fn reading(&self) -> Reading {
        Reading { path: Arc::clone(&self.path), file: self.file.clone() }
    }
}

impl LogReader {
    fn look<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Look) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        Box::pin(self.read(move |shared| ask(&Look::at(&*shared.files, &shared.path)?)))
    }
}

/// Each question reads the whole file, which is about as large as what is kept.
impl ReadLetters for LogReader {
    fn due(&self, question: Due) -> BoxFuture<'_, Result<Vec<InboxRow>, StoreError>> {
        self.look(move |look| {
            let reading = look.reading();
            look.book.due(&question).into_iter().map(|held| reading.row(held.clone())).collect()
        })
    }

    fn backlog(
        &self,
        topic: Option<Arc<str>>,
    ) -> BoxFuture<'_, Result<BTreeMap<(Arc<str>, u16), Backlog>, StoreError>> {
        self.look(move |look| Ok(look.book.backlog(topic.as_deref())))
    }

    fn dead(&self, filter: DeadFilter, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, StoreError>> {
        self.look(move |look| {
            look.reading().letters(look.book.dead(&filter, after, limit).into_iter().cloned().collect())
        })
    }

    fn dead_letter(&self, number: u64) -> BoxFuture<'_, Result<Option<DeadLetter>, StoreError>> {
        self.look(move |look| {
            look.book.dead_letter(number).map(|grave| look.reading().letter(grave.clone())).transpose()
        })
    }

    fn dead_counts(&self) -> BoxFuture<'_, Result<BTreeMap<String, u64>, StoreError>> {
        self.look(|look| Ok(look.book.dead_counts()))
    }
}

impl ReadLetters for LogStore {
    fn due(&self, question: Due) -> BoxFuture<'_, Result<Vec<InboxRow>, StoreError>> {
        let find = |book: &Book<Place>| book.due(&question).into_iter().cloned().collect::<Vec<_>>();
        self.kept.read(find, |found, reading| found.into_iter().map(|held| reading.row(held)).collect())
    }

    fn backlog(
        &self,
        topic: Option<Arc<str>>,
    ) -> BoxFuture<'_, Result<BTreeMap<(Arc<str>, u16), Backlog>, StoreError>> {
        self.kept.read(|book| book.backlog(topic.as_deref()), |found, _| Ok(found))
    }

    fn dead(&self, filter: DeadFilter, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, StoreError>> {
        let find = |book: &Book<Place>| book.dead(&filter, after, limit).into_iter().cloned().collect();
        self.kept.read(find, |found, reading| reading.letters(found))
    }

    fn dead_letter(&self, number: u64) -> BoxFuture<'_, Result<Option<DeadLetter>, StoreError>> {
        let find = |book: &Book<Place>| book.dead_letter(number).cloned();
        self.kept.read(find, |found, reading| found.map(|grave| reading.letter(grave)).transpose())
    }

    fn dead_counts(&self) -> BoxFuture<'_, Result<BTreeMap<String, u64>, StoreError>> {
        self.kept.read(Book::dead_counts, |found, _| Ok(found))
    }
}

impl Letters for LogStore {
    fn put(&self, rows: Vec<InboxRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.kept.change(Change::put(rows), drop)
    }

    fn note_try(&self, keys: Vec<InboxKey>, due_micros: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.kept.change(Ok(Change::tried(keys, due_micros)), drop)
    }

    fn replace(&self, key: InboxKey, rows: Vec<InboxRow>) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.kept.change(Change::replace(key, rows), |changed| changed > 0)
    }

    fn finish(&self, keys: Vec<InboxKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.kept.change(Ok(Change::finish(keys)), drop)
    }

    fn bury(&self, letters: Vec<DeadLetter>, finished: Vec<InboxKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.kept.change(Change::bury(letters, finished), drop)
    }

    fn amend(&self, number: u64, body: Vec<u8>) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.kept.change(Change::amend(number, body), |changed| changed > 0)
    }

    fn settle(
        &self,
        numbers: Vec<u64>,
        standing: Standing,
        time_micros: i64,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.kept.change(Ok(Change::settle(numbers, standing, time_micros)), |changed| changed)
    }

    fn forget(&self, settled_before_micros: i64) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.kept.change(Ok(Change::Forget(settled_before_micros)), |changed| changed)
    }
}
