//! Several writers and readers at once.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::maybe_done;

use super::fixture::{Checked, Owner, decided, dedup, equal, further, holds, rejected, stream};
use super::{Failure, Place, promises};
use crate::domain::id::Slice;
use crate::event_store::port::{EventStore, Partition, Position, StoreError, StoredEvent};

promises! {
    a_reader_skips_nothing_while_owners_append
    a_reader_skips_nothing_that_commits_late
    of_two_batches_with_one_version_one_is_stored
    a_batch_that_fails_harms_none_that_waits_with_it
    batches_of_one_owner_are_stored_in_their_order
}

const OWNERS: u16 = 4;
const ROUNDS: u64 = 60;

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, Failure> {
    result.map_err(|e| Failure(format!("a task of the suite ended: {e}")))
}

/// Ids whose slices belong to a partition of [`OWNERS`].
fn ids_of(partition: u16) -> Vec<String> {
    let ids = (0..200).map(|n| format!("account {n}"));
    ids.filter(|id| rejected(id, 0).slice.0 % OWNERS == partition).take(12).collect()
}

async fn append_rounds(store: Arc<dyn EventStore>, partition: u16) -> Checked {
    let mut owner = Owner::of_partitions(store, vec![Partition(partition)]).await?;
    let ids = ids_of(partition);
    for round in 1..=ROUNDS {
        let records = ids.iter().flat_map(|id| {
            let mut of_id = vec![decided(id, round, round)];
            if round % 7 == 0 {
                of_id.push(rejected(id, ROUNDS + round));
            }
            of_id
        });
        owner.append(records.collect()).await?;
    }
    Ok(())
}

/// Takes pages until `all` events have come, and checks that each slice came in its order.
async fn follow(store: Arc<dyn EventStore>, all: usize) -> Result<Vec<StoredEvent>, Failure> {
    let (mut seen, mut position) = (Vec::new(), Position::default());
    while seen.len() < all {
        let (page, behind) = store.read_all(position, 64).await?;
        position = behind;
        seen.extend(page);
        tokio::task::yield_now().await;
    }
    let mut last: BTreeMap<Slice, u64> = BTreeMap::new();
    for stored in &seen {
        let before = last.insert(stored.slice, stored.sequence).unwrap_or(0);
        holds("a slice is read in its order", before < stored.sequence)?;
    }
    Ok(seen)
}

async fn a_reader_skips_nothing_while_owners_append(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let streams: usize = (0..OWNERS).map(|partition| ids_of(partition).len()).sum();
    let all = streams * usize::try_from(ROUNDS).unwrap_or_default();
    let readers: Vec<_> = (0..2).map(|_| tokio::spawn(follow(Arc::clone(&store), all))).collect();
    let writers: Vec<_> =
        (0..OWNERS).map(|partition| tokio::spawn(append_rounds(Arc::clone(&store), partition))).collect();
    for writer in writers {
        let written = joined(writer.await)?;
        if written.is_err() {
            // what they wait for does not come any more
            readers.iter().for_each(tokio::task::JoinHandle::abort);
            return written;
        }
    }
    for reader in readers {
        let mut versions: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for stored in joined(reader.await)?? {
            versions.entry(stored.stream.to_string()).or_default().push(stored.event.version);
        }
        equal("how many streams were seen", &versions.len(), &streams)?;
        for (name, seen) in versions {
            equal(&name, &seen, &(1..=ROUNDS).collect())?;
        }
    }
    Ok(())
}

async fn a_reader_skips_nothing_that_commits_late(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let mut owners = Vec::new();
    for partition in 0..OWNERS {
        owners.push(Owner::of_partitions(Arc::clone(&store), vec![Partition(partition)]).await?);
    }
    let (mut seen, mut position) = (Vec::new(), Position::default());
    for round in 1..=3 {
        let mut sent: Vec<_> = (0..OWNERS)
            .zip(&mut owners)
            .map(|(partition, owner)| {
                let records = ids_of(partition).iter().map(|id| decided(id, round, round)).collect();
                Box::pin(maybe_done(owner.append(records)))
            })
            .collect();
        // all are begun, and each is waited for before those that were begun earlier
        for append in &mut sent {
            poll_fn(|context| Poll::Ready(append.as_mut().poll(context).is_ready())).await;
        }
        while let Some(mut latest) = sent.pop() {
            latest.as_mut().await;
            latest.as_mut().take_output().transpose()?;
            let (page, behind) = store.read_all(position, usize::MAX).await?;
            position = behind;
            seen.extend(page);
        }
    }
    let mut expected: Vec<_> =
        (0..OWNERS).flat_map(ids_of).flat_map(|id| (1..=3).map(move |version| (stream(&id), version))).collect();
    let mut found: Vec<_> = seen.into_iter().map(|stored| (stored.stream, stored.event.version)).collect();
    expected.sort();
    found.sort();
    equal("what a reader has seen", &found, &expected)
}

async fn of_two_batches_with_one_version_one_is_stored(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    for round in 1..=30 {
        let rivals: Vec<_> = (0..4)
            .map(|rival| {
                let mut one = owner.clone();
                tokio::spawn(async move {
                    let sent =
                        one.append(vec![decided("a", round * 2 - 1, round * 10 + rival), further("a", round * 2)]);
                    sent.await.map(|()| one.sequences)
                })
            })
            .collect();
        let mut winners = 0;
        for rival in rivals {
            match joined(rival.await)? {
                Ok(sequences) => {
                    winners += 1;
                    owner.sequences = sequences;
                }
                Err(StoreError::Conflict(_)) => {}
                Err(other) => return Err(other.into()),
            }
        }
        equal("winners of a round", &winners, &1)?;
    }
    equal("versions", &owner.versions("a").await?, &(1..=60).collect())
}

async fn a_batch_that_fails_harms_none_that_waits_with_it(place: Place<'_>) -> Checked {
    let owner = Owner::of(place.open().await?).await?;
    let ids: Vec<String> = (0..64).map(|n| format!("account {n}")).collect();
    // one stream a slice, so that the batches do not depend on each other
    let mut slices = BTreeMap::new();
    for id in &ids {
        slices.insert(rejected(id, 0).slice, id.clone());
    }
    let sent: Vec<_> = slices
        .values()
        .cloned()
        .enumerate()
        .map(|(n, id)| {
            let mut owner = owner.clone();
            tokio::spawn(async move {
                // every third batch begins well and ends with a version that comes too early
                let last = if n % 3 == 0 { 3 } else { 2 };
                let result = owner.append(vec![decided(&id, 1, 1), decided(&id, last, 2)]).await;
                (id, n % 3 == 0, result)
            })
        })
        .collect();
    for task in sent {
        let (id, bad, result) = joined(task.await)?;
        equal(&format!("whether the batch of {id} is stored"), &result.is_ok(), &!bad)?;
        let expected = if bad { vec![] } else { vec![1, 2] };
        equal(&id, &owner.versions(&id).await?, &expected)?;
        let keys = owner.store.outcomes(vec![(stream(&id), dedup(1))]).await?;
        equal("its key", &keys.iter().flatten().count(), &usize::from(!bad))?;
    }
    let mut owner = Owner::of(Arc::clone(&owner.store)).await?;
    for id in slices.values() {
        let version = owner.versions(id).await?.len() as u64 + 1;
        owner.append(vec![decided(id, version, 3)]).await?;
    }
    Ok(())
}

async fn batches_of_one_owner_are_stored_in_their_order(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    // sent one after the other without waiting: each rests on the one before it
    let mut sent = Vec::new();
    for version in 1..=50 {
        let batch = owner.batch(vec![decided("a", version, version)]);
        for record in &batch.records {
            owner.sequences.insert(record.slice, record.sequence);
        }
        let store = Arc::clone(&owner.store);
        sent.push(async move { store.append(Arc::new(batch)).await });
    }
    for result in futures_util::future::join_all(sent).await {
        result?;
    }
    equal("versions", &owner.versions("a").await?, &(1..=50).collect())
}
