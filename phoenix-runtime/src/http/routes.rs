//! Paths, and what happens to every request whatever its path.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::client::Client;
use crate::delivery::dead::DeadLetters;
use crate::domain::error::Code;
use crate::domain::ports::Clock;
use crate::event_store::archive::Archived;
use crate::http::callers::Callers;
use crate::http::problem::{CROSS_ORIGIN, METHOD_NOT_ALLOWED, Problem, UNKNOWN_PATH};
use crate::http::{HttpOptions, Readiness, archive, callers, dead, messages, operator};
use crate::telemetry::Metrics;

/// What the handlers of requests share.
#[derive(Debug)]
pub struct Gateway {
    pub(super) options: HttpOptions,
    pub(super) readiness: Arc<Readiness>,
    pub(super) metrics: Metrics,
    client: OnceLock<Client>,
    archived: OnceLock<Arc<Archived>>,
    letters: OnceLock<DeadLetters>,
    pub(super) callers: Option<Callers>,
}

impl Gateway {
    /// A gateway that answers operators, and callers as soon as [`Gateway::serve`] was called and the node runs.
    #[must_use]
    pub fn new(options: HttpOptions, readiness: Arc<Readiness>, metrics: Metrics, clock: Arc<dyn Clock>) -> Self {
        Self {
            callers: Callers::new(&options, clock),
            options,
            readiness,
            metrics,
            client: OnceLock::new(),
            archived: OnceLock::new(),
            letters: OnceLock::new(),
        }
    }

    /// Says where commands and queries go; only the first call counts.
    pub fn serve(&self, client: Client) {
        // an error says that there was a first call
        let _ = self.client.set(client);
    }

    /// Says what moves old events to the archive and back; only the first call counts.
    pub fn keep(&self, archived: Arc<Archived>) {
        // an error says that there was a first call
        let _ = self.archived.set(archived);
    }

    /// Says where dead letters are, and where they go again; only the first call counts.
    pub fn mend(&self, letters: DeadLetters) {
        // an error says that there was a first call
        let _ = self.letters.set(letters);
    }

    pub(super) fn dead_letters(&self) -> Result<DeadLetters, Problem> {
        self.readiness.taking()?;
        self.letters.get().cloned().ok_or_else(|| Problem::of(Code::Stopping, "the node takes no commands"))
    }

    /// Counts what waits, once there is a store.
    pub(super) async fn count_dead_letters(&self) {
        if let Some(letters) = self.letters.get() {
            dead::count(letters).await;
        }
    }

    pub(super) fn archived(&self) -> Result<Arc<Archived>, Problem> {
        self.readiness.taking()?;
        self.archived.get().cloned().ok_or_else(|| Problem::of(Code::Stopping, "the node has no archive"))
    }

    /// Whether what an answer rests on survives the node, once there is anything that it could rest on.
    pub(super) fn durability(&self) -> Option<&'static str> {
        self.client.get().map(messages::durability)
    }

    pub(super) fn client(&self) -> Result<&Client, Problem> {
        self.readiness.taking()?;
        self.client.get().ok_or_else(|| Problem::of(Code::Stopping, "the node takes no commands"))
    }
}

/// Everything that the gateway answers.
pub fn router(gateway: Arc<Gateway>) -> Router {
    let operators = Router::new()
        .route("/snapshots/{aggregate}/{id}", post(operator::snapshot))
        .route("/archive/{aggregate}/{id}", get(archive::list).post(archive::archive))
        .route("/archive/{aggregate}/{id}/restore", post(archive::restore))
        .route("/dead-letters", get(dead::list))
        .route("/dead-letters/replay", post(dead::replay_all))
        .route("/dead-letters/{number}", get(dead::show).put(dead::amend))
        .route("/dead-letters/{number}/upcast", post(dead::upcast))
        .route("/dead-letters/{number}/replay", post(dead::replay))
        .route("/dead-letters/{number}/discard", post(dead::discard))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&gateway), operator::guard));
    let callers = Router::new()
        .route("/commands/{first}", post(messages::command_by_name))
        .route("/commands/{first}/{second}", post(messages::command))
        .route("/queries/{first}", post(messages::query_by_name))
        .route("/queries/{first}/{second}", post(messages::query))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&gateway), callers::guard));
    Router::new()
        .merge(operators)
        .merge(callers)
        .route("/health/live", get(operator::live))
        .route("/health/ready", get(operator::ready))
        .route("/metrics", get(operator::metrics))
        .route("/docs/errors", get(operator::errors))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(unknown_path)
        .layer(middleware::from_fn(guard))
        .layer(middleware::from_fn(observe))
        .with_state(gateway)
}

async fn unknown_path() -> Problem {
    Problem::own(
        StatusCode::NOT_FOUND,
        UNKNOWN_PATH,
        "No such path",
        "the gateway answers /commands/{aggregate}/{name}, /commands/{name}, /queries/{aggregate}/{name}, \
         /queries/{name}, /snapshots/{aggregate}/{id}, /archive/{aggregate}/{id}, /archive/{aggregate}/{id}/restore, \
         /dead-letters, /dead-letters/replay, /dead-letters/{number}, /dead-letters/{number}/upcast, \
         /dead-letters/{number}/replay, /dead-letters/{number}/discard, /health/live, /health/ready, /metrics and /docs/errors",
    )
}

async fn method_not_allowed(request: Request) -> Problem {
    let needed = methods(request.uri());
    Problem::own(
        StatusCode::METHOD_NOT_ALLOWED,
        METHOD_NOT_ALLOWED,
        "The path takes another method",
        format!("use {needed} instead of {}", request.method()),
    )
}

/// What a path takes, for people; the header `allow` says it to programs.
fn methods(uri: &Uri) -> &'static str {
    let path = uri.path();
    match path.split('/').nth(1) {
        Some("commands" | "queries" | "snapshots") => "POST",
        Some("archive") if path.split('/').count() > 4 => "POST",
        Some("dead-letters") if ["/replay", "/discard", "/upcast"].iter().any(|end| path.ends_with(end)) => "POST",
        Some("dead-letters") if path.split('/').count() > 2 => "GET, which shows it, or PUT, which amends it,",
        Some("archive") => "GET, which lists the blocks, or POST, which moves events,",
        _ => "GET",
    }
}

/// Refuses what a page of another site sends through its visitor's browser: the gateway asks nobody who they are, and
/// a service on loopback is reachable from every browser of its machine.
async fn guard(request: Request, next: Next) -> Response {
    match foreign_origin(request.headers(), request.uri()) {
        Some(origin) => Problem::own(
            StatusCode::FORBIDDEN,
            CROSS_ORIGIN,
            "A page of another site sent this",
            format!(
                "the request comes from a page of {origin}; the gateway serves programs, and pages of its own loopback address"
            ),
        )
        .into_response(),
        None => next.run(request).await,
    }
}

fn foreign_origin(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let origin = String::from_utf8_lossy(headers.get(ORIGIN)?.as_bytes()).into_owned();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).or_else(|| uri.authority().map(Authority::as_str));
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let own = authority.is_some() && authority == host && authority.is_some_and(is_loopback);
    (!own).then_some(origin)
}

/// A name that some attacker's own resolver can't have pointed at this machine.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Counts and logs each request.
async fn observe(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let (status, took) = (response.status().as_u16(), begun.elapsed());
    metrics::counter!("phoenix_http_requests_total", "route" => route.clone(), "status" => status.to_string())
        .increment(1);
    metrics::histogram!("phoenix_http_request_seconds", "route" => route).record(took);
    tracing::debug!(%method, path, status, ?took, "request");
    response
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn pages_of_other_sites_are_refused() {
        #[track_caller]
        fn check(origin: Option<&'static str>, host: &'static str, refused: bool) {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(foreign_origin(&headers, &Uri::from_static("/commands/a/b")).is_some(), refused);
        }
        check(None, "localhost:8080", false);
        check(Some("http://localhost:8080"), "localhost:8080", false);
        check(Some("http://[::1]:8080"), "[::1]:8080", false);
        check(Some("http://127.0.0.1"), "127.0.0.1", false);
        check(Some("http://localhost:3000"), "localhost:8080", true);
        check(Some("https://evil.example"), "localhost:8080", true);
        check(Some("http://evil.example:8080"), "evil.example:8080", true);
        check(Some("null"), "localhost:8080", true);
    }
}
