//! Attributes as headers, the payload as the value: `CloudEvents`, Kafka protocol binding 1.0.2, section 3.2.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md>

use super::attributes::Attributes;
use super::error::Unreadable;
use super::name::Name;
use crate::bus::headers::Headers;

/// Before the name of each attribute.
pub(super) const PREFIX: &str = "ce_";
/// Before the names of the caller's own.
const OWN: &str = "phx-";
const CONTENT_TYPE: &str = "content-type";
const JSON: &str = "application/json";

pub(super) fn write(attributes: &Attributes<'_>) -> Headers {
    let said = attributes.said().map(|(name, value)| name.header().len() + value.len());
    let own = attributes.headers().iter().map(|(name, value)| OWN.len() + name.len() + value.len());
    let sizes = said.chain(own).chain([CONTENT_TYPE.len() + JSON.len()]);
    let (count, bytes) = sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size));
    let mut all = Headers::with_capacity(count, bytes);
    all.push(CONTENT_TYPE, JSON.as_bytes());
    for (name, value) in attributes.said() {
        all.push(name.header(), value.as_bytes());
    }
    for (name, value) in attributes.headers() {
        all.push(&format!("{OWN}{name}"), value.as_bytes());
    }
    all
}

/// Whether a header is written here, and not by a proxy or a tracing library.
pub(super) fn is_ours(name: &str) -> bool {
    name == CONTENT_TYPE || name.starts_with(PREFIX) || name.starts_with(OWN)
}

/// `None` where there are none of ours.
pub(super) fn read(headers: &Headers) -> Result<Option<Attributes<'_>>, Unreadable> {
    let mut all = Attributes::default();
    let mut wrong = None;
    for (name, value) in headers.pairs() {
        // others are of a proxy, or of a tracing library
        let (own, name) = match (name.strip_prefix(PREFIX.as_bytes()), name.strip_prefix(OWN.as_bytes())) {
            (Some(name), _) => (false, name),
            (_, Some(name)) => (true, name),
            _ => continue,
        };
        match (std::str::from_utf8(value), own) {
            (Ok(value), false) => all.add(name, value.into()),
            (Ok(value), true) => all.add_header(String::from_utf8_lossy(name), value),
            (Err(_), _) => {
                let name = String::from_utf8_lossy(name).into_owned();
                wrong.get_or_insert(Unreadable::Attribute { name, reason: "it is no UTF-8".to_owned() });
            }
        }
    }
    match wrong {
        // one whose version is no text is ours as well
        _ if all.get(Name::Spec).is_none() && !headers.iter().any(|(name, _)| name == Name::Spec.header()) => Ok(None),
        Some(wrong) => Err(wrong),
        None => Ok(Some(all)),
    }
}
