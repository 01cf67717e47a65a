//! A state without snapshots is never written: it may be an enum, and needs no serializer.

use phoenix_runtime::testkit::fixture::Fixture;

use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "traffic-light", snapshot_every = never, idempotency_window = 0, passivate_after = "500ms")]
#[derive(Default)]
enum TrafficLight {
    #[default]
    Dark,
    Red {
        since: u64,
    },
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = light, reply = u64)]
struct Stop {
    light: u16,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "turned-red")]
struct TurnedRed {
    at: u64,
}

#[event_sourced]
impl TrafficLight {
    #[command_handler(reply = match self { Self::Dark => 0, Self::Red { since } => *since })]
    fn stop(&self, _: Stop, context: &Context) -> Option<TurnedRed> {
        matches!(self, Self::Dark).then(|| TurnedRed { at: context.version() + 1 })
    }

    #[event_handler]
    fn turned_red(&mut self, event: &TurnedRed) {
        *self = Self::Red { since: event.at };
    }
}

#[test]
fn a_light_turns_red() {
    let red = Fixture::<TrafficLight>::new().when(Stop { light: 1 }).then(TurnedRed { at: 1 }).then_reply(1).and();
    red.when(Stop { light: 1 }).then_no_events().then_reply(1);
}
