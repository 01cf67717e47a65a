//! A follower: where it is in its partition.

use std::sync::Arc;

use tokio::sync::{Notify, oneshot};

use super::core::Core;
use super::error::damaged;
use super::group::MemberId;
use super::read::{Piece, Read};
use super::shared::Following;
use crate::bus::port::{BusError, Follower, Received, TopicPartition};
use crate::domain::ports::BoxFuture;

pub(super) struct EmbeddedFollower {
    core: Arc<Core>,
    id: MemberId,
    number: u32,
    of: TopicPartition,
    max_records: usize,
    wake: Arc<Notify>,
    /// What was asked for and not received yet: it outlives the call that asked.
    reading: Option<oneshot::Receiver<Result<Vec<Received>, BusError>>>,
}

impl std::fmt::Debug for EmbeddedFollower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EmbeddedFollower({})", self.of)
    }
}

impl EmbeddedFollower {
    pub(super) fn begin(core: Arc<Core>, of: TopicPartition, max_records: usize) -> Result<Self, BusError> {
        let wake = Arc::new(Notify::new());
        let mut state = core.shared.lock();
        let mark = state.marks.number(&of).and_then(|number| Some((number, state.marks.partitions.get(&number)?.end)));
        let Some((number, next)) = mark else { return Err(BusError::NoTopic(of)) };
        state.last_member += 1;
        let id = state.last_member;
        state.followers.insert((number, id), Following { next, wake: Arc::clone(&wake) });
        drop(state);
        Ok(Self { core, id, number, of, max_records: max_records.max(1), wake, reading: None })
    }

    async fn next_records(&mut self) -> Result<Vec<Received>, BusError> {
        loop {
            if self.reading.is_none() {
                let Some(piece) = self.piece() else {
                    self.wake.notified().await;
                    continue;
                };
                let (reply, answer) = oneshot::channel();
                // if nobody reads any more, the answer says so
                self.core.worker.read(Read { pieces: vec![piece], max_records: self.max_records, reply });
                self.reading = Some(answer);
            }
            let Some(reading) = &mut self.reading else { continue };
            let records = reading.await;
            self.reading = None;
            let lost = |_| Err(BusError::Unavailable(self.core.ended("reads", "was not read")));
            let records = self.received(records.unwrap_or_else(lost)?)?;
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }

    /// Goes on behind these records.
    fn received(&self, records: Vec<Received>) -> Result<Vec<Received>, BusError> {
        let mut state = self.core.shared.lock();
        let earliest = state.marks.partitions.get(&self.number).map_or(0, |mark| mark.earliest);
        let Some(following) = state.followers.get_mut(&(self.number, self.id)) else { return Ok(Vec::new()) };
        let before = following.next;
        let mut received = Vec::with_capacity(records.len());
        for record in records {
            if record.offset != following.next {
                break;
            }
            following.next += 1;
            received.push(record);
        }
        // otherwise it was removed while it was read, and the next piece begins behind that
        if received.is_empty() && before >= earliest {
            return Err(damaged(&self.core.options.path, format_args!("{} lacks the record {before}", self.of)));
        }
        Ok(received)
    }

    /// What is there to be read. What was removed before that is passed over.
    fn piece(&self) -> Option<Piece> {
        let mut state = self.core.shared.lock();
        let (earliest, end) = state.marks.partitions.get(&self.number).map(|mark| (mark.earliest, mark.end))?;
        let following = state.followers.get_mut(&(self.number, self.id))?;
        following.next = following.next.max(earliest);
        let from = following.next;
        (from < end).then(|| Piece { number: self.number, of: self.of.clone(), from, end })
    }
}

impl Drop for EmbeddedFollower {
    fn drop(&mut self) {
        self.core.shared.lock().followers.remove(&(self.number, self.id));
    }
}

impl Follower for EmbeddedFollower {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Received>, BusError>> {
        Box::pin(self.next_records())
    }
}
