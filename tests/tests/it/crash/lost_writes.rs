//! Power is lost under load, again and again: what was written and not synced is gone.

use crate::crash::campaign::{Campaign, Verdict};
use crate::crash::checker::Violation;
use crate::crash::disk::{Disk, Loss};
use crate::crash::lot::Lot;
use crate::crash::service::Setup;

fn run(synchronous: &str, ends: u64, mut cut: impl FnMut(&Disk, &mut Lot)) -> Verdict {
    let base = tempfile::tempdir().expect("a folder");
    let disk = Disk::new(base.path());
    let setup = Setup::new(&disk.folder, &base.path().join("log")).with("CRASH_BANK_SYNCHRONOUS", synchronous);
    let setup = disk.environment().into_iter().fold(setup, |setup, (name, value)| setup.with(name, value));
    let campaign = Campaign { seed: Lot::seed(), setup, ends, most_requests: 600 };
    campaign.run(|lot| cut(&disk, lot))
}

#[test]
fn nothing_acknowledged_is_lost_with_all_that_was_not_synced() {
    run("full", 6, |disk, _| disk.cut_power(Loss::Everything)).expect_none();
}

#[test]
fn nothing_acknowledged_is_lost_with_some_of_what_was_not_synced() {
    run("full", 6, |disk, lot| disk.cut_power(Loss::ByLot(lot))).expect_none();
}

/// The test above has teeth: a store that syncs less loses what it acknowledged, and that is found.
#[test]
fn a_weaker_sync_setting_is_found_out() {
    // one cut may come just when the log was synced for the sake of the database
    let verdict = run("normal", 6, |disk, _| disk.cut_power(Loss::Everything));
    let lost = verdict.restarted.iter().filter(|violation| matches!(violation, Violation::Lost { .. })).count();
    assert!(lost > 0, "nothing was lost, so nothing is shown: {:?}", verdict.restarted);
}

/// Only the power takes what was written: `kill -9` alone shows nothing of a weaker setting.
#[test]
fn a_weaker_sync_setting_survives_kills() {
    run("normal", 2, |_, _| {}).expect_none();
}
