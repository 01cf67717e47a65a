//! Where the events of a test are. Everything else is the same for each store.

use std::path::PathBuf;

use libtest_mimic::Trial;
use tempfile::TempDir;

/// A store that services are tested on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Sqlite,
}

/// All of them.
pub(crate) const ALL: &[Store] = &[Store::Sqlite];
/// Those whose events are files that one process owns.
pub(crate) const FILES: &[Store] = &[Store::Sqlite];

impl Store {
    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
        }
    }
}

/// Room for the events of one test, and for the logs of its services. It is gone when it is dropped, but not after a
/// failure.
#[derive(Debug)]
pub(crate) struct Place {
    store: Store,
    folder: Option<TempDir>,
}

impl Place {
    /// An empty one.
    pub(crate) fn new(store: Store) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Self { store, folder: Some(folder) };
        for folder in [place.logs(), place.events()] {
            std::fs::create_dir(folder).expect("a folder");
        }
        place
    }

    /// What a service calls it.
    pub(crate) fn url(&self) -> String {
        match self.store {
            Store::Sqlite => format!("sqlite:{}", self.events().join("bank.db").display()),
        }
    }

    /// Where logs go.
    pub(crate) fn logs(&self) -> PathBuf {
        self.folder().join("logs")
    }

    /// The folder of a store that has one.
    pub(crate) fn events(&self) -> PathBuf {
        self.folder().join("store")
    }

    /// What makes rare paths of this store common.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        match self.store {
            // a checkpoint every few commits, so that many of them are cut short
            Store::Sqlite => vec![("PHOENIX__SQLITE__WAL_AUTOCHECKPOINT_PAGES", "200".to_owned())],
        }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        // the shim of a disk compares with what the kernel calls it
        self.folder.as_ref().expect("it is there").path().canonicalize().expect("it is there")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.take()
            && std::thread::panicking()
        {
            println!("kept for whoever looks into it: {}", folder.keep().display());
        }
    }
}

/// A test on each of these stores, as trials.
pub(crate) fn cases(stores: &[Store], module: &str, name: &str, test: fn(&Place)) -> Vec<Trial> {
    let trial = |store: &Store| {
        let store = *store;
        let name = crate::title(module, &format!("{name}::{}", store.name()));
        Trial::test(name, move || {
            test(&Place::new(store));
            Ok(())
        })
    };
    stores.iter().map(trial).collect()
}

/// A test on each of these stores, as trials.
macro_rules! on_each {
    ($stores:expr, $test:ident) => {
        $crate::stores::cases($stores, module_path!(), stringify!($test), $test)
    };
}
pub(crate) use on_each;
