//! What is run in which order: a backlog through Phoenix and through the bare loop, then callers.

use std::time::Duration;

use indicatif::ProgressBar;
use phoenix_bench::report::medians;
use phoenix_bench::{Bar, Callers as Load, Goal, Report, Row, load};
use phoenix_runtime::bus::TopicPartition;
use tokio::task::unconstrained;

use super::backlog::{Start, drained};
use super::bare;
use super::broker::Broker;
use super::callers::Callers;
use super::service::Service;
use crate::bench::Options;
use crate::bench::error::BenchError;
use crate::bench::subject::{Kind, Place, Subject};
use crate::bench::suite::Plan;
use crate::bench::whole::{Commits, cpu_micros};

/// Commands a second of a backlog.
const RATE: f64 = 10_000.0;
/// The same, as a part of the bare loop's.
const OF_BARE: f64 = 0.8;

/// How many partitions the topic of commands has where nobody says so.
const PARTITIONS: [u16; 2] = [1, 16];

/// Measures everything that is planned.
pub(crate) async fn measure(
    options: &Options,
    plan: &Plan,
    broker: &Broker,
    subjects: &[Box<dyn Subject>],
    progress: &ProgressBar,
) -> Result<Report, BenchError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let callers = plan.callers.first().copied().unwrap_or(Load::FULL);
    let partitions = if options.partitions.is_empty() { &PARTITIONS[..] } else { &options.partitions };
    let mut runs = Vec::new();
    for number in 1..=plan.runs {
        let (rows, bars, backlog, duration) = (Vec::new(), Vec::new(), options.backlog, plan.duration);
        let mut run = Run { backlog, callers, duration, broker, progress, rows, bars };
        for subject in subjects {
            for &partitions in partitions {
                let name = subject.kind().name();
                progress.set_prefix(format!("run {number} of {}, {name}, {partitions} partitions", plan.runs));
                run.backlog(&**subject, partitions).await?;
                run.callers(&**subject, partitions).await?;
            }
        }
        runs.push((run.rows, run.bars));
    }
    let (rows, bars): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
    Ok(Report {
        cores,
        runs: plan.runs,
        seconds: plan.duration.as_secs_f64(),
        rows: medians(&rows),
        bars: Bar::medians(&bars),
    })
}

struct Run<'a> {
    /// How many commands wait on the topic before they are taken.
    backlog: usize,
    callers: Load,
    duration: Duration,
    broker: &'a Broker,
    progress: &'a ProgressBar,
    rows: Vec<Row>,
    bars: Vec<Bar>,
}

impl Run<'_> {
    /// Drains a backlog, and the same one again without Phoenix.
    async fn backlog(&mut self, subject: &dyn Subject, partitions: u16) -> Result<(), BenchError> {
        let Self { backlog, broker, progress, .. } = *self;
        let what = format!("{}, {}", broker.library.name(), counted(partitions));
        let service = Service::new(broker, subject, partitions).await?;
        let replies = TopicPartition::new(broker.topic("replies", 1).await?, 0);
        let durability = self.durability(&service, subject).await?;
        let commands = service.topic.clone();

        progress.set_message(format!("a backlog of {backlog} is made"));
        let own = broker.topic("filler", 1).await?;
        let filler = Callers::connect(broker.connect().await?, &commands, own).await?;
        // of thousands of answers that come together tokio would let one task have 128 at a time
        unconstrained(filler.fill(backlog, &replies)).await?;
        drop(filler);

        progress.set_message(format!("a backlog of {backlog} is drained"));
        let (bus, start) = (broker.connect().await?, Start::default());
        let (commits, cpu) = (Commits::now(), cpu_micros());
        let running = service.start(bus.clone()).await?;
        let begun = start.clone();
        let watch = tokio::spawn(async move { begun.at_the_first_commit(commits).await });
        let whole = drained(&bus, &replies, backlog as u64, &start).await;
        watch.abort();
        let whole = whole?;
        let (size, cost) = (Commits::now().since(commits), each(cpu, backlog));
        running.stop().await;
        let row = Row::rate(format!("backlog of {backlog}, {what}"), &durability, whole);
        self.rows.push(Row { records_a_commit: size, cpu_micros: cost, ..row });
        let name = format!("{} over {what}", subject.kind().name());
        self.bars.push(Bar::new(format!("{name}: backlog, commands/s"), whole, goal(subject.kind(), RATE)));

        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
        let batch = size.unwrap_or(1.0).round().max(1.0) as usize;
        progress.set_message("rows for the bare loop are read");
        if let Some(rows) = subject.rows(batch).await? {
            progress.set_message(format!("the backlog of {backlog} in a bare loop"));
            let wanted = rows.sizes.iter().sum::<usize>();
            if wanted > backlog || wanted + batch <= backlog {
                let text = format!("the engine wrote {wanted} rows of {backlog} commands, in batches of {batch}");
                return Err(BenchError::Bare(text));
            }
            let replies = TopicPartition::new(broker.topic("bare-replies", 1).await?, 0);
            let group = broker.unique("bare-group");
            let way = bare::Way { commands, partitions, replies: replies.topic.clone(), group };
            let (cpu, start) = (cpu_micros(), Start::default());
            let told = drained(&bus, &replies, wanted as u64, &start);
            let (bare, done) = tokio::join!(told, bare::run(broker, &way, rows, start.clone()));
            done?;
            let (bare, cost) = (bare?, each(cpu, wanted));
            let row = Row::rate("  bare loop, batches of that size".to_owned(), &durability, bare);
            #[allow(clippy::cast_precision_loss, reason = "a small number")]
            self.rows.push(Row { records_a_commit: Some(batch as f64), cpu_micros: cost, ..row });
            self.bars.push(Bar::new(format!("{name}: x bare loop"), whole / bare, goal(subject.kind(), OF_BARE)));
        }
        subject.remove(Place::Fresh).await?;
        broker.remove().await
    }

    /// Callers over the bus: as fast as answers come, and at half of that rate.
    async fn callers(&mut self, subject: &dyn Subject, partitions: u16) -> Result<(), BenchError> {
        let Self { callers, duration, broker, progress, .. } = *self;
        let what = format!("{}, {}", broker.library.name(), counted(partitions));
        progress.set_message(format!("whole path, {callers}"));
        let service = Service::new(broker, subject, partitions).await?;
        let durability = self.durability(&service, subject).await?;
        let own = broker.topic("replies", 1).await?;
        let target = Callers::connect(broker.connect().await?, &service.topic, own).await?;
        let running = service.start(broker.connect().await?).await?;
        // a group forms, connections are made
        load::closed(&target, callers, false, duration / 4).await?;

        let (commits, cpu) = (Commits::now(), cpu_micros());
        let closed = load::closed(&target, callers, false, duration).await?;
        let rate = closed.per_second;
        let (size, each_of_closed) = (Commits::now().since(commits), each(cpu, closed.latencies.len()));
        let row = Row::seen(format!("whole path, {callers}, {what}"), &durability, closed);
        self.rows.push(Row { records_a_commit: size, cpu_micros: each_of_closed, ..row });

        progress.set_message(format!("half of {callers}"));
        let (commits, cpu) = (Commits::now(), cpu_micros());
        let open = load::open(&target, rate / 2.0, duration).await?;
        let (size, each_of_open) = (Commits::now().since(commits), each(cpu, open.latencies.len()));
        let row = Row::seen("  open loop at half of it".to_owned(), &durability, open);
        let p99 = row.micros.map_or(f64::NAN, |micros| micros.p99);
        self.rows.push(Row { records_a_commit: size, cpu_micros: each_of_open, ..row });
        let name = format!("{} over {what}: {callers} at half of the rate, p99 in us", subject.kind().name());
        self.bars.push(Bar::new(name, p99, Goal::Shown));

        running.stop().await;
        drop(target);
        subject.remove(Place::Fresh).await?;
        broker.remove().await
    }

    async fn durability(&self, service: &Service, subject: &dyn Subject) -> Result<String, BenchError> {
        let kept = self.broker.durability(&service.topic).await?;
        let store = subject.settings().map_or_else(|| service.store(), str::to_owned);
        Ok(format!("{kept}; {store}"))
    }
}

fn counted(partitions: u16) -> String {
    if partitions == 1 { "1 partition".to_owned() } else { format!("{partitions} partitions") }
}

/// Only PostgreSQL has something to reach.
fn goal(kind: Kind, wanted: f64) -> Goal {
    if kind == Kind::Postgres { Goal::AtLeast(wanted) } else { Goal::Shown }
}

/// Time of a core that each command took in this process.
fn each(before: Option<f64>, commands: usize) -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "fewer than 2^52 commands")]
    let commands = commands as f64;
    cpu_micros().zip(before).map(|(after, before)| (after - before) / commands)
}
