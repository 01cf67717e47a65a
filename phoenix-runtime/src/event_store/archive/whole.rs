//! From stripped events to whole ones.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::block;
use super::port::{Archive, BlockInfo};
use crate::domain::ports::BoxFuture;
use crate::event_store::port::{CommandData, Position, StoreError, StoredEvent, StoredOutcome, StreamId};
use crate::event_store::rules::{self, Room};

/// How many blocks, and how many bytes of them, are kept: who replays a stream page by page, or reads all events, comes
/// back to the same block many times.
const MOST_BLOCKS: usize = 64;
/// See [`MOST_BLOCKS`].
const MOST_BYTES: usize = 16 << 20;

/// Reads one event of a stream again, as the store has it.
pub type ReadAgain =
    Box<dyn Fn(StreamId, u64) -> BoxFuture<'static, Result<Vec<StoredEvent>, StoreError>> + Send + Sync>;

/// Makes stripped events whole, with the blocks of an archive; the last used ones are kept at hand.
pub struct ArchiveReader {
    again: ReadAgain,
    archive: Option<Arc<dyn Archive>>,
    recent: Mutex<VecDeque<Arc<Block>>>,
}

/// A block that was read and checked.
#[derive(Debug)]
struct Block {
    stream: StreamId,
    info: BlockInfo,
    bytes: usize,
    events: Vec<StoredEvent>,
}

impl Block {
    fn is_for(&self, stream: &StreamId, version: u64) -> bool {
        self.info.covers(version) && self.stream == *stream
    }

    fn event(&self, version: u64) -> Option<&StoredEvent> {
        self.events.get(usize::try_from(version.checked_sub(self.info.from)?).ok()?)
    }
}

impl fmt::Debug for ArchiveReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveReader").field("archive", &self.archive).finish_non_exhaustive()
    }
}

impl ArchiveReader {
    /// Reads from an archive, or says that there is none. An event whose block is gone is read again from the store.
    #[must_use]
    pub fn new(archive: Option<Arc<dyn Archive>>, again: ReadAgain) -> Self {
        Self { again, archive, recent: Mutex::default() }
    }

    pub(super) fn archive(&self) -> Option<&dyn Archive> {
        self.archive.as_deref()
    }

    /// Gives the stripped ones among events of a stream their bytes. With these an answer may have no room for the last
    /// ones, which are dropped then.
    ///
    /// # Errors
    /// An archive that does not answer, a block that is missing or damaged, and one that holds other events.
    pub async fn whole(&self, events: &mut Vec<StoredEvent>) -> Result<(), StoreError> {
        self.whole_page(events).await.map(drop)
    }

    /// As [`ArchiveReader::whole`], of all events up to a position, which is put in front of those that are dropped.
    ///
    /// # Errors
    /// As [`ArchiveReader::whole`].
    pub async fn whole_up_to(&self, events: &mut Vec<StoredEvent>, position: &mut Position) -> Result<(), StoreError> {
        for stored in self.whole_page(events).await?.iter().rev() {
            position.0.insert(stored.slice, stored.sequence.saturating_sub(1));
        }
        Ok(())
    }

    /// Gives events their bytes, as many of the first ones as an answer has room for, and takes the others out.
    async fn whole_page(&self, events: &mut Vec<StoredEvent>) -> Result<Vec<StoredEvent>, StoreError> {
        let (mut last, mut room, mut fit) = (None, Room::default(), 0);
        for stored in events.iter_mut() {
            if room.is_full() {
                break;
            }
            self.whole_one(stored, &mut last).await?;
            room.takes(stored.bytes());
            fit += 1;
        }
        Ok(events.split_off(fit))
    }

    async fn whole_one(&self, stored: &mut StoredEvent, last: &mut Option<Arc<Block>>) -> Result<(), StoreError> {
        if !stored.is_archived() {
            return Ok(());
        }
        let (stream, version) = (stored.stream.clone(), stored.event.version);
        let whole = self.event(&stream, version, last).await?;
        if rules::takes_back(stored, &whole) != Ok(true) {
            return Err(self.another(&stream, version));
        }
        *stored = whole;
        Ok(())
    }

    /// Gives the stripped ones among these outcomes their replies.
    pub(super) async fn told(
        &self,
        outcomes: impl Iterator<Item = (StreamId, &mut StoredOutcome)>,
    ) -> Result<(), StoreError> {
        let mut last = None;
        for (stream, outcome) in outcomes {
            let Some(version) = outcome.first_version.filter(|_| outcome.is_archived()) else { continue };
            let whole = self.event(&stream, version, &mut last).await?;
            let same =
                |command: &CommandData| command.dedup == outcome.command.dedup && whole.sequence == outcome.sequence;
            match whole.command.as_deref().filter(|command| same(command)) {
                Some(command) => outcome.command = command.clone(),
                None => return Err(self.another(&stream, version)),
            }
        }
        Ok(())
    }

    /// An event that the store had stripped.
    async fn event(
        &self,
        stream: &StreamId,
        version: u64,
        last: &mut Option<Arc<Block>>,
    ) -> Result<StoredEvent, StoreError> {
        if !last.as_ref().is_some_and(|block| block.is_for(stream, version)) {
            *last = self.find(stream, version).await?;
        }
        if let Some(event) = last.as_ref().and_then(|block| block.event(version)) {
            return Ok(event.clone());
        }
        // it may have been restored, and its block deleted by hand, since the store was read
        let again = (self.again)(stream.clone(), version).await?;
        again.into_iter().next().filter(|stored| !stored.is_archived()).ok_or_else(|| {
            StoreError::Damaged(match self.archive() {
                Some(archive) => format!(
                    "version {version} of {stream} was moved to the archive, and the {} has no block that holds it; \
                     bring that block back from a backup of the archive, or does `archive` name another one than it was \
                     moved to?",
                    archive.name()
                ),
                None => format!(
                    "version {version} of {stream} was moved to an archive, and none is configured: set `archive` to the \
                     one that it was moved to"
                ),
            })
        })
    }

    fn another(&self, stream: &StreamId, version: u64) -> StoreError {
        let name = self.archive().map_or_else(String::new, Archive::name);
        StoreError::Damaged(format!(
            "the archive ({name}) holds another version {version} of {stream} than the store: they are not of one time; \
             bring both back from backups that belong together"
        ))
    }

    /// The block that holds a version.
    async fn find(&self, stream: &StreamId, version: u64) -> Result<Option<Arc<Block>>, StoreError> {
        if let Some(block) = self.recent(stream, version) {
            return Ok(Some(block));
        }
        let Some(archive) = self.archive() else { return Ok(None) };
        let mut bad = None;
        for info in archive.blocks(stream.clone(), version, OVERLAPPING).await? {
            if !info.covers(version) {
                continue;
            }
            match self.read(archive, stream, info).await {
                Ok(Some(block)) => {
                    let block = Arc::new(block);
                    self.remember(Arc::clone(&block));
                    return Ok(Some(block));
                }
                Ok(None) => {}
                // another one may hold the same
                Err(error @ StoreError::Damaged(_)) => bad = Some(error),
                Err(error) => return Err(error),
            }
        }
        bad.map_or(Ok(None), Err)
    }

    async fn read(
        &self,
        archive: &dyn Archive,
        stream: &StreamId,
        info: BlockInfo,
    ) -> Result<Option<Block>, StoreError> {
        let Some(bytes) = archive.get(stream.clone(), info).await? else { return Ok(None) };
        let events = decode(archive, &bytes, stream, info)?;
        Ok(Some(Block { stream: stream.clone(), info, bytes: bytes.len(), events }))
    }

    fn recent(&self, stream: &StreamId, version: u64) -> Option<Arc<Block>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let index = recent.iter().position(|block| block.is_for(stream, version))?;
        let block = recent.remove(index)?;
        recent.push_front(Arc::clone(&block));
        Some(block)
    }

    fn remember(&self, block: Arc<Block>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_front(block);
        let mut bytes = 0;
        let fits = recent.iter().take(MOST_BLOCKS).take_while(|block| {
            bytes += block.bytes;
            bytes <= MOST_BYTES
        });
        let fits = fits.count().max(1);
        recent.truncate(fits);
    }
}

/// How many blocks are tried: more than one hold a version only after attempts from different nodes.
const OVERLAPPING: usize = 8;

/// Reads a block, or says which one is bad and what to do.
pub(super) fn decode(
    archive: &dyn Archive,
    bytes: &[u8],
    stream: &StreamId,
    info: BlockInfo,
) -> Result<Vec<StoredEvent>, StoreError> {
    block::decode(bytes, stream, info).map_err(|bad| {
        StoreError::Damaged(format!(
            "the block of versions {info} of {stream} in the archive, {}, is damaged: {bad}; bring it back from a backup of \
             the archive",
            archive.place(stream, info)
        ))
    })
}
