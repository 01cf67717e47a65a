//! Whether an archive is the one that events were moved to.

use std::sync::Arc;

use super::archived::Archived;
use crate::event_store::port::{Load, StoreError, StreamId};

/// How many aggregates of a type are looked at.
const LOOKS: usize = 256;
/// How many of them are looked for in the archive whose events were moved.
const SEARCHES: usize = 8;

impl Archived {
    /// Looks at the first aggregates of a type, which costs two questions to the store, and gives one whose events were
    /// moved to an archive where this one, if there is any, has no block of those that are looked for: it was switched
    /// off, or is another one. Blocks that are missing one by one are not looked for.
    ///
    /// # Errors
    /// A store or an archive that does not answer.
    pub async fn gone_astray(&self, aggregate: Arc<str>) -> Result<Option<StreamId>, StoreError> {
        let ids = self.store().ids(Arc::clone(&aggregate), None, LOOKS).await?;
        let stream = |id| StreamId { aggregate: Arc::clone(&aggregate), id };
        let first = |id| Load { stream: stream(id), fingerprint: None, keys: 0, events: 1 };
        let loaded = self.store().load(ids.into_iter().map(first).collect()).await?;
        let events = loaded.into_iter().flat_map(|loaded| loaded.events);
        let mut astray = None;
        // what is moved of a stream is its beginning
        for stored in events.filter(|stored| stored.event.version == 1 && stored.is_archived()).take(SEARCHES) {
            if let Some(archive) = self.archive_port()
                && !archive.blocks(stored.stream.clone(), 1, 1).await?.is_empty()
            {
                return Ok(None);
            }
            astray.get_or_insert(stored.stream);
        }
        Ok(astray)
    }
}
