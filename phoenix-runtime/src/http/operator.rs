//! What an operator and a load balancer ask a node.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::domain::error::{Code, QueryError};
use crate::engine::Health;
use crate::http::headers::{DURABILITY, Said};
use crate::http::messages::{Names, Whose, mark, unreadable};
use crate::http::problem::{More, OPERATOR_OFF, Problem, STARTING, UNKNOWN_PATH};
use crate::http::routes::Gateway;

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// It opens its store.
    Starting = 0,
    /// It takes commands.
    Running = 1,
    /// It finishes open commands and takes no new ones.
    Draining = 2,
}

/// Whether a node can be given work.
#[derive(Debug, Default)]
pub struct Readiness {
    phase: AtomicU8,
    engine: OnceLock<Arc<Health>>,
    /// Whether partitions come and go: then one that another node took is no reason to end this one.
    dealt: AtomicBool,
}

impl Readiness {
    /// Of a node that is starting.
    #[must_use]
    pub const fn new() -> Self {
        Self { phase: AtomicU8::new(Phase::Starting as u8), engine: OnceLock::new(), dealt: AtomicBool::new(false) }
    }

    /// Says which engine the node rests on; only the first call counts.
    pub fn watch(&self, engine: Arc<Health>) {
        // an error says that there was a first call
        let _ = self.engine.set(engine);
    }

    /// Says that a bus deals the partitions among nodes.
    pub fn deals(&self) {
        self.dealt.store(true, Ordering::Release);
    }

    fn is_fenced(&self, engine: &Health) -> bool {
        engine.is_fenced() && !self.dealt.load(Ordering::Acquire)
    }

    /// Where the node is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Running,
            _ => Phase::Draining,
        }
    }

    /// Goes on to another phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Fails where commands can't be taken because of the phase.
    pub(super) fn taking(&self) -> Result<(), Problem> {
        match self.phase() {
            Phase::Running => Ok(()),
            Phase::Starting => Err(Problem::own(
                StatusCode::SERVICE_UNAVAILABLE,
                STARTING,
                "The node is starting",
                "the node opens its store; the same request, with the same key, may succeed in a moment",
            )),
            Phase::Draining => Err(Problem::of(Code::Stopping, "the node finishes its open commands and then stops")),
        }
    }
}

/// The process answers, and there is hope for it: a crashed engine, or one that has lost its partitions, gets well only
/// by a restart.
pub(super) async fn live(State(gateway): State<Arc<Gateway>>) -> Result<&'static str, Problem> {
    match gateway.readiness.engine.get() {
        Some(engine) if engine.is_crashed() => {
            Err(Problem::of(Code::Stopping, "a part of the engine has crashed: restart this node"))
        }
        Some(engine) if gateway.readiness.is_fenced(engine) => Err(Problem::of(
            Code::OwnershipLost,
            "another node has taken a partition of the event store: restart this node",
        )),
        _ => Ok("live\n"),
    }
}

/// The node can be given work.
pub(super) async fn ready(State(gateway): State<Arc<Gateway>>) -> Result<&'static str, Problem> {
    gateway.readiness.taking()?;
    match gateway.readiness.engine.get() {
        Some(engine) if engine.is_crashed() => {
            Err(Problem::of(Code::Stopping, "a part of the engine has crashed: restart this node"))
        }
        Some(engine) if gateway.readiness.is_fenced(engine) => {
            Err(Problem::of(Code::OwnershipLost, "another node has taken a partition of the event store"))
        }
        Some(engine) if !engine.store_answers() => {
            Err(Problem::of(Code::StoreFailed, "the last append to the event store failed"))
        }
        _ => Ok("ready\n"),
    }
}

/// Refuses operators who change what is stored where the configuration does not want them, and says in each answer
/// whether what it rests on survives the node.
pub(super) async fn guard(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    if !gateway.options.serves_operators() {
        return Problem::own(
            StatusCode::FORBIDDEN,
            OPERATOR_OFF,
            "Operators are not served here",
            "whoever reaches this gateway could take snapshots, move events and send dead letters again: set \
             `http.operator = true` where what stands in front of it lets operators alone through to /snapshots, /archive \
             and /dead-letters",
        )
        .into_response();
    }
    let mut response = next.run(request).await;
    if let Some(durability) = gateway.durability() {
        mark(&mut response, DURABILITY, durability);
    }
    response
}

/// `POST /snapshots/{aggregate}/{id}`: takes a snapshot, and answers when it is durable.
pub(super) async fn snapshot(
    State(gateway): State<Arc<Gateway>>,
    names: Names,
    request: Request,
) -> Result<Response, Problem> {
    let Path((aggregate, id)) = names.map_err(|e| unreadable(&e))?;
    let client = gateway.client()?;
    let said = Said::read(request.headers(), &gateway.options)?;
    let whose = |version| Some(Whose { aggregate: aggregate.clone(), id: id.clone(), version });
    match client.snapshot(&aggregate, &id, Some(said.timeout)).await {
        Ok(version) => {
            let whose = Whose { aggregate, id, version: Some(version) };
            Ok(([(CONTENT_TYPE, "application/json")], format!("{{\"aggregate\":{whose}}}")).into_response())
        }
        Err(QueryError::NotFound) => {
            let problem = Problem::of(Code::NotFound, "the aggregate has no events").status(StatusCode::NOT_FOUND);
            Err(problem.and(More { aggregate: whose(None), ..More::default() }))
        }
        Err(QueryError::Fault(fault)) => Err(fault.into()),
    }
}

/// Everything that the process has counted.
pub(super) async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    if let Some(engine) = gateway.readiness.engine.get() {
        #[allow(clippy::cast_precision_loss, reason = "there are less than 2^52")]
        let number = |count: usize| count as f64;
        metrics::gauge!("phoenix_aggregates_resident").set(number(engine.resident()));
        metrics::gauge!("phoenix_aggregates_parked").set(number(engine.parked()));
    }
    gateway.count_dead_letters().await;
    match gateway.metrics.render() {
        Some(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        None => Problem::own(
            StatusCode::NOT_FOUND,
            UNKNOWN_PATH,
            "No metrics here",
            "this program has set a metrics recorder of its own: ask that one",
        )
        .into_response(),
    }
}

/// What the `type` of each problem points at.
pub(super) async fn errors() -> Response {
    ([(CONTENT_TYPE, "text/markdown; charset=utf-8")], include_str!("errors.md")).into_response()
}
