//! How often each caller may call.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use xxhash_rust::xxh3::xxh3_128;

use super::options::HttpOptions;
use super::problem::{More, Problem};
use super::routes::Gateway;
use crate::client::rate::{Governed, RateLimit};
use crate::domain::error::Code;
use crate::domain::ports::Clock;

/// How often those that call no more are looked for, where there is no room for another one.
const SWEEP: Duration = Duration::from_secs(1);

/// What each caller has left. Callers beyond the most that are told apart share what one has.
#[derive(Debug)]
pub(super) struct Callers {
    limit: RateLimit,
    most: usize,
    header: Option<String>,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
    others: Governed,
}

#[derive(Debug, Default)]
struct Known {
    callers: HashMap<u128, (Governed, Duration), foldhash::fast::RandomState>,
    swept: Option<Duration>,
}

impl Callers {
    /// `None` where nobody is limited.
    pub(super) fn new(options: &HttpOptions, clock: Arc<dyn Clock>) -> Option<Self> {
        let limit = RateLimit { calls_per_second: options.calls_per_second?, burst_calls: options.burst_calls };
        Some(Self {
            limit,
            most: options.max_callers,
            header: options.caller_header.clone(),
            known: Mutex::default(),
            others: Governed::new(limit, Arc::clone(&clock)),
            clock,
        })
    }

    /// Who calls: what the header says, or else the address.
    fn caller(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> u128 {
        let said = self.header.as_ref().and_then(|header| headers.get(header));
        match (said, peer) {
            (Some(said), _) => xxh3_128(&[b"header ", said.as_bytes()].concat()),
            (None, Some(peer)) => xxh3_128(peer.ip().to_string().as_bytes()),
            (None, None) => 0,
        }
    }

    fn take(&self, caller: u128) -> Result<(), Duration> {
        let now = self.clock.monotonic();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { callers, swept } = &mut *known;
        if callers.len() >= self.most && !callers.contains_key(&caller) {
            if swept.is_none_or(|swept| now >= swept + SWEEP) {
                *swept = Some(now);
                // who has all of its burst again is as good as unknown
                let recovery = self.limit.recovery();
                callers.retain(|_, (_, last)| now < last.saturating_add(recovery));
            }
            if callers.len() >= self.most {
                drop(known);
                return self.others.take();
            }
        }
        let new = || (Governed::new(self.limit, Arc::clone(&self.clock)), now);
        let (governed, last) = callers.entry(caller).or_insert_with(new);
        *last = now;
        governed.take()
    }
}

/// Refuses callers who call too often.
pub(super) async fn guard(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let Some(callers) = &gateway.callers else { return next.run(request).await };
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
    match callers.take(callers.caller(request.headers(), peer)) {
        Ok(()) => next.run(request).await,
        Err(wait) => {
            metrics::counter!("phoenix_http_rate_limited_total").increment(1);
            let text = format!(
                "a caller has {} calls a second, and {} at once (`http.calls_per_second`, `http.burst_calls`): wait as long as \
                 `Retry-After` says; nothing was done",
                callers.limit.calls_per_second, callers.limit.burst_calls
            );
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Problem::of(Code::RateLimited, text)
                .and(More { retry_after: Some(seconds), ..More::default() })
                .into_response()
        }
    }
}
