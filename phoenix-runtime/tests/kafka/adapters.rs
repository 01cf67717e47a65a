//! What is promised of the adapters besides what all buses promise.

use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use phoenix_runtime::bus::kafka::{KafkaBus, KafkaOptions};
use phoenix_runtime::bus::BusError;
use phoenix_test_servers::{Kind, Server, trial};

use crate::subject::{Adapter, prefix};

fn wait<T>(future: impl Future<Output = T>) -> Result<T, Failed> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(future))
}

pub(crate) fn trials(adapter: Adapter, kind: Kind, name: &str) -> Vec<Trial> {
    match adapter {
        Adapter::Kafka => {
            vec![trial(kind, format!("{name}: a topic that it can't make is refused with the command"), no_topic)]
        }
        Adapter::RdKafka => vec![],
    }
}

pub(crate) fn kafka_4_is_refused(server: &'static Server) -> Result<(), Failed> {
    let refused = wait(KafkaBus::connect(vec![server.address().to_owned()], KafkaOptions::default()))?.unwrap_err();
    let BusError::Unsupported(why) = refused else { return Err(format!("{refused:?}").into()) };
    for word in ["Kafka 4", "`rdkafka`", "rdkafka://", server.address()] {
        assert!(why.contains(word), "{why}");
    }
    Ok(())
}

fn no_topic(server: &'static Server) -> Result<(), Failed> {
    wait(async {
        let bus = Adapter::Kafka.connect(server.address()).await?;
        let topic: Arc<str> = format!("{}missing", prefix()).into();
        let refused = bus.create(Arc::clone(&topic), 3).await.unwrap_err();
        assert!(matches!(&refused, BusError::Unsupported(why) if why.contains("--partitions 3")), "{refused}");
        // looking for it has not made it either
        assert_eq!(bus.partitions(topic).await?, None);
        Ok(())
    })?
}
