//! The database ends as if its machine had lost power, and comes back: that costs latency, and nothing else.

use std::time::Duration;

use libtest_mimic::Trial;
use phoenix_test_servers::Private;

use crate::campaign::{Campaign, Scene};
use crate::lot::Lot;
use crate::service::{Setup, Starting};
use crate::stores::{Place, SERVERS, on_private};

/// With clients that wait until the database is back: whatever else they are told is a failure.
fn campaign(place: &Place, rounds: u64) -> Campaign {
    Campaign { seed: Lot::seed(), setup: Setup::new(place), rounds, most_requests: 400, followed: true }
}

fn a_lost_database_costs_latency_and_nothing_else(place: &Place, database: &Private) {
    let verdict = campaign(place, 3).run(|_: &mut Scene<'_, '_>| {
        database.kill().unwrap();
        database.restart().unwrap();
    });
    verdict.expect_none();
}

/// Nothing is answered for longer than a statement may take: connections are given up whose statements the database
/// goes on with later.
fn a_frozen_database_costs_latency_and_nothing_else(place: &Place, database: &Private) {
    let mut campaign = campaign(place, 3);
    campaign.setup = campaign.setup.with("PHOENIX__DATABASE__STATEMENT_TIMEOUT", "500ms");
    campaign.setup = campaign.setup.with("PHOENIX__DATABASE__LOCK_TIMEOUT", "500ms");
    campaign.setup = campaign.setup.with("PHOENIX__DATABASE__CONNECT_TIMEOUT", "500ms");
    let verdict = campaign.run(|scene| {
        database.freeze().unwrap();
        let frozen = Duration::from_millis(scene.lot.below(2000));
        scene.expect_stillness(frozen);
        database.thaw().unwrap();
    });
    verdict.expect_none();
}

fn both_are_killed_and_come_back_in_any_order(place: &Place, database: &Private) {
    let verdict = campaign(place, 3).run(|scene| {
        if scene.lot.one_in(2) {
            scene.kill();
            database.kill().unwrap();
        } else {
            database.kill().unwrap();
            scene.kill();
        }
        if scene.lot.one_in(2) {
            let starting = scene.setup.begin();
            expect_waiting(&starting, database);
            database.restart().unwrap();
            scene.serve_as(starting.serving().unwrap_or_else(|said| panic!("it does not start: {said}")));
        } else {
            database.restart().unwrap();
        }
    });
    verdict.expect_none();
}

/// Also where it has never seen it.
fn a_database_that_is_down_at_the_start_is_waited_for(place: &Place, database: &Private) {
    database.kill().unwrap();
    let setup = Setup::new(place);
    let starting = setup.begin();
    expect_waiting(&starting, database);
    database.restart().unwrap();
    starting.serving().unwrap_or_else(|said| panic!("it does not start: {said}"));
}

/// It says what it waits for, and keeps the password for itself.
fn expect_waiting(starting: &Starting, database: &Private) {
    starting.expect_waiting(database.address());
    let (said, url) = (starting.log(), database.url());
    let password = url.split_once("://").and_then(|(_, rest)| rest.split_once('@')?.0.split_once(':')).unwrap().1;
    assert!(!said.contains(password), "{said}");
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = on_private!(SERVERS, a_lost_database_costs_latency_and_nothing_else);
    trials.extend(on_private!(SERVERS, a_frozen_database_costs_latency_and_nothing_else));
    trials.extend(on_private!(SERVERS, both_are_killed_and_come_back_in_any_order));
    trials.extend(on_private!(SERVERS, a_database_that_is_down_at_the_start_is_waited_for));
    trials
}
