//! Structs of every kind: tuples, units, braces with nothing between.

use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

#[aggregate(name = "bell")]
#[derive(Default, Serialize, Deserialize)]
struct Bell(u32, Vec<Stroke>);

#[derive(Command, Serialize, Deserialize)]
#[command(id = 0, reply = u32, idempotent_by(1))]
struct Ring(String, u64);

#[derive(Command, Serialize, Deserialize)]
#[command(id = 0.0)]
struct Muffle((String, u8));

#[derive(Query, Serialize, Deserialize)]
#[query(id(0, 1), reply = (u32, Vec<Stroke>))]
struct Rung(String, u8);

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "rung")]
struct WasRung;

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "muffled")]
struct Muffled {}

#[derive(Debug, Clone, Copy, PartialEq, Event, Serialize, Deserialize)]
#[event(name = "struck")]
struct Stroke(u8, i8);

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "stopped")]
#[serde(transparent)]
struct Stopped(());

#[event_sourced]
impl Bell {
    #[command_handler(reply = self.0)]
    fn ring(&self, Ring(_, strokes): Ring) -> (WasRung, Vec<Stroke>) {
        (WasRung, (0..strokes).map(|_| Stroke(1, -1)).collect())
    }

    #[command_handler]
    fn muffle(&self, _: Muffle) -> (Muffled, Option<Stopped>) {
        (Muffled {}, Some(Stopped(())))
    }

    #[event_handler]
    fn rung(&mut self, WasRung: &WasRung) {
        self.0 += 1;
    }

    #[event_handler]
    fn muffled(&mut self, Muffled {}: &Muffled) {
        self.1.clear();
    }

    #[event_handler]
    fn struck(&mut self, event: &Stroke) {
        self.1.push(*event);
    }

    #[event_handler]
    fn stopped(&mut self, &Stopped(()): &Stopped) {}

    #[query_handler]
    fn how_often(&self, Rung(..): Rung) -> (u32, Vec<Stroke>) {
        (self.0, self.1.clone())
    }
}

#[test]
fn a_bell_rings() {
    let fixture = Fixture::<Bell>::new().when(Ring("b".into(), 1)).then((WasRung, Stroke(1, -1))).then_reply(1).and();
    let fixture = fixture.when(Muffle(("b".into(), 0))).then((Muffled {}, Stopped(()))).and();
    assert_eq!(fixture.answer(Rung("b".into(), 0)), Some((1, vec![])));
}
