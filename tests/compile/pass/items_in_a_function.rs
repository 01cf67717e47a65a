//! A whole aggregate inside of a function.

use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

#[test]
fn a_function_has_an_aggregate() {
    #[derive(Command, Serialize, Deserialize)]
    #[command(id = echo, reply = String)]
    struct Say {
        echo: u8,
        text: String,
    }

    #[derive(Debug, Event, Serialize, Deserialize)]
    #[event(name = "said")]
    struct Said(String);

    #[aggregate(name = "echo")]
    #[derive(Default, Serialize, Deserialize)]
    struct Echo {
        last: String,
    }

    #[event_sourced]
    impl Echo {
        #[command_handler(reply = self.last.repeat(2))]
        fn say(&self, command: Say) -> Said {
            Said(command.text)
        }

        #[event_handler]
        fn said(&mut self, event: &Said) {
            self.last.clone_from(&event.0);
        }
    }

    Fixture::<Echo>::new().when(Say { echo: 1, text: "ho".into() }).then(Said("ho".into())).then_reply("hoho".into());
}
