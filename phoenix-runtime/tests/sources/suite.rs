//! Several databases against the one suite of all stores.

use std::collections::BTreeSet;
use std::sync::Arc;

use phoenix_runtime::domain::id::Slice;
use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::{EventStore, StoreError};
use phoenix_runtime::testkit::conformance::{StoreFactory, run_all};

use crate::support::{Databases, deal};

/// Deals the slices for which this holds to the second database.
struct Sources(fn(u16) -> bool);

impl StoreFactory for Sources {
    fn open<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Arc<dyn EventStore>, StoreError>> {
        Box::pin(async {
            let databases = Databases::default();
            let slices = of_the_suite().into_iter().filter(|slice| (self.0)(*slice));
            deal(&databases.mover().await, slices, "b").await.map_err(|e| StoreError::Damaged(e.to_string()))?;
            Ok(databases.store().await as Arc<dyn EventStore>)
        })
    }
}

/// The slices of most rows that the suite appends.
fn of_the_suite() -> BTreeSet<u16> {
    let ids = (0..64).map(|n| format!("account {n}")).chain(('a'..='h').map(String::from));
    ids.map(|id| Slice::of("bank-account", &id).0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_slices_at_home() {
    run_all(&Sources(|_| false)).await.unwrap_or_else(|failures| panic!("{failures}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_in_turns() {
    run_all(&Sources(|slice| slice % 2 == 1)).await.unwrap_or_else(|failures| panic!("{failures}"));
}
