//! A consumer whose whole process stands still for longer than its session: this program itself, started once more.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use libtest_mimic::Failed;
use phoenix_runtime::bus::rdkafka::RdKafkaBus;
use phoenix_runtime::bus::{Bus, BusError, Happening, TopicPartition};
use phoenix_test_servers::Server;

use crate::adapters::{numbered, sent, subscription, wait};
use crate::groups::{World, assigned, read};
use crate::subject::rdkafka_options;

/// What makes this program a consumer: the broker and the topic.
const MEMBER: &str = "PHOENIX_TEST_KAFKA_MEMBER";

/// The other process: it says what happens, and commits the offset of each line that it is given.
pub(crate) fn member() -> Option<Result<(), Failed>> {
    let of = std::env::var(MEMBER).ok()?;
    let (address, topic) = of.split_once(' ')?;
    let topic: Arc<str> = topic.into();
    Some(wait(consume(address, topic)).and_then(|done| done))
}

async fn consume(address: &str, topic: Arc<str>) -> Result<(), Failed> {
    let bus = RdKafkaBus::connect(vec![address.to_owned()], rdkafka_options()).await?;
    let mut consumer = bus.subscribe(subscription(&topic)).await?;
    let (orders, mut ordered) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| orders.send(line)));
    loop {
        tokio::select! {
            happening = consumer.next() => match happening {
                Ok(Happening::Assigned(_)) => println!("assigned"),
                Ok(Happening::Lost(_)) => println!("lost"),
                Ok(Happening::Records(records)) => {
                    for received in records {
                        println!("read {}", received.offset);
                    }
                }
                Ok(_) | Err(BusError::Unavailable(_)) => {}
                Err(error) => return Err(error.into()),
            },
            order = ordered.recv() => {
                let Some(offset) = order.and_then(|order| order.parse().ok()) else { return Ok(()) };
                match consumer.commit(vec![(TopicPartition::new(Arc::clone(&topic), 0), offset)]).await {
                    Ok(()) => println!("committed"),
                    Err(BusError::Lost(_)) => println!("not its own"),
                    Err(error) => println!("{error}"),
                }
            }
        }
    }
}

struct Process {
    child: Child,
    orders: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Process {
    fn start(address: &str, topic: &str) -> Result<Self, Failed> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(MEMBER, format!("{address} {topic}")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let orders = child.stdin.take().ok_or("no standard input")?;
        let says = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        Ok(Self { child, orders, says })
    }

    /// Reads what it says up to one of these.
    fn until(&mut self, words: &[&str]) -> Result<String, Failed> {
        let mut line = String::new();
        while self.says.read_line(&mut line)? > 0 {
            if words.contains(&line.trim()) {
                return Ok(line.trim().to_owned());
            }
            line.clear();
        }
        Err(format!("it ended before it said any of {words:?}").into())
    }

    fn commit(&mut self, offset: u64) -> Result<String, Failed> {
        writeln!(self.orders, "{offset}")?;
        self.until(&["committed", "not its own"])
    }

    fn signal(&self, name: &str) -> Result<(), Failed> {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status()?;
        if sent.success() { Ok(()) } else { Err(format!("kill {name}: {sent}").into()) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn a_stopped_process_can_not_commit(server: &'static Server) -> Result<(), Failed> {
    wait(async {
        let world = World::new(server, 1, rdkafka_options()).await?;
        sent(world.bus.produce(numbered(&world.topic, 0, 0..4).into()).await)?;
        let mut process = Process::start(server.address(), &world.topic)?;
        process.until(&["read 3"])?;
        assert_eq!(process.commit(2)?, "committed");
        process.signal("-STOP")?;
        let mut second = world.join().await?;
        let own = TopicPartition::new(Arc::clone(&world.topic), 0);
        assert_eq!(assigned(&mut second).await?, [(own.clone(), Some(2))]);
        assert_eq!(read(&mut second, 2).await?, [(0, 2), (0, 3)]);
        process.signal("-CONT")?;
        // whether it has heard of its loss or not
        assert_eq!(process.commit(3)?, "not its own");
        let offsets = world.bus.offsets(own, &format!("{}-group", world.topic)).await?;
        assert_eq!(offsets.committed, Some(4));
        Ok(())
    })?
}
