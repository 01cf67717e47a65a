//! To the archive, and back.

use super::archived::Archived;
use super::block::{FULL, MOST_EVENTS, encode, size};
use super::port::{Archive, BlockInfo};
use super::whole::decode;
use crate::event_store::port::{EventStore as _, StoreError, StoredEvent, StreamId};

/// What was moved to an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// How many events have left the store.
    pub events: u64,
    /// How many blocks were written.
    pub blocks: u64,
    /// The last version that is in the archive now; 0 for none.
    pub up_to: u64,
}

/// What was brought back from an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// How many blocks there were.
    pub blocks: u64,
    /// The last version that they held; 0 for none.
    pub up_to: u64,
}

impl Archived {
    /// Moves a stream's events up to a version to the archive, never those from its oldest snapshot on. Whatever cuts
    /// it short, asking again goes on where it ended.
    ///
    /// # Errors
    /// A store without an archive, a store or an archive that does not answer, and a block in the way that is damaged
    /// or holds other events: then nothing that is not safe in the archive has left the store.
    pub async fn archive(&self, stream: StreamId, up_to: u64) -> Result<Moved, StoreError> {
        self.archive_some(stream, up_to, u64::MAX).await
    }

    /// As [`Archived::archive`], but so many blocks at most.
    pub(super) async fn archive_some(&self, stream: StreamId, up_to: u64, most: u64) -> Result<Moved, StoreError> {
        let archive = self.blocks().archive().ok_or_else(none)?;
        let _alone = self.alone(&stream).await;
        let snapshots = self.store().snapshots(stream.clone()).await?;
        let Some(oldest) = snapshots.last() else { return Ok(Moved::default()) };
        let up_to = up_to.min(oldest.version.saturating_sub(1));
        let mut next = self.first_whole(&stream, up_to).await?;
        let mut moved = Moved { up_to: next - 1, ..Moved::default() };
        let mut blocks = 0;
        while next <= up_to && blocks < most {
            let events = self.page(&stream, next, up_to).await?;
            let Some(last) = events.last().map(|stored| stored.event.version) else { break };
            let last = if let Some(to) = self.kept(archive, &stream, &events).await? {
                to.min(last)
            } else {
                let Some((info, bytes)) = encode(&events) else { break };
                archive.put(stream.clone(), info, bytes).await?;
                moved.blocks += 1;
                last
            };
            moved.events += self.store().strip(stream.clone(), last).await?;
            moved.up_to = last;
            next = last + 1;
            blocks += 1;
        }
        Ok(moved)
    }

    /// Gives a stream's events their bytes back. A type with `archive = true` moves them again after its next snapshot.
    ///
    /// The blocks stay: another node may have found one of them, and strip in the next moment what rests on it.
    ///
    /// # Errors
    /// As [`Archived::archive`]. What was given back until then stays.
    pub async fn restore(&self, stream: StreamId) -> Result<Restored, StoreError> {
        let archive = self.blocks().archive().ok_or_else(none)?;
        let _alone = self.alone(&stream).await;
        let blocks = archive.blocks(stream.clone(), 0, usize::MAX).await?;
        // the newest first, so that what is stripped stays a beginning
        for info in blocks.iter().rev() {
            let Some(bytes) = archive.get(stream.clone(), *info).await? else { continue };
            self.store().refill(decode(archive, &bytes, &stream, *info)?).await?;
        }
        let up_to = blocks.last().map_or(0, |info| info.to);
        Ok(Restored { blocks: blocks.len() as u64, up_to })
    }

    /// The blocks of a stream that are in the archive; none where there is no archive.
    ///
    /// # Errors
    /// An archive that does not answer.
    pub async fn archived_blocks(&self, stream: StreamId) -> Result<Vec<BlockInfo>, StoreError> {
        match self.blocks().archive() {
            Some(archive) => archive.blocks(stream, 0, usize::MAX).await,
            None => Ok(Vec::new()),
        }
    }

    /// The first version that is not stripped: what is stripped is a beginning, and it ends close to `up_to`.
    async fn first_whole(&self, stream: &StreamId, up_to: u64) -> Result<u64, StoreError> {
        let (mut stripped, mut whole) = (0, up_to + 1);
        let mut step = 1;
        while stripped + 1 < whole {
            let probe = match whole.checked_sub(step) {
                Some(probe) if stripped == 0 && probe > 0 => probe,
                _ => stripped + (whole - stripped) / 2,
            };
            let found = self.store().read_stream(stream.clone(), probe, 1).await?;
            if found.first().is_some_and(StoredEvent::is_archived) {
                stripped = probe;
            } else {
                whole = probe;
                step *= 2;
            }
        }
        Ok(whole)
    }

    /// As many events from `from` to `up_to` as a block takes, whole.
    async fn page(&self, stream: &StreamId, from: u64, up_to: u64) -> Result<Vec<StoredEvent>, StoreError> {
        let most = usize::try_from(up_to - from + 1).unwrap_or(usize::MAX).min(MOST_EVENTS);
        let mut events = self.read_stream(stream.clone(), from, most).await?;
        let mut bytes = 0;
        let fits = events.iter().take_while(|stored| {
            let fits = bytes < FULL;
            bytes += size(stored);
            fits
        });
        let fits = fits.count();
        events.truncate(fits);
        Ok(events)
    }

    /// Up to which version the archive holds these events already, after an attempt that was cut short or a restore.
    async fn kept(
        &self,
        archive: &dyn Archive,
        stream: &StreamId,
        events: &[StoredEvent],
    ) -> Result<Option<u64>, StoreError> {
        let Some(first) = events.first().map(|stored| stored.event.version) else { return Ok(None) };
        let found = archive.blocks(stream.clone(), first, 1).await?;
        let Some(info) = found.into_iter().find(|info| info.covers(first)) else { return Ok(None) };
        let Some(bytes) = archive.get(stream.clone(), info).await? else { return Ok(None) };
        match decode(archive, &bytes, stream, info) {
            Ok(held) => {
                let behind = held.iter().skip_while(|stored| stored.event.version < first);
                if behind.zip(events).all(|(held, stored)| held == stored) {
                    return Ok(Some(info.to));
                }
                Err(StoreError::Damaged(format!(
                    "{} holds other versions {info} of {stream} than the store: they are not of one time; move that block \
                     away, and ask again",
                    archive.place(stream, info)
                )))
            }
            // the store has all of it, and writes the same block anew
            Err(bad) if info.from == first && info.to == events.last().map_or(0, |stored| stored.event.version) => {
                tracing::warn!(reason = %bad, "a damaged block of the archive is written anew from the store");
                Ok(None)
            }
            Err(bad) => Err(bad),
        }
    }
}

fn none() -> StoreError {
    StoreError::Unavailable(
        "there is no archive: set `archive = \"table\"` or `archive = \"folder:<path>\"`".to_owned(),
    )
}
