//! An event may be an enum: it has one name on the wire and several forms.

use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

/// A temperature.
#[aggregate(name = "oven", codec = postcard)]
#[derive(Default, Serialize, Deserialize)]
pub struct Oven {
    degrees: i32,
}

/// What happens to an oven.
#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "regulated")]
pub enum Regulated {
    /// Off.
    Off,
    /// By so much.
    By(i32),
    /// To so much.
    To {
        /// How much.
        degrees: i32,
    },
}

/// Regulates the oven.
#[derive(Command, Serialize, Deserialize)]
#[command(id = oven, reply = i32)]
pub struct Regulate {
    /// Which.
    pub oven: u8,
    /// To how much.
    pub degrees: Option<i32>,
}

#[event_sourced]
impl Oven {
    #[command_handler(reply = self.degrees)]
    fn regulate(&self, command: Regulate) -> Vec<Regulated> {
        match command.degrees {
            None => vec![Regulated::Off],
            Some(degrees) => vec![Regulated::To { degrees: degrees - 1 }, Regulated::By(1)],
        }
    }

    #[event_handler]
    fn regulated(&mut self, event: &Regulated) {
        self.degrees = match event {
            Regulated::Off => 0,
            Regulated::By(change) => self.degrees + change,
            Regulated::To { degrees } => *degrees,
        };
    }
}

#[test]
fn an_oven_is_regulated() {
    let hot = Fixture::<Oven>::new().when(Regulate { oven: 1, degrees: Some(200) }).then_reply(200).and();
    hot.when(Regulate { oven: 1, degrees: None }).then(Regulated::Off).then_reply(0);
}
