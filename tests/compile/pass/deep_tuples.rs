//! Events in tuples in collections in tuples, the reply last.

#![allow(clippy::type_complexity, reason = "as deep as it gets")]

use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

#[aggregate(name = "deep")]
#[derive(Default, Serialize, Deserialize)]
struct Deep {
    sum: u64,
}

#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
#[event(name = "added")]
struct Added(u64);

#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
#[event(name = "doubled")]
struct Doubled;

#[derive(Command, Serialize, Deserialize)]
#[command(id = deep, reply = (u64, Vec<Option<String>>), rejection = (u8, ()))]
struct Dive {
    deep: String,
    metres: u64,
}

type Fish = ((Added, (Doubled,)), Option<Vec<(Doubled, Added)>>, (), Vec<()>, Added, Doubled, Vec<Option<Added>>);

#[event_sourced]
impl Deep {
    #[command_handler]
    fn dive(&self, Dive { metres, .. }: Dive) -> Result<(Fish, Reply<(u64, Vec<Option<String>>)>), (u8, ())> {
        if metres > 100 {
            return Err((1, ()));
        }
        let fish = (
            (Added(metres), (Doubled,)),
            Some(vec![(Doubled, Added(1)); 2]),
            (),
            vec![(), ()],
            Added(2),
            Doubled,
            vec![None, Some(Added(3))],
        );
        Ok((fish, Reply((metres, vec![None, Some("deep".into())]))))
    }

    #[event_handler]
    fn added(&mut self, event: &Added) {
        self.sum += event.0;
    }

    #[event_handler]
    fn doubled(&mut self, _: &Doubled) {
        self.sum *= 2;
    }
}

#[test]
fn events_keep_their_order() {
    let dive = |metres| Dive { deep: "d".into(), metres };
    let dived = Fixture::<Deep>::new().when(dive(1)).then_reply((1, vec![None, Some("deep".into())]));
    // ((((1 * 2) * 2 + 1) * 2 + 1) + 2) * 2 + 3
    let fixture = dived.then_state(|deep| assert_eq!(deep.sum, 29)).and();
    assert_eq!(fixture.events::<Doubled>().len(), 4);
    fixture.when(dive(101)).then_rejected((1, ()));
}
