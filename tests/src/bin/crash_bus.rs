//! `crash-bus`: the process that crash tests kill while it produces to an embedded bus and reads from it. Its arguments are
//! the file, and when the disk is waited for.
//!
//! It says what it was told: `has PARTITION COMMITTED` when a partition is its own, `sent PARTITION OFFSET VALUE` and
//! `committed PARTITION OFFSET` when that is durable.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use phoenix_runtime::bus::{
    Bus, Consumer, EmbeddedBus, EmbeddedOptions, Happening, Outgoing, Record, Subscription, TopicPartition,
};
use phoenix_runtime::engine::SystemClock;
use phoenix_runtime::event_store::sqlite::Synchronous;

const TOPIC: &str = "numbers";
const PARTITIONS: u16 = 3;

type Done = Result<(), Box<dyn Error>>;

fn say(what: std::fmt::Arguments<'_>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{what}\n").as_bytes())?;
    out.flush()
}

async fn produce(bus: &EmbeddedBus) -> Done {
    let life = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos();
    for batch in 0_u64.. {
        let values: Vec<_> = (0..=batch % 5).map(|number| format!("{life}-{batch}-{number}")).collect();
        let partition = u16::try_from(batch % u64::from(PARTITIONS))?;
        let outgoing = |value: &String| {
            let record = Record { value: value.clone().into_bytes(), ..Record::default() };
            Outgoing { to: TopicPartition::new(TOPIC, partition), record }
        };
        let told = bus.produce(values.iter().map(outgoing).collect()).await;
        for (value, told) in values.iter().zip(told) {
            say(format_args!("sent {partition} {} {value}", told?))?;
        }
    }
    Ok(())
}

async fn consume(mut consumer: Box<dyn Consumer>) -> Done {
    loop {
        match consumer.next().await? {
            Happening::Assigned(partitions) => {
                for (partition, committed) in partitions {
                    say(format_args!("has {} {}", partition.partition, committed.unwrap_or(0)))?;
                }
            }
            Happening::Records(records) => {
                let ends: BTreeMap<_, _> =
                    records.into_iter().map(|received| (received.from, received.offset + 1)).collect();
                consumer.commit(ends.clone().into_iter().collect()).await?;
                for (partition, offset) in ends {
                    say(format_args!("committed {} {offset}", partition.partition))?;
                }
            }
            other => return Err(format!("it is alone, and is told {other:?}").into()),
        }
    }
}

async fn work() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, synchronous] = arguments.as_slice() else {
        return Err("its arguments are a file, and `full` or `normal`".into());
    };
    let synchronous = if synchronous == "full" { Synchronous::Full } else { Synchronous::Normal };
    let options = EmbeddedOptions { synchronous, ..EmbeddedOptions::at(path) };
    let bus = EmbeddedBus::open(options, Arc::new(SystemClock::default())).await?;
    bus.create(TOPIC.into(), PARTITIONS).await?;
    let subscription =
        Subscription { group: "readers".to_owned(), topics: vec![TOPIC.into()], fixed: None, max_records: 20 };
    let consumer = bus.subscribe(subscription).await?;
    tokio::try_join!(produce(&bus), consume(consumer)).map(drop)
}

fn main() -> ExitCode {
    let done = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime.block_on(work()),
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
