//! What a request says beside its body.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};

use crate::domain::units;
use crate::http::HttpOptions;
use crate::http::problem::{INVALID_HEADER, Problem};

/// What makes a request a repeat of another (draft-ietf-httpapi-idempotency-key-header).
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Marks the answer to a repeat.
pub(super) const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";
/// How long the caller waits, for example `2s`.
pub(super) const REQUEST_TIMEOUT: &str = "request-timeout";
/// Whether what an answer rests on survives the node: `durable` or `volatile`.
pub(super) const DURABILITY: &str = "phoenix-durability";
/// Names the conversation.
pub(super) const CORRELATION_ID: &str = "x-correlation-id";
/// W3C trace context.
pub(super) const TRACEPARENT: &str = "traceparent";

/// The most bytes of an idempotency key or a correlation id.
const MAX_BYTES: usize = 255;

/// The headers that mean something here, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) idempotency_key: Option<String>,
    pub(super) timeout: Duration,
    pub(super) correlation_id: Option<String>,
    pub(super) traceparent: Option<String>,
}

impl Said {
    pub(super) fn read(headers: &HeaderMap, options: &HttpOptions) -> Result<Self, Problem> {
        let timeout = match one(headers, REQUEST_TIMEOUT)? {
            Some(text) => timeout(text, options)?,
            None => options.timeout,
        };
        Ok(Self {
            idempotency_key: bounded(headers, IDEMPOTENCY_KEY)?.map(unquoted).transpose()?,
            timeout,
            correlation_id: bounded(headers, CORRELATION_ID)?.map(str::to_owned),
            // a trace context that can't be read is passed over: its specification asks for that
            traceparent: one(headers, TRACEPARENT).ok().flatten().filter(|t| is_traceparent(t)).map(str::to_owned),
        })
    }
}

fn invalid(name: &str, what: impl std::fmt::Display) -> Problem {
    Problem::own(StatusCode::BAD_REQUEST, INVALID_HEADER, "A header does not fit", format!("header `{name}`: {what}"))
}

fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid(name, "is given more than once"));
    }
    let text = first.to_str().map_err(|_| invalid(name, "has characters beyond visible ASCII"))?;
    Ok(Some(text.trim()))
}

fn bounded<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let text = one(headers, name)?;
    match text.map(str::len) {
        Some(0) => Err(invalid(name, "is empty")),
        Some(n) if n > MAX_BYTES => Err(invalid(name, format!("has {n} bytes, at most {MAX_BYTES} are allowed"))),
        _ => Ok(text),
    }
}

/// The key is a quoted string in the draft, and a bare one in many clients; both name the same key.
fn unquoted(text: &str) -> Result<String, Problem> {
    let Some(inner) = text.strip_prefix('"') else { return Ok(text.to_owned()) };
    let inner = inner.strip_suffix('"').ok_or_else(|| invalid(IDEMPOTENCY_KEY, "its quote is not closed"))?;
    let mut key = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some(escaped @ ('"' | '\\')) => key.push(escaped),
                _ => return Err(invalid(IDEMPOTENCY_KEY, "only `\\\"` and `\\\\` can be escaped")),
            },
            '"' => return Err(invalid(IDEMPOTENCY_KEY, "has text behind its closing quote")),
            c => key.push(c),
        }
    }
    if key.is_empty() { Err(invalid(IDEMPOTENCY_KEY, "is empty")) } else { Ok(key) }
}

fn timeout(text: &str, options: &HttpOptions) -> Result<Duration, Problem> {
    let timeout = units::parse_duration(text).map_err(|error| invalid(REQUEST_TIMEOUT, error))?;
    if timeout.is_zero() {
        return Err(invalid(REQUEST_TIMEOUT, "must be longer than nothing"));
    }
    if timeout > options.max_timeout {
        let most = units::format_duration(options.max_timeout);
        return Err(invalid(REQUEST_TIMEOUT, format!("`{text}` is longer than this node allows, which is {most}")));
    }
    Ok(timeout)
}

/// `version-traceid-parentid-flags` in lower-case hexadecimal, neither id all zeros.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, parent, flags, rest @ ..] = parts.as_slice() else { return false };
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let id = |part: &str, length: usize| hex(part, length) && part.bytes().any(|b| b != b'0');
    hex(version, 2)
        && *version != "ff"
        && (rest.is_empty() || *version != "00")
        && id(trace, 32)
        && id(parent, 16)
        && hex(flags, 2)
        && text.len() <= MAX_BYTES
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(name: &'static str, values: &[&'static str]) -> Result<Said, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        Said::read(&headers, &HttpOptions::default()).map_err(|problem| problem.detail)
    }

    #[test]
    fn idempotency_keys() {
        #[track_caller]
        fn check(values: &[&'static str], expected: Result<Option<&str>, &str>) {
            let found = read(IDEMPOTENCY_KEY, values).map(|said| said.idempotency_key);
            assert_eq!(found, expected.map(|key| key.map(str::to_owned)).map_err(str::to_owned));
        }
        check(&[], Ok(None));
        check(&["order-7"], Ok(Some("order-7")));
        check(&["\"order-7\""], Ok(Some("order-7")));
        check(&[r#""a\"b\\c""#], Ok(Some(r#"a"b\c"#)));
        check(&[""], Err("header `idempotency-key`: is empty"));
        check(&["\"\""], Err("header `idempotency-key`: is empty"));
        check(&["\"a"], Err("header `idempotency-key`: its quote is not closed"));
        check(&["\"a\"b\""], Err("header `idempotency-key`: has text behind its closing quote"));
        check(&["a", "b"], Err("header `idempotency-key`: is given more than once"));
        let long: &'static str = "x".repeat(256).leak();
        check(&[long], Err("header `idempotency-key`: has 256 bytes, at most 255 are allowed"));
    }

    #[test]
    fn time_outs() {
        #[track_caller]
        fn check(values: &[&'static str], expected: Result<Duration, &str>) {
            let found = read(REQUEST_TIMEOUT, values).map(|said| said.timeout);
            assert_eq!(found, expected.map_err(str::to_owned));
        }
        check(&[], Ok(Duration::from_secs(10)));
        check(&["250ms"], Ok(Duration::from_millis(250)));
        check(&["0"], Err("header `request-timeout`: must be longer than nothing"));
        check(&["5m"], Err("header `request-timeout`: `5m` is longer than this node allows, which is 1m"));
        check(&["5"], Err("header `request-timeout`: `5` has no unit: write `5s` (units: s, ms, us, m, h, d)"));
    }

    #[test]
    fn trace_contexts() {
        #[track_caller]
        fn check(value: &'static str, taken: bool) {
            let said = read(TRACEPARENT, &[value]);
            assert_eq!(said.map(|said| said.traceparent.is_some()), Ok(taken), "{value}");
        }
        check("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true);
        check("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", true);
        check("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false);
        check("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false);
        check("00-00000000000000000000000000000000-b7ad6b7169203331-01", false);
        check("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false);
        check("nonsense", false);
    }
}
