//! An event that nobody outside knows, of an aggregate and commands that everybody does.

use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

/// Public, as its commands are.
#[aggregate(name = "counter")]
#[derive(Default, Serialize, Deserialize)]
pub struct Counter {
    count: u32,
}

/// Counts one.
#[derive(Command, Serialize, Deserialize)]
#[command(id = counter, reply = u32)]
pub struct Count {
    /// Which.
    pub counter: String,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "counted")]
struct Counted;

#[event_sourced]
impl Counter {
    #[command_handler(reply = self.count)]
    fn count(&self, _: Count) -> Counted {
        Counted
    }

    #[event_handler]
    fn counted(&mut self, _: &Counted) {
        self.count += 1;
    }
}

#[test]
fn it_counts() {
    Fixture::<Counter>::new().given(Counted).when(Count { counter: "c".into() }).then(Counted).then_reply(2);
}
