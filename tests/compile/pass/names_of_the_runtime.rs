//! Types and methods of one's own may have the names that the runtime uses.

use phoenix_runtime::testkit::fixture::Fixture;
use phoenix_runtime::{Command, Event, Events, Query, Schema, aggregate, event_sourced};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Schema)]
struct Type {
    name: String,
    body: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Schema)]
struct Field {
    context: u8,
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = id, reply = Reply, rejection = Rejection)]
struct Decide {
    id: String,
    name: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Reply(Type);

#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
enum Rejection {
    Never,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "recorded")]
struct Recorded {
    state: Type,
}

#[derive(Query, Serialize, Deserialize)]
#[query(id = id, reply = Type)]
struct Answer {
    id: String,
}

#[derive(Debug, Events)]
enum Sink {
    Recorded(Recorded),
}

#[aggregate(name = "aggregate")]
#[derive(Default, Serialize, Deserialize)]
struct Aggregate {
    state: Type,
}

#[event_sourced]
impl Aggregate {
    #[command_handler(reply = Reply(self.state.clone()))]
    fn reply_after(&self, command: Decide) -> Result<Sink, Rejection> {
        if command.name.is_empty() {
            return Err(Rejection::Never);
        }
        let state = Type { name: command.name, body: vec![Field { context: 1 }] };
        Ok(Sink::Recorded(Recorded { state }))
    }

    #[event_handler]
    fn evolve(&mut self, event: &Recorded) {
        self.state = event.state.clone();
    }

    #[query_handler]
    fn answer(&self, _: Answer) -> Type {
        self.state.clone()
    }
}

#[test]
fn names_do_not_meet() {
    let decide = |name: &str| Decide { id: "i".into(), name: name.into() };
    let state = || Type { name: "n".into(), body: vec![Field { context: 1 }] };
    let fixture = Fixture::<Aggregate>::new().when(decide("n")).then(Recorded { state: state() });
    let fixture = fixture.then_reply(Reply(state())).then_answer(Answer { id: "i".into() }, state()).and();
    fixture.when(decide("")).then_rejected(Rejection::Never);
}
