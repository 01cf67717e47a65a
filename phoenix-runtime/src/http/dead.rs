//! What an operator does with dead letters: `/dead-letters`, and what is below it.

use std::str::FromStr;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::delivery::dead::{DeadError, DeadLetters, LetterView};
use crate::domain::error::Code;
use crate::event_store::StoreError;
use crate::event_store::letters::{DeadFilter, Standing};
use crate::http::messages::{body, unreadable};
use crate::http::problem::{More, NO_BUS, NO_DEAD_LETTER, NOT_WAITING, Problem};
use crate::http::routes::Gateway;

/// How many letters are in a list that does not say.
const LISTED: usize = 100;
/// How many letters are sent again by a request that does not say.
const REPLAYED: usize = 1000;
/// What the query of a list or a replay may have.
const KNOWN: &str = "`aggregate`, `id`, `code`, `topic`, `standing`, `after` and `limit`";

type Number = Result<Path<u64>, PathRejection>;

#[derive(Serialize)]
struct List {
    dead_letters: Vec<LetterView>,
    /// What `after` is in the request for the next ones.
    next: Option<u64>,
}

/// Which letters a query is about.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    filter: DeadFilter,
    after: u64,
    limit: Option<usize>,
}

impl Asked {
    fn read(uri: &Uri) -> Result<Self, Problem> {
        let mut asked = Self::default();
        let mut seen = Vec::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value =
                decoded(value).ok_or_else(|| wrong(format!("`{name}` is no UTF-8 behind its percent signs")))?;
            if seen.contains(&name) {
                return Err(wrong(format!("the query has `{name}` twice")));
            }
            seen.push(name);
            match name {
                "aggregate" => asked.filter.aggregate = Some(value.into()),
                "id" => asked.filter.id = Some(value.into()),
                "code" => asked.filter.code = Some(value.into()),
                "topic" => asked.filter.topic = Some(value.into()),
                "standing" => asked.filter.standing = Some(standing(&value)?),
                "after" => asked.after = number(name, &value)?,
                "limit" => asked.limit = Some(number(name, &value)?),
                _ => return Err(wrong(format!("the query has `{name}`, and may have {KNOWN}"))),
            }
        }
        Ok(asked)
    }
}

fn wrong(detail: String) -> Problem {
    Problem::of(Code::InvalidMessage, detail)
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, Problem> {
    value.parse().map_err(|_| wrong(format!("`{name}` is a whole number from 0 on, not `{value}`")))
}

fn standing(value: &str) -> Result<Standing, Problem> {
    match value {
        "waiting" => Ok(Standing::Waiting),
        "replayed" => Ok(Standing::Replayed),
        "discarded" => Ok(Standing::Discarded),
        _ => Err(wrong(format!("`standing` is `waiting`, `replayed` or `discarded`, not `{value}`"))),
    }
}

/// Text with `%20` and the like.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
            bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

impl From<DeadError> for Problem {
    fn from(error: DeadError) -> Self {
        let detail = error.to_string();
        match error {
            DeadError::NotFound(_) => Self::own(StatusCode::NOT_FOUND, NO_DEAD_LETTER, "No such dead letter", detail),
            DeadError::NotWaiting { .. } => {
                Self::own(StatusCode::CONFLICT, NOT_WAITING, "The dead letter does not wait", detail)
            }
            DeadError::NoBus | DeadError::NoneKept => {
                Self::own(StatusCode::CONFLICT, NO_BUS, "There is no bus, or no dead letters", detail)
            }
            DeadError::Misfit { at, .. } => Self::of(Code::InvalidMessage, detail).and(More { at, ..More::default() }),
            DeadError::TooLarge { .. } => Self::of(Code::TooLarge, detail),
            DeadError::Unsendable { .. } => Self::of(Code::Unreadable, detail).status(StatusCode::CONFLICT),
            // waiting mends nothing
            DeadError::Bus { ref source, .. } if !source.is_passing() => {
                Self::of(Code::BusFailed, detail).status(StatusCode::CONFLICT)
            }
            DeadError::Bus { .. } => Self::of(Code::BusFailed, detail),
            DeadError::Store(StoreError::Damaged(_)) => {
                Self::of(Code::StoreFailed, detail).status(StatusCode::INTERNAL_SERVER_ERROR)
            }
            DeadError::NotNoted { .. } | DeadError::Store(_) => Self::of(Code::StoreFailed, detail),
        }
    }
}

fn the(number: Number) -> Result<u64, Problem> {
    number.map(|Path(number)| number).map_err(|e| unreadable(&e))
}

/// Does what changes something to its end, also when whoever asked hangs up: what is sent is noted.
async fn to_its_end<T: Serialize + Send + 'static>(
    work: impl Future<Output = Result<T, DeadError>> + Send + 'static,
) -> Result<Response, Problem> {
    match tokio::spawn(work).await {
        Ok(done) => Ok(Json(done?).into_response()),
        Err(_) => Err(Problem::of(Code::Stopping, "the node is stopping: look what became of it, and ask again")),
    }
}

/// `GET /dead-letters`
pub(super) async fn list(State(gateway): State<Arc<Gateway>>, uri: Uri) -> Result<Response, Problem> {
    let Asked { filter, after, limit } = Asked::read(&uri)?;
    let limit = limit.unwrap_or(LISTED).min(crate::delivery::dead::MOST_LISTED);
    let dead_letters = gateway.dead_letters()?.list(filter, after, limit).await?;
    let full = !dead_letters.is_empty() && dead_letters.len() >= limit;
    let next = dead_letters.last().filter(|_| full).map(|letter| letter.number);
    Ok(Json(List { dead_letters, next }).into_response())
}

/// `GET /dead-letters/{number}`
pub(super) async fn show(State(gateway): State<Arc<Gateway>>, number: Number) -> Result<Response, Problem> {
    Ok(Json(gateway.dead_letters()?.show(the(number)?).await?).into_response())
}

/// `PUT /dead-letters/{number}`: another payload, or with `?as=record` another record.
pub(super) async fn amend(
    State(gateway): State<Arc<Gateway>>,
    number: Number,
    request: Request,
) -> Result<Response, Problem> {
    let number = the(number)?;
    let letters = gateway.dead_letters()?;
    let whole = match request.uri().query().unwrap_or_default() {
        "" | "as=payload" => false,
        "as=record" => true,
        other => return Err(wrong(format!("the path takes `?as=payload` or `?as=record`, not `?{other}`"))),
    };
    let body = body(&gateway, request).await?;
    let work = async move {
        if whole { letters.amend_record(number, &body).await } else { letters.amend_payload(number, &body).await }
    };
    to_its_end(work).await
}

/// `POST /dead-letters/{number}/upcast`
pub(super) async fn upcast(State(gateway): State<Arc<Gateway>>, number: Number) -> Result<Response, Problem> {
    let (number, letters) = (the(number)?, gateway.dead_letters()?);
    to_its_end(async move { letters.upcast(number).await }).await
}

/// `POST /dead-letters/{number}/replay`
pub(super) async fn replay(State(gateway): State<Arc<Gateway>>, number: Number) -> Result<Response, Problem> {
    let (number, letters) = (the(number)?, gateway.dead_letters()?);
    to_its_end(async move { letters.replay(number).await }).await
}

/// `POST /dead-letters/replay`
pub(super) async fn replay_all(State(gateway): State<Arc<Gateway>>, uri: Uri) -> Result<Response, Problem> {
    let Asked { filter, after, limit } = Asked::read(&uri)?;
    let letters = gateway.dead_letters()?;
    to_its_end(async move { letters.replay_all(filter, after, limit.unwrap_or(REPLAYED)).await }).await
}

/// `POST /dead-letters/{number}/discard`
pub(super) async fn discard(State(gateway): State<Arc<Gateway>>, number: Number) -> Result<Response, Problem> {
    let (number, letters) = (the(number)?, gateway.dead_letters()?);
    to_its_end(async move { letters.discard(number).await }).await
}

/// Tells how many letters wait. A store that does not answer soon leaves the numbers as they were.
pub(super) async fn count(letters: &DeadLetters) {
    let counts = tokio::time::timeout(std::time::Duration::from_secs(2), letters.counts()).await;
    match counts {
        Ok(Ok(counts)) => {
            for (code, count) in counts {
                #[allow(clippy::cast_precision_loss, reason = "there are less than 2^52")]
                metrics::gauge!("phoenix_dead_letters", "code" => code).set(count as f64);
            }
        }
        Ok(Err(DeadError::NoneKept)) => {}
        Ok(Err(error)) => tracing::warn!(%error, "dead letters can't be counted"),
        Err(_) => tracing::warn!("dead letters can't be counted: the store does not answer"),
    }
}
