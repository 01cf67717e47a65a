//! Databases that belong together, and those that do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use phoenix_runtime::event_store::MemoryStore;
use phoenix_runtime::event_store::port::{Batch, Partition, StoreError};
use phoenix_runtime::event_store::sources::{Members, MembersError, Source, sole};

use crate::support::{Databases, Owner, deal, members_of};

fn source(store: &Arc<dyn Source>) -> Arc<dyn Source> {
    Arc::clone(store)
}

fn empty() -> Arc<dyn Source> {
    Arc::new(MemoryStore::new())
}

/// What is wrong, as a start says it.
#[track_caller]
fn says<T: std::fmt::Debug>(found: Result<T, MembersError>, parts: &[&str]) {
    let text = found.unwrap_err().to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[tokio::test]
async fn a_source_that_the_map_names_must_be_configured() {
    let databases = Databases::default();
    deal(&databases.mover().await, [3, 4], "b").await.unwrap();
    let wanted = ["`b` has 2 of the 1024 slices", "b = \"<url>\"", "[sources]"];
    says(Members::open(source(&databases.home), BTreeMap::new()).await, &wanted);
    says(sole(&*databases.home).await, &wanted);
    let others = BTreeMap::from([("c".to_owned(), source(&databases.b))]);
    says(Members::open(source(&databases.home), others).await, &wanted);
    databases.members().await;
}

#[tokio::test]
async fn a_source_without_slices_can_be_forgotten() {
    let databases = Databases::default();
    let mover = databases.mover().await;
    deal(&mover, [3], "b").await.unwrap();
    assert!(mover.forget("b").await.unwrap_err().to_string().contains("still has 1 slices"));
    deal(&mover, [3], "home").await.unwrap();
    mover.forget("b").await.unwrap();
    sole(&*databases.home).await.unwrap();
    // and comes back
    databases.members().await;
}

#[tokio::test]
async fn a_source_is_no_home() {
    let databases = Databases::default();
    databases.members().await;
    let wanted = ["it is the source `b`", "as `sources.b`"];
    says(sole(&*databases.b).await, &wanted);
    says(members_of(source(&databases.b), source(&databases.home)).await, &wanted);
}

#[tokio::test]
async fn a_database_belongs_once() {
    let databases = Databases::default();
    databases.members().await;
    let other = members_of(empty(), source(&databases.b)).await;
    says(other, &["`sources.b` is already the source `b` of another home"]);
    let renamed = BTreeMap::from([("b".to_owned(), source(&databases.b)), ("c".to_owned(), source(&databases.b))]);
    let renamed = Members::open(source(&databases.home), renamed).await;
    says(renamed, &["`sources.c` is already the source `b` of this home"]);
    let used = empty();
    used.acquire(vec![Partition(0)]).await.unwrap();
    says(members_of(empty(), source(&used)).await, &["data of its own", "empty database"]);
    says(members_of(source(&databases.home), source(&databases.home)).await, &["data of its own"]);
    for name in ["home", "B", "", "a b"] {
        let others = BTreeMap::from([(name.to_owned(), empty())]);
        says(Members::open(source(&databases.home), others).await, &["can't be named"]);
    }
}

#[tokio::test]
async fn a_database_alone_needs_nothing() {
    sole(&MemoryStore::new()).await.unwrap();
}

#[tokio::test]
async fn whoever_has_opened_the_home_for_itself_is_fenced_before_a_slice_can_move() {
    let databases = Databases::default();
    let alone = Owner::of(source(&databases.home)).await.unwrap();
    let confirm = async |owner: &Owner| {
        let batch = Batch { epochs: owner.epochs.clone(), records: Vec::new() };
        owner.store.append(Arc::new(batch)).await
    };
    confirm(&alone).await.unwrap();
    databases.members().await;
    assert!(matches!(confirm(&alone).await, Err(StoreError::Fenced { .. })));
    // but nobody else, by those who come later
    let owner = Owner::of(databases.store().await).await.unwrap();
    databases.mover().await;
    confirm(&owner).await.unwrap();
}

#[tokio::test]
async fn who_only_looks_brings_no_source_in() {
    let databases = Databases::default();
    let look = async || {
        let others = BTreeMap::from([("b".to_owned(), source(&databases.b))]);
        Members::look(source(&databases.home), others).await
    };
    says(Members::look(source(&databases.home), BTreeMap::new()).await, &["for itself"]);
    for _ in 0..2 {
        says(look().await, &["`b` has not joined", "slices move"]);
    }
    databases.members().await;
    look().await.unwrap();
    says(Members::look(source(&databases.b), BTreeMap::new()).await, &["it is the source `b`"]);
    let other = BTreeMap::from([("c".to_owned(), source(&databases.b))]);
    says(Members::look(source(&databases.home), other).await, &["the source `b`"]);
}
