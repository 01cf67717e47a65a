//! Rows that are there already, or come too early, told by row and kind.

use super::fixture::{Checked, Owner, conflicts, decided, equal, further, rejected};
use super::{Place, promises};
use crate::event_store::port::ConflictKind::{Key, Predecessor, Sequence, Version};

promises! {
    a_version_is_unique
    a_version_needs_its_predecessor
    a_key_is_unique_over_events_and_outcomes
    a_key_belongs_to_its_stream
    a_sequence_is_unique_and_gapless
    all_conflicts_are_told_at_once
    records_of_one_batch_conflict_with_each_other
    identical_rows_conflict_with_their_own_keys
}

async fn a_version_is_unique(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    owner.append(vec![decided("a", 1, 1), further("a", 2), further("a", 3)]).await?;
    for version in 1..=3 {
        let again = owner.append(vec![decided("a", version, 9)]).await;
        conflicts("a version that is there", again, &[(0, Version)])?;
    }
    owner.append(vec![decided("a", 4, 9)]).await?;
    owner.append(vec![decided("b", 1, 9)]).await?;
    equal("versions", &owner.versions("a").await?, &vec![1, 2, 3, 4])
}

async fn a_version_needs_its_predecessor(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    conflicts("v2 on an empty stream", owner.append(vec![decided("a", 2, 1)]).await, &[(0, Predecessor)])?;
    owner.append(vec![rejected("a", 1)]).await?;
    conflicts("v2 on an outcome", owner.append(vec![decided("a", 2, 2)]).await, &[(0, Predecessor)])?;
    owner.append(vec![decided("a", 1, 2), further("a", 2), further("a", 3), further("a", 4)]).await?;
    conflicts("v6 on v4", owner.append(vec![decided("a", 6, 3)]).await, &[(0, Predecessor)])?;
    conflicts("v6 and v7 on v4", owner.append(vec![decided("a", 6, 3), further("a", 7)]).await, &[(0, Predecessor)])?;
    let beyond = owner.append(vec![decided("a", u64::MAX, 3)]).await;
    conflicts("the highest version on v4", beyond, &[(0, Predecessor)])?;
    let gap = owner.append(vec![decided("a", 5, 3), decided("a", 7, 4)]).await;
    conflicts("v5 and v7 on v4", gap, &[(1, Predecessor)])?;
    owner.append(vec![decided("a", 5, 3), decided("a", 6, 4)]).await?;
    equal("versions", &owner.versions("a").await?, &vec![1, 2, 3, 4, 5, 6])
}

async fn a_key_is_unique_over_events_and_outcomes(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    owner.append(vec![decided("a", 1, 1), rejected("a", 2)]).await?;
    for number in [1, 2] {
        conflicts("an event's key again", owner.append(vec![decided("a", 2, number)]).await, &[(0, Key)])?;
        conflicts("an outcome's key again", owner.append(vec![rejected("a", number)]).await, &[(0, Key)])?;
    }
    owner.append(vec![decided("a", 2, 3), rejected("a", 4)]).await?;
    equal("versions", &owner.versions("a").await?, &vec![1, 2])
}

async fn a_key_belongs_to_its_stream(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    owner.append(vec![decided("a", 1, 1)]).await?;
    owner.append(vec![decided("b", 1, 1), rejected("c", 1)]).await?;
    let mut other = decided("a", 1, 1);
    other.stream.aggregate = "order".into();
    owner.append(vec![other]).await?;
    equal("versions", &owner.versions("b").await?, &vec![1])
}

async fn a_sequence_is_unique_and_gapless(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    owner.append(vec![decided("a", 1, 1), rejected("a", 2)]).await?;
    for sequence in [0, 1, 2, 4, 5, u64::MAX] {
        for record in [decided("a", 2, 9), rejected("a", 9)] {
            let mut batch = owner.batch(vec![record]);
            batch.records[0].sequence = sequence;
            conflicts("a sequence that is not the next one", owner.send(batch).await, &[(0, Sequence)])?;
        }
    }
    let mut swapped = owner.batch(vec![decided("a", 2, 3), decided("a", 3, 4)]);
    swapped.records[0].sequence = 4;
    swapped.records[1].sequence = 3;
    conflicts("sequences out of order", owner.send(swapped).await, &[(0, Sequence)])?;
    owner.append(vec![decided("a", 2, 3), decided("a", 3, 4)]).await?;
    equal("versions", &owner.versions("a").await?, &vec![1, 2, 3])
}

async fn all_conflicts_are_told_at_once(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    owner.append(vec![decided("a", 1, 1), further("a", 2), rejected("b", 2), decided("c", 1, 3)]).await?;
    let mut batch = owner.batch(vec![
        decided("a", 2, 10),
        decided("b", 1, 11),
        decided("b", 2, 2),
        rejected("c", 3),
        decided("c", 5, 12),
        decided("d", 1, 13),
        decided("e", 1, 14),
        decided("a", 1, 1),
    ]);
    batch.records[5].sequence = 7;
    let expected = [(0, Version), (2, Key), (3, Key), (4, Predecessor), (5, Sequence), (7, Version), (7, Key)];
    conflicts("every row and kind", owner.send(batch).await, &expected)?;
    let mut all = owner.batch(vec![decided("a", 1, 1)]);
    all.records[0].sequence = 1;
    conflicts("three kinds in one row", owner.send(all).await, &[(0, Version), (0, Key), (0, Sequence)])
}

async fn records_of_one_batch_conflict_with_each_other(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    let versions = owner.append(vec![decided("a", 1, 1), decided("a", 1, 2)]).await;
    conflicts("v1 twice", versions, &[(1, Version)])?;
    conflicts("a key twice", owner.append(vec![decided("a", 1, 1), decided("a", 2, 1)]).await, &[(1, Key)])?;
    let outcome = owner.append(vec![rejected("a", 1), decided("a", 1, 1), rejected("a", 1)]).await;
    conflicts("a key of an outcome", outcome, &[(1, Key), (2, Key)])?;
    let mut batch = owner.batch(vec![rejected("a", 1), rejected("a", 2)]);
    batch.records[1].sequence = 1;
    conflicts("a sequence twice", owner.send(batch).await, &[(1, Sequence)])?;
    equal("nothing is stored", &owner.versions("a").await?, &Vec::new())
}

async fn identical_rows_conflict_with_their_own_keys(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    let batch = owner.batch(vec![decided("a", 1, 1), further("a", 2), rejected("b", 2)]);
    owner.send(batch.clone()).await?;
    let expected = [(0, Version), (0, Key), (0, Sequence), (1, Version), (1, Sequence), (2, Key), (2, Sequence)];
    conflicts("the same batch again", owner.send(batch).await, &expected)?;
    owner.append(vec![decided("a", 3, 3)]).await?;
    equal("versions", &owner.versions("a").await?, &vec![1, 2, 3])
}
