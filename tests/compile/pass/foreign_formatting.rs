//! As nobody should write it.

use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

#[rustfmt::skip]
mod odd {
    use super::*;

    #[derive(Default,Serialize,Deserialize)]#[aggregate(name="odd",snapshot_every=never,
        passivate_after   = never  ,  )] pub(super)struct Odd{pub(super)n:i64 , }

    #[derive(Command)] #[command()] #[command(id=odd)] #[derive(Serialize, Deserialize)] #[command(reply = i64,)]
    /// Documented in between.
    #[command(name =
        "do-odd")]
    pub(super) struct Do { pub(super) odd : String }

    #[derive(Debug)] #[derive(Event,)] #[derive(Serialize, Deserialize)] #[event(name="odd-done",version=1,)] pub(super) struct Done { }

    #[event_sourced(part=1,)] #[doc = "a block"] impl self::Odd { #[doc = "one"] #[command_handler(reply=
        if self.n > 0 { self.n } else { -self.n },)] #[inline] pub(in super) fn a(&self,_:Do,)->Done{Done{}}#[event_handler()]
        fn b(&mut self,_:&Done,){self.n-=1}#[must_use]pub(super)const fn c(&self)->i64{self.n} pub(super) const D:i64=7; }
}

#[test]
fn it_is_read_all_the_same() {
    let done = Fixture::<odd::Odd>::new().when(odd::Do { odd: "o".into() }).then(odd::Done {}).then_reply(1);
    let _ = done.then_state(|odd| assert_eq!((odd.c(), odd.n, odd::Odd::D), (-1, -1, 7)));
    assert_eq!(odd::Do::NAME, "do-odd");
}
