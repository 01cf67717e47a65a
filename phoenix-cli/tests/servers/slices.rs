//! `phoenix-cli slices` on two databases: what it says, what it does, and what is there afterwards.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use phoenix_runtime::domain::id::{AggregateId, Slice};
use phoenix_runtime::event_store::EventStore as _;
use phoenix_runtime::event_store::port::{Batch, EventData, Partition, Position, Record, StoredEvent, StreamId};
use phoenix_runtime::event_store::sources::{MoveStep, Mover};
use phoenix_runtime::node::{History, NodeConfig, open_members, open_store};
use phoenix_test_servers::{Kind, Server, trial};
use sea_orm::{ConnectionTrait as _, Database, Statement};
use tempfile::TempDir;
use tokio::sync::Notify;

/// The slices that have rows, and how many each has.
const FILLED: [u16; 3] = [5, 6, 7];
const ROWS: u64 = 12;

pub(crate) fn trials() -> Vec<Trial> {
    let on_two = |name: &str, test: fn(&Two) -> Result<(), Failed>| {
        trial(Kind::Postgres, format!("slices: {name}"), move |server| test(&Two::new(server)?))
    };
    vec![
        on_two("moved to another database and back", moved),
        on_two("a move that was cut short is resumed", resumed),
        on_two("a move is called off in time", called_off),
        on_two("what can not be done says why", refused),
    ]
}

/// Two databases, and a folder with the configuration of a service on them.
struct Two {
    folder: TempDir,
    urls: [String; 2],
    runtime: tokio::runtime::Runtime,
}

impl Two {
    fn new(server: &Server) -> Result<Self, Failed> {
        let urls = [server.database("home")?, server.database("source")?];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let two = Self { folder: tempfile::tempdir()?, urls, runtime };
        two.configure(&format!("[sources]\nb = \"{}\"\n", two.urls[1]))?;
        two.runtime.block_on(two.fill())?;
        Ok(two)
    }

    fn configure(&self, sources: &str) -> Result<(), Failed> {
        Ok(std::fs::write(self.file(), format!("store = \"{}\"\n{sources}", self.urls[0]))?)
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("phoenix.toml")
    }

    fn config(&self) -> Result<NodeConfig, Failed> {
        let text = std::fs::read_to_string(self.file())?;
        Ok(NodeConfig::read(Some((Path::new("phoenix.toml"), &text)), [])?)
    }

    /// As a service does it.
    async fn fill(&self) -> Result<(), Failed> {
        let store = open_store(&self.config()?).await?;
        let epochs = store.acquire(vec![Partition(0)]).await?;
        for slice in FILLED.map(Slice) {
            let mut ids = (0..).map(|n| format!("a{n}")).filter(|id| Slice::of("account", id) == slice);
            let id = AggregateId::new(ids.next().ok_or("no id")?)?;
            let record = |version| Record {
                stream: StreamId { aggregate: "account".into(), id: id.clone() },
                slice,
                sequence: version,
                time_micros: 0,
                event: Some(EventData {
                    version,
                    name: "deposited".into(),
                    schema_version: 1,
                    codec: 1,
                    payload: b"{}".to_vec(),
                }),
                command: None,
            };
            let batch = Batch { epochs: epochs.clone(), records: (1..=ROWS).map(record).collect() };
            store.append_in(store.lane(slice), Arc::new(batch)).await?;
        }
        Ok(())
    }

    /// Everything that is stored, as whoever looks at it finds it.
    fn stored(&self) -> Result<Vec<StoredEvent>, Failed> {
        self.runtime.block_on(async {
            let history = History::open(&self.config()?).await?;
            let (mut events, _) = history.read_all(Position::default(), 1_000).await?;
            events.sort_by_key(|stored| (stored.slice, stored.sequence));
            Ok(events)
        })
    }

    /// How many rows of a slice each of the databases has.
    fn rows(&self, slice: u16) -> Result<[i64; 2], Failed> {
        let sql = format!("SELECT count(*) AS n FROM events WHERE position >> 44 = {slice}");
        let count = async |url: &String| {
            let database = Database::connect(url).await?;
            let row = database.query_one_raw(Statement::from_string(database.get_database_backend(), &*sql)).await?;
            let count = row.ok_or("no row")?.try_get::<i64>("", "n")?;
            database.close().await?;
            Ok::<_, Failed>(count)
        };
        self.runtime.block_on(async { Ok([count(&self.urls[0]).await?, count(&self.urls[1]).await?]) })
    }

    /// Begins a move to `b`, and cuts it short as soon as it is as far as this.
    fn cut_short(&self, slice: u16, at: impl Fn(MoveStep) -> bool) -> Result<(), Failed> {
        self.runtime.block_on(async {
            let mover = Mover::new(open_members(&self.config()?).await?);
            let far = Notify::new();
            let done = mover.move_slice(Slice(slice), "b", |step| {
                if at(step) {
                    far.notify_one();
                }
            });
            tokio::select! {
                biased;
                () = far.notified() => Ok(()),
                done = done => Err(format!("it was not cut short: {done:?}").into()),
            }
        })
    }

    /// Runs the command: its code, what it prints, and what it complains about.
    fn run(&self, arguments: &str) -> Result<(Option<i32>, String, String), Failed> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_phoenix-cli"));
        command.arg("slices").args(arguments.split(' ')).current_dir(self.folder.path());
        let output = command.output()?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((output.status.code(), text(output.stdout), text(output.stderr)))
    }

    /// It does what it is asked for, and says this.
    #[track_caller]
    fn says(&self, arguments: &str, expected: &str) -> Result<(), Failed> {
        let (code, out, err) = self.run(arguments)?;
        if code == Some(0) && out == expected {
            return Ok(());
        }
        Err(format!("slices {arguments}: {code:?}\nexpected:\n{expected}\nfound:\n{out}{err}").into())
    }

    /// It refuses, with all of these words.
    #[track_caller]
    fn refuses(&self, arguments: &str, code: i32, words: &[&str]) -> Result<(), Failed> {
        let (found, out, err) = self.run(arguments)?;
        // lines are broken, and begin with a bar
        let plain: Vec<_> = err.split_whitespace().filter(|word| *word != "│").collect();
        let plain = plain.join(" ");
        match words.iter().find(|words| !plain.contains(**words)) {
            None if found == Some(code) => Ok(()),
            missing => Err(format!("slices {arguments}: {found:?}, not {missing:?}\n{out}{err}").into()),
        }
    }
}

#[track_caller]
fn expect<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T) -> Result<(), Failed> {
    if found == expected {
        return Ok(());
    }
    let line = std::panic::Location::caller().line();
    Err(format!("line {line}: expected {expected:?}, found {found:?}").into())
}

fn moved(two: &Two) -> Result<(), Failed> {
    let before = two.stored()?;
    expect(&before.len(), &36)?;
    two.says("list", "b: 0 slices\nhome: 1024 slices\n")?;
    two.says("status 5", "slice 5 is at home since move 0\n")?;
    two.says("move 5,6-7 --to b", &lines(FILLED, |n| format!("slice {n} is at b; 12 rows were copied")))?;
    two.says("list", "b: 3 slices\nhome: 1021 slices\n")?;
    two.says("status 6", "slice 6 is at b since move 2\n")?;
    two.says("move 6 --to b", "slice 6 is at b; 0 rows were copied\n")?;
    expect(&two.stored()?, &before)?;
    expect(&two.rows(5)?, &[12, 12])?;

    two.says("purge 5", "slice 5: no old rows are left\n")?;
    expect(&two.rows(5)?, &[0, 12])?;
    expect(&two.rows(6)?, &[12, 12])?;
    two.says("purge", &lines(FILLED, |n| format!("slice {n}: no old rows are left")))?;
    expect(&two.rows(6)?, &[0, 12])?;
    expect(&two.stored()?, &before)?;

    two.says("move 6 --to home --purge", "slice 6 is at home; 12 rows were copied\n")?;
    expect(&two.rows(6)?, &[12, 0])?;
    expect(&two.stored()?, &before)
}

fn resumed(two: &Two) -> Result<(), Failed> {
    let before = two.stored()?;
    two.cut_short(5, |step| step == MoveStep::TakenAway)?;
    let cut = "slice 5 is on its way from home to b: `phoenix-cli slices resume` goes on\n";
    two.says("list", &format!("b: 0 slices\nhome: 1024 slices\n{cut}"))?;
    two.says("status 5", "slice 5 is at home since move 0\nand on its way to b by move 1\n")?;
    two.refuses("stay 5", 1, &["slice 5 has left its old source", "resume it"])?;
    two.refuses("purge 5", 1, &["slice 5 is being moved to `b`", "`phoenix-cli slices resume` goes on"])?;
    two.refuses("move 5 --to home", 1, &["resume that move, or call it off"])?;
    expect(&two.stored()?, &before)?;
    two.says("resume", "slice 5 is at b; 0 rows were copied\n")?;
    two.says("resume", "")?;
    two.says("list", "b: 1 slices\nhome: 1023 slices\n")?;
    expect(&two.stored()?, &before)
}

fn called_off(two: &Two) -> Result<(), Failed> {
    let before = two.stored()?;
    two.cut_short(5, |step| matches!(step, MoveStep::Copied(_)))?;
    two.says("stay 5", "slice 5 stays\n")?;
    two.says("list", "b: 0 slices\nhome: 1024 slices\n")?;
    expect(&two.rows(5)?, &[12, 12])?;
    two.says("purge 5", "slice 5: no old rows are left\n")?;
    expect(&two.rows(5)?, &[12, 0])?;
    expect(&two.stored()?, &before)?;
    two.refuses("stay 5", 1, &["slice 5 is not being moved"])
}

fn refused(two: &Two) -> Result<(), Failed> {
    two.refuses("move 5 --to c", 1, &["there is no source `c`; there are `home`, `b`"])?;
    two.refuses("status 1024", 2, &["`1024` is no slice: slices go from 0 to 1023"])?;
    two.refuses("move 1024 --to b", 2, &["`1024` is no slice: slices go from 0 to 1023"])?;
    two.says("move 5 --to b", "slice 5 is at b; 12 rows were copied\n")?;
    two.refuses("forget b", 1, &["the source `b` still has 1 slices"])?;
    two.configure("")?;
    two.refuses("list", 1, &["the source `b` has 1 of the 1024 slices", "add `b = \"<url>\"` to `[sources]`"])?;
    let blind = two.stored().err().map(|e| format!("{e:?}")).unwrap_or_default();
    expect(&blind.contains("the source `b` has 1 of the 1024 slices"), &true)?;
    two.configure(&format!("[sources]\nb = \"{}\"\n", two.urls[1]))?;
    two.says("move 5 --to home --purge", "slice 5 is at home; 12 rows were copied\n")?;
    two.says("forget b", "")?;
    two.configure("")?;
    two.says("list", "home: 1024 slices\n")?;
    expect(&two.stored()?.len(), &36)
}

fn lines(slices: impl IntoIterator<Item = u16>, line: impl Fn(u16) -> String) -> String {
    slices.into_iter().map(|slice| line(slice) + "\n").collect()
}
