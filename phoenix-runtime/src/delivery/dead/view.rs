//! A dead letter as operators see it: as JSON, in texts and numbers.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::settle::{CODEC, decode};
use crate::bus::envelope::Message;
use crate::event_store::letters::{DeadLetter, Standing};

/// A dead letter as operators see it. Numbers inside of records stay as they were written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LetterView {
    /// Its number.
    pub number: u64,
    /// What became of it.
    pub standing: Standing,
    /// Why it came to no outcome, in a word.
    pub code: String,
    /// Why, for people.
    pub reason: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it was given up, as RFC 3339.
    pub time: String,
    /// Since when it does not wait any more, as RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<String>,
    /// The wire name of the aggregate that it is addressed to, as far as it could be read.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<String>,
    /// Which aggregate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The wire name of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The message's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The topic that it came from.
    pub topic: String,
    /// The partition.
    pub partition: u16,
    /// The offset.
    pub offset: u64,
    /// Whether another record was put in its place.
    pub amended: bool,
    /// The fields of the command, where they are JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    /// Key, headers and value, as it would be sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Box<RawValue>>,
    /// The record as it came, if it was amended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Box<RawValue>>,
}

impl LetterView {
    /// Without its record.
    #[must_use]
    pub fn brief(letter: &DeadLetter) -> Self {
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        Self {
            number: letter.number,
            standing: letter.standing,
            code: letter.code.to_string(),
            reason: letter.reason.clone(),
            tries: letter.tries,
            time: shown(letter.time_micros),
            settled: letter.settled_micros.map(shown),
            aggregate: text(&letter.aggregate),
            id: text(&letter.id),
            name: text(&letter.name),
            message_id: letter.message_id.map(|id| id.to_string()),
            topic: letter.topic.to_string(),
            partition: letter.partition,
            offset: letter.offset,
            amended: letter.original.is_some(),
            payload: None,
            record: None,
            original: None,
        }
    }

    /// With its record, and the payload as far as it can be read.
    #[must_use]
    pub fn whole(letter: &DeadLetter) -> Self {
        let known = |body: &[u8]| (letter.codec == CODEC).then(|| json(body)).flatten();
        let payload = match decode(letter).map(|record| Message::from_record(&record)) {
            Ok(Ok(Message::Call(call))) => json(&call.payload),
            _ => None,
        };
        let original = letter.original.as_deref().and_then(known);
        Self { payload, record: known(&letter.body), original, ..Self::brief(letter) }
    }
}

fn json(bytes: &[u8]) -> Option<Box<RawValue>> {
    serde_json::from_slice(bytes).ok()
}

fn shown(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}
