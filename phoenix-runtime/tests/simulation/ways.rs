//! How callers reach the aggregates: in the process of an engine, or over a bus.

use phoenix_runtime::client::Client;
use phoenix_runtime::client::remote::Remote;
use phoenix_runtime::domain::error::{AskError, QueryError};
use phoenix_runtime::domain::handle::HandledBy;
use phoenix_runtime::domain::metadata::Priority;
use phoenix_runtime::domain::pending::Answer;
use phoenix_runtime::testkit::simulation::Simulation;

use crate::ledger::{Ledger, Look, Standing};
use crate::nodes::Nodes;

/// All ways that there are.
#[derive(Clone)]
pub(crate) enum Ways {
    /// To any of the nodes.
    Near(Nodes),
    /// By any of the clients.
    Far(Vec<Remote>),
}

impl Ways {
    /// `None` when the last node is gone.
    pub(crate) fn any(&self, world: &Simulation) -> Option<Way> {
        match self {
            Self::Near(nodes) => nodes.any(world).map(Way::Near),
            Self::Far(remotes) => {
                let index = usize::try_from(world.below(remotes.len() as u64)).unwrap();
                remotes.get(index).cloned().map(Way::Far)
            }
        }
    }
}

/// One of them.
pub(crate) enum Way {
    Near(Client),
    Far(Remote),
}

impl Way {
    pub(crate) async fn ask<C: HandledBy<Ledger>>(
        &self,
        world: &Simulation,
        key: Option<String>,
        command: C,
    ) -> Result<Answer<C::Reply>, AskError<C::Rejection>> {
        let priority = [Priority::High, Priority::Normal, Priority::Low][usize::try_from(world.below(3)).unwrap()];
        match self {
            Self::Near(client) => {
                let ask = client.of::<Ledger>().ask(command).priority(priority);
                let ask = if let Some(key) = key { ask.idempotency_key(key) } else { ask };
                ask.answer().await
            }
            Self::Far(remote) => {
                let ask = remote.of::<Ledger>().ask(command).priority(priority);
                let ask = if let Some(key) = key { ask.idempotency_key(key) } else { ask };
                ask.answer().await
            }
        }
    }

    pub(crate) async fn look(&self, look: Look) -> Result<Standing, QueryError> {
        match self {
            Self::Near(client) => client.of::<Ledger>().query(look).await,
            Self::Far(remote) => remote.of::<Ledger>().query(look).await,
        }
    }
}
