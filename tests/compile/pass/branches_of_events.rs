//! A handler may decide between events: an enum, or an enum of enums, one or many or none of them.

use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "won")]
struct Won(u8);

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "lost")]
struct Lost;

#[derive(Debug, Events)]
enum End {
    Won(Won),
    Lost(Lost),
}

#[derive(Debug, Events)]
enum Played {
    Ended(End),
    Both((Won, Lost)),
    Many(Vec<End>),
    Perhaps(Option<Lost>),
    Nothing,
}

#[aggregate(name = "game")]
#[derive(Default, Serialize, Deserialize)]
struct Game {
    points: u8,
    losses: u8,
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = game, reply = (u8, u8), rejection = Never)]
struct Play {
    game: String,
    move_number: u8,
}

#[event_sourced]
impl Game {
    #[command_handler(reply = (self.points, self.losses))]
    fn play(&self, command: Play) -> Option<Vec<Played>> {
        match command.move_number {
            0 => None,
            1 => Some(vec![Played::Nothing, Played::Both((Won(1), Lost)), Played::Perhaps(None)]),
            _ => Some(vec![Played::Many(vec![End::Lost(Lost), End::Won(Won(5))]), Played::Ended(End::Won(Won(7)))]),
        }
    }

    #[event_handler]
    fn won(&mut self, event: &Won) {
        self.points = event.0;
    }

    #[event_handler]
    fn lost(&mut self, _: &Lost) {
        self.losses += 1;
    }
}

#[test]
fn a_game_is_played() {
    let play = |move_number| Play { game: "g".into(), move_number };
    let fixture = Fixture::<Game>::new().when(play(0)).then_no_events().and();
    let fixture = fixture.when(play(1)).then((Won(1), Lost)).then_reply((1, 1)).and();
    fixture.when(play(2)).then((Lost, Won(5), Won(7))).then_reply((7, 2));
}
