//! A handler's `Result` may have another name, and another type may have its.

use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

type Decision<T> = std::result::Result<T, Full>;
type Filled = Decision<(Poured, Reply<u8>)>;

/// No result of a handler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Schema)]
struct Result(u8);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Schema)]
struct Full;

#[aggregate(name = "glass")]
#[derive(Default, Serialize, Deserialize)]
struct Glass {
    level: u8,
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = glass, reply = u8, rejection = Full)]
struct Fill {
    glass: String,
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = glass, rejection = Full, reply = Result)]
struct Sip {
    glass: String,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "poured")]
struct Poured(u8);

#[event_sourced]
impl Glass {
    #[command_handler]
    fn fill(&self, _: Fill) -> Filled {
        if self.level == 10 { Err(Full) } else { Ok((Poured(10), Reply(10 - self.level))) }
    }

    #[command_handler(reply = Result(self.level))]
    fn sip(&self, _: Sip) -> Decision<Poured> {
        self.level.checked_sub(1).map(Poured).ok_or(Full)
    }

    #[event_handler]
    fn poured(&mut self, event: &Poured) {
        self.level = event.0;
    }
}

#[test]
fn it_decides_by_any_name() {
    let glass = || "g".to_owned();
    let full = Fixture::<Glass>::new().when(Fill { glass: glass() }).then_reply(10).and();
    full.when(Fill { glass: glass() }).then_rejected(Full).and().when(Sip { glass: glass() }).then_reply(Result(9));
}
