//! `phoenix-cli archive`, `restore` and `archived`: the archive of a store whose service does not run, or that takes
//! several at once.

use std::fmt::Write as _;

use phoenix_runtime::domain::id::{AggregateId, InvalidId};
use phoenix_runtime::event_store::archive::{Moved, Restored};
use phoenix_runtime::event_store::port::StreamId;
use phoenix_runtime::event_store::{Archived, EventStore as _, OpenError, StoreError};
use phoenix_runtime::node::config::{ConfigError, StoreUrl};
use phoenix_runtime::node::open_store;

use crate::place::{Place, PlaceError};

/// Which stream.
#[derive(Debug, clap::Args)]
struct Whose {
    #[command(flatten)]
    place: Place,
    /// The aggregate's wire name, for example bank-account
    #[arg(value_name = "TYPE")]
    aggregate: String,
    /// Which one
    id: String,
}

/// Moves old events of one aggregate to the archive.
///
/// Only those below the oldest snapshot of the aggregate move. Its keys stay in the store, and whoever reads finds its
/// events as before. A file or a log belongs to its service: stop it first, or ask it, POST /archive/TYPE/ID.
#[derive(Debug, clap::Args)]
pub(crate) struct Archive {
    #[command(flatten)]
    whose: Whose,
    /// The last version that may move [default: the one below the oldest snapshot]
    #[arg(long, value_name = "V", default_value_t = u64::MAX, hide_default_value = true)]
    up_to: u64,
}

/// Brings the events of one aggregate back from the archive.
///
/// The archive keeps them as well. A file or a log belongs to its service: stop it first, or ask it, POST
/// /archive/TYPE/ID/restore.
#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    whose: Whose,
}

/// Lists what the archive has of one aggregate.
///
/// A file or a log belongs to its service: stop it first, or ask it, GET /archive/TYPE/ID.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    whose: Whose,
}

/// Why nothing was moved or listed.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum ArchiveError {
    #[error(transparent)]
    #[diagnostic(help(
        "where its service runs, ask that one: GET or POST /archive/TYPE/ID, POST /archive/TYPE/ID/restore"
    ))]
    Open(#[from] OpenError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("there is no such file: `{0}`")]
    #[diagnostic(help("the store is the one that the service's configuration names"))]
    NoFile(String),
    #[error("`{id}` is no id")]
    #[diagnostic(help("{source}"))]
    Id {
        id: String,
        #[source]
        source: InvalidId,
    },
    #[error("the store has no aggregate of the type `{0}`")]
    #[diagnostic(help("see that it is its wire name"))]
    NoType(String),
    #[error("failed to read the store")]
    Unreadable {
        #[source]
        source: StoreError,
    },
    #[error("failed to {what} `{stream}`")]
    Failed {
        what: &'static str,
        stream: StreamId,
        #[source]
        source: StoreError,
    },
}

/// Opens the store and the archive, and names the stream.
async fn open(whose: Whose) -> Result<(std::sync::Arc<Archived>, StreamId), ArchiveError> {
    let Whose { place, aggregate, id } = whose;
    let id = AggregateId::new(&id).map_err(|source| ArchiveError::Id { id, source })?;
    let config = place.for_moving()?;
    config.check()?;
    // a service makes its store, and not a slip of the keyboard
    if let StoreUrl::Sqlite(path) | StoreUrl::Log(path) = &config.store
        && !path.exists()
    {
        return Err(ArchiveError::NoFile(path.display().to_string()));
    }
    let store = open_store(&config).await?;
    let any = store.ids(aggregate.as_str().into(), None, 1).await;
    if any.map_err(|source| ArchiveError::Unreadable { source })?.is_empty() {
        return Err(ArchiveError::NoType(aggregate));
    }
    Ok((store, StreamId { aggregate: aggregate.into(), id }))
}

/// Moves events away.
pub(crate) async fn archive(Archive { whose, up_to }: Archive) -> miette::Result<()> {
    println!("{}", moved(whose, up_to).await?);
    Ok(())
}

async fn moved(whose: Whose, up_to: u64) -> Result<String, ArchiveError> {
    let (store, stream) = open(whose).await?;
    let moved = store.archive(stream.clone(), up_to).await;
    let failed = |source| ArchiveError::Failed { what: "archive", stream: stream.clone(), source };
    Ok(match moved.map_err(failed)? {
        Moved { up_to: 0, .. } => {
            format!(
                "nothing of {stream} may move: only what is below its oldest snapshot does, and its first event is not"
            )
        }
        Moved { events: 0, up_to, .. } => format!("nothing to move: {stream} is in the archive up to version {up_to}"),
        Moved { events, blocks, up_to } => {
            format!(
                "moved {events} events of {stream} (new blocks: {blocks}); it is in the archive up to version {up_to}"
            )
        }
    })
}

/// Brings events back.
pub(crate) async fn restore(Restore { whose }: Restore) -> miette::Result<()> {
    println!("{}", restored(whose).await?);
    Ok(())
}

async fn restored(whose: Whose) -> Result<String, ArchiveError> {
    let (store, stream) = open(whose).await?;
    let restored = store.restore(stream.clone()).await;
    let failed = |source| ArchiveError::Failed { what: "restore", stream: stream.clone(), source };
    Ok(match restored.map_err(failed)? {
        Restored { blocks: 0, .. } => format!("the archive has nothing of {stream}"),
        Restored { up_to, .. } => format!("{stream} is whole up to version {up_to}; its blocks stay in the archive"),
    })
}

/// Lists blocks.
pub(crate) async fn list(List { whose }: List) -> miette::Result<()> {
    print!("{}", listed(whose).await?);
    Ok(())
}

async fn listed(whose: Whose) -> Result<String, ArchiveError> {
    let (store, stream) = open(whose).await?;
    let blocks = store.archived_blocks(stream.clone()).await;
    let blocks = blocks.map_err(|source| ArchiveError::Failed { what: "list", stream: stream.clone(), source })?;
    if blocks.is_empty() {
        return Ok(format!("the archive has nothing of {stream}\n"));
    }
    let mut text = String::new();
    for block in blocks {
        let place = store.archive_port().map(|archive| archive.place(&stream, block)).unwrap_or_default();
        // writing to a String can't fail
        let _ = writeln!(text, "{block}  {place}");
    }
    Ok(text)
}
