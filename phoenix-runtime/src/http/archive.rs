//! What an operator asks about the archive: `GET` and `POST /archive/{aggregate}/{id}`, and `POST` to `restore` below it.

use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::domain::error::Code;
use crate::domain::id::AggregateId;
use crate::event_store::archive::{Archived, Moved, Restored};
use crate::event_store::port::{StoreError, StreamId};
use crate::http::messages::{Names, Whose, unreadable};
use crate::http::problem::Problem;
use crate::http::routes::Gateway;

/// The stream that a path names, and the archive.
fn asked(gateway: &Gateway, names: Names) -> Result<(Arc<Archived>, StreamId), Problem> {
    let Path((aggregate, id)) = names.map_err(|e| unreadable(&e))?;
    if !gateway.client()?.catalog().kinds().iter().any(|kind| kind.name() == aggregate) {
        return Err(Problem::of(Code::UnknownName, format!("this node does not run the aggregate `{aggregate}`")));
    }
    let id = AggregateId::new(id).map_err(|e| Problem::of(Code::InvalidMessage, e.to_string()))?;
    Ok((gateway.archived()?, StreamId { aggregate: aggregate.into(), id }))
}

/// A value of the query, `None` where it is not there; nothing else may be.
fn said<T: FromStr>(uri: &Uri, name: &str, example: &str) -> Result<Option<T>, Problem> {
    let Some(query) = uri.query().filter(|query| !query.is_empty()) else { return Ok(None) };
    let value = query.split_once('=').filter(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok());
    let wrong = || Problem::of(Code::InvalidMessage, format!("the path takes `?{name}={example}` and nothing else"));
    value.map(Some).ok_or_else(wrong)
}

fn failed(error: &StoreError) -> Problem {
    let problem = Problem::of(Code::StoreFailed, error.to_string());
    // who asks again is told the same
    if matches!(error, StoreError::Damaged(_)) { problem.status(StatusCode::INTERNAL_SERVER_ERROR) } else { problem }
}

fn answer(stream: &StreamId, what: &str) -> Response {
    let whose = Whose { aggregate: stream.aggregate.to_string(), id: stream.id.to_string(), version: None };
    ([(CONTENT_TYPE, "application/json")], format!("{{\"aggregate\":{whose},{what}}}")).into_response()
}

/// Which blocks there are.
pub(super) async fn list(State(gateway): State<Arc<Gateway>>, names: Names) -> Result<Response, Problem> {
    let (archived, stream) = asked(&gateway, names)?;
    let blocks = archived.archived_blocks(stream.clone()).await.map_err(|e| failed(&e))?;
    let mut text = String::from("\"blocks\":[");
    for (index, block) in blocks.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // writing to a String can't fail
        let _ = write!(text, "{comma}{{\"from\":{},\"to\":{}}}", block.from, block.to);
    }
    text.push(']');
    Ok(answer(&stream, &text))
}

/// Moves events to the archive, with `?up_to=` at most up to that version.
pub(super) async fn archive(State(gateway): State<Arc<Gateway>>, names: Names, uri: Uri) -> Result<Response, Problem> {
    let (archived, stream) = asked(&gateway, names)?;
    let up_to = said(&uri, "up_to", "1000")?.unwrap_or(u64::MAX);
    let moved = archived.archive(stream.clone(), up_to).await;
    let Moved { events, blocks, up_to } = moved.map_err(|e| failed(&e))?;
    Ok(answer(&stream, &format!("\"archived\":{{\"events\":{events},\"blocks\":{blocks},\"up_to\":{up_to}}}")))
}

/// Brings events back.
pub(super) async fn restore(State(gateway): State<Arc<Gateway>>, names: Names) -> Result<Response, Problem> {
    let (archived, stream) = asked(&gateway, names)?;
    let restored = archived.restore(stream.clone()).await;
    let Restored { blocks, up_to } = restored.map_err(|e| failed(&e))?;
    Ok(answer(&stream, &format!("\"restored\":{{\"blocks\":{blocks},\"up_to\":{up_to}}}")))
}
