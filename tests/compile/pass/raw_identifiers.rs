//! Names that are keywords.

use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

#[aggregate(name = "type")]
#[derive(Default, Serialize, Deserialize)]
struct r#Type {
    r#match: u8,
}

#[derive(Command, Serialize, Deserialize)]
#[command(id(r#type, r#in), idempotent_by(r#loop), reply = u8)]
struct r#Move {
    r#type: String,
    r#in: u8,
    r#loop: u8,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "moved")]
struct Moved {
    r#where: u8,
}

#[event_sourced]
impl r#Type {
    #[command_handler(reply = self.r#match)]
    fn r#move(&self, r#struct: r#Move) -> Moved {
        Moved { r#where: r#struct.r#in }
    }

    #[event_handler]
    fn r#while(&mut self, r#fn: &Moved) {
        self.r#match = r#fn.r#where;
    }
}

#[test]
fn names_on_the_wire_are_plain() {
    let command = r#Move { r#type: "t".into(), r#in: 3, r#loop: 1 };
    assert_eq!((r#Move::NAME, command.business_key()), ("move", Some("1:1".to_owned())));
    Fixture::<r#Type>::new().when(command).then(Moved { r#where: 3 }).then_reply(3);
}
