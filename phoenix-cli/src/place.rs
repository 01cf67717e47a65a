//! Which store a subcommand is about, and which archive it has.

use std::path::PathBuf;

use phoenix_runtime::node::NodeConfig;
use phoenix_runtime::node::config::store_url::InvalidStoreUrl;
use phoenix_runtime::node::config::{ArchiveUrl, StoreUrl};

/// A store, and its archive.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// The SQLite file, the log's folder or the database's address, for example data/phoenix.db
    store: String,
    /// Where its archive is: table, or folder:PATH [default: table]
    #[arg(long, value_name = "WHERE")]
    archive: Option<ArchiveUrl>,
}

impl Place {
    /// The configuration of a service that has them.
    pub(crate) fn config(self) -> Result<NodeConfig, InvalidStoreUrl> {
        let mut config = NodeConfig::default();
        config.store = match PathBuf::from(&self.store) {
            _ if self.store.contains("://") => self.store.parse()?,
            // a log is a folder
            path if path.is_dir() => StoreUrl::Log(path),
            path => StoreUrl::Sqlite(path),
        };
        config.archive = self.archive.unwrap_or(match config.store {
            StoreUrl::Log(_) => ArchiveUrl::Off,
            _ => ArchiveUrl::Table,
        });
        Ok(config)
    }
}
