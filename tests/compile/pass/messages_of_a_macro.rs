//! Messages, handlers and whole aggregates may come from a `macro_rules!` of the user.

use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

macro_rules! command {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $ty:ty),* } by $id:ident $(-> $reply:ty)?) => {
        $(#[$meta])*
        #[derive(Command, Serialize, Deserialize)]
        #[command(id = $id $(, reply = $reply)?)]
        struct $name {
            $($field: $ty),*
        }
    };
}

macro_rules! event {
    ($name:ident as $wire:literal { $($field:ident: $ty:ty),* }) => {
        #[derive(Debug, Event, Serialize, Deserialize)]
        #[event(name = $wire)]
        struct $name {
            $($field: $ty),*
        }
    };
}

macro_rules! stock {
    ($state:ident, $wire:expr, $command:ty => $event:ty, $reply:expr, |$this:ident, $given:ident| $decide:expr) => {
        #[aggregate(name = $wire)]
        #[derive(Default, Serialize, Deserialize)]
        struct $state {
            left: i32,
        }

        #[event_sourced]
        impl $state {
            #[command_handler(reply = $reply)]
            fn decide(&self, $given: $command) -> $event {
                let $this = self;
                $decide
            }

            #[event_handler]
            fn apply(&mut self, event: &$event) {
                self.left += event.change;
            }
        }
    };
}

command!(
    /// Takes some.
    Take { shelf: String, pieces: i32 } by shelf -> (i32, Option<Vec<u8>>)
);
command!(Touch { shelf: String } by shelf);
event!(Changed as "changed" { change: i32 });
stock!(Shelf, "macro-shelf", Take => Changed, (1, None), |shelf, command| Changed {
    change: shelf.left - command.pieces
});

#[event_sourced(part = 2)]
impl Shelf {
    #[command_handler]
    fn touch(&self, _: Touch) {}
}

#[test]
fn they_work() {
    let shelf = || "s".to_owned();
    let fixture = Fixture::<Shelf>::new().given(Changed { change: 7 });
    let fixture = fixture.when(Take { shelf: shelf(), pieces: 2 }).then(Changed { change: 5 }).then_reply((1, None));
    fixture.and().when(Touch { shelf: shelf() }).then_no_events();
}
