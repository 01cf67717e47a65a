//! `kill -9` of the service under load, again and again.

use libtest_mimic::Trial;

use crate::campaign::{Campaign, Scene};
use crate::lot::Lot;
use crate::service::Setup;
use crate::stores::{ALL, Place, on_each};

fn kill(scene: &mut Scene<'_, '_>) {
    scene.kill();
    if scene.lot.one_in(3) {
        // the next one does not get far
        scene.setup.kill_while_starting(&mut scene.lot);
    }
}

fn ten_kills_under_load_lose_nothing_and_do_nothing_twice(place: &Place) {
    let setup = Setup::new(place);
    let campaign = Campaign { seed: Lot::seed(), setup, rounds: 10, most_requests: 600, followed: true };
    let verdict = campaign.run(kill);
    verdict.expect_none();
}

/// Between the block that takes events and their leaving the store, and while a log writes anew what they left behind.
fn ten_kills_while_events_leave_for_an_archive_lose_nothing(place: &Place) {
    let archive = place.folder().join("archive");
    let setup = Setup::new(place).with_archive(&archive).with("PHOENIX__LOG_STORE__COMPACT_ABOVE", "1");
    let campaign = Campaign { seed: Lot::seed(), setup, rounds: 10, most_requests: 600, followed: true };
    let verdict = campaign.run(kill);
    assert!(std::fs::read_dir(archive).is_ok_and(|mut blocks| blocks.next().is_some()), "nothing went to the archive");
    verdict.expect_none();
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = on_each!(ALL, ten_kills_under_load_lose_nothing_and_do_nothing_twice);
    trials.extend(on_each!(ALL, ten_kills_while_events_leave_for_an_archive_lose_nothing));
    trials
}
