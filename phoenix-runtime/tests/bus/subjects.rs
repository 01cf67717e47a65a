//! The buses of this crate as subjects of the suite.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Failed;
use phoenix_runtime::bus::{Bus, BusError, EmbeddedBus, EmbeddedOptions};
use phoenix_runtime::domain::ports::{BoxFuture, Clock};
use phoenix_runtime::engine::SystemClock;
use phoenix_runtime::testkit::bus::{Need, Subject};
use tempfile::TempDir;

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

/// As short as a case waits for it, and long enough for a machine that is busy.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(500);

pub(crate) struct Memory;

impl Subject for Memory {
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Bus>, BusError>> {
        let options = EmbeddedOptions { release_timeout: RELEASE_TIMEOUT, ..EmbeddedOptions::at(name) };
        let bus = EmbeddedBus::memory_with(options, clock());
        Box::pin(async { Ok(Arc::new(bus.map_err(unavailable)?) as Arc<dyn Bus>) })
    }

    fn lacks(&self) -> &[Need] {
        &[Need::Durability, Need::ServerFaults]
    }
}

pub(crate) struct File(TempDir);

impl File {
    pub(crate) fn new() -> Result<Self, Failed> {
        Ok(Self(TempDir::new()?))
    }
}

impl Subject for File {
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Bus>, BusError>> {
        let path = self.0.path().join(name).with_extension("db");
        let options = EmbeddedOptions { release_timeout: RELEASE_TIMEOUT, ..EmbeddedOptions::at(path) };
        Box::pin(async {
            let bus = EmbeddedBus::open(options, clock()).await.map_err(unavailable)?;
            Ok(Arc::new(bus) as Arc<dyn Bus>)
        })
    }

    fn lacks(&self) -> &[Need] {
        &[Need::ServerFaults]
    }
}

fn unavailable(error: impl std::error::Error) -> BusError {
    BusError::Unavailable(error.to_string())
}
