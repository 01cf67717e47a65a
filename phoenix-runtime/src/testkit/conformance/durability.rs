//! What a durable store still has after it was closed and opened again.

use std::sync::Arc;

use super::fixture::{Checked, Owner, conflicts, decided, dedup, drain, equal, further, rejected, stream};
use super::{Place, promises};
use crate::event_store::port::{ConflictKind, Epoch, EventStore, Position, Snapshot};

promises! {
    a_store_has_a_name
    everything_is_there_after_reopening
    positions_are_stable_over_reopening
    epochs_go_on_after_reopening
}

async fn a_store_has_a_name(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    equal("an empty name", &store.name().is_empty(), &false)
}

async fn filled(store: Arc<dyn EventStore>) -> Result<Owner, super::Failure> {
    let mut owner = Owner::of(store).await?;
    for round in 1..=3 {
        let ids = (0..20).map(|n| format!("account {n}"));
        let records =
            ids.flat_map(|id| [decided(&id, round * 2 - 1, round), further(&id, round * 2), rejected(&id, 10 + round)]);
        owner.append(records.collect()).await?;
    }
    let stream = stream("account 1");
    let snapshot = Snapshot { stream, version: 4, time_micros: 1, fingerprint: 2, codec: 3, payload: vec![4] };
    owner.store.put_snapshot(snapshot).await?;
    Ok(owner)
}

/// Everything that can be asked.
async fn dump(store: &dyn EventStore) -> Result<Vec<String>, super::Failure> {
    let ids = store.ids(stream("a").aggregate, None, 1000).await?;
    let mut all = vec![format!("{:?}", drain(store, Position::default(), 7).await?), format!("{ids:?}")];
    for id in ids {
        let id = stream(id.as_str());
        all.push(format!("{:?}", store.read_stream(id.clone(), 1, 1000).await?));
        all.push(format!("{:?}", store.snapshot(id.clone(), u64::MAX).await?));
        all.push(format!("{:?}", store.known_keys(id.clone(), 1000).await?));
        let commands = (1..20).map(|n| (id.clone(), dedup(n))).collect();
        all.push(format!("{:?}", store.outcomes(commands).await?));
    }
    Ok(all)
}

async fn everything_is_there_after_reopening(place: Place<'_>) -> Checked {
    let owner = filled(place.open().await?).await?;
    if !owner.store.is_durable() {
        return Ok(());
    }
    let (before, sequences) = (dump(&*owner.store).await?, owner.sequences.clone());
    drop(owner);
    let store = place.open().await?;
    equal("everything", &dump(&*store).await?, &before)?;
    let mut owner = Owner::of(store).await?;
    let mut last = sequences;
    last.retain(|_, sequence| *sequence > 0);
    owner.sequences.retain(|_, sequence| *sequence > 0);
    equal("last sequences", &owner.sequences, &last)?;
    let again = owner.append(vec![decided("account 3", 6, 2), decided("account 3", 9, 99)]).await;
    let expected = [(0, ConflictKind::Version), (0, ConflictKind::Key), (1, ConflictKind::Predecessor)];
    conflicts("keys and versions still count", again, &expected)?;
    owner.append(vec![decided("account 3", 7, 99)]).await?;
    Ok(())
}

async fn positions_are_stable_over_reopening(place: Place<'_>) -> Checked {
    let owner = filled(place.open().await?).await?;
    if !owner.store.is_durable() {
        return Ok(());
    }
    let (_, middle) = owner.store.read_all(Position::default(), 33).await?;
    let rest = drain(&*owner.store, middle.clone(), 10).await?;
    drop(owner);
    let store = place.open().await?;
    equal("the rest", &drain(&*store, middle, 10).await?, &rest)
}

async fn epochs_go_on_after_reopening(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    if !store.is_durable() {
        return Ok(());
    }
    let Owner { epochs, .. } = Owner::of(store).await?;
    let mut new = Owner::of(place.open().await?).await?;
    let raised = epochs.iter().map(|(partition, epoch)| (*partition, Epoch(epoch.0 + 1))).collect();
    equal("the next epochs", &new.epochs, &raised)?;
    new.epochs = epochs;
    let refused = new.append(vec![decided("a", 1, 1)]).await;
    equal("an epoch from before", &refused.is_err(), &true)
}
