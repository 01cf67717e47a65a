//! A message as one JSON object: `CloudEvents`, JSON event format 1.0.2, for a bus without headers.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::value::{RawValue, Value};

use super::attributes::{Attributes, name};
use super::error::Unreadable;

/// Where the caller's own names and values are: an attribute is a text, so they are one.
const OWN: &str = "phxheaders";

pub(super) fn write(attributes: &Attributes, payload: &[u8]) -> Vec<u8> {
    let Attributes { said, headers } = attributes;
    let mut json = Vec::with_capacity(256 + payload.len());
    json.extend_from_slice(b"{\"datacontenttype\":\"application/json\"");
    let mut put = |name: &str, value: &str| {
        json.extend_from_slice(format!(",{}:{}", Value::from(name), Value::from(value)).as_bytes());
    };
    for (name, value) in said {
        put(name, value);
    }
    if !headers.is_empty() {
        let own: serde_json::Map<String, Value> =
            headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        put(OWN, &Value::from(own).to_string());
    }
    // it has a claim instead
    if !payload.is_empty() {
        json.extend_from_slice(b",\"data\":");
        json.extend_from_slice(payload);
    }
    json.push(b'}');
    json
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, deserialize_with = "there")]
    data: Option<&'a RawValue>,
    #[serde(flatten)]
    said: BTreeMap<String, String>,
}

/// `null` is a payload like any other.
fn there<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

pub(super) fn read(value: &[u8]) -> Result<(Attributes, Vec<u8>), Unreadable> {
    let no_envelope = |reason: serde_json::Error| Unreadable::NoEnvelope(reason.to_string());
    let Event { data, mut said } = serde_json::from_slice(value).map_err(no_envelope)?;
    said.remove("datacontenttype");
    let headers = match said.remove(OWN) {
        None => BTreeMap::new(),
        Some(own) => serde_json::from_str(&own)
            .map_err(|e| Unreadable::Attribute { name: OWN.to_owned(), reason: e.to_string() })?,
    };
    let data = match data {
        Some(data) => data.get().as_bytes().to_vec(),
        None if said.contains_key(name::DATA_REF) => Vec::new(),
        None => return Err(Unreadable::NoEnvelope("missing field `data`".to_owned())),
    };
    Ok((Attributes { said, headers }, data))
}
