//! The options in librdkafka's own words.

use std::time::Duration;

use ::rdkafka::ClientConfig;
use ::rdkafka::config::RDKafkaLogLevel;

use crate::bus::BusError;
use crate::bus::options::{RdKafkaOptions, SaslMechanism};

/// What the promises of this adapter rest on, and what its options say.
const OURS: [&str; 36] = [
    "acks",
    "allow.auto.create.topics",
    "auto.commit.enable",
    "auto.offset.reset",
    "batch.num.messages",
    "bootstrap.servers",
    "client.id",
    "compression.codec",
    "compression.type",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "linger.ms",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "max.poll.interval.ms",
    "message.max.bytes",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queued.max.messages.kbytes",
    "request.required.acks",
    "retries",
    "session.timeout.ms",
    "transactional.id",
];

/// What a record may have besides its own bytes.
const OVERHEAD: usize = 16 << 10;

fn unsupported(text: impl Into<String>) -> BusError {
    BusError::Unsupported(text.into())
}

/// What all clients have in common.
pub(super) fn base(brokers: &[String], options: &RdKafkaOptions) -> Result<ClientConfig, BusError> {
    if brokers.is_empty() {
        return Err(unsupported("no broker is named: write `rdkafka://host:port`"));
    }
    if options.release_timeout >= options.max_poll_interval {
        return Err(unsupported("`release_timeout` is to be less than `max_poll_interval`"));
    }
    let mut config = ClientConfig::new();
    for (name, value) in &options.properties {
        if OURS.contains(&name.as_str()) {
            return Err(unsupported(format!(
                "the property `{name}` of librdkafka is not to be chosen: an option of this adapter says it, or its \
                 promises rest on it"
            )));
        }
        config.set(name, value);
    }
    config
        .set("bootstrap.servers", brokers.join(","))
        .set("client.id", &options.client_id)
        .set("allow.auto.create.topics", "false")
        .set("socket.timeout.ms", options.request_timeout.as_millis().to_string())
        .set_log_level(RDKafkaLogLevel::Warning);
    if !options.properties.contains_key("reconnect.backoff.max.ms") {
        config.set("reconnect.backoff.max.ms", "2000");
    }
    secure(&mut config, options)?;
    Ok(config)
}

fn secure(config: &mut ClientConfig, options: &RdKafkaOptions) -> Result<(), BusError> {
    let scram = options.sasl.as_ref().is_some_and(|sasl| sasl.mechanism != SaslMechanism::Plain);
    if cfg!(not(feature = "rdkafka-tls")) && (options.tls.is_some() || scram) {
        return Err(unsupported(
            "this program can neither encrypt its connections to Kafka nor prove itself by SCRAM: build it with the feature \
             `rdkafka-tls` of phoenix-runtime (it needs OpenSSL's development files)",
        ));
    }
    let protocol = match (&options.tls, &options.sasl) {
        (None, None) => return Ok(()),
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(tls) = &options.tls {
        let files = [
            ("ssl.ca.location", &tls.ca),
            ("ssl.certificate.location", &tls.certificate),
            ("ssl.key.location", &tls.key),
        ];
        for (name, path) in files {
            if let Some(path) = path {
                config.set(name, path.to_string_lossy());
            }
        }
        if let Some(password) = &tls.key_password {
            config.set("ssl.key.password", password.reveal());
        }
        config.set("ssl.endpoint.identification.algorithm", if tls.verify_host { "https" } else { "none" });
    }
    if let Some(sasl) = &options.sasl {
        config
            .set("sasl.mechanism", sasl.mechanism.word())
            .set("sasl.username", &sasl.username)
            .set("sasl.password", sasl.password.reveal());
    }
    Ok(())
}

/// Of the client that sends.
pub(super) fn producer(base: &ClientConfig, options: &RdKafkaOptions) -> ClientConfig {
    let mut config = base.clone();
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", options.compression.word())
        .set("linger.ms", (options.linger.as_secs_f64() * 1000.0).to_string())
        .set("message.max.bytes", (options.max_record_bytes + OVERHEAD).to_string())
        .set("message.timeout.ms", options.delivery_timeout.as_millis().to_string())
        .set("queue.buffering.max.messages", "1000000")
        .set("queue.buffering.max.kbytes", (options.max_waiting_bytes >> 10).max(1).to_string());
    config
}

/// Of a client that reads as one of a group.
pub(super) fn consumer(base: &ClientConfig, options: &RdKafkaOptions, group: &str) -> ClientConfig {
    let mut config = base.clone();
    config
        .set("group.id", group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // what is missing is looked for by the adapter
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("session.timeout.ms", options.session_timeout.as_millis().to_string())
        .set("max.poll.interval.ms", native_poll_interval(options).as_millis().to_string())
        .set("queued.max.messages.kbytes", (options.read_ahead_bytes >> 10).max(1024).to_string());
    if !options.properties.contains_key("heartbeat.interval.ms") {
        config.set("heartbeat.interval.ms", (options.session_timeout.as_millis() / 5).clamp(1, 3000).to_string());
    }
    if !options.properties.contains_key("fetch.wait.max.ms") {
        config.set("fetch.wait.max.ms", "100");
    }
    config
}

/// What librdkafka takes for a consumer that hangs. The thread that polls for a consumer stops early enough that both
/// together are the option.
pub(super) fn native_poll_interval(options: &RdKafkaOptions) -> Duration {
    (options.max_poll_interval / 2).max(options.session_timeout)
}
