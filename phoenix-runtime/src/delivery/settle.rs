//! What is done with an outcome before its command counts as finished: the reply is sent, or the dead letter kept.

use std::fmt::Write as _;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, mpsc, oneshot};

use super::job::{Finished, Job};
use super::work::Done;
use crate::bus::envelope::{Call, Message, ReplyTo, without_body};
use crate::bus::port::{Bus, BusError, Outgoing, Record, TopicPartition};
use crate::bus::sender::{Answer, Sender};
use crate::domain::error::{Code, Fault};
use crate::domain::id::{MessageId, Slice};
use crate::domain::pending::NamedAnswer;
use crate::domain::ports::{BoxFuture, Clock, Seed, next_message_id};
use crate::engine::ownership::Partitions;
use crate::event_store::letters::{DeadLetter, InboxKey, MOST_BODY_BYTES, Standing};
use crate::event_store::port::{Epoch, Partition};
use crate::event_store::{EventStore, StoreError};

/// The encoding of a record in a dead letter: JSON of key, headers and value.
pub(super) const CODEC: u8 = 1;
/// The first and the longest pause between two attempts to keep a dead letter.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// What comes back with the answer of the bus.
#[derive(Debug)]
pub(super) enum Ticket {
    /// It was a reply.
    Reply(Reply),
    /// Somebody waits for it.
    One(oneshot::Sender<Answer>),
}

/// What is left of a command when its reply goes.
#[derive(Debug)]
pub(super) struct Reply {
    of: Finished,
    id: MessageId,
    to: ReplyTo,
}

impl From<oneshot::Sender<Answer>> for Ticket {
    fn from(asked: oneshot::Sender<Answer>) -> Self {
        Self::One(asked)
    }
}

/// Tells of answers of the bus that came together.
pub(super) fn answered(tell: mpsc::UnboundedSender<Done>) -> impl FnMut(Vec<(Ticket, Answer)>) + Send + 'static {
    move |answers| {
        let mut settled = Vec::with_capacity(answers.len());
        for (ticket, answer) in answers {
            match ticket {
                Ticket::Reply(Reply { of, id, to }) => {
                    replied(id, &to, answer);
                    settled.push(of);
                }
                Ticket::One(asked) => {
                    // whoever waits may be gone
                    let _ = asked.send(answer);
                }
            }
        }
        if !settled.is_empty() {
            let _ = tell.send(Done::Replied(settled));
        }
    }
}

/// What outcomes need.
#[derive(Debug, Clone)]
pub(super) struct Settling {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) sender: Sender<Ticket>,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) partitions: Partitions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) seed: Arc<dyn Seed>,
    /// Where dead letters go beside the store.
    pub(super) graveyard: TopicPartition,
    pub(super) reply_timeout: Duration,
}

/// Why a record came to no outcome.
#[derive(Debug, Clone)]
pub(super) struct Dead {
    pub(super) code: Code,
    pub(super) reason: String,
    pub(super) tries: u32,
}

/// Where a record is from that came to no outcome.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) topic: Arc<str>,
    pub(super) partition: u16,
    pub(super) offset: u64,
    /// Held while a letter of the partition is being kept: they are replayed in the order in which they were kept, so one
    /// that has to be tried again is overtaken by none.
    pub(super) turn: Arc<Turn<()>>,
    /// Gone with the assignment.
    pub(super) alive: Weak<()>,
}

impl Origin {
    /// Whether the partition was let go since.
    fn is_over(&self) -> bool {
        self.alive.strong_count() == 0
    }
}

/// A record that is to be a dead letter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Burial<'a> {
    pub(super) origin: &'a Origin,
    pub(super) record: &'a Record,
    /// What it is, where it could be read.
    pub(super) call: Option<&'a Call>,
    pub(super) dead: &'a Dead,
    /// The row of the inbox that has nothing else.
    pub(super) row: Option<&'a InboxKey>,
}

/// Who has a dead letter.
#[derive(Debug)]
enum Keeper {
    Store,
    /// The topic of dead letters alone.
    Topic,
    Nowhere(BusError),
}

impl Settling {
    /// Sends the answer to who wants it. It is stored under the command's key or id, so a reply that can't be sent is told
    /// to whoever repeats the command.
    pub(super) async fn reply(&self, job: &Job, answer: NamedAnswer) {
        if let Some((outgoing, Reply { id, to, .. })) = self.outgoing(job, answer) {
            let sent = self.send(outgoing).await;
            replied(id, &to, sent);
        }
    }

    /// Sends replies together, without a future for each. What is given back leaves one as soon as there is room for it.
    pub(super) fn send_all(&self, replies: Vec<(Outgoing, Ticket)>) -> impl Iterator<Item = BoxFuture<'static, Done>> {
        let within = Some(self.reply_timeout);
        self.sender.try_leave(replies, within).into_iter().map(move |(outgoing, ticket)| {
            let sender = self.sender.clone();
            let later: BoxFuture<'static, Done> = Box::pin(async move {
                if let Err(error) = sender.leave(outgoing, ticket, within).await {
                    tracing::debug!(%error, "a reply was not sent: its command comes again");
                }
                Done::Over
            });
            later
        })
    }

    /// The reply to whoever wants one.
    pub(super) fn outgoing(&self, job: &Job, answer: NamedAnswer) -> Option<(Outgoing, Reply)> {
        let to = job.call.reply_to.clone()?;
        let id = next_message_id(&*self.clock, &*self.seed);
        let traits = self.bus.traits();
        let reply = |answer| {
            let key = job.call.subject.clone().into_bytes();
            Message::record_of_reply(id, &job.call, answer, Some(key), traits)
        };
        let mut record = reply(answer);
        if record.bytes() > traits.max_record_bytes {
            let text =
                format!("it is done, and its reply of {} bytes is more than the bus takes: query it", record.bytes());
            record = reply(Err(Fault::new(Code::TooLarge, text).into()));
        }
        Some((Outgoing { to: to.0.clone(), record }, Reply { of: Finished::of(job), id: job.call.id, to }))
    }

    async fn send(&self, outgoing: Outgoing) -> Result<u64, BusError> {
        self.sender.send(outgoing, Some(self.reply_timeout)).await?.await
    }

    /// Keeps a record that nobody can do, as soon as this node owns its partition; unless that is gone for good.
    pub(super) async fn bury_unread(&self, burial: Burial<'_>, mut epoch: Option<Epoch>) {
        let mut owned = self.partitions.owned();
        let turn = burial.origin.turn.lock().await;
        let keeper = loop {
            if let Some(keeper) = self.keep(burial, epoch).await {
                break keeper;
            }
            tokio::select! {
                Ok(()) = owned.changed() => {}
                () = self.clock.sleep(MAX_PAUSE) => {}
            }
            if burial.origin.is_over() {
                return;
            }
            epoch = self.partitions.epoch(Partition(burial.origin.partition));
        };
        drop(turn);
        self.announce(burial, keeper).await;
    }

    /// Keeps a record that came to no outcome, in the store and on the topic of dead letters, until the store has it, or
    /// the topic where the store does not take it; and removes the row of the inbox that has nothing else. False where the
    /// node owns its partition no longer: what failed here is perhaps done there.
    pub(super) async fn bury(&self, burial: Burial<'_>, epoch: Option<Epoch>) -> bool {
        let turn = burial.origin.turn.lock().await;
        let keeper = self.keep(burial, epoch).await;
        drop(turn);
        let Some(keeper) = keeper else { return false };
        self.announce(burial, keeper).await;
        true
    }

    /// `None` where the node owns the partition no longer.
    async fn keep(&self, burial: Burial<'_>, epoch: Option<Epoch>) -> Option<Keeper> {
        let Origin { topic, partition, offset, .. } = burial.origin;
        let mut pause = FIRST_PAUSE;
        let mut is_refused = self.store.letters().is_none();
        loop {
            if burial.origin.is_over() {
                return None;
            }
            // as late as can be: a node that was frozen meanwhile knows nothing of its successor
            match self.owns(Partition(*partition), epoch).await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    tracing::warn!(%error, "can't ask who owns the partition of a dead letter; trying again");
                    self.clock.sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                    continue;
                }
            }
            if let Some(letters) = self.store.letters().filter(|_| !is_refused) {
                match letters.bury(vec![self.letter(burial)], burial.row.cloned().into_iter().collect()).await {
                    Ok(()) => return Some(Keeper::Store),
                    Err(StoreError::Refused { reason, .. }) => {
                        tracing::error!(%topic, partition, offset, reason, "the store does not take the dead letter: it is on the topic alone");
                        is_refused = true;
                    }
                    Err(error) => tracing::warn!(%error, "can't keep a dead letter; trying again"),
                }
            }
            // nothing else has it: so it is not done before the topic has
            if is_refused {
                match self.copy(burial).await {
                    Ok(_) => return Some(Keeper::Topic),
                    Err(error) if error.is_passing() => {
                        tracing::warn!(%error, to = %self.graveyard, "a dead letter that the store does not keep can't be sent to its topic; trying again");
                    }
                    Err(error) => return Some(Keeper::Nowhere(error)),
                }
            }
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Copies a record to the topic of dead letters.
    async fn copy(&self, burial: Burial<'_>) -> Result<u64, BusError> {
        let Burial { origin: Origin { topic, partition, offset, .. }, record, dead, .. } = burial;
        let (mut copy, traits) = (record.clone(), self.bus.traits());
        if traits.headers {
            copy.headers.push("phx-dead-code", dead.code.as_str().as_bytes());
            copy.headers.push("phx-dead-from", format!("{topic}/{partition}/{offset}").as_bytes());
        }
        if copy.bytes() > traits.max_record_bytes {
            // as it came it has room
            copy.headers = record.headers.clone();
        }
        self.send(Outgoing { to: self.graveyard.clone(), record: copy }).await
    }

    /// Says that there is a dead letter, and where; of one that the store has, a copy goes to the topic.
    async fn announce(&self, burial: Burial<'_>, keeper: Keeper) {
        let Burial { origin: Origin { topic, partition, offset, .. }, call, dead, .. } = burial;
        metrics::counter!("phoenix_delivery_dead_letters_total", "code" => dead.code.as_str()).increment(1);
        let how = match &keeper {
            Keeper::Store => "a dead letter: list it with `phoenix-cli dead`",
            Keeper::Topic => "a dead letter: it is on the topic of dead letters alone",
            Keeper::Nowhere(_) => "A DEAD LETTER IS LOST: neither the store nor the topic of dead letters takes it",
        };
        let refused = if let Keeper::Nowhere(error) = &keeper { Some(tracing::field::display(error)) } else { None };
        tracing::error!(
            %topic,
            partition,
            offset,
            aggregate = call.map(|call| &*call.aggregate),
            id = call.map(|call| &*call.subject),
            command = call.map(|call| &*call.name),
            message = call.map(|call| tracing::field::display(call.id)),
            code = dead.code.as_str(),
            tries = dead.tries,
            reason = dead.reason,
            refused,
            "{how}"
        );
        if matches!(keeper, Keeper::Store)
            && let Err(error) = self.copy(burial).await
        {
            tracing::warn!(%error, to = %self.graveyard, "can't copy a dead letter to its topic; the store has it");
        }
    }

    async fn owns(&self, partition: Partition, epoch: Option<Epoch>) -> Result<bool, StoreError> {
        match epoch {
            Some(epoch) => self.partitions.confirm(partition, epoch).await,
            None => Ok(false),
        }
    }

    fn letter(&self, burial: Burial<'_>) -> DeadLetter {
        let Burial { origin, record, call, dead, .. } = burial;
        DeadLetter {
            number: 0,
            topic: Arc::clone(&origin.topic),
            partition: origin.partition,
            offset: origin.offset,
            aggregate: call.map(|call| (*call.aggregate).into()),
            id: call.map(|call| (*call.subject).into()),
            name: call.map(|call| (*call.name).into()),
            message_id: call.map(|call| call.id),
            slice: call.map(|call| Slice::of(&call.aggregate, &call.subject)),
            code: dead.code.as_str().into(),
            reason: dead.reason.clone(),
            tries: dead.tries,
            time_micros: self.clock.wall_micros(),
            standing: Standing::Waiting,
            settled_micros: None,
            codec: CODEC,
            body: kept(record),
            original: None,
        }
    }

    /// Sends a record on that came to the wrong partition.
    pub(super) async fn send_on(&self, to: TopicPartition, record: Record) -> Result<u64, BusError> {
        self.sender.send(Outgoing { to, record }, None).await?.await
    }
}

fn replied(id: MessageId, to: &ReplyTo, sent: Answer) {
    let Err(error) = sent else { return };
    metrics::counter!("phoenix_delivery_replies_lost_total").increment(1);
    tracing::warn!(%error, %to, %id, "the reply can't be sent; whoever asks again gets it");
}

/// Key, headers and value as JSON; bytes that are no text as hexadecimal digits.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    key: Option<Bytes>,
    headers: Vec<(String, Bytes)>,
    value: Bytes,
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Bytes {
    Text(String),
    Hex(String),
}

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(bytes.iter().fold(String::new(), |mut digits, byte| {
                // writing to a String can't fail
                let _ = write!(digits, "{byte:02x}");
                digits
            })),
        }
    }

    fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.into_bytes()),
            Self::Hex(digits) => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let pairs = digits.as_bytes().chunks(2);
                pairs
                    .map(|pair| match pair {
                        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
                        _ => None,
                    })
                    .collect()
            }
        }
    }
}

/// The body of a dead letter: what is too large for one is named by its claim, if there is one.
fn kept(record: &Record) -> Vec<u8> {
    let body = encode(record);
    if body.len() <= MOST_BODY_BYTES {
        return body;
    }
    without_body(record).map_or(body, |record| encode(&record))
}

/// A record as it is kept in a dead letter.
#[must_use]
pub fn encode(record: &Record) -> Vec<u8> {
    let kept = Kept {
        key: record.key.as_deref().map(Bytes::of),
        headers: record.headers.iter().map(|(name, value)| (name.to_owned(), Bytes::of(value))).collect(),
        value: Bytes::of(&record.value),
    };
    // texts and lists of them: nothing that JSON refuses
    serde_json::to_vec(&kept).unwrap_or_default()
}

/// The record of a dead letter.
///
/// # Errors
/// Bytes that are none.
pub fn decode(letter: &DeadLetter) -> Result<Record, String> {
    if letter.codec != CODEC {
        return Err(format!("its encoding is {}, and this release knows {CODEC}: use a newer one", letter.codec));
    }
    read(&letter.body)
}

/// A record as [`encode`] writes it.
pub(super) fn read(body: &[u8]) -> Result<Record, String> {
    let kept: Kept = serde_json::from_slice(body)
        .map_err(|e| format!("it is no record of `key`, `headers` and `value`, with bytes as `text` or `hex`: {e}"))?;
    let digits = || "its bytes have an odd number of digits, or others than hexadecimal ones".to_owned();
    Ok(Record {
        key: kept.key.map(|key| key.into_bytes().ok_or_else(digits)).transpose()?,
        headers: kept
            .headers
            .into_iter()
            .map(|(name, value)| Ok((name, value.into_bytes().ok_or_else(digits)?)))
            .collect::<Result<_, String>>()?,
        value: kept.value.into_bytes().ok_or_else(digits)?,
    })
}
