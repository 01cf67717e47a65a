//! Runs commands by hand, as an engine would.

use std::sync::mpsc;
use std::task::{Context as Task, Poll, Waker};

use phoenix_runtime::domain::aggregate::Aggregate;
use phoenix_runtime::domain::context::Context;
use phoenix_runtime::domain::emit::Recorded;
use phoenix_runtime::domain::error::AskError;
use phoenix_runtime::domain::handle::HandledBy;
use phoenix_runtime::domain::id::{AggregateId, MessageId};
use phoenix_runtime::domain::message::Command;
use phoenix_runtime::domain::pending::{Answer, AnyState, Pending, PendingCommand, Respond, Told};

/// The answer that a caller sees.
pub(crate) type Seen<C> = Result<Answer<<C as Command>::Reply>, AskError<<C as Command>::Rejection>>;

struct Sender<C: Command>(mpsc::Sender<Seen<C>>);

impl<C: Command> Respond<C> for Sender<C> {
    fn respond(self, answer: Seen<C>) {
        self.0.send(answer).expect("the test waits");
    }
}

/// What a handler is told besides its command.
pub(crate) fn context(version: u64) -> Context {
    Context::new(AggregateId::new("o-1").expect("an id"), version, 0, MessageId::generate(0, [0; 10]))
}

/// Decides `command` on `state` and tells its caller.
pub(crate) fn decide<A: Aggregate, C: HandledBy<A>>(state: A, command: C, version: u64) -> (A, Vec<Recorded>, Seen<C>) {
    let (sender, receiver) = mpsc::channel();
    let mut pending = PendingCommand::<A, C, _>::new(command, Sender(sender));
    let mut records = Vec::new();
    let mut state: AnyState = Box::new(state);
    if pending.facts().asynchronous {
        let mut work = pending.begin(state, context(version)).expect("it is async");
        let mut polls = 0;
        let worked = loop {
            polls += 1;
            if let Poll::Ready(worked) = work.as_mut().poll(&mut Task::from_waker(Waker::noop())) {
                break worked;
            }
        };
        assert!(polls > 1, "the handler waits");
        state = worked.state;
        pending.finish(&mut *state, worked.finish, &mut records).expect("no fault");
    } else {
        pending.decide(&mut *state, &context(version), &mut records).expect("no fault");
    }
    let version = version + records.len() as u64;
    Box::new(pending).tell(Told::Decided { version });
    let state = (state as Box<dyn std::any::Any>).downcast::<A>().expect("the same state");
    (*state, records, receiver.recv().expect("an answer"))
}
