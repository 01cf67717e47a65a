//! A bus whose large bodies go another way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::port::Claims;
use super::reading::{CheckingConsumer, CheckingFollower};
use crate::bus::envelope::claim;
use crate::bus::port::{
    Bus, BusError, Consumer, Follower, Keep, Offsets, Outgoing, Record, Subscription, TopicPartition, Traits,
};
use crate::domain::ports::{BoxFuture, Clock};

/// Which bodies go another way, and how hard it is tried to get them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimCheckOptions {
    /// Bodies of more bytes do; also smaller ones that the bus would not take.
    pub above: usize,
    /// The most bytes of a record, which its body is a part of. Larger ones are refused, and not fetched.
    pub most: usize,
    /// How often a body that is missing or damaged is looked for before its message is handed on without it.
    pub tries: u32,
    /// The pause between two tries.
    pub pause: Duration,
}

impl Default for ClaimCheckOptions {
    fn default() -> Self {
        Self { above: 512 << 10, most: 16 << 20, tries: 3, pause: Duration::from_millis(200) }
    }
}

/// A bus that takes larger messages than it can carry. What is too large for it otherwise is refused as ever.
pub struct ClaimCheck(Arc<Inner>);

pub(super) struct Inner {
    bus: Arc<dyn Bus>,
    pub(super) claims: Arc<dyn Claims>,
    pub(super) options: ClaimCheckOptions,
    pub(super) clock: Arc<dyn Clock>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} with large messages in {}", self.bus, self.claims.name())
    }
}

impl fmt::Debug for ClaimCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimCheck({:?})", self.0)
    }
}

impl ClaimCheck {
    /// Over a bus.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, claims: Arc<dyn Claims>, options: ClaimCheckOptions, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { bus, claims, options, clock }))
    }
}

impl Inner {
    /// The record as it travels, once its body is durable where it is kept.
    async fn check_in(&self, outgoing: Outgoing) -> Result<Outgoing, (Outgoing, BusError)> {
        let (bytes, most) = (outgoing.record.bytes(), self.options.most);
        if bytes > most {
            let text = format!("a record for {} has {bytes} bytes, and {most} are the most", outgoing.to);
            return Err((outgoing, BusError::Refused(text)));
        }
        let traits = self.bus.traits();
        let above = self.options.above.min(claim::room_for_body(traits));
        if outgoing.record.value.len() <= above && bytes <= traits.max_record_bytes {
            return Ok(outgoing);
        }
        // what is no message of ours is as large as it is
        let Some((claim, body)) = claim::claim(&outgoing.record) else { return Ok(outgoing) };
        // in one JSON object the value is more than the body
        if body.len() <= above && bytes <= traits.max_record_bytes {
            return Ok(outgoing);
        }
        if let Err(error) = self.claims.put(claim, body.into()).await {
            let text = format!("the body of a large message for {} is not kept: {error}", outgoing.to);
            return Err((outgoing, BusError::Unavailable(text)));
        }
        metrics::counter!("phoenix_claims_total", "what" => "kept").increment(1);
        Ok(Outgoing { record: claim::checked_in(&outgoing.record, claim), to: outgoing.to })
    }

    async fn produce(&self, records: Arc<[Outgoing]>) -> Vec<Result<u64, BusError>> {
        let mut answers: Vec<Option<BusError>> = Vec::with_capacity(records.len());
        let mut sent = Vec::with_capacity(records.len());
        // what follows one that was not kept would overtake it when that is tried again
        let mut behind: Vec<(TopicPartition, BusError)> = Vec::new();
        for outgoing in records.iter().cloned() {
            if let Some((_, error)) = behind.iter().find(|(to, _)| *to == outgoing.to) {
                answers.push(Some(error.clone()));
                continue;
            }
            match self.check_in(outgoing).await {
                Ok(outgoing) => {
                    sent.push(outgoing);
                    answers.push(None);
                }
                Err((outgoing, error)) => {
                    if error.is_passing() {
                        behind.push((outgoing.to, error.clone()));
                    }
                    answers.push(Some(error));
                }
            }
        }
        let told = if sent.is_empty() { Vec::new() } else { self.bus.produce(sent.into()).await };
        let lost = || Err(BusError::Unknown("the bus gave no answer for it".to_owned()));
        let mut told = told.into_iter();
        answers.into_iter().map(|known| known.map_or_else(|| told.next().unwrap_or_else(lost), Err)).collect()
    }

    /// The body of a record, fetched; `None` where it has it.
    ///
    /// # Errors
    /// Bodies that can't be reached for now.
    pub(super) async fn check_out(&self, record: &Record) -> Result<Option<Record>, BusError> {
        let claim = match claim::found(record) {
            None => return Ok(None),
            Some(claim::Found::Foreign) => {
                return Ok(Some(claim::failed(record, &super::InvalidClaim.to_string())));
            }
            Some(claim::Found::Claim(claim)) => claim,
        };
        if claim.bytes() > self.options.most as u64 {
            let text =
                format!("it has {} bytes, and {} are the most that are fetched", claim.bytes(), self.options.most);
            return Ok(Some(claim::failed(record, &text)));
        }
        let mut tries = 1;
        let reason = loop {
            let found = self.claims.get(claim).await.map_err(|error| BusError::Unavailable(error.to_string()))?;
            let reason = match found {
                Some(body) if claim.fits(&body) => {
                    metrics::counter!("phoenix_claims_total", "what" => "fetched").increment(1);
                    return Ok(Some(claim::checked_out(record, &body)));
                }
                Some(_) => "it is damaged: its bytes are not those that were kept",
                None => "it is not there: it expired, or was kept elsewhere",
            };
            if tries >= self.options.tries {
                break reason;
            }
            tries += 1;
            self.clock.sleep(self.options.pause).await;
        };
        metrics::counter!("phoenix_claims_total", "what" => "failed").increment(1);
        tracing::error!(%claim, claims = self.claims.name(), reason, "the body of a large message can't be had");
        Ok(Some(claim::failed(record, &format!("{reason} ({})", self.claims.name()))))
    }
}

impl Bus for ClaimCheck {
    fn name(&self) -> String {
        format!("{}, large messages in {}", self.0.bus.name(), self.0.claims.name())
    }

    fn traits(&self) -> Traits {
        Traits { max_record_bytes: self.0.options.most, ..self.0.bus.traits() }
    }

    fn is_durable(&self) -> bool {
        self.0.bus.is_durable()
    }

    fn partitions(&self, topic: Arc<str>) -> BoxFuture<'_, Result<Option<u16>, BusError>> {
        self.0.bus.partitions(topic)
    }

    fn create_keeping(&self, topic: Arc<str>, partitions: u16, keep: Keep) -> BoxFuture<'_, Result<(), BusError>> {
        self.0.bus.create_keeping(topic, partitions, keep)
    }

    fn produce(&self, records: Arc<[Outgoing]>) -> BoxFuture<'_, Vec<Result<u64, BusError>>> {
        Box::pin(self.0.produce(records))
    }

    fn subscribe(&self, subscription: Subscription) -> BoxFuture<'_, Result<Box<dyn Consumer>, BusError>> {
        Box::pin(async move {
            let consumer = self.0.bus.subscribe(subscription).await?;
            Ok(Box::new(CheckingConsumer::new(Arc::clone(&self.0), consumer)) as Box<dyn Consumer>)
        })
    }

    fn follow(
        &self,
        partition: TopicPartition,
        max_records: usize,
    ) -> BoxFuture<'_, Result<Box<dyn Follower>, BusError>> {
        Box::pin(async move {
            let follower = self.0.bus.follow(partition, max_records).await?;
            Ok(Box::new(CheckingFollower::new(Arc::clone(&self.0), follower)) as Box<dyn Follower>)
        })
    }

    fn offsets(&self, partition: TopicPartition, group: &str) -> BoxFuture<'_, Result<Offsets, BusError>> {
        self.0.bus.offsets(partition, group)
    }
}
