//! Parameters may be any pattern, and `self` may be written out.
#![allow(clippy::needless_arbitrary_self_type, clippy::unused_unit, reason = "what is legal, not what is usual")]

use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

#[aggregate(name = "scale")]
#[derive(Default, Serialize, Deserialize)]
struct Scale {
    grams: u32,
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = scale, reply = u32)]
struct Weigh {
    scale: String,
    grams: u32,
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = scale)]
struct Reset {
    scale: String,
}

#[derive(Query, Serialize, Deserialize)]
#[query(id = scale)]
struct Ping {
    scale: String,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "weighed")]
struct Weighed {
    grams: u32,
}

#[event_sourced]
impl Scale {
    const LEAST: u32 = 1;

    #[command_handler(reply = { let grams = self.grams; grams.max(Self::LEAST) })]
    fn weigh(self: &Self, Weigh { mut grams, .. }: Weigh, _: &Context) -> Weighed {
        grams += 1;
        Weighed { grams }
    }

    #[command_handler(reply = (), create = false,)]
    fn reset(self: &'_ Scale, mut command: Reset, context: &phoenix_runtime::domain::context::Context) -> (Weighed,) {
        command.scale.clear();
        assert!(command.scale.is_empty() && context.version() > 0);
        (Weighed { grams: 0 },)
    }

    #[event_handler]
    fn weighed(self: &mut Self, &Weighed { grams }: &Weighed) -> () {
        self.grams = grams;
    }

    #[query_handler]
    fn ping(&self, _: Ping) {}
}

#[test]
fn a_scale_weighs() {
    let scale = || "s".to_owned();
    let fixture = Fixture::<Scale>::new().when(Reset { scale: scale() }).then_not_found().and();
    let fixture = fixture.when(Weigh { scale: scale(), grams: 4 }).then(Weighed { grams: 5 }).then_reply(5).and();
    fixture
        .when(Reset { scale: scale() })
        .then(Weighed { grams: 0 })
        .then_reply(())
        .then_answer(Ping { scale: scale() }, ());
}
