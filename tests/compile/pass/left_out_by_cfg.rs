//! What is left out on a platform is left out of everything that is made of it.

use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

#[aggregate(name = "switch")]
#[derive(Default, Serialize, Deserialize)]
struct Switch {
    on: bool,
    #[cfg(any())]
    gone: NowhereToBeFound,
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = switch)]
struct Turn {
    switch: String,
    #[cfg(any())]
    gone: NowhereToBeFound,
}

#[cfg(any())]
#[derive(Event, Serialize, Deserialize)]
#[event(name = "gone")]
struct Gone;

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "turned")]
struct Turned;

#[derive(Debug, Events)]
enum Change {
    Turned(Turned),
    #[cfg(any())]
    Gone(Gone),
}

#[event_sourced]
impl Switch {
    #[command_handler]
    #[cfg(not(any()))]
    fn turn(&self, _: Turn) -> Change {
        Change::Turned(Turned)
    }

    #[cfg(any())]
    #[command_handler]
    fn turn_elsewhere(&self, _: Turn) -> Gone {
        Gone
    }

    #[event_handler]
    fn turned(&mut self, #[cfg(not(any()))] _: &Turned) {
        self.on = !self.on;
    }

    #[cfg(any())]
    #[event_handler]
    fn gone(&mut self, _: &Gone) {}
}

#[cfg(any())]
#[event_sourced(part = 2)]
impl Switch {
    #[command_handler]
    fn never(&self, _: Turn) {}
}

#[test]
fn what_is_left_works() {
    let turned = Fixture::<Switch>::new().when(Turn { switch: "s".into() }).then(Turned);
    let _ = turned.then_state(|switch| assert!(switch.on));
}
