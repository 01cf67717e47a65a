//! Dead letters whose commands were written for an older release: their command has other fields now, or another name.
//!
//! A command has no version on the wire, so an older form is told by what it looks like: it is one whose name nobody handles
//! any more, or whose payload does not fit, and that fits the older form.

use std::collections::BTreeMap;
use std::fmt;

use super::super::settle;
use super::amend::{misfit, with_call};
use super::{DeadError, DeadLetters, LetterView};
use crate::bus::envelope::{Call, CallKind, Message};
use crate::bus::port::Record;
use crate::domain::codec::{Codec as _, CodecError, Json};
use crate::domain::message::Command;
use crate::event_store::letters::DeadLetter;

/// The older forms of commands, by aggregate and the name that they had.
#[derive(Clone, Default)]
pub struct Upcasts(BTreeMap<(&'static str, &'static str), Vec<Step>>);

#[derive(Clone, Copy)]
struct Step {
    to: &'static str,
    convert: fn(&[u8]) -> Result<Vec<u8>, CodecError>,
}

impl Upcasts {
    /// `Old` is what `New` of this aggregate was before. Of several with one name the first that fits is taken.
    pub fn add<Old: Command + Into<New>, New: Command>(&mut self, aggregate: &'static str) {
        let convert = |json: &[u8]| {
            let mut payload = Vec::new();
            Json::encode::<New>(&Json::decode::<Old>(json)?.into(), &mut payload)?;
            Ok(payload)
        };
        self.0.entry((aggregate, Old::NAME)).or_default().push(Step { to: New::NAME, convert });
    }

    /// The command in its new form; `None` where no older one has this name.
    fn apply(&self, call: &Call) -> Option<Result<Call, CodecError>> {
        let known = self.0.iter().find(|((aggregate, name), _)| *aggregate == call.aggregate && *name == call.name);
        let mut last = None;
        for step in known?.1 {
            match (step.convert)(&call.payload) {
                Ok(payload) => return Some(Ok(Call { name: step.to.to_owned(), payload, ..call.clone() })),
                Err(error) => last = Some(Err(error)),
            }
        }
        last
    }
}

impl fmt::Debug for Upcasts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl DeadLetters {
    /// Puts the new form of its command into a waiting letter that was written for an older one; the record as it came is kept
    /// beside it. Its id and key stay, so it is still done once.
    ///
    /// # Errors
    /// As [`DeadLetters::amend_payload`]; a command that fits as it is, and one of which no older form is known.
    pub async fn upcast(&self, number: u64) -> Result<LetterView, DeadError> {
        self.amend_with(number, |letter| self.upcasted(letter)).await
    }

    fn upcasted(&self, letter: &DeadLetter) -> Result<Record, DeadError> {
        let record = settle::decode(letter).map_err(misfit)?;
        let Ok(Message::Call(call)) = Message::from_record(&record) else {
            return Err(misfit("nobody can read this record, so it has no command that could be upcast"));
        };
        let is_known = self.0.client.catalog().command(&call.aggregate, &call.name).is_some();
        if call.kind != CallKind::Command || (is_known && self.fits(&call).is_ok()) {
            // done under another name or with other fields it might be done twice
            return Err(misfit(format!("`{}` fits as it is: replay it", call.name)));
        }
        match self.0.upcasts.apply(&call) {
            Some(Ok(new)) => Ok(with_call(&record, new)),
            Some(Err(reason)) => {
                Err(misfit(format!("the payload fits none of the older forms of `{}`: {reason}", call.name)))
            }
            None => Err(misfit(format!(
                "this service knows no older form of `{}` of `{}`: say what it became, `.upcast::<Aggregate, Old, New>()` at the \
                 node's builder, or amend it by hand",
                call.name, call.aggregate
            ))),
        }
    }
}
