//! Asking the store whether commands were there before: about many aggregates at once, none at another's cost.

use std::sync::Arc;

use crate::domain::error::{Code, Fault};
use crate::domain::id::Dedup;
use crate::engine::cell::CellRef;
use crate::event_store::port::{EventStore, StoreError, StoredOutcome, StreamId};

/// What is asked about the commands of one aggregate.
pub(crate) struct Question {
    pub(crate) cell: CellRef,
    pub(crate) commands: Vec<(StreamId, Dedup)>,
}

/// What the store knows of a cell's commands, in the order of the questions.
pub(crate) type Answers = Result<Vec<(Dedup, Option<StoredOutcome>)>, Fault>;

/// What the store said of questions.
pub(crate) enum Asked {
    Answered(Vec<(CellRef, Answers)>),
    /// Not together: one of them may be the reason.
    Failed(Vec<Question>),
    /// The store does not answer, at least not all of them.
    Unanswered(Vec<Question>),
}

/// Asks once.
pub(crate) async fn ask(store: Arc<dyn EventStore>, questions: Vec<Question>) -> Asked {
    let commands = questions.iter().flat_map(|question| question.commands.iter().cloned()).collect();
    match store.outcomes(commands).await {
        Ok(answers) => {
            let mut answers = answers.into_iter();
            let answered = |Question { cell, commands }| {
                let dedups = commands.into_iter().map(|(_, dedup)| dedup);
                (cell, Ok(dedups.zip(&mut answers).collect()))
            };
            Asked::Answered(questions.into_iter().map(answered).collect())
        }
        Err(StoreError::Unavailable(reason) | StoreError::Unknown(reason)) => {
            let first = questions.first().and_then(|question| Some(question.commands.first()?.0.to_string()));
            tracing::warn!(aggregates = questions.len(), first, reason, "can't ask about repeats; trying again");
            Asked::Unanswered(questions)
        }
        Err(error) => match questions.as_slice() {
            [only] => {
                let fault = Fault::new(Code::StoreFailed, error.to_string());
                Asked::Answered(vec![(only.cell, Err(fault))])
            }
            _ => Asked::Failed(questions),
        },
    }
}
