//! Where the events of a test are. Everything else is the same for each store.

use std::path::PathBuf;
use std::sync::Mutex;

use libtest_mimic::Trial;
use phoenix_test_servers::{Kind, Private, Server, trial};
use tempfile::TempDir;

/// A store that services are tested on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Sqlite,
    Log,
    Postgres,
    MySql,
}

/// All of them.
pub(crate) const ALL: &[Store] = &[Store::Sqlite, Store::Postgres, Store::Log, Store::MySql];
/// Those whose events are files that one process owns.
pub(crate) const FILES: &[Store] = &[Store::Sqlite, Store::Log];
/// Those that are databases beside the service.
pub(crate) const SERVERS: &[Store] = &[Store::Postgres, Store::MySql];

impl Store {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Log => "log",
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
        }
    }

    /// Where it is, if it is no file of the service.
    pub(crate) const fn server(self) -> Option<Kind> {
        match self {
            Self::Sqlite | Self::Log => None,
            Self::Postgres => Some(Kind::Postgres),
            Self::MySql => Some(Kind::MySql),
        }
    }
}

/// Room for the events of one test, and for the logs of its services. It is gone when it is dropped, but not after a
/// failure.
#[derive(Debug)]
pub(crate) struct Place {
    store: Store,
    url: String,
    folder: Option<TempDir>,
}

impl Place {
    /// An empty one, on a server if that is what the store is.
    pub(crate) fn new(store: Store, server: Option<&Server>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut place = Self { store, url: String::new(), folder: Some(folder) };
        for folder in [place.logs(), place.events()] {
            std::fs::create_dir(folder).expect("a folder");
        }
        place.url = match (store, server) {
            (_, Some(server)) => server.database("crash").expect("a database"),
            (Store::Sqlite, _) => format!("sqlite:{}", place.events().join("bank.db").display()),
            (Store::Log, _) => format!("log:{}", place.events().display()),
            (Store::Postgres | Store::MySql, None) => panic!("{} needs a server", store.name()),
        };
        place
    }

    /// What a service calls it.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
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
            // many segments, and an index that is often sorted into files
            Store::Log => vec![
                ("PHOENIX__LOG_STORE__SEGMENT_SIZE", "64KiB".to_owned()),
                ("PHOENIX__LOG_STORE__INDEX_MEMORY", "8KiB".to_owned()),
            ],
            Store::Postgres | Store::MySql => Vec::new(),
        }
    }

    /// How to make its commits late.
    pub(crate) fn slowness(&self) -> &'static Slowness {
        match self.store {
            Store::Sqlite | Store::Log => panic!("{} has no triggers of ours", self.store.name()),
            Store::Postgres => &POSTGRES,
            Store::MySql => &MYSQL,
        }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        // the shim of a disk compares with what the kernel calls it
        self.folder.as_ref().expect("it is there").path().canonicalize().expect("it is there")
    }
}

/// How to make the commits of a database late.
pub(crate) struct Slowness {
    /// Makes commits with events of slice 7 wait while it is held.
    pub(crate) held: &'static [&'static str],
    pub(crate) hold: &'static str,
    pub(crate) release: &'static str,
    /// How many wait.
    pub(crate) waiting: &'static str,
    /// Makes each commit take a random time.
    pub(crate) random: &'static [&'static str],
}

const POSTGRES: Slowness = Slowness {
    held: &[
        "CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.position >> 44 = 7 THEN PERFORM pg_advisory_xact_lock_shared(7); END IF; RETURN NULL; END $$",
        "CREATE TRIGGER held AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION held()",
    ],
    hold: "SELECT pg_advisory_lock(7)",
    release: "SELECT pg_advisory_unlock(7)",
    waiting: "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted",
    random: &[
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         PERFORM pg_sleep(random() * 0.01); RETURN NULL; END $$",
        "CREATE TRIGGER late AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION late()",
    ],
};

const MYSQL: Slowness = Slowness {
    held: &["CREATE TRIGGER held AFTER INSERT ON events FOR EACH ROW \
             IF NEW.position >> 44 = 7 THEN DO GET_LOCK('held', 60); DO RELEASE_LOCK('held'); END IF"],
    hold: "SELECT GET_LOCK('held', 0)",
    release: "SELECT RELEASE_LOCK('held')",
    waiting: "SELECT count(*) FROM information_schema.processlist WHERE state = 'User lock'",
    random: &["CREATE TRIGGER late AFTER INSERT ON events FOR EACH ROW DO SLEEP(RAND() * 0.01)"],
};

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
    let case = |store: &Store| {
        let (store, name) = (*store, case_name(module, name, *store));
        let run = move |server: Option<&Server>| {
            test(&Place::new(store, server));
            Ok(())
        };
        match store.server() {
            None => Trial::test(name, move || run(None)),
            Some(kind) => trial(kind, name, move |server| run(Some(server))),
        }
    };
    stores.iter().map(case).collect()
}

/// A test on two databases of each of these stores; the second one by its URL.
pub(crate) fn cases_on_two(stores: &[Store], module: &str, name: &str, test: fn(&Place, &str)) -> Vec<Trial> {
    let case = |store: &Store| {
        let store = *store;
        let run = move |server: &'static Server| {
            test(&Place::new(store, Some(server)), &server.database("source")?);
            Ok(())
        };
        Some(trial(store.server()?, case_name(module, name, store), run))
    };
    stores.iter().filter_map(case).collect()
}

/// A test on a database of each of these stores, with another server of this kind that it may kill.
pub(crate) fn cases_with_another_server(
    stores: &[Store],
    module: &str,
    name: &str,
    test: fn(&Place, &Private),
) -> Vec<Trial> {
    let case = |store: &Store| {
        let store = *store;
        let run = move |server: &'static Server| {
            test(&Place::new(store, Some(server)), &Private::start(server.kind())?);
            Ok(())
        };
        Some(trial(store.server()?, case_name(module, name, store), run))
    };
    stores.iter().filter_map(case).collect()
}

/// Tests that kill their database: they have a server for themselves, one after the other.
pub(crate) fn private_cases(stores: &[Store], module: &str, name: &str, test: fn(&Place, &Private)) -> Vec<Trial> {
    let case = |store: &Store| {
        let (store, name) = (*store, case_name(module, name, *store));
        let run = move |kind: Kind| {
            static SERVERS: [Mutex<Option<Private>>; 2] = [Mutex::new(None), Mutex::new(None)];
            // a test that failed may have left it frozen or dead
            let server = &SERVERS[kind as usize];
            let mut server = server.lock().unwrap_or_else(|failed| {
                let mut server = failed.into_inner();
                *server = None;
                server
            });
            if server.is_none() {
                *server = Some(Private::start(kind)?);
            }
            let private = server.as_ref().expect("it was started");
            test(&Place::new(store, Some(private)), private);
            Ok(())
        };
        Some(trial(store.server()?, name, move |shared| run(shared.kind())))
    };
    stores.iter().filter_map(case).collect()
}

fn case_name(module: &str, name: &str, store: Store) -> String {
    crate::title(module, &format!("{name}::{}", store.name()))
}

/// A test on each of these stores, as trials.
macro_rules! on_each {
    ($stores:expr, $test:ident) => {
        $crate::stores::cases($stores, module_path!(), stringify!($test), $test)
    };
}
pub(crate) use on_each;

/// A test on each of these stores with a server of its own, as trials.
macro_rules! on_private {
    ($stores:expr, $test:ident) => {
        $crate::stores::private_cases($stores, module_path!(), stringify!($test), $test)
    };
}
pub(crate) use on_private;
