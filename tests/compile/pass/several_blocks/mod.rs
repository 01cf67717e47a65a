//! One aggregate in several blocks and files, of which some come before the state that they are about.

mod answers;

#[event_sourced(part = 16)]
impl Purse {
    #[event_handler]
    fn spent(&mut self, event: &Spent) {
        self.coins -= event.coins;
    }
}

mod spending;

use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

use answers::HowMuch;
use spending::{Spend, Spent};

/// Some coins.
#[aggregate(name = "purse")]
#[derive(Default, Serialize, Deserialize)]
pub struct Purse {
    coins: u32,
}

/// Puts coins in.
#[derive(Command, Serialize, Deserialize)]
#[command(id = purse, reply = u32)]
pub struct Earn {
    /// Which.
    pub purse: String,
    /// How many.
    pub coins: u32,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "earned")]
struct Earned {
    coins: u32,
}

#[event_sourced]
impl Purse {
    #[command_handler(reply = self.coins)]
    fn earn(&self, command: Earn) -> Earned {
        Earned { coins: command.coins }
    }

    #[event_handler]
    fn earned(&mut self, event: &Earned) {
        self.coins += event.coins;
    }
}

#[test]
fn blocks_work_together() {
    let purse = || "p".to_owned();
    let fixture = Fixture::<Purse>::new().when(Earn { purse: purse(), coins: 5 }).then_reply(5).and();
    let fixture = fixture.when(Spend { purse: purse(), coins: 2 }).then(Spent { coins: 2 });
    fixture.then_answer(HowMuch { purse: purse() }, 3).and().when(Spend { purse: purse(), coins: 4 }).then_rejected(3);
}
