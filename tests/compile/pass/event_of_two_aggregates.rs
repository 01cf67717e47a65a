//! One event and one message for two aggregates, of which each has handlers of its own.

use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "renamed")]
struct Renamed(String);

#[derive(Command, Serialize, Deserialize)]
#[command(id = id)]
struct Rename {
    id: u32,
    name: String,
}

macro_rules! named {
    ($($aggregate:ident $wire:literal $case:ident)*) => {$(
        #[aggregate(name = $wire)]
        #[derive(Default, Serialize, Deserialize)]
        struct $aggregate {
            name: String,
        }

        #[event_sourced]
        impl $aggregate {
            #[command_handler]
            fn rename(&self, command: Rename) -> Option<Renamed> {
                (self.name != command.name).then_some(Renamed(command.name))
            }

            #[event_handler]
            fn renamed(&mut self, event: &Renamed) {
                self.name = event.0.$case();
            }
        }
    )*};
}
named! { Ship "ship" to_uppercase  Harbour "harbour" to_lowercase }

#[test]
fn each_applies_it_in_its_way() {
    let rename = || Rename { id: 1, name: "Nina".into() };
    let ship = Fixture::<Ship>::new().when(rename()).then(Renamed("Nina".into()));
    let _ = ship.then_state(|ship| assert_eq!(ship.name, "NINA"));
    let harbour = Fixture::<Harbour>::new().when(rename()).then(Renamed("Nina".into()));
    let _ = harbour.then_state(|harbour| assert_eq!(harbour.name, "nina"));
}
