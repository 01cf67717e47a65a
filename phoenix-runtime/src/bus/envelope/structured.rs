//! A message as one JSON object: `CloudEvents`, JSON event format 1.0.2, for a bus without headers.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::{RawValue, Value};

use super::attributes::Attributes;
use super::error::Unreadable;
use super::name::Name;

/// Where the caller's own names and values are: an attribute is a text, so they are one.
const OWN: &str = "phxheaders";
const CONTENT_TYPE: &str = "datacontenttype";
const DATA: &str = "data";

pub(super) fn write(attributes: &Attributes<'_>, payload: &[u8]) -> Vec<u8> {
    let mut json = Vec::with_capacity(512 + payload.len());
    json.extend_from_slice(b"{\"datacontenttype\":\"application/json\"");
    let mut put = |name: &str, value: &str| {
        json.extend_from_slice(b",\"");
        // no name has anything to be escaped
        json.extend_from_slice(name.as_bytes());
        json.extend_from_slice(b"\":");
        // a text is written to memory, which never fails
        let _ = serde_json::to_writer(&mut json, value);
    };
    for (name, value) in attributes.said() {
        put(name.as_str(), value);
    }
    if !attributes.headers().is_empty() {
        let own: serde_json::Map<String, Value> = attributes
            .headers()
            .iter()
            .map(|(name, value)| (name.as_ref().to_owned(), Value::from(&**value)))
            .collect();
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

/// A text of the object, borrowed from it where nothing in it was escaped.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Event<'a> {
    attributes: Attributes<'a>,
    own: Option<Cow<'a, str>>,
    data: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Event<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Event<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with `data`, and attributes that are texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event<'de>, A::Error> {
                let (mut attributes, mut own, mut data) = (Attributes::default(), None, None);
                while let Some(Text(name)) = map.next_key()? {
                    match &*name {
                        // `null` is a payload like any other
                        DATA => data = Some(map.next_value::<&RawValue>()?),
                        OWN => own = Some(map.next_value::<Text<'_>>()?.0),
                        CONTENT_TYPE => drop(map.next_value::<Text<'_>>()?),
                        name => attributes.add(name.as_bytes(), map.next_value::<Text<'_>>()?.0),
                    }
                }
                if data.is_none() && attributes.get(Name::DataRef).is_none() {
                    return Err(A::Error::missing_field(DATA));
                }
                Ok(Event { attributes, own, data })
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

pub(super) fn read(value: &[u8]) -> Result<(Attributes<'_>, Vec<u8>), Unreadable> {
    let no_envelope = |reason: serde_json::Error| Unreadable::NoEnvelope(reason.to_string());
    let Event { mut attributes, own, data } = serde_json::from_slice(value).map_err(no_envelope)?;
    if let Some(own) = own {
        let own: BTreeMap<String, String> = serde_json::from_str(&own)
            .map_err(|e| Unreadable::Attribute { name: OWN.to_owned(), reason: e.to_string() })?;
        for (name, value) in own {
            attributes.add_header(name, value);
        }
    }
    Ok((attributes, data.map(|data| data.get().as_bytes().to_vec()).unwrap_or_default()))
}
