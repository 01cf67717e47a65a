//! Questions about commands, keys and snapshots.

use std::collections::BTreeSet;

use super::fixture::{Checked, Owner, decided, dedup, equal, further, holds, rejected, stream};
use super::{Place, promises};
use crate::event_store::port::{KnownKeys, Snapshot};

promises! {
    outcomes_come_in_the_order_of_the_question
    many_outcomes_are_asked_at_once
    known_keys_are_all_or_say_so
    the_newest_snapshot_at_most_a_version
    a_snapshot_of_the_same_version_is_replaced
    event_names_are_those_of_stored_events
}

async fn outcomes_come_in_the_order_of_the_question(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    owner.append(vec![decided("a", 1, 1), further("a", 2), rejected("a", 2), decided("b", 1, 1)]).await?;
    owner.append(vec![decided("a", 3, 3)]).await?;
    let questions = [("b", 1), ("a", 3), ("a", 9), ("c", 1), ("a", 1), ("a", 2), ("b", 2), ("a", 1)];
    let asked = questions.map(|(id, number)| (stream(id), dedup(number))).to_vec();
    let found = owner.store.outcomes(asked).await?;
    let told: Vec<_> = found.iter().map(|outcome| outcome.as_ref().map(|outcome| outcome.first_version)).collect();
    let expected = vec![Some(Some(1)), Some(Some(3)), None, None, Some(Some(1)), Some(None), None, Some(Some(1))];
    equal("first versions", &told, &expected)?;
    let keys: Vec<_> = found.iter().flatten().map(|outcome| outcome.command.dedup).collect();
    equal("keys", &keys, &[1, 3, 1, 2, 1].map(dedup).to_vec())?;
    equal("no question", &owner.store.outcomes(Vec::new()).await?, &Vec::new())
}

async fn many_outcomes_are_asked_at_once(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    // more than any database takes as parameters of one statement
    let all = 70_000;
    let stored: BTreeSet<u64> = (0..all).filter(|n| n % 977 == 0).collect();
    owner.append(stored.iter().map(|n| rejected("a", *n)).collect()).await?;
    let found = owner.store.outcomes((0..all).map(|n| (stream("a"), dedup(n))).collect()).await?;
    let there: Vec<_> = (0..all).zip(&found).filter(|(_, outcome)| outcome.is_some()).map(|(n, _)| n).collect();
    equal("how many answers", &(found.len() as u64), &all)?;
    equal("which commands are known", &there, &stored.into_iter().collect())
}

async fn known_keys_are_all_or_say_so(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    let none = KnownKeys { keys: Vec::new(), complete: true };
    equal("an unknown stream", &owner.store.known_keys(stream("a"), 10).await?, &none)?;
    equal("an unknown stream without any room", &owner.store.known_keys(stream("a"), 0).await?, &none)?;
    owner.append(vec![decided("a", 1, 30), further("a", 2), rejected("a", 10), decided("a", 3, 20)]).await?;
    owner.append(vec![decided("b", 1, 40)]).await?;
    let expected: Vec<_> = [30, 10, 20].map(|n| dedup(n).short()).to_vec();
    for limit in [3, 4, 1000] {
        let all = KnownKeys { keys: expected.clone(), complete: true };
        equal("all keys, oldest first", &owner.store.known_keys(stream("a"), limit).await?, &all)?;
    }
    for limit in [0, 1, 2] {
        let some = owner.store.known_keys(stream("a"), limit).await?;
        holds("some keys are not all", !some.complete)?;
        holds("no more keys than asked for", some.keys.len() <= limit)?;
        holds("only keys of the stream", some.keys.iter().all(|key| expected.contains(key)))?;
    }
    Ok(())
}

fn snapshot(id: &str, version: u64) -> Snapshot {
    Snapshot {
        stream: stream(id),
        version,
        time_micros: -5,
        fingerprint: u64::MAX - version,
        codec: 200,
        payload: vec![0, 1, 255],
    }
}

async fn the_newest_snapshot_at_most_a_version(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    owner.append(vec![decided("a", 1, 1), further("a", 2), further("a", 3), further("a", 4)]).await?;
    for version in [1, 4, 3] {
        owner.store.put_snapshot(snapshot("a", version)).await?;
    }
    for (at_most, expected) in [(0, None), (1, Some(1)), (2, Some(1)), (3, Some(3)), (4, Some(4)), (u64::MAX, Some(4))]
    {
        let found = owner.store.snapshot(stream("a"), at_most).await?;
        equal("the snapshot", &found, &expected.map(|version| snapshot("a", version)))?;
    }
    equal("no snapshot", &owner.store.snapshot(stream("b"), u64::MAX).await?, &None)
}

async fn a_snapshot_of_the_same_version_is_replaced(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    owner.append(vec![decided("a", 1, 1)]).await?;
    owner.store.put_snapshot(snapshot("a", 1)).await?;
    let newer = Snapshot { payload: vec![7; 100_000], fingerprint: 3, codec: 2, time_micros: 9, ..snapshot("a", 1) };
    owner.store.put_snapshot(newer.clone()).await?;
    equal("the snapshot", &owner.store.snapshot(stream("a"), 1).await?, &Some(newer))
}

async fn event_names_are_those_of_stored_events(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    let kind = stream("a").aggregate;
    equal("before any event", &owner.store.event_names(kind.clone()).await?, &BTreeSet::new())?;
    let events = vec![decided("a", 1, 1), further("a", 2), decided("b", 1, 1), rejected("b", 2)];
    let names: BTreeSet<_> = events.iter().filter_map(|r| r.event.as_ref()).map(|e| e.name.to_string()).collect();
    owner.append(events).await?;
    equal("after some", &owner.store.event_names(kind).await?, &names)?;
    equal("of another type", &owner.store.event_names("nobody".into()).await?, &BTreeSet::new())
}
