//! Another payload, or another record, in the place of a letter's.

use super::super::settle::{self, encode};
use super::{DeadError, DeadLetters, LetterView};
use crate::bus::envelope::{Call, CallKind, Message};
use crate::bus::port::{Record, Traits};
use crate::domain::codec::CodecError;
use crate::domain::pending::ByName;
use crate::event_store::letters::{DeadLetter, MOST_BODY_BYTES, Standing};

/// What an operator puts in the place of a letter's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Amendment<'a> {
    /// The command's fields as JSON; all else stays.
    Payload(&'a [u8]),
    /// Key, headers and value, as [`LetterView::record`] shows them.
    Record(&'a [u8]),
}

pub(super) fn misfit(reason: impl Into<String>) -> DeadError {
    DeadError::Misfit { at: None, reason: reason.into() }
}

impl DeadLetters {
    /// Puts another payload, as JSON, in the place of a waiting letter's; the record as it came is kept beside it.
    ///
    /// # Errors
    /// As [`DeadLetters::discard`], and a payload that does not fit its command, or that is for another aggregate.
    pub async fn amend_payload(&self, number: u64, payload: &[u8]) -> Result<LetterView, DeadError> {
        self.amend(number, Amendment::Payload(payload)).await
    }

    /// Puts another record, as [`LetterView::record`] has it, in the place of a waiting letter's; the record as it came is
    /// kept beside it.
    ///
    /// # Errors
    /// As [`DeadLetters::amend_payload`], and a record that is no message.
    pub async fn amend_record(&self, number: u64, record: &[u8]) -> Result<LetterView, DeadError> {
        self.amend(number, Amendment::Record(record)).await
    }

    async fn amend(&self, number: u64, amendment: Amendment<'_>) -> Result<LetterView, DeadError> {
        self.amend_with(number, |letter| match amendment {
            Amendment::Payload(payload) => with_payload(letter, payload),
            Amendment::Record(record) => settle::read(record).map_err(misfit),
        })
        .await
    }

    pub(super) async fn amend_with(
        &self,
        number: u64,
        amended: impl FnOnce(&DeadLetter) -> Result<Record, DeadError>,
    ) -> Result<LetterView, DeadError> {
        let _turn = self.0.turn.lock().await;
        let letter = self.letter(number).await?;
        if letter.standing != Standing::Waiting {
            return Err(DeadError::NotWaiting { number, standing: letter.standing });
        }
        let record = amended(&letter)?;
        self.check(&record)?;
        let body = encode(&record);
        if body.len() > MOST_BODY_BYTES {
            return Err(DeadError::TooLarge { bytes: body.len(), most: MOST_BODY_BYTES });
        }
        if !self.letters()?.amend(number, body).await? {
            // another node was faster
            let standing = self.letter(number).await?.standing;
            return Err(DeadError::NotWaiting { number, standing });
        }
        self.show(number).await
    }

    /// What would be a dead letter again is refused here, where somebody can mend it.
    fn check(&self, record: &Record) -> Result<(), DeadError> {
        let call = match Message::from_record(record) {
            Ok(Message::Call(call)) => call,
            Ok(Message::Reply(_)) => return Err(misfit("the record is a reply, and no command or query")),
            Err(reason) => return Err(misfit(format!("the record is no message: {reason}"))),
        };
        if let Some(way) = &self.0.way {
            let traits = way.bus.traits();
            if record.bytes() > traits.max_record_bytes {
                return Err(DeadError::TooLarge { bytes: record.bytes(), most: traits.max_record_bytes });
            }
            if !traits.headers && !record.headers.is_empty() {
                return Err(misfit("the record has headers, and this node's bus has none: take them away"));
            }
        }
        if call.kind == CallKind::Command { self.fits(&call) } else { Ok(()) }
    }

    pub(super) fn fits(&self, call: &Call) -> Result<(), DeadError> {
        let catalog = self.0.client.catalog();
        // perhaps a later release has it
        let Some(entry) = catalog.command(&call.aggregate, &call.name) else { return Ok(()) };
        let whose = match (entry.read)(&call.payload, ByName(Box::new(drop))) {
            Ok(pending) => pending.aggregate_id().map_err(|e| misfit(e.to_string()))?,
            Err((CodecError::Decode { at, reason, .. }, _)) => {
                let reason = format!("the payload does not fit `{}` at `{at}`: {reason}", call.name);
                return Err(DeadError::Misfit { at: Some(at), reason });
            }
            Err((reason, _)) => return Err(misfit(reason.to_string())),
        };
        if whose.as_str() != call.subject {
            return Err(misfit(format!(
                "the message is for {}/{}, and the payload for {}/{whose}: a command for another aggregate is another \
                 command; send that one, and discard this letter",
                call.aggregate, call.subject, call.aggregate
            )));
        }
        Ok(())
    }
}

fn with_payload(letter: &DeadLetter, payload: &[u8]) -> Result<Record, DeadError> {
    let record = settle::decode(letter).map_err(misfit)?;
    let Ok(Message::Call(call)) = Message::from_record(&record) else {
        return Err(misfit(
            "nobody can read this record, so it has no payload that could be replaced: amend the record as a whole",
        ));
    };
    serde_json::from_slice::<serde::de::IgnoredAny>(payload)
        .map_err(|e| misfit(format!("the payload is no JSON: {e}")))?;
    Ok(with_call(&record, Call { payload: payload.to_vec(), ..call }))
}

/// The record with another command in it, in the form that it has; headers that are none of ours stay.
pub(super) fn with_call(record: &Record, call: Call) -> Record {
    let is_ours = |name: &str| name == "content-type" || name.starts_with("ce_") || name.starts_with("phx-");
    let headers = record.headers.iter().any(|(name, _)| name == "ce_specversion");
    let traits = Traits { headers, rebalances: false, max_record_bytes: usize::MAX };
    let mut written = Message::Call(call).into_record(record.key.clone(), traits);
    let foreign = record.headers.iter().filter(|(name, _)| !headers || !is_ours(name));
    for (name, value) in foreign {
        written.headers.push(name, value);
    }
    written
}
