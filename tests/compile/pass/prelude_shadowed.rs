//! Generated code means what it says, whatever the names around it mean.

use phoenix_runtime::testkit::fixture::Fixture;

/// Other things by the names of the prelude, of crates and of macros.
mod shadows {
    #![allow(dead_code, unused_macros, unused_imports, reason = "they are only in the way")]

    pub(super) struct Option;
    pub(super) struct Some;
    pub(super) struct None;
    pub(super) struct Result;
    pub(super) struct Ok;
    pub(super) struct Err;
    pub(super) struct Vec;
    pub(super) struct Box;
    pub(super) struct String;
    pub(super) trait Default {}
    pub(super) trait From {}
    pub(super) trait Into {}
    pub(super) trait Clone {}
    pub(super) trait Copy {}
    pub(super) trait Send {}
    pub(super) trait Sync {}
    pub(super) trait Sized {}
    pub(super) trait Drop {}
    pub(super) trait Fn {}
    pub(super) trait FnOnce {}
    pub(super) trait Iterator {}
    pub(super) trait ToString {}
    pub(super) mod core {}
    pub(super) mod std {}
    pub(super) mod alloc {}
    pub(super) mod phoenix_runtime {}
    pub(super) struct Aggregate;
    pub(super) struct Context;
    pub(super) struct Reply;
    pub(super) struct Sink;
    pub(super) struct Part;
    pub(super) struct Returns;
}

/// Macros by the names of the standard library's, for everything below.
#[allow(unused_macros, reason = "they are only in the way")]
#[macro_use]
mod macros {
    macro_rules! assert {
        ($($any:tt)*) => {
            another!()
        };
    }
    macro_rules! concat {
        ($($any:tt)*) => {
            another!()
        };
    }
    macro_rules! file {
        ($($any:tt)*) => {
            another!()
        };
    }
    macro_rules! format {
        ($($any:tt)*) => {
            another!()
        };
    }
    macro_rules! line {
        ($($any:tt)*) => {
            another!()
        };
    }
    macro_rules! matches {
        ($($any:tt)*) => {
            another!()
        };
    }
    macro_rules! module_path {
        ($($any:tt)*) => {
            another!()
        };
    }
    macro_rules! panic {
        ($($any:tt)*) => {
            another!()
        };
    }
    macro_rules! stringify {
        ($($any:tt)*) => {
            another!()
        };
    }
    macro_rules! unreachable {
        ($($any:tt)*) => {
            another!()
        };
    }
    macro_rules! vec {
        ($($any:tt)*) => {
            another!()
        };
    }
    macro_rules! write {
        ($($any:tt)*) => {
            another!()
        };
    }
}

mod messages {
    #[allow(unused_imports, reason = "nothing may come from here")]
    use super::shadows::*;
    use ::serde::{Deserialize, Serialize};

    #[derive(::phoenix_runtime::Command, Serialize, Deserialize)]
    #[command(
        id(door, storey),
        reply = bool,
        rejection = Locked,
        idempotent_by(knock),
        aggregate = "door"
    )]
    pub(super) struct Open {
        pub(super) door: char,
        pub(super) storey: u8,
        pub(super) knock: u64,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, ::phoenix_runtime::Schema)]
    pub(super) enum Locked {
        ByKey,
        ByBolt { bolts: u8 },
    }

    #[derive(::phoenix_runtime::Query, Serialize, Deserialize)]
    #[query(id(door, storey), reply = bool)]
    pub(super) struct IsOpen {
        pub(super) door: char,
        pub(super) storey: u8,
    }

    #[derive(Debug, ::phoenix_runtime::Event, Serialize, Deserialize)]
    #[event(name = "opened-once")]
    pub(super) struct OpenedV1;

    #[derive(Debug, ::phoenix_runtime::Event, Serialize, Deserialize)]
    #[event(name = "opened", upcast_from = OpenedV1)]
    pub(super) struct Opened {
        pub(super) wide: bool,
    }

    impl ::std::convert::From<OpenedV1> for Opened {
        fn from(_: OpenedV1) -> Self {
            Self { wide: true }
        }
    }

    #[derive(Debug, ::phoenix_runtime::Events)]
    pub(super) enum Change {
        Opened(Opened),
        Nothing,
    }
}

mod door {
    use super::messages::{Change, IsOpen, Locked, Open, Opened};
    #[allow(unused_imports, reason = "nothing may come from here")]
    use super::shadows::*;

    #[::phoenix_runtime::aggregate(
        name = "door",
        snapshot_every = 3,
        snapshot_bytes = "1MiB",
        snapshots_kept = 1,
        archive = true,
        passivate_after = "1h",
        idempotency_window = 2,
        max_resident = 5
    )]
    #[derive(::std::default::Default, ::serde::Serialize, ::serde::Deserialize)]
    pub(super) struct Door {
        pub(super) open: bool,
    }

    #[::phoenix_runtime::event_sourced]
    impl Door {
        #[command_handler(reply = self.open, create = true)]
        fn open(&self, command: Open) -> ::std::result::Result<Change, Locked> {
            match command.knock {
                0 => ::std::result::Result::Err(Locked::ByBolt { bolts: 2 }),
                _ if self.open => ::std::result::Result::Ok(Change::Nothing),
                _ => ::std::result::Result::Ok(Change::Opened(Opened { wide: false })),
            }
        }

        #[event_handler]
        fn opened(&mut self, _: &Opened) {
            self.open = true;
        }

        #[query_handler]
        fn is_open(&self, _: IsOpen) -> bool {
            self.open
        }
    }
}

#[test]
fn a_door_opens() {
    use messages::{IsOpen, Locked, Open, Opened};

    let fixture = Fixture::<door::Door>::new().when(Open { door: 'a', storey: 1, knock: 0 });
    let fixture =
        fixture.then_rejected(Locked::ByBolt { bolts: 2 }).and().when(Open { door: 'a', storey: 1, knock: 1 });
    let fixture = fixture.then(Opened { wide: false }).then_reply(true);
    fixture.then_answer(IsOpen { door: 'a', storey: 1 }, true);
    assert_ne!(Locked::ByKey, Locked::ByBolt { bolts: 0 });
}
