//! Sending: records go to librdkafka one after the other, which puts them together by itself.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::rdkafka::ClientContext;
use ::rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use ::rdkafka::error::{KafkaError, RDKafkaErrorCode};
use ::rdkafka::message::{Header, Message, OwnedHeaders};
use ::rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use tokio::sync::Notify;

use super::context::{self, Faults, Seldom, of_question, of_record};
use crate::bus::{BusError, Outgoing};

/// Records of one call.
#[derive(Debug)]
pub(super) struct Call {
    progress: Mutex<Progress>,
    told: Notify,
}

#[derive(Debug)]
struct Progress {
    results: Vec<Option<Result<u64, KafkaError>>>,
    open: usize,
}

impl Call {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, at: usize, result: Result<u64, KafkaError>) {
        let mut progress = self.progress();
        if progress.results[at].is_none() {
            progress.results[at] = Some(result);
            progress.open -= 1;
        }
        if progress.open == 0 {
            self.told.notify_one();
        }
    }
}

/// Tells calls what became of their records.
#[derive(Debug)]
struct Delivered {
    faults: Arc<Faults>,
    seldom: Seldom,
}

impl ClientContext for Delivered {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.seldom.warn("the Kafka producer", &error, reason);
        self.faults.note(&error, reason);
    }
}

impl ProducerContext for Delivered {
    type DeliveryOpaque = Box<(Arc<Call>, usize)>;

    fn delivery(&self, result: &DeliveryResult<'_>, of: Self::DeliveryOpaque) {
        let (call, at) = *of;
        call.settle(
            at,
            match result {
                Ok(message) => Ok(u64::try_from(message.offset()).unwrap_or(0)),
                Err((error, _)) => Err(error.clone()),
            },
        );
    }
}

type Native = ThreadedProducer<Delivered>;

/// See the module.
pub(super) struct Producer {
    config: ClientConfig,
    /// How long an acknowledgement may take, with all that librdkafka adds to it.
    limit: Duration,
    native: Mutex<Option<Arc<Native>>>,
    faults: Arc<Faults>,
}

// without the settings, among which are secrets
impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Producer {
    pub(super) fn new(config: ClientConfig, limit: Duration) -> Result<Self, BusError> {
        let producer = Self { config, limit, native: Mutex::new(None), faults: Arc::default() };
        producer.native()?;
        Ok(producer)
    }

    fn native(&self) -> Result<Arc<Native>, BusError> {
        let mut native = self.native.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(native) = &*native {
            return Ok(Arc::clone(native));
        }
        let new: Result<Native, _> =
            self.config.create_with_context(Delivered { faults: Arc::clone(&self.faults), seldom: Seldom::default() });
        let new = new.map_err(|error| of_question(&error))?;
        Ok(Arc::clone(native.insert(Arc::new(new))))
    }

    /// Why brokers did not answer, as far as its own connections tell.
    pub(super) fn explain(&self, error: BusError) -> BusError {
        self.faults.explain(error)
    }

    /// A producer that lost count of its own records is of no use any more.
    fn leave(&self, old: Arc<Native>) {
        let mut native = self.native.lock().unwrap_or_else(PoisonError::into_inner);
        if native.as_ref().is_some_and(|native| Arc::ptr_eq(native, &old)) {
            *native = None;
        }
        drop(native);
        end(old);
    }

    /// Sends what has no result yet.
    pub(super) async fn produce(
        &self,
        records: &[Outgoing],
        mut results: Vec<Option<Result<u64, BusError>>>,
    ) -> Vec<Result<u64, BusError>> {
        let open = results.iter().filter(|result| result.is_none()).count();
        let progress = Progress { results: vec![None; records.len()], open };
        let call = Arc::new(Call { progress: Mutex::new(progress), told: Notify::new() });
        if open > 0 {
            match self.native() {
                Ok(native) => {
                    send(&native, records, &mut results, &call);
                    let told = call.told.notified();
                    if call.progress().open > 0 {
                        // librdkafka keeps its own time; this is for what it never hears of
                        let _ = tokio::time::timeout(self.limit, told).await;
                    }
                    let fatal = Some(RDKafkaErrorCode::Fatal);
                    let is_fatal = |result: &Option<Result<u64, KafkaError>>| matches!(result, Some(Err(error)) if error.rdkafka_error_code() == fatal);
                    if call.progress().results.iter().any(is_fatal) {
                        self.leave(native);
                    }
                }
                Err(error) => results.iter_mut().for_each(|result| {
                    result.get_or_insert(Err(error.clone()));
                }),
            }
        }
        let progress = call.progress();
        let told = progress.results.iter().zip(records).map(|(result, outgoing)| match result {
            Some(Ok(offset)) => Ok(*offset),
            Some(Err(error)) => Err(of_record(error, &outgoing.to)),
            None => Err(BusError::Unknown(format!("{}: no acknowledgement within {:?}", outgoing.to, self.limit))),
        });
        results.into_iter().zip(told).map(|(known, told)| known.unwrap_or(told)).collect()
    }
}

fn send(native: &Native, records: &[Outgoing], results: &mut [Option<Result<u64, BusError>>], call: &Arc<Call>) {
    // what follows a record that was not taken would overtake it when it is tried again
    let mut full = BTreeSet::new();
    for (at, (outgoing, result)) in records.iter().zip(results).enumerate() {
        if result.is_some() {
            continue;
        }
        let Outgoing { to, record } = outgoing;
        if full.contains(to) {
            call.settle(at, Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)));
            continue;
        }
        let sent = BaseRecord::with_opaque_to(&to.topic, Box::new((Arc::clone(call), at)))
            .partition(i32::from(to.partition))
            .payload(&record.value);
        let sent = if let Some(key) = &record.key { sent.key(key) } else { sent };
        let sent = if record.headers.is_empty() {
            sent
        } else {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            let headers = record
                .headers
                .iter()
                .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
            sent.headers(headers)
        };
        if let Err((error, _)) = native.send(sent) {
            full.insert(to.clone());
            call.settle(at, Err(error));
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if let Some(native) = self.native.lock().unwrap_or_else(PoisonError::into_inner).take() {
            end(native);
        }
    }
}

/// Ends a client of librdkafka, which waits for its threads: not in a task.
pub(super) fn end<T: Send + 'static>(client: T) {
    // without a thread it ends here, as late as that may be
    let _ = std::thread::Builder::new().name("rdkafka-end".to_owned()).spawn(move || drop(client));
}
