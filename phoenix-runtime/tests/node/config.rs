//! The configuration: what it says, and every mistake with its place.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use phoenix_runtime::event_store::OpenError;
use phoenix_runtime::event_store::sources::Members;
use phoenix_runtime::node::config::{ArchiveUrl, ConfigError, Place, StoreUrl};
use phoenix_runtime::node::{NodeConfig, open_members};

fn read(file: &str, variables: &[(&str, &str)]) -> Result<NodeConfig, ConfigError> {
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    NodeConfig::read(Some((Path::new("phoenix.toml"), file)), variables)
}

#[test]
fn file_and_environment_are_one() {
    let file = r#"
        store = "memory"
        archive = "folder:old"
        http = { port = 9000, timeout = "5s" }
        [engine]
        shards = 3
    "#;
    let variables = [
        ("PHOENIX__HTTP__PORT", "9090"),
        ("PHOENIX__HTTP__EXPOSE", "true"),
        ("PHOENIX__HTTP__ADDRESS", "0.0.0.0"),
        ("PHOENIX__HTTP__MAX_BODY", "1MiB"),
        ("PHOENIX__STORE", "sqlite:/var/lib/bank.db"),
        ("PHOENIX__ARCHIVE", "table"),
        ("PHOENIX__LOG__FORMAT", "json"),
        ("PHOENIX_HOME", "of somebody else"),
        ("PATH", "/bin"),
    ];
    let config = read(file, &variables).expect("fits");
    assert_eq!(config.store, StoreUrl::Sqlite("/var/lib/bank.db".into()));
    assert_eq!(config.archive, ArchiveUrl::Table);
    assert_eq!(config.engine.shards, Some(3));
    assert_eq!((config.http.port, config.http.expose, config.http.max_body), (9090, true, 1 << 20));
    assert_eq!((config.http.timeout, config.http.max_timeout), (Duration::from_secs(5), Duration::from_mins(1)));
    assert_eq!(read("", &[]), Ok(NodeConfig::default()));
    assert_eq!(NodeConfig::read(None, []), Ok(NodeConfig::default()));
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table, a line for each mistake")]
fn each_mistake_is_named_with_its_place() {
    #[track_caller]
    fn check(file: &str, variables: &[(&str, &str)], expected: &[&str]) {
        let error = read(file, variables).expect_err("does not fit");
        let found: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }
    let http = "address, body_timeout, burst_calls, caller_header, calls_per_second, enabled, expose, max_body, max_callers, \
                max_timeout, operator, port, timeout";
    let root = "archive, bus, database, delivery, embedded_bus, engine, http, kafka, log, log_store, messaging, node, \
                rdkafka, sources, sqlite, store";

    check(
        "[http]\nprot = 1\n",
        &[],
        &[&format!("phoenix.toml:2:1: `http.prot`: no such key, did you mean `port`? (known here: {http})")],
    );
    check("[zzz]\n", &[], &[&format!("phoenix.toml:1:2: `zzz`: no such key (known here: {root})")]);
    check(
        "  storage = \"memory\"\n",
        &[],
        &[&format!("phoenix.toml:1:3: `storage`: no such key, did you mean `store`? (known here: {root})")],
    );
    check(
        "[http]\nport = \"x\"\ntimeout = 10\n",
        &[],
        &[
            "phoenix.toml:2:1: `http.port`: invalid type: string \"x\", expected u16",
            "phoenix.toml:3:1: `http.timeout`: invalid type: integer `10`, expected a duration such as \"10s\"",
        ],
    );
    check(
        "[http]\nport = 70000\nmax_body = \"64kb\"\n",
        &[],
        &[
            "phoenix.toml:3:1: `http.max_body`: `64kb` has the unknown unit `kb` (units: KiB, B, MiB, GiB)",
            "phoenix.toml:2:1: `http.port`: invalid value: integer `70000`, expected u16",
        ],
    );
    check("http = 5\n", &[], &["phoenix.toml:1:1: `http`: invalid type: integer `5`, expected a table"]);
    check(
        "store = \"oracle://bank:secret@db/bank\"\n[log]\nfilter = \"verbose\"\nformat = \"xml\"\n",
        &[],
        &[
            "phoenix.toml:3:1: `log.filter`: `verbose` is no log filter: write a level (error, warn, info, debug, \
             trace, off), or levels of modules: `info,phoenix_runtime=debug`",
            "phoenix.toml:4:1: `log.format`: unknown variant `xml`, expected `text` or `json`",
            "phoenix.toml:1:1: `store`: there is no store `oracle`: write one of `sqlite:<path>`, \
             `log:<path>`, `postgres://<user>:<password>@<host>/<database>`, `mysql://<user>:<password>@<host>/<database>`, `memory`, `none`",
        ],
    );
    check(
        "",
        &[("PHOENIX__HTTP__PORT", "many"), ("PHOENIX__HTTP__PROT", "1"), ("PHOENIX__ENGINE__SHARDS", "0.5")],
        &[
            "environment variable PHOENIX__ENGINE__SHARDS: `engine.shards`: invalid type: floating point `0.5`, expected u16",
            "environment variable PHOENIX__HTTP__PORT: `http.port`: invalid type: string \"many\", expected u16",
            &format!(
                "environment variable PHOENIX__HTTP__PROT: `http.prot`: no such key, did you mean `port`? (known here: {http})"
            ),
        ],
    );
    check(
        "archive = \"folder:\"\n",
        &[],
        &["phoenix.toml:1:1: `archive`: `folder:` needs a path: write `folder:data/archive`"],
    );
    check(
        "bus = \"memory\"\n[messaging]\nclaim_check = \"s3:bucket\"\nclaim_check_above = \"1GiB\"\n",
        &[],
        &[
            "phoenix.toml:3:1: `messaging.claim_check`: large messages can't be kept in `s3:bucket`: write one of `off`, \
             `folder:<path>`",
            "phoenix.toml:4:1: `messaging.claim_check_above`: is more than `messaging.claim_check_most`, which is 16MiB: \
             nothing would be kept",
        ],
    );
    check(
        "[messaging]\nclaim_check = \"folder:large\"\n",
        &[],
        &[
            "phoenix.toml:2:1: `messaging.claim_check`: there is no bus whose messages could be too large: set `bus`, or \
             write `off`",
        ],
    );
    check(
        "store = \"log:data\"\narchive = \"table\"\n",
        &[],
        &["phoenix.toml:2:1: `archive`: a log has no tables: write `archive = \"folder:<path>\"`"],
    );
    check(
        "store = \"postgres://a@b/c\"\n[sources]\nb = \"memory\"\nc = \"mysql://a@b/c\"\nd = \"log:data\"\n",
        &[("PHOENIX__SOURCES__E", "none")],
        &[
            "phoenix.toml:3:1: `sources.b`: `memory` can't be one of several sources: use databases of PostgreSQL or MySQL",
            "phoenix.toml:5:1: `sources.d`: `log` can't be one of several sources: use databases of PostgreSQL or MySQL",
            "environment variable PHOENIX__SOURCES__E: `sources.e`: `none` can't be one of several sources: use \
             databases of PostgreSQL or MySQL",
        ],
    );
    check(
        "store = \"memory\"\n[sources]\nb = \"postgres://a@b/c\"\n",
        &[],
        &["phoenix.toml:1:1: `store`: `memory` can't be one of several sources: use databases of PostgreSQL or MySQL"],
    );
    check(
        "[log_store]\nsegment_size = \"8GiB\"\n",
        &[],
        &["phoenix.toml:2:1: `log_store.segment_size`: 8GiB is larger than 2GiB"],
    );
    check(
        "[database]\nappend_connections = 0\nread_connections = 0\nconnect_timeout = \"0s\"\nlock_timeout = \"2m\"\n\
         [log_store]\nrecords_a_commit = 0\n",
        &[("PHOENIX__ENGINE__SHARDS", "0")],
        &[
            "phoenix.toml:2:1: `database.append_connections`: must be at least 1",
            "phoenix.toml:3:1: `database.read_connections`: must be at least 1",
            "environment variable PHOENIX__ENGINE__SHARDS: `engine.shards`: must be at least 1",
            "phoenix.toml:7:1: `log_store.records_a_commit`: must be at least 1",
            "phoenix.toml:4:1: `database.connect_timeout`: must be longer than nothing",
            "phoenix.toml:5:1: `database.lock_timeout`: 2m is longer than `database.statement_timeout`, which is 30s and \
             ends the wait",
        ],
    );
    check(
        "[database]\nstatement_timeout = \"0s\"\nlock_timeout = \"0s\"\n",
        &[],
        &[
            "phoenix.toml:2:1: `database.statement_timeout`: must be longer than nothing",
            "phoenix.toml:3:1: `database.lock_timeout`: must be longer than nothing",
        ],
    );
    check(
        "",
        &[("PHOENIX__ARCHIVE", "data/archive")],
        &["environment variable PHOENIX__ARCHIVE: `archive`: there is no archive `data/archive`: write one of `off`, \
           `table`, `folder:<path>`"],
    );
    check(
        "",
        &[("PHOENIX_HTTP_PORT", "1"), ("PHOENIX__STORE__URL", "x")],
        &[
            "environment variable PHOENIX_HTTP_PORT: is not read: each level takes two underscores, write `PHOENIX__HTTP__PORT`",
            "environment variable PHOENIX__STORE__URL: `store`: invalid type: map, expected one of `sqlite:<path>`, `log:<path>`, `postgres://<user>:<password>@<host>/<database>`, `mysql://<user>:<password>@<host>/<database>`, `memory`, `none`",
        ],
    );
    check(
        "[http]\naddress = \"0.0.0.0\"\ntimeout = \"2m\"\n",
        &[],
        &[
            "phoenix.toml:2:1: `http.address`: 0.0.0.0 can be reached from other machines, and the gateway asks nobody \
             who they are: put it behind something that does and set `http.expose = true`, or use 127.0.0.1",
            "phoenix.toml:3:1: `http.timeout`: 2m is longer than `http.max_timeout`, which is 1m",
        ],
    );
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_line_and_column() {
    let error = read("[http\nport = 1\n[log]\nfilter = \n", &[]).expect_err("no TOML");
    let places: Vec<&Place> = error.problems().iter().map(|problem| &problem.place).collect();
    assert!(places.len() >= 2, "both mistakes at once: {error}");
    let line_of = |place: &Place| match place {
        Place::File { line, .. } => *line,
        _ => 0,
    };
    assert_eq!((line_of(places[0]), line_of(places[1])), (1, 4), "{error}");
}

#[test]
fn all_of_it_is_told_at_once() {
    let error = read("[http]\nprot = 1\n[log]\nformat = 1\n", &[("PHOENIX__HTTP__PORT", "x")]).expect_err("wrong");
    assert_eq!(error.problems().len(), 3, "{error}");
    assert!(error.to_string().starts_with("the configuration has 3 mistakes:\n  "), "{error}");
}

#[tokio::test]
async fn what_does_not_outlive_its_process_is_no_source() {
    #[track_caller]
    fn check(opened: &Result<Members, OpenError>, key: &str) {
        assert!(matches!(opened, Err(OpenError::NotShared(found)) if found == key), "{opened:?}");
    }
    let mut config = NodeConfig::default();
    for store in [StoreUrl::Memory, StoreUrl::None, StoreUrl::Sqlite("a.db".into()), StoreUrl::Log("a".into())] {
        config.store = store;
        check(&open_members(&config).await, "`store`");
    }
}
