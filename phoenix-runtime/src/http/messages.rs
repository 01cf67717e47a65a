//! Commands and queries by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::value::Value;

use crate::client::Client;
use crate::domain::codec::CodecError;
use crate::domain::error::{AskError, Code, Fault, QueryError};
use crate::domain::metadata::{Envelope, Metadata, Priority};
use crate::domain::pending::{Answer, ByName, ByNameQuery};
use crate::engine::Owner;
use crate::http::headers::{CORRELATION_ID, DURABILITY, IDEMPOTENT_REPLAYED, Said};
use crate::http::problem::{BODY_TIMED_OUT, More, Problem};
use crate::http::routes::Gateway;

/// The most characters of a caller's name that are repeated to it.
const MAX_SHOWN: usize = 64;

/// The aggregate that an answer comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Whose {
    pub(super) aggregate: String,
    pub(super) id: String,
    pub(super) version: Option<u64>,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (aggregate, id) = (Value::from(self.aggregate.as_str()), Value::from(self.id.as_str()));
        write!(f, "{{\"type\":{aggregate},\"id\":{id}")?;
        match self.version {
            Some(version) => write!(f, ",\"version\":{version}}}"),
            None => f.write_str("}"),
        }
    }
}

pub(super) type Names = Result<Path<(String, String)>, PathRejection>;
type Name = Result<Path<String>, PathRejection>;

pub(super) fn unreadable(rejection: &PathRejection) -> Problem {
    Problem::of(Code::InvalidMessage, format!("the path can't be read: {rejection}"))
}

/// `POST /commands/{aggregate}/{name}`
pub(super) async fn command(
    State(gateway): State<Arc<Gateway>>,
    names: Names,
    request: Request,
) -> Result<Response, Problem> {
    let Path((aggregate, name)) = names.map_err(|e| unreadable(&e))?;
    send(&gateway, aggregate, name, request).await
}

/// `POST /commands/{name}`
pub(super) async fn command_by_name(
    State(gateway): State<Arc<Gateway>>,
    name: Name,
    request: Request,
) -> Result<Response, Problem> {
    let Path(name) = name.map_err(|e| unreadable(&e))?;
    let aggregate = owner("command", &name, gateway.client()?.catalog().owner_of_command(&name))?;
    send(&gateway, aggregate, name, request).await
}

/// `POST /queries/{aggregate}/{name}`
pub(super) async fn query(
    State(gateway): State<Arc<Gateway>>,
    names: Names,
    request: Request,
) -> Result<Response, Problem> {
    let Path((aggregate, name)) = names.map_err(|e| unreadable(&e))?;
    ask(&gateway, aggregate, name, request).await
}

/// `POST /queries/{name}`
pub(super) async fn query_by_name(
    State(gateway): State<Arc<Gateway>>,
    name: Name,
    request: Request,
) -> Result<Response, Problem> {
    let Path(name) = name.map_err(|e| unreadable(&e))?;
    let aggregate = owner("query", &name, gateway.client()?.catalog().owner_of_query(&name))?;
    ask(&gateway, aggregate, name, request).await
}

fn owner(kind: &str, name: &str, owner: Owner) -> Result<String, Problem> {
    match owner {
        Owner::Unique(aggregate) => Ok(aggregate.to_owned()),
        Owner::Ambiguous(aggregates) => {
            let all = aggregates.join("`, `");
            let detail = format!("several aggregates have the {kind} `{}`: say which one (`{all}`)", shown(name));
            Err(Problem::of(Code::UnknownName, detail))
        }
        Owner::Unknown => Err(unknown(kind, name)),
    }
}

fn unknown(kind: &str, name: &str) -> Problem {
    Problem::of(Code::UnknownName, format!("no aggregate of this node has the {kind} `{}`", shown(name)))
}

fn shown(name: &str) -> &str {
    name.char_indices().nth(MAX_SHOWN).map_or(name, |(end, _)| &name[..end])
}

async fn send(gateway: &Gateway, aggregate: String, name: String, request: Request) -> Result<Response, Problem> {
    let client = gateway.client()?;
    let Some(entry) = client.catalog().command(&aggregate, &name) else {
        return Err(unknown_of(client, "command", &aggregate, &name));
    };
    let said = Said::read(request.headers(), &gateway.options)?;
    let body = body(gateway, request).await?;
    let message = client.next_message_id();
    let correlation = said.correlation_id.clone().unwrap_or_else(|| message.to_string());
    let outcome = client
        .send(Envelope {
            id: message,
            aggregate: aggregate.clone(),
            name: name.clone(),
            idempotency_key: said.idempotency_key,
            priority: Priority::Normal,
            timeout: Some(said.timeout),
            metadata: Metadata {
                correlation_id: said.correlation_id,
                causation_id: None,
                traceparent: said.traceparent,
                headers: BTreeMap::new(),
            },
            payload: body.to_vec(),
        })
        .await;
    let whose = |version| outcome.id.as_ref().map(|id| Whose { aggregate, id: id.to_string(), version });
    let (mut response, replayed) = match outcome.answer {
        Ok(Answer { reply, version, replayed, .. }) => (replied(&reply, whose(Some(version))), replayed),
        Err(AskError::Rejected { rejection, version, replayed }) => {
            let more = More { rejection: Some(rejection), aggregate: whose(Some(version)), ..More::default() };
            let problem = Problem::of(Code::Rejected, format!("the aggregate says no to `{name}`"));
            (problem.and(more).into_response(), replayed)
        }
        Err(AskError::NotFound { replayed }) => {
            let detail = format!("the aggregate has no events, and `{name}` creates none");
            let more = More { aggregate: whose(None), ..More::default() };
            (Problem::of(Code::NotFound, detail).and(more).into_response(), replayed)
        }
        Err(AskError::Fault(fault)) => {
            let misfit = || (entry.read)(&body, ByName(Box::new(drop))).err().map(|(error, _)| error);
            (fault_of(&name, fault, misfit).into_response(), false)
        }
    };
    if replayed {
        mark(&mut response, IDEMPOTENT_REPLAYED, "true");
    }
    mark(&mut response, DURABILITY, durability(client));
    mark(&mut response, CORRELATION_ID, &correlation);
    Ok(response)
}

async fn ask(gateway: &Gateway, aggregate: String, name: String, request: Request) -> Result<Response, Problem> {
    let client = gateway.client()?;
    let Some(entry) = client.catalog().query(&aggregate, &name) else {
        return Err(unknown_of(client, "query", &aggregate, &name));
    };
    let said = Said::read(request.headers(), &gateway.options)?;
    let body = body(gateway, request).await?;
    let outcome = client.query_named(&aggregate, &name, &body, said.timeout).await;
    let whose = |version| outcome.id.as_ref().map(|id| Whose { aggregate, id: id.to_string(), version });
    let mut response = match outcome.answer {
        Ok(Answer { reply, version, .. }) => replied(&reply, whose(Some(version))),
        Err(QueryError::NotFound) => {
            let problem = Problem::of(Code::NotFound, "the aggregate has no events").status(StatusCode::NOT_FOUND);
            problem.and(More { aggregate: whose(None), ..More::default() }).into_response()
        }
        Err(QueryError::Fault(fault)) => {
            let misfit = || (entry.read)(&body, ByNameQuery(Box::new(drop))).err().map(|(error, _)| error);
            fault_of(&name, fault, misfit).into_response()
        }
    };
    mark(&mut response, DURABILITY, durability(client));
    if let Some(correlation) = &said.correlation_id {
        mark(&mut response, CORRELATION_ID, correlation);
    }
    Ok(response)
}

/// What does not fit is told by its place in the body, and without the Rust type, which is the service's own affair.
fn fault_of(name: &str, fault: Fault, misfit: impl FnOnce() -> Option<CodecError>) -> Problem {
    let misfit = if fault.code == Code::InvalidMessage { misfit() } else { None };
    match misfit {
        Some(CodecError::Decode { at, reason, .. }) => {
            let problem = Problem::of(fault.code, format!("`{name}` does not fit at `{at}`: {reason}"));
            problem.and(More { at: Some(at), ..More::default() })
        }
        _ => fault.into(),
    }
}

fn unknown_of(client: &Client, kind: &str, aggregate: &str, name: &str) -> Problem {
    let known = client.catalog().kinds().iter().any(|known| known.name() == aggregate);
    let detail = if known {
        format!("the aggregate `{aggregate}` has no {kind} `{}`", shown(name))
    } else {
        format!("this node has no aggregate `{}`", shown(aggregate))
    };
    Problem::of(Code::UnknownName, detail)
}

pub(super) async fn body(gateway: &Gateway, mut request: Request) -> Result<Bytes, Problem> {
    let options = &gateway.options;
    DefaultBodyLimit::max(options.max_body).apply(&mut request);
    match tokio::time::timeout(options.body_timeout, Bytes::from_request(request, &())).await {
        // an array would be taken for the fields in their order
        Ok(Ok(bytes)) if bytes.trim_ascii_start().first().is_some_and(|first| *first == b'[') => Err(Problem::of(
            Code::InvalidMessage,
            "the body is an array where an object is asked for: {\"field\": value}",
        )),
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(rejection)) => Err(unread(gateway, &rejection)),
        Err(_) => Err(Problem::own(
            StatusCode::REQUEST_TIMEOUT,
            BODY_TIMED_OUT,
            "The body did not arrive",
            format!("the body of a request has to arrive within {:?}", options.body_timeout),
        )),
    }
}

fn unread(gateway: &Gateway, rejection: &BytesRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let most = crate::domain::units::format_size(gateway.options.max_body);
        Problem::of(Code::TooLarge, format!("the body of a request has at most {most}"))
    } else {
        Problem::of(Code::InvalidMessage, format!("the body can't be read: {rejection}"))
    }
}

fn replied(reply: &[u8], whose: Option<Whose>) -> Response {
    let mut json = Vec::with_capacity(reply.len() + 128);
    json.extend_from_slice(b"{\"reply\":");
    json.extend_from_slice(reply);
    if let Some(whose) = whose {
        json.extend_from_slice(format!(",\"aggregate\":{whose}").as_bytes());
    }
    json.push(b'}');
    ([(CONTENT_TYPE, "application/json")], json).into_response()
}

pub(super) fn durability(client: &Client) -> &'static str {
    if client.is_durable() { "durable" } else { "volatile" }
}

pub(super) fn mark(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}
