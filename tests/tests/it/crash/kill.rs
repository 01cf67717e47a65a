//! `kill -9` under load, again and again.

use crate::crash::campaign::Campaign;
use crate::crash::lot::Lot;
use crate::crash::service::Setup;

#[test]
fn ten_kills_under_load_lose_nothing_and_do_nothing_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    std::fs::create_dir(&store).expect("a folder");
    let setup = Setup::new(&store, &folder.path().join("log"));
    let campaign = Campaign { seed: Lot::seed(), setup, ends: 10, most_requests: 1500 };
    campaign.run(|_| {}).expect_none();
}
