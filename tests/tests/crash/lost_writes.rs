//! Power is lost under load, again and again: what was written and not synced is gone.

use libtest_mimic::Trial;

use crate::campaign::{Campaign, Scene, Verdict};
use crate::checker::Violation;
use crate::disk::{Disk, Loss};
use crate::lot::Lot;
use crate::service::Setup;
use crate::stores::{FILES, Place, Store, on_each};

fn run(place: &Place, more: &[(&'static str, &str)], rounds: u64, mut cut: impl FnMut(&Disk, &mut Lot)) -> Verdict {
    let disk = Disk::new(&place.folder(), &place.events());
    let setup = disk.environment().into_iter().fold(Setup::new(place), |setup, (name, value)| setup.with(name, value));
    let setup = more.iter().fold(setup, |setup, (name, value)| setup.with(name, *value));
    let campaign = Campaign { seed: Lot::seed(), setup, rounds, most_requests: 600, followed: false };
    campaign.run(|scene: &mut Scene<'_, '_>| {
        scene.kill();
        cut(&disk, &mut scene.lot);
        if scene.lot.one_in(3) {
            // the next one does not get far
            scene.setup.kill_while_starting(&mut scene.lot);
            cut(&disk, &mut scene.lot);
        }
    })
}

fn nothing_acknowledged_is_lost_with_all_that_was_not_synced(place: &Place) {
    run(place, &[], 6, |disk, _| disk.cut_power(Loss::Everything)).expect_none();
}

fn nothing_acknowledged_is_lost_with_some_of_what_was_not_synced(place: &Place) {
    run(place, &[], 6, |disk, lot| disk.cut_power(Loss::ByLot(lot))).expect_none();
}

fn nothing_acknowledged_is_lost_with_garbage_for_some_of_what_was_not_synced(place: &Place) {
    run(place, &[], 6, |disk, lot| disk.cut_power(Loss::Garbage(lot))).expect_none();
}

/// What makes SQLite wait for the disk less often.
const WEAKER: &[(&str, &str)] = &[("PHOENIX__SQLITE__SYNCHRONOUS", "normal")];

/// The test above has teeth: a store that syncs less loses what it acknowledged, and that is found.
fn a_weaker_sync_setting_is_found_out(place: &Place) {
    // one cut may come just when the log was synced for the sake of the database
    let verdict = run(place, WEAKER, 6, |disk, _| disk.cut_power(Loss::Everything));
    let lost = verdict.restarted.iter().filter(|violation| matches!(violation, Violation::Lost { .. })).count();
    assert!(lost > 0, "nothing was lost, so nothing is shown: {:?}", verdict.restarted);
}

/// Only the power takes what was written: `kill -9` alone shows nothing of a weaker setting.
fn a_weaker_sync_setting_survives_kills(place: &Place) {
    run(place, WEAKER, 2, |_, _| {}).expect_none();
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = on_each!(FILES, nothing_acknowledged_is_lost_with_all_that_was_not_synced);
    trials.extend(on_each!(FILES, nothing_acknowledged_is_lost_with_some_of_what_was_not_synced));
    trials.extend(on_each!(FILES, nothing_acknowledged_is_lost_with_garbage_for_some_of_what_was_not_synced));
    trials.extend(on_each!(&[Store::Sqlite], a_weaker_sync_setting_is_found_out));
    trials.extend(on_each!(&[Store::Sqlite], a_weaker_sync_setting_survives_kills));
    trials
}
