//! Events of older services are read in today's form, on every read.

use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

use crate::world::{World, simulate};

mod old {
    use super::*;

    #[aggregate(name = "meter", snapshot_every = never)]
    #[derive(Debug, Default)]
    pub(super) struct Meter;

    #[derive(Event, Serialize, Deserialize)]
    #[event(name = "read")]
    pub(super) struct Read {
        pub(super) units: i64,
    }

    #[derive(Command, Serialize, Deserialize)]
    #[command(id = meter, name = "note")]
    pub(super) struct Note {
        pub(super) meter: String,
        pub(super) units: i64,
    }

    #[event_sourced]
    impl Meter {
        #[command_handler]
        fn note(&self, command: Note) -> Read {
            Read { units: command.units }
        }

        #[event_handler]
        fn read(&mut self, _: &Read) {}
    }
}

mod new {
    use super::*;

    #[aggregate(name = "meter", snapshot_every = never)]
    #[derive(Debug, Default)]
    pub(super) struct Meter {
        pub(super) milli_units: i64,
    }

    #[derive(Event, Serialize, Deserialize)]
    #[event(name = "read")]
    pub(super) struct ReadV1 {
        units: i64,
    }

    /// In another unit.
    #[derive(Event, Serialize, Deserialize)]
    #[event(name = "read", version = 2, upcast_from = ReadV1)]
    pub(super) struct Measured {
        pub(super) milli_units: i64,
    }

    impl From<ReadV1> for Measured {
        fn from(old: ReadV1) -> Self {
            Self { milli_units: old.units * 1000 }
        }
    }

    #[derive(Command, Serialize, Deserialize)]
    #[command(id = meter, name = "note", reply = i64)]
    pub(super) struct Note {
        pub(super) meter: String,
        pub(super) milli_units: i64,
    }

    #[event_sourced]
    impl Meter {
        #[command_handler(reply = self.milli_units)]
        fn note(&self, command: Note) -> Measured {
            Measured { milli_units: command.milli_units }
        }

        #[event_handler]
        fn measured(&mut self, event: &Measured) {
            self.milli_units += event.milli_units;
        }
    }
}

async fn note_old(world: &World, units: i64) -> Result<(), AskError<Never>> {
    let engine = world.builder().aggregate::<old::Meter>().start().await.unwrap();
    let told = engine.client().of::<old::Meter>().ask(old::Note { meter: "m".to_owned(), units }).await;
    engine.stop().await;
    told
}

async fn note_new(world: &World, milli_units: i64) -> Result<i64, AskError<Never>> {
    let engine = world.builder().aggregate::<new::Meter>().start().await.unwrap();
    let told = engine.client().of::<new::Meter>().ask(new::Note { meter: "m".to_owned(), milli_units }).await;
    engine.stop().await;
    told
}

#[test]
fn older_events_are_upcast_whenever_they_are_read() {
    simulate(|world| async move {
        note_old(&world, 2).await.unwrap();
        note_old(&world, 3).await.unwrap();
        assert_eq!(note_new(&world, 7).await, Ok(5007));
        assert_eq!(note_new(&world, 1).await, Ok(5008), "and again: what is stored never changes");
        let versions: Vec<_> = world.events("meter", "m").await.iter().map(|e| e.event.schema_version).collect();
        assert_eq!(versions, [1, 1, 2, 2]);
    });
}

#[test]
fn an_event_of_a_newer_service_parks_the_aggregate() {
    simulate(|world| async move {
        note_old(&world, 2).await.unwrap();
        note_new(&world, 7).await.unwrap();
        let parked = note_old(&world, 1).await.unwrap_err();
        assert_eq!(parked.code(), Code::Parked);
        assert!(parked.to_string().contains("version 2"), "{parked}");
        assert_eq!(world.events("meter", "m").await.len(), 2, "nothing was decided on what could not be read");
    });
}
