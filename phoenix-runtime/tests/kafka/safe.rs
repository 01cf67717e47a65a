//! Encrypted connections, and brokers that ask who it is.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use phoenix_runtime::bus::rdkafka::{RdKafkaBus, RdKafkaOptions, SaslMechanism, SaslOptions, Secret, TlsOptions};
use phoenix_runtime::bus::{Bus as _, BusError, Happening};
use phoenix_test_servers::{Kind, Server, trial};
use tokio::time::timeout;

use crate::adapters::{numbered, sent, subscription, wait};
use crate::subject::prefix;

const PATIENCE: Duration = Duration::from_mins(1);
/// How long a connection is tried that comes to nothing.
const SHORT: Duration = Duration::from_secs(5);

pub(crate) fn trials(kind: Kind, name: &str) -> Vec<Trial> {
    let mechanisms = [(SaslMechanism::ScramSha256, "SCRAM"), (SaslMechanism::Plain, "PLAIN")];
    let served = mechanisms.map(|(mechanism, word)| {
        let name = format!("{name}: over TLS, and by {word}, it is served as any other");
        trial(kind, name, move |server: &'static Server| served(server, mechanism))
    });
    let refused = trial(kind, format!("{name}: who proves nothing is refused, and told why"), refused);
    served.into_iter().chain([refused]).collect()
}

fn options(server: &Server, mechanism: SaslMechanism) -> Result<(Vec<String>, RdKafkaOptions), Failed> {
    let (name, password, address) = server.safe().ok_or("a broker with a safe listener")?;
    let tls = TlsOptions { ca: server.certificate().map(Into::into), ..TlsOptions::default() };
    let sasl = SaslOptions { mechanism, username: name.to_owned(), password: Secret::new(password) };
    let options = RdKafkaOptions { tls: Some(tls), sasl: Some(sasl), ..RdKafkaOptions::default() };
    Ok((vec![address.to_owned()], options))
}

fn served(server: &Server, mechanism: SaslMechanism) -> Result<(), Failed> {
    let (brokers, options) = options(server, mechanism)?;
    wait(async {
        let bus = RdKafkaBus::connect(brokers, options).await?;
        let topic: Arc<str> = format!("{}safe", prefix()).into();
        bus.create(Arc::clone(&topic), 1).await?;
        assert_eq!(sent(bus.produce(numbered(&topic, 0, 0..3).into()).await)?, [0, 1, 2]);
        let mut consumer = bus.subscribe(subscription(&topic)).await?;
        let mut read = 0;
        while read < 3 {
            match timeout(PATIENCE, consumer.next()).await.map_err(|_| "nothing happens")?? {
                Happening::Records(records) => read += records.len(),
                Happening::Assigned(_) => {}
                other => return Err(format!("{other:?}").into()),
            }
        }
        Ok(())
    })?
}

fn refused(server: &'static Server) -> Result<(), Failed> {
    let (brokers, good) = options(server, SaslMechanism::ScramSha256)?;
    let quick = RdKafkaOptions { request_timeout: SHORT, ..good };
    let sasl = |password: &str| {
        let username = "phoenix".to_owned();
        Some(SaslOptions { mechanism: SaslMechanism::ScramSha256, username, password: Secret::new(password) })
    };
    let wrong = [
        (RdKafkaOptions { sasl: sasl("guessed-wrongly"), ..quick.clone() }, "uthentication"),
        // an authority that did not sign the broker's certificate
        (RdKafkaOptions { tls: Some(TlsOptions::default()), ..quick.clone() }, "certificate"),
        (RdKafkaOptions { tls: None, ..quick }, "TLS"),
    ];
    wait(async {
        for (options, why) in wrong {
            let refused = timeout(PATIENCE, RdKafkaBus::connect(brokers.clone(), options)).await;
            let Ok(Err(BusError::Unavailable(told) | BusError::Unsupported(told))) = refused else {
                return Err(format!("{refused:?} where `{why}` is the reason").into());
            };
            assert!(told.contains(why) && !told.contains("guessed-wrongly"), "`{why}` is not in: {told}");
        }
        Ok(())
    })?
}
