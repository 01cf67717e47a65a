//! `kill -9` of the service under load, again and again.

use libtest_mimic::Trial;

use crate::campaign::Campaign;
use crate::lot::Lot;
use crate::service::Setup;
use crate::stores::{ALL, Place, on_each};

fn ten_kills_under_load_lose_nothing_and_do_nothing_twice(place: &Place) {
    let setup = Setup::new(place);
    let campaign = Campaign { seed: Lot::seed(), setup, rounds: 10, most_requests: 600, followed: true };
    let verdict = campaign.run(|scene| {
        scene.kill();
        if scene.lot.one_in(3) {
            // the next one does not get far
            scene.setup.kill_while_starting(&mut scene.lot);
        }
    });
    verdict.expect_none();
}

pub(crate) fn trials() -> Vec<Trial> {
    on_each!(ALL, ten_kills_under_load_lose_nothing_and_do_nothing_twice)
}
