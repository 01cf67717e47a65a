//! Opens what the configuration names.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::id::AggregateId;
use crate::domain::ports::BoxFuture;
use crate::event_store::archive::{ArchiveReader, MemoryArchive};
use crate::event_store::letters::ReadLetters;
use crate::event_store::port::{Position, StoredEvent, StreamId};
use crate::event_store::sources::{self, Members, MembersError, SourcesStore as Sources};
use crate::event_store::{
    Archive, Archived, EventStore, LogReader, LogStore, LogStoreOptions, MemoryStore, NoStore, OpenError,
    SqliteOptions, SqliteReader, SqliteStore, StoreError, sql,
};
use crate::node::archives;
use crate::node::config::{NodeConfig, StoreUrl};

/// After which time a source that is waited for is named.
const PATIENCE: Duration = Duration::from_secs(2);

/// Opens the store that the configuration names, and its archive, for a node, to which they belong from now on.
///
/// # Errors
/// A store that has another owner, was written by a newer release, or can't be reached.
pub async fn open_store(config: &NodeConfig) -> Result<Arc<Archived>, OpenError> {
    Ok(open_store_of_node(config).await?.0)
}

/// As [`open_store`], with the database that the node has for itself, where it has one.
pub(super) async fn open_store_of_node(config: &NodeConfig) -> Result<(Arc<Archived>, Option<Home>), OpenError> {
    let ((store, table), home) = if config.sources.is_empty() {
        open(config).await?
    } else {
        (with_tables(open_members(config).await?).await?, None)
    };
    Ok((archives::over(&config.archive, store, table)?, home))
}

/// A database that a node has for itself, without sources.
pub(super) struct Home(Arc<dyn sources::Source>);

impl Home {
    /// Checks again that there are no sources, now that the node is its owner: one that came before that did not fence
    /// the node, and one that comes later does.
    pub(super) async fn is_owned(&self) -> Result<(), OpenError> {
        Ok(sources::sole(&*self.0).await?)
    }
}

async fn alone(store: Arc<dyn sql::StoreWithTable>) -> Result<(WithTable, Option<Home>), MembersError> {
    sources::sole(&*store).await?;
    let home = Home(Arc::clone(&store) as Arc<dyn sources::Source>);
    Ok((both(store), Some(home)))
}

/// A store, and the table of its own for an archive.
type WithTable = (Arc<dyn EventStore>, Option<Arc<dyn Archive>>);

async fn open(config: &NodeConfig) -> Result<(WithTable, Option<Home>), OpenError> {
    let opened: WithTable = match &config.store {
        StoreUrl::Memory => (Arc::new(MemoryStore::new()), Some(Arc::new(MemoryArchive::new()))),
        StoreUrl::None => (Arc::new(NoStore::new()), None),
        StoreUrl::Sqlite(path) => {
            let options = SqliteOptions { path: path.clone(), ..config.sqlite.clone() };
            let store = Arc::new(SqliteStore::open(options).await?);
            (Arc::clone(&store) as Arc<dyn EventStore>, Some(store))
        }
        StoreUrl::Log(path) => {
            let options = LogStoreOptions { path: path.clone(), ..config.log_store.clone() };
            (Arc::new(LogStore::open(options).await?), None)
        }
        StoreUrl::Postgres(url) => return Ok(alone(sql::postgres::open(url, &config.database).await?).await?),
        StoreUrl::MySql(url) => return Ok(alone(sql::mysql::open(url, &config.database).await?).await?),
    };
    Ok((opened, None))
}

/// Opens the databases that share the slices, as `store` and `sources` name them.
///
/// # Errors
/// A database that can't be opened, or that does not belong to the others.
pub async fn open_members(config: &NodeConfig) -> Result<Members, OpenError> {
    members(config, Use::Own).await
}

/// What a database is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Own,
    Look,
}

/// Opens the databases that share the slices to see which is where; none joins, and none changes.
///
/// # Errors
/// As [`open_members`], and a database that has not joined yet.
pub async fn look_at_members(config: &NodeConfig) -> Result<Members, OpenError> {
    members(config, Use::Look).await
}

async fn members(config: &NodeConfig, wanted: Use) -> Result<Members, OpenError> {
    let open = async |url: &StoreUrl, key: &str| {
        let source: Arc<dyn sources::Source> = match url {
            StoreUrl::Postgres(url) if wanted == Use::Look => {
                sql::postgres::open_to_read(url, &config.database).await?
            }
            StoreUrl::Postgres(url) => sql::postgres::open(url, &config.database).await?,
            StoreUrl::MySql(url) if wanted == Use::Look => sql::mysql::open_to_read(url, &config.database).await?,
            StoreUrl::MySql(url) => sql::mysql::open(url, &config.database).await?,
            // events that were moved to the memory of a tool would end with it
            StoreUrl::Memory | StoreUrl::None | StoreUrl::Sqlite(_) | StoreUrl::Log(_) => {
                return Err(OpenError::NotShared(format!("`{key}`")));
            }
        };
        Ok::<_, OpenError>(source)
    };
    let home = open(&config.store, "store").await?;
    let mut others = BTreeMap::new();
    for (name, url) in &config.sources {
        let key = format!("sources.{name}");
        others.insert(name.clone(), announced(name, open(url, &key)).await?);
    }
    Ok(match wanted {
        Use::Own => Members::open(home, others).await?,
        Use::Look => Members::look(home, others).await?,
    })
}

/// Waits for a source, and says now and then that nothing else is waited for.
async fn announced<T>(name: &str, opened: impl Future<Output = T>) -> T {
    let mut opened = std::pin::pin!(opened);
    loop {
        if let Ok(done) = tokio::time::timeout(PATIENCE, opened.as_mut()).await {
            return done;
        }
        tracing::warn!(
            source = name,
            "waiting for the source `{name}`: a node starts, and takes over, only when each of its sources answers, \
             because an owner before it could still append there; bring its database back, or put its new address into \
             `sources.{name}`"
        );
    }
}

async fn with_tables(members: Members) -> Result<WithTable, MembersError> {
    let store = Arc::new(Sources::open(members).await.map_err(MembersError::at_home)?);
    Ok((Arc::clone(&store) as Arc<dyn EventStore>, Some(store)))
}

fn both(store: Arc<dyn sql::StoreWithTable>) -> WithTable {
    (Arc::clone(&store) as Arc<dyn EventStore>, Some(store))
}

/// A store that is only looked at: a node may have it open. What is in its archive is read from there.
#[derive(Debug, Clone)]
pub struct History {
    source: Source,
    archive: Arc<ArchiveReader>,
}

impl History {
    /// Opens what the configuration names. An archive that is a table of the store is found without being named.
    ///
    /// # Errors
    /// A file that is missing, a database that can't be reached, or no event store of this release.
    pub async fn open(config: &NodeConfig) -> Result<Self, OpenError> {
        let (source, table) = Source::open(config).await?;
        let again = source.clone();
        let again = Box::new(move |stream, version| -> BoxFuture<'static, _> {
            let source = again.clone();
            Box::pin(async move { source.read_stream(stream, version, 1).await })
        });
        let archive = Arc::new(ArchiveReader::new(archives::to_read(&config.archive, table), again));
        Ok(Self { source, archive })
    }

    /// As [`EventStore::read_stream`], while perhaps another process appends.
    ///
    /// # Errors
    /// A store that does not answer, or is damaged.
    pub async fn read_stream(&self, stream: StreamId, from: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let mut found = self.source.read_stream(stream, from, limit).await?;
        self.archive.whole(&mut found).await?;
        Ok(found)
    }

    /// As [`EventStore::read_all`], while perhaps another process appends.
    ///
    /// # Errors
    /// A store that does not answer, or is damaged.
    pub async fn read_all(&self, position: Position, limit: usize) -> Result<(Vec<StoredEvent>, Position), StoreError> {
        let (mut found, mut position) = self.source.read_all(position, limit).await?;
        self.archive.whole_up_to(&mut found, &mut position).await?;
        Ok((found, position))
    }

    /// The inbox and the dead letters, while perhaps another process changes them; `None` for a store that keeps nothing.
    #[must_use]
    pub fn letters(&self) -> Option<&dyn ReadLetters> {
        match &self.source {
            Source::Store(store) => store.letters().map(|letters| letters as &dyn ReadLetters),
            Source::Sqlite(reader) => Some(reader),
            Source::Log(reader) => Some(reader),
        }
    }

    /// As [`EventStore::ids`], while perhaps another process appends.
    ///
    /// # Errors
    /// A store that does not answer, or is damaged.
    pub async fn ids(
        &self,
        aggregate: Arc<str>,
        after: Option<AggregateId>,
        limit: usize,
    ) -> Result<Vec<AggregateId>, StoreError> {
        self.source.ids(aggregate, after, limit).await
    }
}

/// A store as it is, with stripped events.
#[derive(Debug, Clone)]
enum Source {
    /// Any store of this process.
    Store(Arc<dyn EventStore>),
    /// A file that perhaps another process writes.
    Sqlite(SqliteReader),
    /// A folder that perhaps another process writes.
    Log(LogReader),
}

impl Source {
    async fn open(config: &NodeConfig) -> Result<(Self, Option<Arc<dyn Archive>>), OpenError> {
        if !config.sources.is_empty() {
            let (store, table) = with_tables(members(config, Use::Look).await?).await?;
            return Ok((Self::Store(store), table));
        }
        Ok(match &config.store {
            // nothing of it outlives its process, so another one sees it empty
            StoreUrl::Memory => (Self::Store(Arc::new(MemoryStore::new())), None),
            StoreUrl::None => (Self::Store(Arc::new(NoStore::new())), None),
            StoreUrl::Sqlite(path) => {
                let reader = SqliteReader::open(PathBuf::clone(path)).await?;
                (Self::Sqlite(reader.clone()), Some(Arc::new(reader)))
            }
            StoreUrl::Log(path) => (Self::Log(LogReader::open(path).await?), None),
            StoreUrl::Postgres(url) => {
                let store = sql::postgres::open_to_read(url, &config.database).await?;
                sources::sole(&*store).await?;
                let (store, table) = both(store);
                (Self::Store(store), table)
            }
            StoreUrl::MySql(url) => {
                let store = sql::mysql::open_to_read(url, &config.database).await?;
                sources::sole(&*store).await?;
                let (store, table) = both(store);
                (Self::Store(store), table)
            }
        })
    }

    async fn read_stream(&self, stream: StreamId, from: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        match self {
            Self::Store(store) => store.read_stream(stream, from, limit).await,
            Self::Sqlite(reader) => reader.read_stream(stream, from, limit).await,
            Self::Log(reader) => reader.read_stream(stream, from, limit).await,
        }
    }

    async fn read_all(&self, position: Position, limit: usize) -> Result<(Vec<StoredEvent>, Position), StoreError> {
        match self {
            Self::Store(store) => store.read_all(position, limit).await,
            Self::Sqlite(reader) => reader.read_all(position, limit).await,
            Self::Log(reader) => reader.read_all(position, limit).await,
        }
    }

    async fn ids(
        &self,
        aggregate: Arc<str>,
        after: Option<AggregateId>,
        limit: usize,
    ) -> Result<Vec<AggregateId>, StoreError> {
        match self {
            Self::Store(store) => store.ids(aggregate, after, limit).await,
            Self::Sqlite(reader) => reader.ids(aggregate, after, limit).await,
            Self::Log(reader) => reader.ids(aggregate, after, limit).await,
        }
    }
}
