//! What may leave a store, and what stays of it: snapshots that are too many, bytes that are in an archive.

use futures_util::future::try_join_all;

use super::fixture::{
    Checked, Owner, conflicts, decided, dedup, drain, equal, further, holds, rejected, sorted, stream,
};
use super::{Failure, Place, promises};
use crate::event_store::port::{
    ARCHIVED, ConflictKind, KnownKeys, Load, Position, Snapshot, StoreError, StoredEvent, StoredOutcome,
};

promises! {
    snapshots_are_listed_newest_first
    snapshots_below_a_version_are_dropped
    a_load_finds_the_newest_snapshot_of_a_layout
    a_load_pages_the_events_behind_the_snapshot
    many_loads_are_answered_at_once
    stripped_events_keep_all_but_their_bytes
    outcomes_without_events_are_never_stripped
    stripping_goes_on_where_it_ended
    many_streams_are_stripped_and_refilled_at_once
    stripped_keys_still_refuse_a_repeat
    refilled_events_are_the_first_ones_byte_for_byte
    a_refill_of_something_else_changes_nothing
    what_was_stripped_is_so_after_reopening
    retaining_without_an_archive_takes_nothing_away
}

/// Events 1 to 6 of "a": 1 and 2 of one command, then one command each; a rejection between; "b" beside it.
async fn filled(place: Place<'_>) -> Result<(Owner, Vec<StoredEvent>), Failure> {
    let mut owner = Owner::of(place.open().await?).await?;
    let rows = vec![decided("a", 1, 1), further("a", 2), decided("b", 1, 1), rejected("a", 2), decided("a", 3, 3)];
    owner.append(rows).await?;
    owner.append(vec![decided("a", 4, 4), decided("a", 5, 5), decided("a", 6, 6), decided("b", 2, 2)]).await?;
    let (all, _) = drain(&*owner.store, Position::default(), 100).await?;
    Ok((owner, sorted(all)))
}

/// An event as it should be found once it is stripped.
fn bare(mut stored: StoredEvent) -> StoredEvent {
    (stored.event.codec, stored.event.payload) = (ARCHIVED, Vec::new());
    if let Some(command) = &mut stored.command {
        (command.outcome.codec, command.outcome.body) = (ARCHIVED, Vec::new());
    }
    stored
}

/// The events of a stream as they should be found once they are stripped up to a version.
fn bare_up_to(all: &[StoredEvent], id: &str, up_to: u64) -> Vec<StoredEvent> {
    let of_stream = all.iter().filter(|stored| stored.stream == stream(id)).cloned();
    of_stream.map(|stored| if stored.event.version <= up_to { bare(stored) } else { stored }).collect()
}

fn snapshot(id: &str, version: u64, fingerprint: u64) -> Snapshot {
    let payload = vec![9; 10 + usize::from(version == 5)];
    Snapshot { stream: stream(id), version, time_micros: 7 - version.cast_signed(), fingerprint, codec: 200, payload }
}

async fn snapshots_are_listed_newest_first(place: Place<'_>) -> Checked {
    let (owner, _) = filled(place).await?;
    equal("none", &owner.store.snapshots(stream("a")).await?, &Vec::new())?;
    let all = [snapshot("a", 3, u64::MAX), snapshot("a", 5, 0), snapshot("a", 1, 7), snapshot("b", 2, 7)];
    for one in &all {
        owner.store.put_snapshot(one.clone()).await?;
    }
    let expected = [&all[1], &all[0], &all[2]].map(Snapshot::info).to_vec();
    equal("three", &owner.store.snapshots(stream("a")).await?, &expected)?;
    equal("of a stream that is not there", &owner.store.snapshots(stream("c")).await?, &Vec::new())
}

async fn snapshots_below_a_version_are_dropped(place: Place<'_>) -> Checked {
    let (owner, _) = filled(place).await?;
    for (id, version) in [("a", 1), ("a", 3), ("a", 5), ("b", 1)] {
        owner.store.put_snapshot(snapshot(id, version, 7)).await?;
    }
    for (below, dropped, expected) in
        [(0, 0, vec![5, 3, 1]), (1, 0, vec![5, 3, 1]), (3, 1, vec![5, 3]), (3, 0, vec![5, 3]), (u64::MAX, 2, vec![])]
    {
        equal("how many are dropped", &owner.store.drop_snapshots(stream("a"), below).await?, &dropped)?;
        let left: Vec<_> = owner.store.snapshots(stream("a")).await?.iter().map(|info| info.version).collect();
        equal("those that stay", &left, &expected)?;
        let newest = owner.store.snapshot(stream("a"), u64::MAX).await?.map(|snapshot| snapshot.version);
        equal("the newest that stays", &newest, &expected.first().copied())?;
    }
    equal("those of others", &owner.store.snapshots(stream("b")).await?.len(), &1)?;
    equal("of a stream that is not there", &owner.store.drop_snapshots(stream("c"), 9).await?, &0)
}

fn load(id: &str, fingerprint: Option<u64>) -> Load {
    Load { stream: stream(id), fingerprint, keys: 100, events: 100 }
}

async fn a_load_finds_the_newest_snapshot_of_a_layout(place: Place<'_>) -> Checked {
    let (owner, all) = filled(place).await?;
    for (version, fingerprint) in [(1, 7), (2, 8), (3, 7), (4, u64::MAX), (5, 9)] {
        owner.store.put_snapshot(snapshot("a", version, fingerprint)).await?;
    }
    let cases = [(None, 0), (Some(7), 3), (Some(8), 2), (Some(u64::MAX), 4), (Some(9), 5), (Some(10), 0), (Some(0), 0)];
    for (fingerprint, version) in cases {
        let [loaded] = &owner.store.load(vec![load("a", fingerprint)]).await?[..] else {
            return holds("one answer to one question", false);
        };
        let found = loaded.snapshot.as_ref();
        let expected = (version > 0).then(|| snapshot("a", version, fingerprint.unwrap_or_default()));
        equal("the snapshot", &found, &expected.as_ref())?;
        let events = bare_up_to(&all, "a", 0).split_off(usize::try_from(version.max(1) - 1).unwrap_or(usize::MAX));
        equal("the events from its own on", &loaded.events, &events)?;
        let keys = match found {
            Some(_) => KnownKeys::default(),
            None => owner.store.known_keys(stream("a"), 100).await?,
        };
        equal("the keys, where there is no snapshot", &loaded.keys, &keys)?;
    }
    Ok(())
}

async fn a_load_pages_the_events_behind_the_snapshot(place: Place<'_>) -> Checked {
    let (owner, _) = filled(place).await?;
    owner.store.put_snapshot(snapshot("a", 3, 7)).await?;
    for (events, expected) in [(0, vec![]), (1, vec![3]), (3, vec![3, 4, 5]), (4, vec![3, 4, 5, 6])] {
        let loaded = owner.store.load(vec![Load { events, keys: 2, ..load("a", Some(7)) }]).await?;
        let found: Vec<_> = loaded.iter().flat_map(|one| &one.events).map(|stored| stored.event.version).collect();
        equal("the versions", &found, &expected)?;
        let keys = loaded.into_iter().next().map(|one| one.keys).unwrap_or_default();
        equal("none of the keys", &keys, &KnownKeys::default())?;
    }
    let loaded = owner.store.load(vec![Load { keys: 2, ..load("a", None) }]).await?;
    let keys = loaded.into_iter().next().map(|one| one.keys).unwrap_or_default();
    holds("some keys are not all", !keys.complete && keys.keys.len() <= 2)
}

async fn many_loads_are_answered_at_once(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    let name = |n: u64| format!("account {n}");
    let records = (0..700).flat_map(|n| [decided(&name(n), 1, 1), further(&name(n), 2), decided(&name(n), 3, 2)]);
    owner.append(records.collect()).await?;
    for n in (0..700).step_by(3) {
        owner.store.put_snapshot(snapshot(&name(n), 2, 7)).await?;
        owner.store.put_snapshot(snapshot(&name(n), 3, 8)).await?;
    }
    // some of them are asked twice, and some are not there
    let asked: Vec<u64> = (0..800).rev().chain(0..5).collect();
    let found = owner.store.load(asked.iter().map(|n| load(&name(*n), Some(7))).collect()).await?;
    equal("an answer to each question", &found.len(), &asked.len())?;
    for (n, loaded) in asked.into_iter().zip(found) {
        let expected = (n % 3 == 0 && n < 700).then(|| snapshot(&name(n), 2, 7));
        equal("the snapshot", &loaded.snapshot, &expected)?;
        let versions: Vec<_> = loaded.events.iter().map(|stored| stored.event.version).collect();
        let expected = if n >= 700 {
            vec![]
        } else if n % 3 == 0 {
            vec![2, 3]
        } else {
            vec![1, 2, 3]
        };
        equal("the versions", &versions, &expected)?;
        holds(
            "of the stream that was asked for",
            loaded.events.iter().all(|stored| stored.stream == stream(&name(n))),
        )?;
        let keys = match n {
            700.. => KnownKeys { keys: Vec::new(), complete: true },
            _ if n % 3 == 0 => KnownKeys::default(),
            _ => KnownKeys { keys: vec![dedup(1).short(), dedup(2).short()], complete: true },
        };
        equal("the keys", &loaded.keys, &keys)?;
    }
    equal("no question", &owner.store.load(Vec::new()).await?, &Vec::new())
}

async fn stripped_events_keep_all_but_their_bytes(place: Place<'_>) -> Checked {
    let (owner, all) = filled(place).await?;
    let keys = owner.store.known_keys(stream("a"), 100).await?;
    equal("how many", &owner.store.strip(stream("a"), 4).await?, &4)?;
    equal("a", &owner.store.read_stream(stream("a"), 1, 100).await?, &bare_up_to(&all, "a", 4))?;
    equal("a page of a", &owner.store.read_stream(stream("a"), 4, 2).await?, &bare_up_to(&all, "a", 4)[3..5].to_vec())?;
    equal("b", &owner.store.read_stream(stream("b"), 1, 100).await?, &bare_up_to(&all, "b", 0))?;
    let (found, _) = drain(&*owner.store, Position::default(), 3).await?;
    let expected = [bare_up_to(&all, "a", 4), bare_up_to(&all, "b", 0)].concat();
    equal("all events", &sorted(found), &sorted(expected))?;
    let loaded = owner.store.load(vec![load("a", None)]).await?;
    equal("loaded", &loaded.into_iter().flat_map(|one| one.events).collect(), &bare_up_to(&all, "a", 4))?;
    equal("the keys", &owner.store.known_keys(stream("a"), 100).await?, &keys)?;
    let found = owner.store.outcomes([1, 4, 5].map(|n| (stream("a"), dedup(n))).to_vec()).await?;
    let of_version = |version| {
        let stored = bare_up_to(&all, "a", 4).into_iter().find(|stored| stored.event.version == version)?;
        Some(StoredOutcome { command: *stored.command?, first_version: Some(version), sequence: stored.sequence })
    };
    equal("outcomes", &found, &[1, 4, 5].map(of_version).to_vec())?;
    let marked: Vec<_> = found.iter().flatten().map(StoredOutcome::is_archived).collect();
    equal("outcomes that are marked", &marked, &vec![true, true, false])
}

async fn outcomes_without_events_are_never_stripped(place: Place<'_>) -> Checked {
    let (owner, _) = filled(place).await?;
    let before = owner.store.outcomes(vec![(stream("a"), dedup(2))]).await?;
    holds("there is one", before.iter().flatten().count() == 1)?;
    owner.store.strip(stream("a"), u64::MAX).await?;
    equal("the rejection", &owner.store.outcomes(vec![(stream("a"), dedup(2))]).await?, &before)
}

async fn stripping_goes_on_where_it_ended(place: Place<'_>) -> Checked {
    let (mut owner, all) = filled(place).await?;
    for (up_to, stripped) in [(0, 0), (2, 2), (2, 0), (1, 0), (5, 3), (u64::MAX, 1), (u64::MAX, 0)] {
        equal("how many", &owner.store.strip(stream("a"), up_to).await?, &stripped)?;
    }
    equal("a", &owner.store.read_stream(stream("a"), 1, 100).await?, &bare_up_to(&all, "a", 6))?;
    equal("of a stream that is not there", &owner.store.strip(stream("c"), 9).await?, &0)?;
    owner.append(vec![decided("a", 7, 7)]).await?;
    let newest = owner.store.read_stream(stream("a"), 7, 100).await?;
    holds("what is appended later is whole", newest.len() == 1 && !newest.iter().any(StoredEvent::is_archived))
}

async fn many_streams_are_stripped_and_refilled_at_once(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    let ids: Vec<String> = (0..32).map(|n| format!("account {n}")).collect();
    owner.append(ids.iter().flat_map(|id| [decided(id, 1, 1), decided(id, 2, 2)]).collect()).await?;
    let (all, _) = drain(&*owner.store, Position::default(), 100).await?;
    let stripped = try_join_all(ids.iter().map(|id| owner.store.strip(stream(id), 1))).await?;
    equal("how many of each", &stripped, &vec![1; ids.len()])?;
    let whole = ids.iter().map(|id| owner.store.refill(bare_up_to(&all, id, 0)));
    try_join_all(whole).await?;
    equal("all events", &sorted(drain(&*owner.store, Position::default(), 100).await?.0), &sorted(all))
}

async fn stripped_keys_still_refuse_a_repeat(place: Place<'_>) -> Checked {
    let (mut owner, _) = filled(place).await?;
    owner.store.strip(stream("a"), u64::MAX).await?;
    let again = owner.append(vec![decided("a", 7, 4)]).await;
    conflicts("a stripped command", again, &[(0, ConflictKind::Key)])?;
    let again = owner.append(vec![decided("a", 7, 2)]).await;
    conflicts("a rejected command", again, &[(0, ConflictKind::Key)])?;
    let again = owner.append(vec![decided("a", 6, 9)]).await;
    conflicts("a stripped version", again, &[(0, ConflictKind::Version)])?;
    equal("the versions", &owner.versions("a").await?, &(1..=6).collect())
}

async fn refilled_events_are_the_first_ones_byte_for_byte(place: Place<'_>) -> Checked {
    let (owner, all) = filled(place).await?;
    let whole = bare_up_to(&all, "a", 0);
    owner.store.strip(stream("a"), 5).await?;
    // the newest first, and some that have their bytes
    for (given, stripped) in [(4..6, 4), (2..4, 2), (3..5, 2), (0..2, 0), (0..6, 0)] {
        owner.store.refill(whole.get(given).unwrap_or_default().to_vec()).await?;
        equal("a", &owner.store.read_stream(stream("a"), 1, 100).await?, &bare_up_to(&all, "a", stripped))?;
    }
    equal("all events", &sorted(drain(&*owner.store, Position::default(), 100).await?.0), &all)?;
    let outcomes = owner.store.outcomes(vec![(stream("a"), dedup(1)), (stream("a"), dedup(5))]).await?;
    let bodies: Vec<_> = outcomes.into_iter().flatten().map(|outcome| outcome.command.outcome).collect();
    let expected: Vec<_> = [0, 4].iter().filter_map(|n| Some(whole.get(*n)?.command.clone()?.outcome)).collect();
    equal("outcomes", &bodies, &expected)?;
    equal("stripped again", &owner.store.strip(stream("a"), 5).await?, &5)?;
    owner.store.refill(Vec::new()).await?;
    equal("a refill of nothing", &owner.store.read_stream(stream("a"), 1, 100).await?, &bare_up_to(&all, "a", 5))
}

async fn a_refill_of_something_else_changes_nothing(place: Place<'_>) -> Checked {
    let (owner, all) = filled(place).await?;
    let whole = bare_up_to(&all, "a", 0);
    owner.store.strip(stream("a"), 5).await?;
    let changed = |index: usize, change: fn(&mut StoredEvent)| {
        let mut events = whole.clone();
        events.get_mut(index).map(change);
        events
    };
    let given = [
        ("an event that is not stored", changed(5, |stored| stored.event.version = 7)),
        ("other bytes of an event that has its own", changed(5, |stored| stored.event.payload.push(b' '))),
        ("an event of another name", changed(1, |stored| stored.event.name = "withdrawn".into())),
        ("an event of another schema", changed(1, |stored| stored.event.schema_version = 2)),
        ("an event of another time", changed(1, |stored| stored.time_micros += 1)),
        ("an event of another number", changed(1, |stored| stored.sequence += 1)),
        ("an event of another stream", changed(1, |stored| stored.stream = stream("c"))),
        ("an event without its command", changed(3, |stored| stored.command = None)),
        ("an event of another command", changed(1, |stored| stored.command = decided("a", 2, 77).command)),
        ("an event without bytes", changed(1, |stored| *stored = bare(stored.clone()))),
    ];
    for (what, given) in given {
        let refused = owner.store.refill(given).await;
        holds(what, matches!(refused, Err(StoreError::Damaged(_))))?;
        equal(what, &owner.store.read_stream(stream("a"), 1, 100).await?, &bare_up_to(&all, "a", 5))?;
    }
    Ok(())
}

async fn what_was_stripped_is_so_after_reopening(place: Place<'_>) -> Checked {
    let (owner, all) = filled(place).await?;
    if !owner.store.is_durable() {
        return Ok(());
    }
    owner.store.strip(stream("a"), 4).await?;
    owner.store.put_snapshot(snapshot("a", 2, 7)).await?;
    owner.store.put_snapshot(snapshot("a", 5, 7)).await?;
    owner.store.drop_snapshots(stream("a"), 5).await?;
    drop(owner);
    let store = place.open().await?;
    equal("a", &store.read_stream(stream("a"), 1, 100).await?, &bare_up_to(&all, "a", 4))?;
    equal("snapshots", &store.snapshots(stream("a")).await?, &vec![snapshot("a", 5, 7).info()])?;
    store.refill(bare_up_to(&all, "a", 0)).await?;
    drop(store);
    let mut owner = Owner::of(place.open().await?).await?;
    equal("a", &owner.store.read_stream(stream("a"), 1, 100).await?, &bare_up_to(&all, "a", 0))?;
    owner.append(vec![decided("a", 7, 7)]).await?;
    equal("the versions", &owner.versions("a").await?, &(1..=7).collect())
}

async fn retaining_without_an_archive_takes_nothing_away(place: Place<'_>) -> Checked {
    let (owner, all) = filled(place).await?;
    owner.store.put_snapshot(snapshot("a", 5, 7)).await?;
    owner.store.retain(stream("a"), 5).await?;
    equal("a", &owner.store.read_stream(stream("a"), 1, 100).await?, &bare_up_to(&all, "a", 0))
}
