//! Attributes as headers, the payload as the value: `CloudEvents`, Kafka protocol binding 1.0.2, section 3.2.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md>

use super::attributes::{Attributes, name};
use super::error::Unreadable;

/// Before the name of each attribute.
pub(super) const PREFIX: &str = "ce_";
/// Before the names of the caller's own.
const OWN: &str = "phx-";
const CONTENT_TYPE: &str = "content-type";
const JSON: &str = "application/json";

pub(super) fn write(attributes: Attributes) -> Vec<(String, Vec<u8>)> {
    let Attributes { said, headers } = attributes;
    let mut all = Vec::with_capacity(said.len() + headers.len() + 1);
    all.push((CONTENT_TYPE.to_owned(), JSON.as_bytes().to_vec()));
    all.extend(said.into_iter().map(|(name, value)| (format!("{PREFIX}{name}"), value.into_bytes())));
    all.extend(headers.into_iter().map(|(name, value)| (format!("{OWN}{name}"), value.into_bytes())));
    all
}

/// Whether a header is written here, and not by a proxy or a tracing library.
pub(super) fn is_ours(name: &str) -> bool {
    name == CONTENT_TYPE || name.starts_with(PREFIX) || name.starts_with(OWN)
}

/// `None` where there are none of ours.
pub(super) fn read(headers: &[(String, Vec<u8>)]) -> Result<Option<Attributes>, Unreadable> {
    let is_ours = |(name, _): &(String, Vec<u8>)| name.strip_prefix(PREFIX) == Some(name::SPEC);
    if !headers.iter().any(is_ours) {
        return Ok(None);
    }
    let mut all = Attributes::default();
    for (name, value) in headers {
        let (into, name) = if let Some(name) = name.strip_prefix(PREFIX) {
            (&mut all.said, name)
        } else if let Some(name) = name.strip_prefix(OWN) {
            (&mut all.headers, name)
        } else {
            // of a proxy, or of a tracing library
            continue;
        };
        let value = std::str::from_utf8(value)
            .map_err(|_| Unreadable::Attribute { name: name.to_owned(), reason: "it is no UTF-8".to_owned() })?;
        into.insert(name.to_owned(), value.to_owned());
    }
    Ok(Some(all))
}
