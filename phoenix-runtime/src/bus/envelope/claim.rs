//! A record whose body is kept elsewhere: the attribute `dataref` names it, as the extension of `CloudEvents` says.
//! <https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/dataref.md>

use std::borrow::Cow;

use super::attributes::Attributes;
use super::error::Unreadable;
use super::name::Name;
use super::{headers, structured};
use crate::bus::claims::Claim;
use crate::bus::headers::Headers;
use crate::bus::port::{Record, Traits};
use crate::domain::id::MessageId;

/// No claim has more characters.
const MOST_SHOWN: usize = 128;

/// What stands in a record for a claim, as whoever fetches bodies sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bus) enum Found {
    /// The body is kept elsewhere.
    Claim(Claim),
    /// It names something that is none of our claims.
    Foreign,
}

fn attributes(record: &Record) -> Option<(Attributes<'_>, Cow<'_, [u8]>)> {
    match headers::read(&record.headers).ok()? {
        Some(attributes) => Some((attributes, Cow::Borrowed(&record.value))),
        None => structured::read(&record.value).ok().map(|(attributes, body)| (attributes, Cow::Owned(body))),
    }
}

fn written(attributes: &Attributes<'_>, body: &[u8], of: &Record) -> Record {
    let key = of.key.clone();
    if of.headers.is_empty() {
        return Record { key, headers: Headers::default(), value: structured::write(attributes, body) };
    }
    let mut headers = headers::write(attributes);
    // headers that are none of ours stay
    for (name, value) in of.headers.iter().filter(|(name, _)| !headers::is_ours(name)) {
        headers.push(name, value);
    }
    Record { key, headers, value: body.to_vec() }
}

/// The claim of a message's body, with the body; `None` where it is no message, or its body is elsewhere already.
pub(in crate::bus) fn claim(record: &Record) -> Option<(Claim, Vec<u8>)> {
    let (attributes, body) = attributes(record)?;
    let id = attributes.get(Name::Id)?.parse().ok()?;
    (!body.is_empty()).then(|| (Claim::of(MessageId(id), &body), body.into_owned()))
}

/// The record with a claim in the place of its body.
pub(in crate::bus) fn checked_in(record: &Record, claim: Claim) -> Record {
    let Some((mut attributes, _)) = attributes(record) else { return record.clone() };
    attributes.set(Name::DataRef, claim.to_string());
    attributes.take_some(Name::ClaimError);
    written(&attributes, &[], record)
}

/// What is to be fetched for a record.
pub(in crate::bus) fn found(record: &Record) -> Option<Found> {
    let mentions = |bytes: &[u8]| memchr::memmem::find(bytes, Name::DataRef.as_str().as_bytes()).is_some();
    let perhaps = if record.headers.is_empty() {
        mentions(&record.value)
    } else {
        record.headers.iter().any(|(name, _)| name == Name::DataRef.header())
    };
    if !perhaps {
        return None;
    }
    let (attributes, body) = attributes(record)?;
    let said = attributes.get(Name::DataRef).filter(|_| body.is_empty())?;
    Some(said.parse().map_or(Found::Foreign, Found::Claim))
}

/// The record with its body. Its claim stays, for those who have no room for both.
pub(in crate::bus) fn checked_out(record: &Record, body: &[u8]) -> Record {
    let Some((mut attributes, _)) = attributes(record) else { return record.clone() };
    attributes.take_some(Name::ClaimError);
    written(&attributes, body, record)
}

/// The record as it is, with the reason why nobody has its body.
pub(in crate::bus) fn failed(record: &Record, reason: &str) -> Record {
    let Some((mut attributes, _)) = attributes(record) else { return record.clone() };
    attributes.set(Name::ClaimError, reason);
    written(&attributes, &[], record)
}

/// The record without its body, if a claim of it is kept.
#[must_use]
pub fn without_body(record: &Record) -> Option<Record> {
    let (attributes, body) = attributes(record)?;
    let claim: Claim = attributes.get(Name::DataRef)?.parse().ok()?;
    claim.fits(&body).then(|| written(&attributes, &[], record))
}

/// A body that is not there.
pub(super) fn unreadable(attributes: &mut Attributes<'_>) -> Unreadable {
    let claim = attributes.take_some(Name::DataRef).unwrap_or_default();
    let reason = attributes.take_some(Name::ClaimError).map_or_else(
        || {
            "this reader has no store of large messages: set `messaging.claim_check` as those who send have it"
                .to_owned()
        },
        Cow::into_owned,
    );
    // as much of a stranger's text as one of ours has
    Unreadable::Claim { claim: claim.chars().take(MOST_SHOWN).collect(), reason }
}

/// Room for the attributes and the key beside a body.
pub(in crate::bus) fn room_for_body(traits: Traits) -> usize {
    // in one JSON object a body is part of the value, and its attributes may be escaped
    let attributes = super::MAX_ATTRIBUTE_BYTES * if traits.headers { 1 } else { 2 };
    traits.max_record_bytes.saturating_sub(attributes)
}
