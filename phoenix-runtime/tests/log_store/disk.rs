//! A disk in memory that forgets what was not synced, fills up, and fails.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use phoenix_runtime::event_store::log::files::{Files, LogFile};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// How much of a file is really reserved.
const ROOM: usize = 1 << 20;

/// Copies are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    contents: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    faults: Faults,
    largest_reserved: u64,
}

#[derive(Debug, Clone, Default)]
struct Content {
    seen: Vec<u8>,
    synced: Vec<u8>,
}

/// What the disk will do wrong.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// After how many changes the power fails: nothing works from then on.
    pub(crate) power: Option<u64>,
    /// Whether nothing more can be reserved.
    pub(crate) full: bool,
    /// How many bytes all files may have together.
    pub(crate) capacity: Option<usize>,
    /// Whether the next sync of a file fails that is in use: none that a thread makes in advance, at any moment. What it should
    /// have made durable is lost, and the next one says nothing.
    pub(crate) sync: bool,
    /// Whether the next write to a file that is in use fails, in its middle.
    pub(crate) write: bool,
}

/// A row of numbers that look random.
#[derive(Debug, Clone)]
pub(crate) struct Lot(pub(crate) u64);

impl Lot {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

impl Disk {
    pub(crate) fn set(&self, faults: Faults) {
        self.0.lock().unwrap().faults = faults;
    }

    /// What the next process finds after the death of one: everything, but what was not synced is not durable yet.
    pub(crate) fn after_death(&self) -> Self {
        let State { contents, names, durable_names, .. } = &*self.0.lock().unwrap();
        let (contents, names, durable_names) = (contents.clone(), names.clone(), durable_names.clone());
        Self(Arc::new(Mutex::new(State { contents, names, durable_names, ..State::default() })))
    }

    /// What is left once the power is back: each name, length and sector old or new, by lot.
    pub(crate) fn after_power_failure(&self, lot: &mut Lot) -> Self {
        let state = self.0.lock().unwrap();
        let mut files = BTreeMap::new();
        // a folder's changes last in their order, or they do not
        let names = if lot.below(2) == 0 { &state.names } else { &state.durable_names };
        for (name, at) in names {
            let Content { seen, synced } = &state.contents[*at];
            let length = if lot.below(2) == 0 { seen.len() } else { synced.len() };
            let mut left = vec![0; length];
            for (number, sector) in left.chunks_mut(SECTOR).enumerate() {
                let source = if lot.below(2) == 0 { seen } else { synced };
                for (byte, kept) in sector.iter_mut().zip(source.iter().skip(number * SECTOR)) {
                    *byte = *kept;
                }
            }
            files.insert(name.clone(), left);
        }
        drop(state);
        Self::of(files)
    }

    /// A disk with these files, all of them durable.
    pub(crate) fn of(files: BTreeMap<String, Vec<u8>>) -> Self {
        let mut state = State::default();
        for (name, bytes) in files {
            state.names.insert(name, state.contents.len());
            state.contents.push(Content { seen: bytes.clone(), synced: bytes });
        }
        state.durable_names = state.names.clone();
        Self(Arc::new(Mutex::new(state)))
    }

    /// Everything that is on it.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.lock().unwrap();
        state.names.iter().map(|(name, at)| (name.clone(), state.contents[*at].seen.clone())).collect()
    }

    /// How many bytes all files have together.
    pub(crate) fn used(&self) -> usize {
        self.0.lock().unwrap().used()
    }

    /// The largest file that was asked for.
    pub(crate) fn largest_reserved(&self) -> u64 {
        self.0.lock().unwrap().largest_reserved
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        match &mut state.faults.power {
            Some(0) => return Err(io::Error::other("the power has failed")),
            Some(left) => *left -= 1,
            None => {}
        }
        change(&mut state)
    }
}

impl State {
    fn used(&self) -> usize {
        self.names.values().map(|at| self.contents[*at].seen.len()).sum()
    }

    /// Whether a file has the name that it is known by, and not the one under which it is made.
    fn is_in_use(&self, at: usize) -> bool {
        self.names.iter().any(|(name, known)| *known == at && name.strip_suffix(".new").is_none())
    }

    /// Makes a file so long, unless it is longer already.
    fn grow(&mut self, at: usize, length: usize) -> io::Result<()> {
        let more = length.saturating_sub(self.contents[at].seen.len());
        if more > 0 && self.faults.capacity.is_some_and(|most| self.used() + more > most) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let seen = &mut self.contents[at].seen;
        seen.resize(seen.len() + more, 0);
        Ok(())
    }
}

/// Whether a file is a part of the index.
pub(crate) fn is_run(name: &str) -> bool {
    name.strip_suffix(".run").is_some()
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, name.to_owned())
}

impl Files for Disk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let at = self.change(|state| {
            state.contents.push(Content::default());
            let at = state.contents.len() - 1;
            state.names.insert(name.to_owned(), at);
            Ok(at)
        })?;
        Ok(Arc::new(Open { disk: self.clone(), at }))
    }

    fn open(&self, name: &str, _write: bool) -> io::Result<Arc<dyn LogFile>> {
        let at = self.0.lock().unwrap().names.get(name).copied().ok_or_else(|| missing(name))?;
        Ok(Arc::new(Open { disk: self.clone(), at }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|state| {
            let at = state.names.remove(from).ok_or_else(|| missing(from))?;
            state.names.insert(to.to_owned(), at);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|state| state.names.remove(name).map(drop).ok_or_else(|| missing(name)))
    }

    fn sync(&self) -> io::Result<()> {
        self.change(|state| {
            state.durable_names = state.names.clone();
            Ok(())
        })
    }
}

/// A disk on which something else happens first.
pub(crate) struct Hooked {
    pub(crate) disk: Disk,
    /// On which disk a file is opened, if not on this one.
    pub(crate) opened: Box<dyn Fn(&str) -> Option<Disk> + Send + Sync>,
    /// Before a file is made.
    pub(crate) created: Box<dyn Fn(&str) -> io::Result<()> + Send + Sync>,
    /// Before and after a file gets this name.
    pub(crate) renamed: Box<dyn Fn(&str) + Send + Sync>,
    /// Before a file is synced that was opened by this name.
    pub(crate) synced: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Hooked {
    pub(crate) fn new(disk: Disk) -> Self {
        let (opened, created, renamed) = (Box::new(|_: &str| None), Box::new(|_: &str| Ok(())), Box::new(|_: &str| ()));
        Self { disk, opened, created, renamed, synced: Arc::new(|_| ()) }
    }

    fn hooked(&self, name: &str, file: Arc<dyn LogFile>) -> Arc<dyn LogFile> {
        Arc::new(HookedFile { name: name.to_owned(), file, synced: Arc::clone(&self.synced) })
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

impl Files for Hooked {
    fn names(&self) -> io::Result<Vec<String>> {
        self.disk.names()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        (self.created)(name)?;
        Ok(self.hooked(name, self.disk.create(name)?))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn LogFile>> {
        let file = (self.opened)(name).as_ref().unwrap_or(&self.disk).open(name, write)?;
        Ok(self.hooked(name, file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        (self.renamed)(to);
        self.disk.rename(from, to)?;
        (self.renamed)(to);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }
}

struct HookedFile {
    name: String,
    file: Arc<dyn LogFile>,
    synced: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for HookedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl LogFile for HookedFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        self.file.reserve(len)
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.file.cut(len)
    }

    fn sync(&self) -> io::Result<()> {
        (self.synced)(&self.name);
        self.file.sync()
    }
}

#[derive(Debug)]
struct Open {
    disk: Disk,
    at: usize,
}

impl LogFile for Open {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().unwrap().contents[self.at].seen.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.0.lock().unwrap();
        let seen = &state.contents[self.at].seen;
        let rest = seen.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.change(|state| {
            let fails = state.is_in_use(self.at) && std::mem::take(&mut state.faults.write);
            let bytes = if fails { &bytes[..bytes.len() / 2] } else { bytes };
            let start = usize::try_from(offset).unwrap();
            state.grow(self.at, start + bytes.len())?;
            state.contents[self.at].seen[start..start + bytes.len()].copy_from_slice(bytes);
            if fails { Err(io::Error::other("the disk has a bad sector")) } else { Ok(()) }
        })
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        self.disk.change(|state| {
            if state.faults.full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.largest_reserved = state.largest_reserved.max(len);
            // memory is scarcer than a disk
            state.grow(self.at, usize::try_from(len).unwrap().min(ROOM))
        })
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.disk.change(|state| {
            state.contents[self.at].seen.truncate(usize::try_from(len).unwrap());
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.change(|state| {
            let fails = state.is_in_use(self.at) && std::mem::take(&mut state.faults.sync);
            let content = &mut state.contents[self.at];
            if fails {
                content.seen = content.synced.clone();
                return Err(io::Error::other("the disk did not answer"));
            }
            content.synced = content.seen.clone();
            Ok(())
        })
    }
}
