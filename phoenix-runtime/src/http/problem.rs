//! Everything that is not a reply, as `application/problem+json` (RFC 9457).

use std::fmt::Write as _;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::value::Value;

use crate::domain::error::{Code, Fault};
use crate::http::messages::Whose;

/// The most characters of `detail`: it may quote what the caller sent.
const MAX_DETAIL: usize = 1000;

/// Codes of the gateway itself, beside those of [`Code`]. `docs/errors.md` explains each.
pub const GATEWAY_CODES: &[&str] = &[
    UNKNOWN_PATH,
    METHOD_NOT_ALLOWED,
    INVALID_HEADER,
    BODY_TIMED_OUT,
    CROSS_ORIGIN,
    OPERATOR_OFF,
    STARTING,
    NO_DEAD_LETTER,
    NOT_WAITING,
    NO_BUS,
];
pub(super) const UNKNOWN_PATH: &str = "unknown-path";
pub(super) const METHOD_NOT_ALLOWED: &str = "method-not-allowed";
pub(super) const INVALID_HEADER: &str = "invalid-header";
pub(super) const BODY_TIMED_OUT: &str = "body-timed-out";
pub(super) const CROSS_ORIGIN: &str = "cross-origin";
pub(super) const OPERATOR_OFF: &str = "operator-off";
pub(super) const STARTING: &str = "starting";
pub(super) const NO_DEAD_LETTER: &str = "no-dead-letter";
pub(super) const NOT_WAITING: &str = "not-waiting";
pub(super) const NO_BUS: &str = "no-bus";

/// A response that is not a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) title: &'static str,
    pub(super) detail: String,
    pub(super) more: Box<More>,
}

/// Members of some problems only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct More {
    /// The place inside the body.
    pub(super) at: Option<String>,
    /// A rejection as JSON.
    pub(super) rejection: Option<Vec<u8>>,
    pub(super) aggregate: Option<Whose>,
    /// In how many seconds it may work, where that is known.
    pub(super) retry_after: Option<u64>,
}

impl Problem {
    /// A problem of the gateway's own.
    pub(super) fn own(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, title, detail: detail.into(), more: Box::default() }
    }

    /// A problem with the status of its code.
    pub(super) fn of(code: Code, detail: impl Into<String>) -> Self {
        Self::own(status(code), code.as_str(), title(code), detail)
    }

    pub(super) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(super) fn and(mut self, more: More) -> Self {
        *self.more = more;
        self
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::of(fault.code, fault.detail)
    }
}

/// The status of a code; a query's "not found" is 404 instead.
const fn status(code: Code) -> StatusCode {
    match code {
        Code::Rejected | Code::NotFound | Code::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        Code::TimedOut | Code::OutcomeUnknown | Code::DeadlinePassed | Code::Expired => StatusCode::GATEWAY_TIMEOUT,
        Code::MailboxFull
        | Code::StoreFailed
        | Code::OwnershipLost
        | Code::Stopping
        | Code::BusFailed
        | Code::Behind => StatusCode::SERVICE_UNAVAILABLE,
        Code::UnknownName => StatusCode::NOT_FOUND,
        Code::InvalidMessage | Code::Unreadable => StatusCode::BAD_REQUEST,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Panicked | Code::Parked | Code::ProcessEnded => StatusCode::INTERNAL_SERVER_ERROR,
        Code::WouldDeadlock => StatusCode::CONFLICT,
        Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
    }
}

const fn title(code: Code) -> &'static str {
    match code {
        Code::Rejected => "The command was rejected",
        Code::NotFound => "The aggregate has no events",
        Code::KeyReused => "The idempotency key belongs to another payload",
        Code::TimedOut => "No outcome within the time-out",
        Code::OutcomeUnknown => "The outcome is unknown",
        Code::MailboxFull => "The mailbox is full",
        Code::UnknownName => "The node does not know this name",
        Code::InvalidMessage => "The message does not fit",
        Code::TooLarge => "The message is too large",
        Code::Panicked => "The handler panicked",
        Code::DeadlinePassed => "It took too long, and was not done",
        Code::Parked => "The aggregate is parked",
        Code::StoreFailed => "The event store failed",
        Code::OwnershipLost => "This node owns the aggregate no longer",
        Code::Stopping => "The node is stopping",
        Code::WouldDeadlock => "The command would wait for itself",
        Code::BusFailed => "The bus did not answer",
        Code::Expired => "The message came too late",
        Code::Unreadable => "The record is no message",
        Code::ProcessEnded => "The process ended while the command was at work",
        Code::Behind => "An earlier command has no outcome yet",
        Code::RateLimited => "The caller calls too often",
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, code, title, mut detail, more } = self;
        let More { at, rejection, aggregate, retry_after } = *more;
        if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL) {
            detail.truncate(end);
            detail.push_str("...");
        }
        let text = |text: &str| Value::from(text).to_string();
        let mut body = format!(
            "{{\"type\":{},\"title\":{},\"status\":{},\"detail\":{},\"code\":{}",
            text(&format!("/docs/errors#{code}")),
            text(title),
            status.as_u16(),
            text(&detail),
            text(code),
        );
        // writing to a String can't fail
        if let Some(at) = at {
            let _ = write!(body, ",\"at\":{}", text(&at));
        }
        if let Some(rejection) = rejection {
            let _ = write!(body, ",\"rejection\":{}", String::from_utf8_lossy(&rejection));
        }
        if let Some(aggregate) = aggregate {
            let _ = write!(body, ",\"aggregate\":{aggregate}");
        }
        body.push('}');
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let retry_after = retry_after.or((status == StatusCode::SERVICE_UNAVAILABLE).then_some(1));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
