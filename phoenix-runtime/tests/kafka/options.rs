//! What can be chosen, and what is kept secret.

use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use phoenix_runtime::bus::BusError;
use phoenix_runtime::bus::kafka::{KafkaBus, KafkaOptions};
use phoenix_runtime::bus::rdkafka::{Compression, RdKafkaBus, RdKafkaOptions, SaslMechanism};

const TEXT: &str = r#"
    compression = "gzip"
    session_timeout = "7s"

    [tls]
    ca = "/ca.pem"
    key_password = "open sesame"

    [sasl]
    mechanism = "SCRAM-SHA-512"
    username = "bank"
    password = "hunter2"

    [properties]
    "ssl.keystore.password" = "swordfish"
"#;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("options: what is not said has its default", defaults),
        Trial::test("options: a secret is never shown", secrets),
        Trial::test("options: a property that the promises rest on can't be set", ours),
        Trial::test("options: what the program was not built for is refused", not_built),
        Trial::test("options: a broker that is not there is not available", nobody),
    ]
}

fn wait<T>(future: impl Future<Output = T>) -> Result<T, Failed> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}

fn defaults() -> Result<(), Failed> {
    assert_eq!(toml::from_str::<KafkaOptions>("")?, KafkaOptions::default());
    assert_eq!(toml::from_str::<RdKafkaOptions>("")?, RdKafkaOptions::default());
    let options: RdKafkaOptions = toml::from_str(TEXT)?;
    assert_eq!(options.compression, Compression::Gzip);
    assert_eq!(options.session_timeout, Duration::from_secs(7));
    assert_eq!(options.sasl.map(|sasl| sasl.mechanism), Some(SaslMechanism::ScramSha512));
    assert_eq!(options.max_record_bytes, RdKafkaOptions::default().max_record_bytes);
    Ok(())
}

fn secrets() -> Result<(), Failed> {
    let options: RdKafkaOptions = toml::from_str(TEXT)?;
    let written = serde_json::to_string(&(&options.tls, &options.sasl))?;
    let properties = [("no.such.property".to_owned(), "swordfish".to_owned())].into();
    let wrong = RdKafkaOptions { properties, ..RdKafkaOptions::default() };
    let refused = wait(RdKafkaBus::connect(vec!["127.0.0.1:1".to_owned()], wrong))?.unwrap_err();
    assert!(matches!(&refused, BusError::Unsupported(why) if why.contains("no.such.property")), "{refused}");
    let shown = format!("{options:?} {written} {refused} {refused:?}");
    for secret in ["open sesame", "hunter2", "swordfish"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    Ok(())
}

fn ours() -> Result<(), Failed> {
    for name in ["enable.auto.commit", "acks", "auto.offset.reset", "enable.idempotence"] {
        let properties = [(name.to_owned(), "1".to_owned())].into();
        let options = RdKafkaOptions { properties, ..RdKafkaOptions::default() };
        let refused = wait(RdKafkaBus::connect(vec!["127.0.0.1:1".to_owned()], options))?.unwrap_err();
        assert!(matches!(&refused, BusError::Unsupported(why) if why.contains(name)), "{refused}");
    }
    Ok(())
}

fn not_built() -> Result<(), Failed> {
    let options: RdKafkaOptions = toml::from_str("[tls]")?;
    let refused = wait(RdKafkaBus::connect(vec!["127.0.0.1:1".to_owned()], options))?.unwrap_err();
    // a build with all features tries, and nobody is there
    let expected = matches!(&refused, BusError::Unsupported(why) if why.contains("rdkafka-tls"));
    assert!(expected || matches!(refused, BusError::Unavailable(_)), "{refused}");
    for nobody in [
        wait(RdKafkaBus::connect(vec![], RdKafkaOptions::default()))?.map(drop),
        wait(KafkaBus::connect(vec![], KafkaOptions::default()))?.map(drop),
    ] {
        assert!(matches!(&nobody, Err(BusError::Unsupported(why)) if why.contains("host:port")), "{nobody:?}");
    }
    Ok(())
}

fn nobody() -> Result<(), Failed> {
    let nobody = vec!["127.0.0.1:1".to_owned()];
    let options = RdKafkaOptions { request_timeout: Duration::from_secs(1), ..RdKafkaOptions::default() };
    let refused = wait(RdKafkaBus::connect(nobody.clone(), options))?.unwrap_err();
    assert!(matches!(refused, BusError::Unavailable(_)), "{refused}");
    let refused = wait(KafkaBus::connect(nobody, KafkaOptions::default()))?.unwrap_err();
    assert!(matches!(refused, BusError::Unavailable(_)), "{refused}");
    Ok(())
}
