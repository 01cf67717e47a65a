//! The runtime behind a crate of one's own: every macro is told where it is.

/// As if it were a crate of the house.
mod house {
    pub(super) mod framework {
        pub(in super::super) use phoenix_runtime as engine;
    }
}

use house::framework::engine::prelude::*;
use house::framework::engine::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

#[aggregate(name = "lamp", crate = house::framework::engine)]
#[derive(Default, Serialize, Deserialize)]
struct Lamp {
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize, Schema)]
#[schema(crate = house::framework::engine)]
enum State {
    On,
    #[default]
    Off,
}

#[derive(Command, Serialize, Deserialize)]
#[command(crate = house::framework::engine, id = lamp, reply = State)]
struct Switch {
    lamp: String,
}

#[derive(Query, Serialize, Deserialize)]
#[query(id = lamp, reply = State, crate = house::framework::engine)]
struct Look {
    lamp: String,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "switched", crate = house::framework::engine)]
struct Switched(State);

#[derive(Debug, Events)]
#[events(crate = crate::compile::pass::renamed_runtime::house::framework::engine)]
enum Change {
    Switched(Switched),
}

#[event_sourced(crate = house::framework::engine)]
impl Lamp {
    #[command_handler(reply = self.state)]
    fn switch(&self, _: Switch) -> Change {
        Change::Switched(Switched(if self.state == State::On { State::Off } else { State::On }))
    }

    #[event_handler]
    fn switched(&mut self, event: &Switched) {
        self.state = event.0;
    }

    #[query_handler]
    fn look(&self, _: Look) -> State {
        self.state
    }
}

#[test]
fn a_lamp_is_switched() {
    let lamp = || "l".to_owned();
    let lit = Fixture::<Lamp>::new().when(Switch { lamp: lamp() }).then_reply(State::On);
    lit.then_answer(Look { lamp: lamp() }, State::On);
}
