//! Which store a subcommand is about, and which archive it has.

use std::path::{Path, PathBuf};

use phoenix_runtime::node::NodeConfig;
use phoenix_runtime::node::config::store_url::InvalidStoreUrl;
use phoenix_runtime::node::config::{ArchiveUrl, ConfigError, StoreUrl};

/// A store, and its archive.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// The store as the configuration names it, or just its file or folder, for example data/phoenix.db
    store: String,
    /// Where its archive is: table, or folder:PATH [default: where the configuration of its service says]
    #[arg(long, value_name = "WHERE")]
    archive: Option<ArchiveUrl>,
}

/// Why it is not known which store, or which archive.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum PlaceError {
    #[error(transparent)]
    Url(#[from] InvalidStoreUrl),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("nothing of `{0}` is found by another process: it keeps nothing outside of its own")]
    #[diagnostic(help("name a store that keeps its events; a file of that name is `./{0}`"))]
    Inside(StoreUrl),
    #[error("it is not said where the archive of `{0}` is")]
    #[diagnostic(help(
        "name the one that its service has, `--archive table` or `--archive folder:<path>`: events in another one are not \
         found by the service; or run this where its configuration is, with `store` and `archive`"
    ))]
    NoArchive(StoreUrl),
}

impl Place {
    /// A store, with the archive that the configuration gives to it.
    pub(crate) const fn of(store: String) -> Self {
        Self { store, archive: None }
    }

    /// The configuration of a service that has them. Whoever only reads finds a table for an archive by itself.
    pub(crate) fn for_reading(self) -> Result<NodeConfig, PlaceError> {
        let mut config = NodeConfig::default();
        config.store = store(&self.store)?;
        config.archive = archive(self.archive, &config.store)?;
        Ok(config)
    }

    /// The configuration of a service that has them, for moving events between the two.
    pub(crate) fn for_moving(self) -> Result<NodeConfig, PlaceError> {
        match self.for_reading()? {
            NodeConfig { archive: ArchiveUrl::Off, store, .. } => Err(PlaceError::NoArchive(store)),
            config => Ok(config),
        }
    }
}

fn store(text: &str) -> Result<StoreUrl, PlaceError> {
    match text.parse::<StoreUrl>() {
        Ok(store @ (StoreUrl::Memory | StoreUrl::None)) => Err(PlaceError::Inside(store)),
        Ok(store) => Ok(store),
        Err(InvalidStoreUrl::NoScheme | InvalidStoreUrl::Unknown(_)) if !text.contains("://") => {
            let path = PathBuf::from(text);
            // a log is a folder
            Ok(if path.is_dir() { StoreUrl::Log(path) } else { StoreUrl::Sqlite(path) })
        }
        Err(error) => Err(error.into()),
    }
}

/// The one that is named, or that the configuration gives to this very store.
fn archive(named: Option<ArchiveUrl>, store: &StoreUrl) -> Result<ArchiveUrl, ConfigError> {
    if let Some(named) = named {
        return Ok(named);
    }
    let config = NodeConfig::load()?;
    Ok(if is_same(&config.store, store) { config.archive } else { ArchiveUrl::Off })
}

fn is_same(one: &StoreUrl, other: &StoreUrl) -> bool {
    let file = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    match (one, other) {
        (StoreUrl::Sqlite(one), StoreUrl::Sqlite(other)) | (StoreUrl::Log(one), StoreUrl::Log(other)) => {
            file(one) == file(other)
        }
        _ => one == other,
    }
}
