//! What librdkafka says besides its answers, and what its errors mean.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::rdkafka::ClientContext;
use ::rdkafka::config::RDKafkaLogLevel;
use ::rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::bus::{BusError, TopicPartition};

/// Sends the log where ours goes.
#[derive(Debug, Default)]
pub(super) struct Context(Seldom);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.warn("a Kafka client", &error, reason);
    }
}

/// After so long a fault that goes on is told again.
const SELDOM: Duration = Duration::from_secs(10);

/// Tells faults that librdkafka repeats several times a second for as long as brokers are away.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<Option<(Instant, Option<RDKafkaErrorCode>)>>);

impl Seldom {
    pub(super) fn warn(&self, who: &str, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_told = last.is_some_and(|(at, told)| told == code && at.elapsed() < SELDOM);
        // that all of them are down says less than why the last one is
        if is_told || code == Some(RDKafkaErrorCode::AllBrokersDown) {
            tracing::debug!(%error, reason, "{who} met a fault");
        } else {
            *last = Some((Instant::now(), code));
            tracing::warn!(%error, reason, "{who} met a fault");
        }
    }
}

/// Why a connection last came to nothing: the answers to questions do not say.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Option<(Option<RDKafkaErrorCode>, String)>>);

impl Faults {
    pub(super) fn note(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        // that all of them are down says less than why the last one is
        if code != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((code, reason.to_owned()));
        }
    }

    /// What it means that the brokers did not answer to the first question.
    pub(super) fn explain(&self, error: BusError) -> BusError {
        let fault = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (error, fault) {
            // the same name, or certificate, is refused again
            (BusError::Unavailable(_), Some((Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL), why))) => {
                BusError::Unsupported(format!("the brokers refuse the connection: {why}; check `[rdkafka]`"))
            }
            (BusError::Unavailable(error), Some((_, why))) => BusError::Unavailable(format!("{error}: {why}")),
            (BusError::Unavailable(error), None) => BusError::Unavailable(format!(
                "{error}; check the address, and whether the brokers ask for TLS or SASL (`[rdkafka]`)"
            )),
            (error, _) => error,
        }
    }
}

pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(facility, "librdkafka: {message}");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(facility, "librdkafka: {message}"),
        _ => tracing::debug!(facility, "librdkafka: {message}"),
    }
}

/// What the failure of a question means.
pub(super) fn of_question(error: &KafkaError) -> BusError {
    use RDKafkaErrorCode as Code;
    match error {
        KafkaError::ClientConfig(_, why, name, _) => {
            // its value may be a secret
            BusError::Unsupported(format!("librdkafka does not take the property `{name}`: {why}"))
        }
        KafkaError::ClientCreation(why) => BusError::Unsupported(format!("librdkafka does not start: {why}")),
        error => match error.rdkafka_error_code() {
            Some(
                Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::SaslAuthenticationFailed
                | Code::SSL
                | Code::Authentication
                | Code::UnsupportedSASLMechanism
                | Code::UnsupportedVersion
                | Code::UnsupportedFeature
                | Code::NotImplemented,
            ) => BusError::Unsupported(error.to_string()),
            Some(
                Code::InvalidTopic
                | Code::InvalidGroupId
                | Code::InvalidReplicationFactor
                | Code::InvalidPartitions
                | Code::PolicyViolation
                | Code::InvalidArgument
                | Code::OffsetMetadataTooLarge,
            ) => BusError::Refused(error.to_string()),
            _ => BusError::Unavailable(error.to_string()),
        },
    }
}

/// What became of a record that was given to librdkafka.
pub(super) fn of_record(error: &KafkaError, to: &TopicPartition) -> BusError {
    use RDKafkaErrorCode as Code;
    let text = || format!("{to}: {error}");
    match error.rdkafka_error_code() {
        Some(Code::QueueFull | Code::PurgeQueue | Code::NotEnoughReplicas | Code::LeaderNotAvailable) => {
            BusError::Unavailable(text())
        }
        Some(Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition) => {
            BusError::NoTopic(to.clone())
        }
        Some(
            Code::MessageSizeTooLarge
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::MessageBatchTooLarge
            | Code::InvalidTopic
            | Code::InvalidTimestamp
            | Code::InvalidArgument
            | Code::InvalidRecord
            | Code::TopicAuthorizationFailed
            | Code::PolicyViolation,
        ) => BusError::Refused(text()),
        // a time-out does not say whether a request was on its way, and a fatal error nothing of those before it
        _ => BusError::Unknown(text()),
    }
}
