//! The buses of this crate as subjects of the suite.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libtest_mimic::Failed;
use phoenix_runtime::bus::claims::{ClaimCheck, ClaimCheckOptions, MemoryClaims};
use phoenix_runtime::bus::{Bus, BusError, EmbeddedBus, EmbeddedOptions};
use phoenix_runtime::clock::SystemClock;
use phoenix_runtime::domain::ports::{BoxFuture, Clock, SplitMix};
use phoenix_runtime::testkit::bus::{BusFaults, FaultyBus, Need, ServerFaults, Subject};
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

/// A bus that can fail, on a quiet day: it passes what others pass, and what only those pass that can fail.
#[derive(Default)]
pub(crate) struct Faulty(OnceLock<FaultyBus>);

impl Subject for Faulty {
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Bus>, BusError>> {
        Box::pin(async move {
            let inner = Memory.open(name).await?;
            let spawn = Arc::new(|task| drop(tokio::spawn(task)));
            let bus = FaultyBus::new(inner, clock(), Arc::new(SplitMix::new(1)), spawn, BusFaults::NONE);
            Ok(Arc::new(self.0.get_or_init(|| bus).clone()) as Arc<dyn Bus>)
        })
    }

    fn lacks(&self) -> &[Need] {
        &[Need::Durability]
    }

    fn servers(&self) -> Option<&dyn ServerFaults> {
        self.0.get().map(|bus| bus as &dyn ServerFaults)
    }
}

/// A bus with a place for large messages, which passes all else on.
pub(crate) struct Checking;

impl Subject for Checking {
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Bus>, BusError>> {
        Box::pin(async move {
            let (inner, claims) = (Memory.open(name).await?, Arc::new(MemoryClaims::new(clock())));
            let options =
                ClaimCheckOptions { above: 0, most: inner.traits().max_record_bytes, ..ClaimCheckOptions::default() };
            Ok(Arc::new(ClaimCheck::new(inner, claims, options, clock())) as Arc<dyn Bus>)
        })
    }

    fn lacks(&self) -> &[Need] {
        Memory.lacks()
    }
}

fn unavailable(error: impl std::error::Error) -> BusError {
    BusError::Unavailable(error.to_string())
}
