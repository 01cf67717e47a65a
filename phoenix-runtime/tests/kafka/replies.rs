//! Replies to a client whose predecessor on the same topic was killed: this program itself, started once more.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use phoenix_runtime::bus::envelope::{Message, Replied};
use phoenix_runtime::bus::rdkafka::{RdKafkaBus, RdKafkaOptions};
use phoenix_runtime::bus::{Bus, Happening, Outgoing, Subscription};
use phoenix_runtime::client::door::Request;
use phoenix_runtime::client::remote::{Remote, RemoteOptions, Replies};
use phoenix_runtime::domain::id::AggregateId;
use phoenix_runtime::domain::metadata::{Envelope, Metadata, Priority};
use phoenix_runtime::domain::pending::Answer;
use phoenix_test_servers::Server;

use crate::adapters::wait;
use crate::subject::prefix;

/// What makes this program a caller: the broker, and the beginning of the topics' names.
const CALLER: &str = "PHOENIX_TEST_KAFKA_CALLER";

/// The other process: it asks, says so, and waits for its end.
pub(crate) fn caller() -> Option<Result<(), Failed>> {
    let of = std::env::var(CALLER).ok()?;
    let (address, prefix) = of.split_once(' ')?;
    Some(
        wait(async {
            let _remote = ask(address, prefix).await?;
            println!("answered");
            std::future::pending().await
        })
        .and_then(|done| done),
    )
}

/// A client on its topic of replies, after its first answer.
async fn ask(address: &str, prefix: &str) -> Result<Remote, Failed> {
    // the session of a member of a group that was killed lasts for 10 s
    let bus = RdKafkaBus::connect(vec![address.to_owned()], RdKafkaOptions::default()).await?;
    let replies = Replies::Topic(format!("{prefix}replies").into());
    let remote = Remote::connect(Arc::new(bus), RemoteOptions::new(format!("{prefix}commands"), replies)).await?;
    let door = remote.door();
    let envelope = Envelope {
        id: door.next_message_id(),
        aggregate: "echo".to_owned(),
        name: "say".to_owned(),
        idempotency_key: None,
        priority: Priority::Normal,
        timeout: None,
        metadata: Metadata::default(),
        payload: b"1".to_vec(),
    };
    let request =
        Request { envelope, subject: AggregateId::new("a")?, record_key: None, reply_to: None, expires_after: None };
    let answer = door.ask(request).await.map_err(|error| format!("{error:?}"))?;
    assert_eq!(answer.reply, b"1");
    Ok(remote)
}

/// A service that says back what it is told.
async fn answer(bus: Arc<dyn Bus>, topic: Arc<str>) -> Result<(), Failed> {
    let subscription =
        Subscription { group: format!("{topic}-service"), topics: vec![topic], fixed: None, max_records: 100 };
    let mut consumer = bus.subscribe(subscription).await?;
    loop {
        let Happening::Records(records) = consumer.next().await? else { continue };
        for received in records {
            let Ok(Message::Call(call)) = Message::from_record(&received.record) else {
                return Err(format!("{received:?}").into());
            };
            let reply = Answer { reply: call.payload.clone(), version: 1, replayed: false, durable: true };
            let to = call.reply_to.clone().ok_or("nobody to tell")?.0;
            let record = Message::Reply(Replied::new(call.id, &call, Ok(reply))).into_record(None, bus.traits());
            bus.produce(vec![Outgoing { to, record }].into()).await.remove(0)?;
        }
    }
}

pub(crate) fn a_client_that_comes_back_after_kill_9_is_answered_at_once(server: &'static Server) -> Result<(), Failed> {
    wait(async {
        let prefix = prefix();
        let bus: Arc<dyn Bus> =
            Arc::new(RdKafkaBus::connect(vec![server.address().to_owned()], RdKafkaOptions::default()).await?);
        let topic: Arc<str> = format!("{prefix}commands").into();
        bus.create(Arc::clone(&topic), 1).await?;
        let service = tokio::spawn(answer(Arc::clone(&bus), topic));
        let mut first = Command::new(std::env::current_exe()?)
            .env(CALLER, format!("{} {prefix}", server.address()))
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        let out = first.stdout.take().ok_or("no standard output")?;
        tokio::task::block_in_place(|| BufReader::new(out).read_line(&mut said))?;
        // SIGKILL
        first.kill()?;
        first.wait()?;
        assert_eq!(said, "answered\n");

        let begun = Instant::now();
        let second = tokio::time::timeout(Duration::from_mins(1), ask(server.address(), &prefix))
            .await
            .map_err(|_| "no answer")??;
        assert!(begun.elapsed() < Duration::from_secs(5), "the answer took {:?}", begun.elapsed());
        drop(second);
        service.abort();
        Ok(())
    })?
}
