//! Of two owners, one can append.

use std::sync::Arc;

use futures_util::future::join_all;

use super::fixture::{Checked, Owner, decided, equal, holds, rejected};
use super::{Place, promises};
use crate::event_store::port::{Batch, Epoch, Partition, StoreError};

promises! {
    acquiring_raises_the_epoch
    an_old_epoch_can_append_nothing
    an_old_epoch_is_told_before_anything_else
    a_partition_that_nobody_acquired_is_refused
    every_partition_of_a_batch_is_checked
    a_partition_is_named_once
    the_first_to_ask_fixes_how_many_partitions_there_are
    partitions_that_were_acquired_before_are_sixteen
    of_many_who_ask_at_once_all_are_told_the_same
}

fn fenced(partition: u16, current: u64, given: u64) -> Result<(), StoreError> {
    Err(StoreError::Fenced { partition: Partition(partition), current: Epoch(current), given: Epoch(given) })
}

async fn acquiring_raises_the_epoch(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let first = store.acquire(vec![Partition(3), Partition(0)]).await?;
    equal("the first epochs", &first, &vec![(Partition(3), Epoch(1)), (Partition(0), Epoch(1))])?;
    let second = store.acquire(vec![Partition(0), Partition(1023)]).await?;
    equal("the next epochs", &second, &vec![(Partition(0), Epoch(2)), (Partition(1023), Epoch(1))])?;
    equal("no partition at all", &store.acquire(Vec::new()).await?, &Vec::new())?;
    let twice = store.acquire(vec![Partition(3), Partition(3)]).await?;
    equal("a partition that is named twice", &twice, &vec![(Partition(3), Epoch(2)); 2])?;
    let refused = store.acquire(vec![Partition(0), Partition(1024)]).await;
    holds("no such partition", matches!(refused, Err(StoreError::Refused { index: 1, .. })))?;
    let third = store.acquire(vec![Partition(0)]).await?;
    equal("what was refused with it is as it was", &third, &vec![(Partition(0), Epoch(3))])
}

async fn an_old_epoch_can_append_nothing(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let mut old = Owner::of(Arc::clone(&store)).await?;
    old.append(vec![decided("a", 1, 1)]).await?;
    let mut new = Owner::of(Arc::clone(&store)).await?;
    equal("an old epoch with an event", &old.append(vec![decided("a", 2, 2)]).await, &fenced(0, 2, 1))?;
    equal("an old epoch with an outcome", &old.append(vec![rejected("a", 2)]).await, &fenced(0, 2, 1))?;
    equal("an old epoch with an empty batch", &old.append(Vec::new()).await, &fenced(0, 2, 1))?;
    new.append(Vec::new()).await?;
    new.append(vec![decided("a", 2, 2)]).await?;
    equal("versions", &new.versions("a").await?, &vec![1, 2])
}

async fn an_old_epoch_is_told_before_anything_else(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let mut old = Owner::of(Arc::clone(&store)).await?;
    old.append(vec![decided("a", 1, 1)]).await?;
    Owner::of(Arc::clone(&store)).await?;
    for record in [decided("a", 1, 1), decided("a", 9, 9), rejected("a", 1), decided("a", 0, 9)] {
        equal("an old epoch with a bad record", &old.append(vec![record]).await, &fenced(0, 2, 1))?;
    }
    Ok(())
}

async fn a_partition_that_nobody_acquired_is_refused(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    for (partition, given, current) in [(5, 1, 0), (0, 2, 1), (0, 0, 1), (0, u64::MAX, 1)] {
        owner.epochs = vec![(Partition(partition), Epoch(given))];
        equal("a guessed epoch", &owner.append(Vec::new()).await, &fenced(partition, current, given))?;
        let refused = owner.append(vec![decided("a", 1, 1)]).await;
        equal("a guessed epoch with an event", &refused, &fenced(partition, current, given))?;
    }
    let never = Batch { epochs: vec![(Partition(5), Epoch(0))], records: Vec::new() };
    let refused = owner.store.append(Arc::new(never)).await;
    holds("epoch 0, which no owner ever has", matches!(refused, Err(StoreError::Fenced { .. })))
}

async fn every_partition_of_a_batch_is_checked(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let mut both = Owner::of_partitions(Arc::clone(&store), vec![Partition(0), Partition(1)]).await?;
    both.append(vec![decided("a", 1, 1), decided("b", 1, 2)]).await?;
    let mut one = Owner::of_partitions(Arc::clone(&store), vec![Partition(1)]).await?;
    let records = || vec![decided("a", 2, 3), decided("b", 2, 4)];
    equal("the second of two partitions", &both.append(records()).await, &fenced(1, 2, 1))?;
    equal("nothing is stored", &both.versions("a").await?, &vec![1])?;
    both.epochs.retain(|(partition, _)| *partition == Partition(0));
    both.append(vec![decided("a", 2, 3)]).await?;
    one.append(vec![decided("b", 2, 4)]).await?;
    equal("versions", &one.versions("b").await?, &vec![1, 2])
}

async fn a_partition_is_named_once(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let mut owner = Owner::of(Arc::clone(&store)).await?;
    owner.append(vec![decided("a", 1, 1)]).await?;
    let mut owner = Owner::of(store).await?;
    let (old, current) = ((Partition(0), Epoch(1)), (Partition(0), Epoch(2)));
    for both in [[old, current], [current, old]] {
        owner.epochs = both.to_vec();
        equal("an old epoch beside the current one", &owner.append(vec![decided("a", 2, 2)]).await, &fenced(0, 2, 1))?;
    }
    owner.epochs = vec![current, current];
    let refused = owner.append(vec![decided("a", 2, 2)]).await;
    holds("the current epoch twice", matches!(refused, Err(StoreError::Refused { index: 0, .. })))?;
    owner.epochs = vec![current];
    owner.append(vec![decided("a", 2, 2)]).await?;
    equal("versions", &owner.versions("a").await?, &vec![1, 2])
}

async fn the_first_to_ask_fixes_how_many_partitions_there_are(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    for wrong in [0, 1025, u16::MAX] {
        let refused = store.partitions(wrong).await;
        holds("no number of partitions", matches!(refused, Err(StoreError::Refused { .. })))?;
    }
    equal("the first", &store.partitions(48).await?, &48)?;
    equal("another one", &store.partitions(1024).await?, &48)?;
    holds("no number, later", matches!(store.partitions(0).await, Err(StoreError::Refused { .. })))?;
    store.acquire(vec![Partition(0)]).await?;
    equal("the next owner", &store.partitions(16).await?, &48)?;
    if !store.is_durable() {
        return Ok(());
    }
    drop(store);
    equal("after reopening", &place.open().await?.partitions(1).await?, &48)
}

async fn partitions_that_were_acquired_before_are_sixteen(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    store.acquire(vec![Partition(3)]).await?;
    equal("the first", &store.partitions(48).await?, &16)?;
    equal("another one", &store.partitions(7).await?, &16)
}

async fn of_many_who_ask_at_once_all_are_told_the_same(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let told = join_all((1..=20).map(|wanted| store.partitions(wanted))).await;
    let told: Vec<u16> = told.into_iter().collect::<Result<_, _>>()?;
    equal("what they were told", &told, &vec![store.partitions(99).await?; 20])?;
    holds("one of the wishes", (1..=20).contains(&told.first().copied().unwrap_or(0)))
}
