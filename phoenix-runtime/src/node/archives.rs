//! Puts the archive that the configuration names over a store.

use std::sync::Arc;

use crate::event_store::{Archive, Archived, EventStore, FolderArchive, OpenError};
use crate::node::config::ArchiveUrl;

/// A store with its archive; `table` is the one of the store's own database, where it has one.
pub(super) fn over(
    url: &ArchiveUrl,
    store: Arc<dyn EventStore>,
    table: Option<Arc<dyn Archive>>,
) -> Result<Arc<Archived>, OpenError> {
    let archive: Arc<dyn Archive> = match (url, table) {
        (ArchiveUrl::Off, _) => return Ok(Arc::new(Archived::without_archive(store))),
        (ArchiveUrl::Table, Some(table)) => table,
        (ArchiveUrl::Table, None) => return Err(OpenError::NoTable(store.name())),
        (ArchiveUrl::Folder(path), _) => Arc::new(FolderArchive::open(path)?),
    };
    if store.is_durable() && !archive.is_durable() {
        let (store, archive) = (store.name(), archive.name());
        tracing::warn!(store, archive, "THE ARCHIVE IS NOT DURABLE: what moves there is lost when this process ends");
    }
    Ok(Arc::new(Archived::new(store, archive)))
}

/// Checks, before a node takes the store over, that its archive is the one that events were moved to.
pub(super) async fn check(
    store: &Archived,
    aggregates: impl Iterator<Item = &'static str>,
    may_be_astray: bool,
) -> Result<(), OpenError> {
    for aggregate in aggregates {
        let stream = match store.gone_astray(aggregate.into()).await {
            Ok(None) => continue,
            Ok(Some(stream)) => stream,
            Err(error) => {
                // one aggregate that can't be read must not keep the others from starting
                tracing::warn!(aggregate, %error, "can't look whether what was moved to the archive is there");
                continue;
            }
        };
        let astray = OpenError::ArchiveAstray { stream, archive: store.archive_port().map(Archive::name) };
        if !may_be_astray {
            return Err(astray);
        }
        tracing::error!(aggregate, "{astray}");
    }
    Ok(())
}

/// The archive, for those who only read.
pub(super) fn to_read(url: &ArchiveUrl, table: Option<Arc<dyn Archive>>) -> Option<Arc<dyn Archive>> {
    match url {
        // who only looks need not say where the table is
        ArchiveUrl::Off | ArchiveUrl::Table => table,
        ArchiveUrl::Folder(path) => Some(Arc::new(FolderArchive::reader(path))),
    }
}
