//! `phoenix-cli dead`: commands that came to no outcome, through a running node, or straight from its store.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use phoenix_runtime::delivery::dead::{DeadError, LetterView, Replay, list as read_list};
use phoenix_runtime::event_store::letters::{DeadFilter, Standing};
use phoenix_runtime::event_store::{OpenError, StoreError};
use phoenix_runtime::node::History;
use serde::Deserialize;

use crate::node::{Node, NodeError, encoded};
use crate::place::{Place, PlaceError};

/// The largest file that is put in the place of a letter's message.
const MOST_BYTES: u64 = 8 << 20;

/// Works on dead letters: commands that came to no outcome.
///
/// A running node is asked, the one of the configuration in this folder or `--node`. Where none runs, `list` and `show`
/// read its store.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  phoenix-cli dead list --code panicked
  phoenix-cli dead list --store data/phoenix.db --type bank-account --id alice
  phoenix-cli dead show 17 > letter.json
  phoenix-cli dead amend 17 payload.json
  phoenix-cli dead upcast 17 18
  phoenix-cli dead replay 17
  phoenix-cli dead replay --type bank-account --code panicked
  phoenix-cli dead discard 17 --node http://127.0.0.1:8081")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Lists letters in the order of their numbers
    List {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        from: From,
        /// A JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Shows a letter with its message, as JSON
    Show {
        /// Its number
        number: u64,
        #[command(flatten)]
        from: From,
    },
    /// Puts another payload into a waiting letter; the original stays beside it
    Amend {
        /// Its number
        number: u64,
        /// A file with the payload as JSON, or - for standard input
        file: PathBuf,
        /// The file is the whole record (key, headers and value), as `record` in what `show` prints
        #[arg(long)]
        record: bool,
        #[command(flatten)]
        at: At,
    },
    /// Puts the new form of its command into each waiting letter that was written for an older release; the originals stay
    /// beside them
    Upcast {
        /// Their numbers
        #[arg(required = true)]
        numbers: Vec<u64>,
        #[command(flatten)]
        at: At,
    },
    /// Sends letters again, in the order of their numbers; what was done after all is not done twice
    Replay {
        /// One letter
        #[arg(
            required_unless_present_any = ["aggregate", "id", "code", "topic", "standing", "all"],
            conflicts_with_all = ["aggregate", "id", "code", "topic", "standing", "all", "after", "limit"]
        )]
        number: Option<u64>,
        /// All that wait
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        at: At,
    },
    /// Notes that a letter is not needed; it stays, and can still be replayed by its number
    Discard {
        /// Its number
        number: u64,
        #[command(flatten)]
        at: At,
    },
}

/// Which letters.
#[derive(Debug, clap::Args)]
struct Filter {
    /// Addressed to aggregates of this type
    #[arg(long = "type", value_name = "TYPE")]
    aggregate: Option<String>,
    /// Addressed to the aggregate of this id
    #[arg(long)]
    id: Option<String>,
    /// With this code, for example panicked
    #[arg(long)]
    code: Option<String>,
    /// That came from this topic
    #[arg(long)]
    topic: Option<String>,
    /// That became this [default: all for a list, waiting for a replay]
    #[arg(long, value_parser = ["waiting", "replayed", "discarded"])]
    standing: Option<String>,
    /// Only those behind this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    after: u64,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
}

/// Which node.
#[derive(Debug, clap::Args)]
struct At {
    /// The running node [default: the one of the configuration in this folder]
    #[arg(long, value_name = "URL")]
    node: Option<String>,
}

/// Where letters are read.
#[derive(Debug, clap::Args)]
struct From {
    /// The running node [default: the one of the configuration in this folder]
    #[arg(long, value_name = "URL", conflicts_with = "store")]
    node: Option<String>,
    /// The store, where no node runs: as the configuration names it, or just its file or folder
    #[arg(long)]
    store: Option<String>,
}

/// Why nothing was shown or changed.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum CliError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    #[diagnostic(help("the store is the one that the service's configuration names"))]
    Open(#[from] OpenError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Place(#[from] PlaceError),
    #[error("failed to read the dead letters")]
    Letters(#[source] DeadError),
    #[error("failed to read the dead letters")]
    Store(#[source] StoreError),
    #[error("this event store keeps no dead letters")]
    #[diagnostic(help("name the one that the service's configuration names"))]
    NoneKept,
    #[error("there is no dead letter {0}")]
    #[diagnostic(help("`phoenix-cli dead list` shows those that there are"))]
    NoLetter(u64),
    #[error("failed to read `{file}`")]
    #[diagnostic(help("name a file with JSON, or `-` for standard input"))]
    File {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("`{file}` is larger than {MOST_BYTES} bytes")]
    #[diagnostic(help("no node takes a message of this size"))]
    Large { file: String },
    #[error("the node's answer can't be read")]
    #[diagnostic(help("see that the node and this program are of the same release"))]
    Answer(#[source] serde_json::Error),
    #[error("failed to write")]
    Write(#[source] io::Error),
}

/// Does what is asked for.
pub(crate) async fn run(options: Options) -> miette::Result<()> {
    match act(options.what).await {
        // whoever reads it has seen enough
        Err(CliError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

async fn act(what: What) -> Result<(), CliError> {
    match what {
        What::List { filter, from, json } => list(filter, from, json).await,
        What::Show { number, from } => show(number, from).await,
        What::Amend { number, file, record, at } => {
            let body = content(&file)?;
            let path = format!("/dead-letters/{number}{}", if record { "?as=record" } else { "" });
            at.find()?.ask("PUT", &path, &body).await?;
            say(&format!("amended {number}; send it with `phoenix-cli dead replay {number}`"))
        }
        What::Upcast { numbers, at } => {
            let node = at.find()?;
            // the first that can't be ends it, and says which it is
            for number in numbers {
                node.ask("POST", &format!("/dead-letters/{number}/upcast"), b"").await?;
                say(&format!("upcast {number}; send it with `phoenix-cli dead replay {number}`"))?;
            }
            Ok(())
        }
        What::Replay { number: Some(number), at, .. } => {
            at.find()?.ask("POST", &format!("/dead-letters/{number}/replay"), b"").await?;
            say(&format!("sent {number} again"))
        }
        What::Replay { number: None, filter, at, .. } => {
            let path = format!("/dead-letters/replay?{}", filter.query(filter.after, filter.limit));
            let Replay { replayed, last, more } = read(&at.find()?.ask("POST", &path, b"").await?)?;
            let more =
                if more { format!("; more may wait: run it again, or with `--after {last}`") } else { String::new() };
            say(&format!("sent {replayed} letters again{more}"))
        }
        What::Discard { number, at } => {
            at.find()?.ask("POST", &format!("/dead-letters/{number}/discard"), b"").await?;
            say(&format!("discarded {number}"))
        }
    }
}

impl At {
    fn find(&self) -> Result<Node, NodeError> {
        Node::find(self.node.as_deref())
    }
}

impl Filter {
    fn query(&self, after: u64, limit: usize) -> String {
        let mut text = format!("after={after}&limit={limit}");
        let Self { aggregate, id, code, topic, standing, .. } = self;
        for (name, value) in
            [("aggregate", aggregate), ("id", id), ("code", code), ("topic", topic), ("standing", standing)]
        {
            if let Some(value) = value {
                // writing to a String can't fail
                let _ = write!(text, "&{name}={}", encoded(value));
            }
        }
        text
    }

    fn wanted(&self) -> DeadFilter {
        let text = |text: &Option<String>| text.as_deref().map(std::sync::Arc::from);
        DeadFilter {
            topic: text(&self.topic),
            aggregate: text(&self.aggregate),
            id: text(&self.id),
            code: text(&self.code),
            standing: self.standing.as_deref().map(|standing| match standing {
                "replayed" => Standing::Replayed,
                "discarded" => Standing::Discarded,
                _ => Standing::Waiting,
            }),
        }
    }
}

async fn history(store: String) -> Result<History, CliError> {
    Ok(History::open(&Place::of(store).for_reading()?).await?)
}

/// What a node answers to a list.
#[derive(Deserialize)]
struct Page {
    dead_letters: Vec<LetterView>,
    next: Option<u64>,
}

async fn list(filter: Filter, from: From, json: bool) -> Result<(), CliError> {
    let (mut after, mut left) = (filter.after, filter.limit);
    let history = match from.store {
        Some(store) => Ok(history(store).await?),
        None => Err(Node::find(from.node.as_deref())?),
    };
    let mut out = io::stdout().lock();
    while left > 0 {
        let page = match &history {
            Ok(history) => {
                let letters = history.letters().ok_or(CliError::NoneKept)?;
                read_list(letters, filter.wanted(), after, left).await.map_err(CliError::Letters)?
            }
            Err(node) => {
                let path = format!("/dead-letters?{}", filter.query(after, left));
                let Page { dead_letters, next } = read(&node.ask("GET", &path, b"").await?)?;
                if next.is_none() {
                    // these are the last ones
                    left = dead_letters.len();
                }
                dead_letters
            }
        };
        let Some(last) = page.last() else { break };
        after = last.number;
        left -= page.len().min(left);
        for letter in &page {
            let line = if json { serde_json::to_string(letter).map_err(CliError::Answer)? } else { line(letter) };
            writeln!(out, "{line}").map_err(CliError::Write)?;
        }
    }
    Ok(())
}

fn line(letter: &LetterView) -> String {
    let LetterView { number, standing, time, code, tries, reason, .. } = letter;
    let standing = match standing {
        Standing::Waiting => "waiting",
        Standing::Replayed => "replayed",
        Standing::Discarded => "discarded",
    };
    let whose = match (&letter.aggregate, &letter.id) {
        (Some(aggregate), Some(id)) => format!("{aggregate}/{id}"),
        _ => format!("{}/{} at {}", letter.topic, letter.partition, letter.offset),
    };
    let name = letter.name.as_deref().unwrap_or("-");
    let amended = if letter.amended { " (amended)" } else { "" };
    let text = format!("{number}  {standing}{amended}  {time}  {whose}  {name}  {code} after {tries} tries: {reason}");
    // a line stays one, whatever a handler said
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

async fn show(number: u64, from: From) -> Result<(), CliError> {
    let letter = if let Some(store) = from.store {
        let history = history(store).await?;
        let letters = history.letters().ok_or(CliError::NoneKept)?;
        let letter = letters.dead_letter(number).await.map_err(CliError::Store)?;
        LetterView::whole(&letter.ok_or(CliError::NoLetter(number))?)
    } else {
        let node = Node::find(from.node.as_deref())?;
        read(&node.ask("GET", &format!("/dead-letters/{number}"), b"").await?)?
    };
    say(&serde_json::to_string_pretty(&letter).map_err(CliError::Answer)?)
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, CliError> {
    serde_json::from_str(text).map_err(CliError::Answer)
}

fn content(file: &std::path::Path) -> Result<Vec<u8>, CliError> {
    let failed = |source| CliError::File { file: file.display().to_string(), source };
    let mut bytes = Vec::new();
    if file.as_os_str() == "-" {
        io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        std::fs::File::open(file).map_err(failed)?.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(CliError::Large { file: file.display().to_string() });
    }
    Ok(bytes)
}

fn say(text: &str) -> Result<(), CliError> {
    writeln!(io::stdout().lock(), "{text}").map_err(CliError::Write)
}
