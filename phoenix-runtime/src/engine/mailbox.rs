//! What waits for a shard: one bounded lane a priority, and a reserve for asks from inside a handler, which must get
//! through when everything else is full of those who wait for them.

use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::domain::context::CallChain;
use crate::domain::error::Fault;
use crate::domain::error::QueryError;
use crate::domain::id::{AggregateId, Dedup, MessageId, Slice};
use crate::domain::metadata::{Metadata, Priority};
use crate::domain::pending::{Pending, PendingQuestion, Told};
use crate::domain::ports::BoxFuture;

/// A message on its way to an aggregate: a pointer, because it is handed on from the caller to the mailbox, the shard and
/// its batch.
pub(crate) struct Mail(Box<Letter>);

/// Where a message goes.
pub(crate) struct Address {
    /// Index of the aggregate's type in the catalog.
    pub(crate) kind: u16,
    pub(crate) id: AggregateId,
    /// [`identity_hash`](crate::domain::id::identity_hash) of type and id.
    pub(crate) hash: u64,
    /// When its caller stops waiting, on the monotonic time.
    pub(crate) deadline: Option<Duration>,
    /// Whether a handler that is at work waits for it.
    pub(crate) inside: bool,
    /// Whether it may go to another node, if this one does not own the aggregate.
    pub(crate) goes_on: bool,
}

/// What is in a [`Mail`].
pub(crate) struct Letter {
    /// Index of the aggregate's type in the catalog.
    pub(crate) kind: u16,
    pub(crate) id: AggregateId,
    /// [`identity_hash`](crate::domain::id::identity_hash) of type and id.
    pub(crate) hash: u64,
    /// When its caller stops waiting, on the monotonic time.
    pub(crate) deadline: Option<Duration>,
    /// Whether a handler that is at work waits for it.
    pub(crate) inside: bool,
    /// Whether it may go to another node, if this one does not own the aggregate.
    pub(crate) goes_on: bool,
    pub(crate) priority: Priority,
    /// Until when it waits behind a queue that is full; `None` for a place within.
    pub(crate) give_up: Option<Duration>,
    /// Its part of the bytes that a shard may hold.
    pub(crate) room: Option<OwnedSemaphorePermit>,
    /// Its part of the bytes that a lane may hold, where there are several.
    pub(crate) lane_room: Option<OwnedSemaphorePermit>,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    Command(CommandMail),
    Query(Box<dyn PendingQuestion>),
    /// Asks for a snapshot now; told its version when it is durable.
    Snapshot(oneshot::Sender<Result<u64, QueryError>>),
}

/// A command with what the engine knows of it.
pub(crate) struct CommandMail {
    pub(crate) message: MessageId,
    /// The caller's key, or the business key of the command's fields.
    pub(crate) key: Option<String>,
    pub(crate) dedup: Dedup,
    pub(crate) metadata: Option<Arc<Metadata>>,
    pub(crate) chain: CallChain,
    pub(crate) pending: Box<dyn Pending>,
    pub(crate) repeat: Repeat,
    /// Whether an append of it was sent whose outcome nobody knew.
    pub(crate) perhaps_stored: bool,
    /// How large it is, encoded; 0 where that is not known.
    pub(crate) bytes: usize,
}

/// What is known about whether a command was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Its id is new, and it has no key: impossible.
    Never,
    /// It has a key.
    Possible,
    /// Something says that it was there: the store is asked before anything is decided.
    Likely,
    /// The store did not know it when it was asked together with those before it; one of them may have had its key.
    Absent,
    /// The store was asked, and knows nothing of it.
    Excluded,
}

impl Deref for Mail {
    type Target = Letter;

    fn deref(&self) -> &Letter {
        &self.0
    }
}

impl DerefMut for Mail {
    fn deref_mut(&mut self) -> &mut Letter {
        &mut self.0
    }
}

impl Mail {
    pub(crate) fn new(to: Address, body: Body) -> Self {
        let Address { kind, id, hash, deadline, inside, goes_on } = to;
        let priority = Priority::default();
        let (give_up, room, lane_room) = (None, None, None);
        Self(Box::new(Letter { kind, id, hash, deadline, inside, goes_on, priority, give_up, room, lane_room, body }))
    }

    pub(crate) fn open(self) -> Letter {
        *self.0
    }

    /// How much of a shard's bytes it takes, in KiB. Small ones are bounded by their count.
    pub(crate) fn kibibytes(&self) -> u32 {
        match &self.body {
            Body::Command(command) if !self.inside => u32::try_from(command.bytes / KIBIBYTE).unwrap_or(u32::MAX),
            _ => 0,
        }
    }

    pub(crate) fn slice(&self) -> Slice {
        Slice::from_hash(self.hash)
    }

    pub(crate) fn fail(self, fault: Fault) {
        match self.open().body {
            Body::Command(command) => command.pending.tell(Told::Fault(fault)),
            Body::Query(query) => query.tell(Err(QueryError::Fault(fault))),
            Body::Snapshot(told) => {
                // whoever asked may be gone
                let _ = told.send(Err(QueryError::Fault(fault)));
            }
        }
    }
}

const LANES: usize = 4;

const KIBIBYTE: usize = 1024;

/// More is no bound on any machine: 512 GiB.
const MOST_ROOM: u32 = 1 << 29;

/// Where senders leave mail for one shard.
#[derive(Clone)]
pub(crate) struct MailboxHandle {
    lanes: [mpsc::Sender<Mail>; LANES],
    /// What the larger messages may take together, in KiB.
    room: Arc<Semaphore>,
    most_room: u32,
}

/// What became of mail that could not be left.
pub(crate) enum Undelivered {
    Full(Mail),
    Closed(Mail),
}

const fn lane(priority: Priority, reserve: bool) -> usize {
    match (reserve, priority) {
        (true, _) => 0,
        (false, Priority::High) => 1,
        (false, Priority::Normal) => 2,
        (false, Priority::Low) => 3,
    }
}

impl MailboxHandle {
    /// Leaves mail if there is room.
    pub(crate) fn try_send(&self, mut mail: Mail, priority: Priority) -> Result<(), Undelivered> {
        mail.priority = priority;
        let wanted = mail.kibibytes().min(self.most_room);
        if wanted > 0 {
            match Arc::clone(&self.room).try_acquire_many_owned(wanted) {
                Ok(room) => mail.room = Some(room),
                Err(_) => return Err(Undelivered::Full(mail)),
            }
        }
        self.lanes[lane(priority, mail.inside)].try_send(mail).map_err(|e| match e {
            mpsc::error::TrySendError::Full(mail) => Undelivered::Full(mail),
            mpsc::error::TrySendError::Closed(mail) => Undelivered::Closed(mail),
        })
    }

    /// Waits for room until `longest` is over.
    pub(crate) async fn send(
        &self,
        mut mail: Mail,
        priority: Priority,
        longest: BoxFuture<'static, ()>,
    ) -> Result<(), Undelivered> {
        // the share of an attempt that found the lane full
        mail.room = None;
        let wanted = mail.kibibytes().min(self.most_room);
        let lane = &self.lanes[lane(priority, mail.inside)];
        let room = async {
            let room = match wanted {
                0 => None,
                wanted => Some(Arc::clone(&self.room).acquire_many_owned(wanted).await.ok()?),
            };
            Some((room, lane.reserve().await.ok()?))
        };
        let found = match select(pin!(room), longest).await {
            Either::Left((found, _)) => found,
            Either::Right(((), _)) => return Err(Undelivered::Full(mail)),
        };
        let Some((room, place)) = found else { return Err(Undelivered::Closed(mail)) };
        mail.room = room;
        place.send(mail);
        Ok(())
    }
}

/// The shard's end.
pub(crate) struct Mailbox {
    lanes: [mpsc::Receiver<Mail>; LANES],
    closed: bool,
}

/// So many bytes in KiB, as far as they are a bound.
pub(crate) fn room_of(bytes: usize) -> u32 {
    u32::try_from(bytes / KIBIBYTE).unwrap_or(u32::MAX).clamp(1, MOST_ROOM)
}

/// For so many messages of each priority, and so many bytes.
pub(crate) fn mailbox(capacity: usize, bytes: usize) -> (MailboxHandle, Mailbox) {
    let most_room = room_of(bytes);
    let room = Arc::new(Semaphore::new(most_room as usize));
    let pairs: [_; LANES] = std::array::from_fn(|_| mpsc::channel(capacity.max(1)));
    let mut receivers = Vec::with_capacity(LANES);
    let lanes = pairs.map(|(sender, receiver)| {
        receivers.push(receiver);
        sender
    });
    let mut receivers = receivers.into_iter();
    // there is one receiver for each sender; the fallback is a closed lane
    let lanes_in = std::array::from_fn(|_| receivers.next().unwrap_or_else(|| mpsc::channel(1).1));
    (MailboxHandle { lanes, room, most_room }, Mailbox { lanes: lanes_in, closed: false })
}

impl Mailbox {
    /// Takes at most `room` messages, fewer if only the reserve may be opened. High goes before normal before low,
    /// but each lane has a share that the others can't take, so that none starves.
    /// Ready with `false` when nothing can come any more, but through the reserve.
    pub(crate) fn poll_take(
        &mut self,
        cx: &mut TaskContext<'_>,
        into: &mut Vec<Mail>,
        room: usize,
        reserve_only: bool,
    ) -> Poll<bool> {
        let before = into.len();
        let mut ended = 0;
        let shares = [room, room * 8 / 12, room * 3 / 12, room / 12];
        for pass in 0..2 {
            for (number, share) in shares.into_iter().enumerate() {
                let left = room - (into.len() - before);
                let wanted = if pass == 0 { share.max(1).min(left) } else { left };
                if wanted == 0 || (reserve_only && number > 0) {
                    continue;
                }
                let lane = &mut self.lanes[number];
                if let Poll::Ready(0) = lane.poll_recv_many(cx, into, wanted) {
                    ended += usize::from(pass == 0 && number > 0);
                }
            }
        }
        if into.len() > before {
            Poll::Ready(true)
        } else if ended == LANES - 1 {
            self.closed = true;
            Poll::Ready(false)
        } else {
            Poll::Pending
        }
    }

    /// Takes no new mail; what waits can still be taken. The reserve stays open for handlers that are at work.
    pub(crate) fn close(&mut self) {
        for lane in self.lanes.iter_mut().skip(1) {
            lane.close();
        }
    }

    /// Whether nothing can come any more, but through the reserve.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }
}
