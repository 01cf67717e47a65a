//! The arguments that every service takes: only the service itself knows its types, so other tools call it.

use std::process::ExitCode;
use std::str::FromStr as _;

use serde::Serialize;

use crate::domain::id::AggregateId;
use crate::node::History;
use crate::node::builder::{NodeBuilder, NodeError};
use crate::node::config::NodeConfig;
use crate::node::inspect::{AggregateSchema, Until};

const USAGE: &str = "\
usage: <service> [run]
       <service> state TYPE ID [--version N | --at RFC3339]
       <service> schema
       <service> config

  run     start the service and serve until SIGINT or SIGTERM (the default)
  state   replay one aggregate and print its state as JSON
  schema  print every message and what it consists of, as JSON
  config  print a configuration file with every key and its default

Configuration: phoenix.toml, or the file that PHOENIX_CONFIG names, and PHOENIX__SECTION__KEY variables.";

/// What the arguments ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Run,
    State { aggregate: String, id: AggregateId, until: Until },
    Schema,
    Config,
    Help,
}

impl NodeError {
    /// 2 for what a caller or operator wrote, 130 for a second signal, 1 for all else.
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) => 2,
            Self::Interrupted => 130,
            _ => 1,
        }
    }
}

impl NodeBuilder {
    /// The whole program of a service, from arguments, file and environment to the exit code: what is wrong is said
    /// on standard error. It makes the async runtime itself; a program that has one calls [`NodeBuilder::run`].
    #[must_use]
    pub fn main(self) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let done = match runtime {
            Ok(runtime) => {
                let done = runtime.block_on(self.act(std::env::args().skip(1)));
                // a handler that blocks its thread must not keep the process
                runtime.shutdown_background();
                done
            }
            Err(error) => Err(NodeError::Runtime(error)),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::from(error.exit_code())
            }
        }
    }

    async fn act(self, arguments: impl IntoIterator<Item = String>) -> Result<(), NodeError> {
        match parse(arguments).map_err(|wrong| NodeError::Usage(format!("{wrong}\n\n{USAGE}")))? {
            Action::Help => print(USAGE),
            Action::Config => print(NodeConfig::documented().trim_end()),
            Action::Schema => self.print_schema(),
            Action::State { aggregate, id, until } => self.configured()?.print_state(&aggregate, id, until).await,
            Action::Run => Box::pin(self.configured()?.run()).await,
        }
    }

    fn configured(self) -> Result<Self, NodeError> {
        Ok(if self.config.is_some() { self } else { self.load_config()? })
    }

    async fn print_state(self, aggregate: &str, id: AggregateId, until: Until) -> Result<(), NodeError> {
        let Some(registered) = self.aggregates.iter().find(|one| one.name == aggregate) else {
            let names: Vec<_> = self.aggregates.iter().map(|one| one.name).collect();
            let known = names.join(", ");
            return Err(NodeError::Usage(format!("this service has no aggregate `{aggregate}` (it has: {known})")));
        };
        let history = History::open(&self.config.unwrap_or_default()).await?;
        let view = registered.inspector.state(history, id, until).await?;
        print_json(&view)
    }

    fn print_schema(&self) -> Result<(), NodeError> {
        #[derive(Serialize)]
        struct Schemas {
            aggregates: Vec<AggregateSchema>,
        }
        print_json(&Schemas { aggregates: self.aggregates.iter().map(|one| one.inspector.schema()).collect() })
    }
}

fn print_json(value: &impl Serialize) -> Result<(), NodeError> {
    print(&serde_json::to_string_pretty(value).map_err(std::io::Error::from)?)
}

fn print(text: &str) -> Result<(), NodeError> {
    use std::io::Write as _;
    match writeln!(std::io::stdout().lock(), "{text}") {
        // whoever reads it has seen enough
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Action, String> {
    let arguments: Vec<String> = arguments.into_iter().collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["run"] => Ok(Action::Run),
        ["schema"] => Ok(Action::Schema),
        ["config"] => Ok(Action::Config),
        ["help" | "--help" | "-h"] => Ok(Action::Help),
        ["state", aggregate, id, rest @ ..] => Ok(Action::State {
            aggregate: (*aggregate).to_owned(),
            id: AggregateId::new(id).map_err(|e| e.to_string())?,
            until: until(rest)?,
        }),
        ["state", ..] => Err("`state` needs the aggregate's type and id".to_owned()),
        [known @ ("run" | "schema" | "config"), more, ..] => Err(format!("`{known}` takes no `{more}`")),
        [other, ..] => Err(format!("there is no command `{other}`")),
    }
}

fn until(words: &[&str]) -> Result<Until, String> {
    match words {
        [] => Ok(Until::End),
        ["--version", number] => match number.parse() {
            Ok(version) if version > 0 => Ok(Until::Version(version)),
            _ => Err(format!("`--version` needs a whole number from 1, not `{number}`")),
        },
        ["--at", time] => jiff::Timestamp::from_str(time)
            .map(|time| Until::Time(time.as_microsecond()))
            .map_err(|e| format!("`--at` needs a time such as 2026-01-31T12:00:00Z: {e}")),
        ["--version" | "--at"] => Err(format!("`{}` needs a value", words[0])),
        ["--version" | "--at", _, more, ..] => {
            Err(format!("one of `--version` and `--at` is enough, not also `{more}`"))
        }
        [other, ..] => Err(format!("`state` takes no `{other}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        #[track_caller]
        fn check(line: &str, expected: Result<Action, &str>) {
            let found = parse(line.split_whitespace().map(str::to_owned));
            assert_eq!(found, expected.map_err(str::to_owned));
        }
        let state = |until| AggregateId::new("a").map(|id| Action::State { aggregate: "account".into(), id, until });
        check("", Ok(Action::Run));
        check("run", Ok(Action::Run));
        check("schema", Ok(Action::Schema));
        check("--help", Ok(Action::Help));
        check("state account a", state(Until::End).map_err(|_| ""));
        check("state account a --version 3", state(Until::Version(3)).map_err(|_| ""));
        check("state account a --at 1970-01-01T00:00:01Z", state(Until::Time(1_000_000)).map_err(|_| ""));
        check("state account", Err("`state` needs the aggregate's type and id"));
        check("state account a --version", Err("`--version` needs a value"));
        check("state account a --version 0", Err("`--version` needs a whole number from 1, not `0`"));
        check("state account a --version 1 --at x", Err("one of `--version` and `--at` is enough, not also `--at`"));
        check("state account a --verbose", Err("`state` takes no `--verbose`"));
        check("run fast", Err("`run` takes no `fast`"));
        check("start", Err("there is no command `start`"));
    }
}
