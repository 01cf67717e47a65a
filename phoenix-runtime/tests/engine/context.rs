//! What a handler knows, and the time that its events carry.

use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::domain::ports::{BoxFuture, Clock};
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::clock::VirtualClock;

use crate::tally::{Tally, Tell, TellLater, add};
use crate::world::{World, simulate, tallies};

fn tell() -> Tell {
    Tell { tally: "a".to_owned() }
}

fn tell_later(millis: u64) -> TellLater {
    TellLater { tally: "a".to_owned(), millis }
}

async fn times(world: &World) -> Vec<i64> {
    world.events("tally", "a").await.iter().map(|stored| stored.time_micros).collect()
}

#[test]
fn a_handler_knows_id_version_and_time() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        world.pass(Duration::from_secs(5)).await;
        let known = of.ask(tell()).await.unwrap();
        assert_eq!((known.id.as_str(), known.version), ("a", 0));
        assert_eq!(known.now_micros, world.simulation.clock().wall_micros());
        of.ask(add("a", 1)).await.unwrap();
        assert_eq!(of.ask(tell()).await.unwrap().version, 2);
        assert_eq!(of.ask(tell_later(5)).await.unwrap().version, 3);
    });
}

#[test]
fn a_handler_knows_the_conversation() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        let alone = of.ask(tell()).await.unwrap();
        assert_eq!(alone.correlation, alone.message, "the command's own id where nobody says otherwise");
        let metadata = Metadata {
            correlation_id: Some("conversation".to_owned()),
            causation_id: Some("cause".to_owned()),
            ..Metadata::default()
        };
        assert_eq!(of.ask(tell()).metadata(metadata).await.unwrap().correlation, "conversation");
        let events = world.events("tally", "a").await;
        let command = events[1].command.as_ref().unwrap();
        assert_eq!(command.correlation_id.as_deref(), Some("conversation"));
        assert_eq!(command.causation_id.as_deref(), Some("cause"));
    });
}

#[test]
fn time_within_a_stream_never_goes_back() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        let first = of.ask(tell()).await.unwrap().now_micros;
        world.simulation.clock().jump_wall(-3_600_000_000);
        assert_eq!(of.ask(tell()).await.unwrap().now_micros, first);
        engine.stop().await;
        // also after a restart, when the stream is all that tells the time
        let engine = world.start().await;
        let of = tallies(&engine);
        assert_eq!(of.ask(tell()).await.unwrap().now_micros, first);
        assert_eq!(of.ask(tell_later(5)).await.unwrap().now_micros, first);
        world.simulation.clock().jump_wall(2 * 3_600_000_000);
        assert!(of.ask(tell()).await.unwrap().now_micros > first);
        let times = times(&world).await;
        assert_eq!(times[..4], [first; 4]);
        assert!(times[4] > first);
    });
}

/// A clock that moves with every look at it.
#[derive(Debug, Clone)]
struct Moving(VirtualClock);

impl Clock for Moving {
    fn wall_micros(&self) -> i64 {
        self.0.jump_wall(1);
        self.0.wall_micros()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep(duration)
    }
}

#[test]
fn events_carry_the_time_that_their_handler_was_told() {
    simulate(|world| async move {
        let clock = Arc::new(Moving(world.simulation.clock()));
        let engine = world.builder().aggregate::<Tally>().clock(clock).start().await.unwrap();
        let of = tallies(&engine);
        let mut told = Vec::new();
        for millis in [1, 50] {
            told.push(of.ask(tell()).await.unwrap().now_micros);
            told.push(of.ask(tell_later(millis)).await.unwrap().now_micros);
        }
        assert_eq!(times(&world).await, told);
    });
}
