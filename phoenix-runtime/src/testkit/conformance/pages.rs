//! Reading in pages: nothing twice, nothing skipped.

use super::fixture::{Checked, Owner, as_stored, decided, drain, equal, further, holds, rejected, sorted, stream};
use super::{Place, appends, promises};
use crate::domain::id::AggregateId;
use crate::event_store::port::{
    Load, Loaded, PAGE_BYTES, Position, Snapshot, StoreError, StoredEvent, StreamId, fills_page,
};

promises! {
    a_stream_is_read_in_pages
    all_events_are_read_in_pages
    a_page_can_be_read_again
    a_reader_goes_on_from_its_position
    a_position_ahead_of_the_store_is_damage
    outcomes_are_passed_over
    an_answer_has_a_bounded_size
    ids_are_read_in_pages
    ids_are_those_of_aggregates_with_events
}

async fn a_stream_is_read_in_pages(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    owner.append((1..=10).map(|n| decided("a", n, n)).collect()).await?;
    owner.append(vec![decided("b", 1, 1)]).await?;
    let table: [(u64, usize, Vec<u64>); 9] = [
        (1, 3, vec![1, 2, 3]),
        (4, 3, vec![4, 5, 6]),
        (10, 3, vec![10]),
        (11, 3, vec![]),
        (0, 2, vec![1, 2]),
        (1, 0, vec![]),
        (5, usize::MAX, vec![5, 6, 7, 8, 9, 10]),
        (u64::MAX, usize::MAX, vec![]),
        (1, 10, (1..=10).collect()),
    ];
    for (from, limit, expected) in table {
        let events = owner.store.read_stream(stream("a"), from, limit).await?;
        let versions = events.iter().map(|stored| stored.event.version).collect();
        equal(&format!("at most {limit} from version {from}"), &versions, &expected)?;
    }
    equal("an unknown stream", &owner.versions("c").await?, &Vec::new())
}

/// Forty streams, so that slices have one, several or no streams, with events and outcomes in turns.
async fn fill(owner: &mut Owner) -> Checked {
    for round in 1..=5 {
        let ids = (0..40).map(|n| format!("account {n}"));
        let records = ids.flat_map(|id| [rejected(&id, round * 2), decided(&id, round, round * 2 + 1)]);
        owner.append(records.collect()).await?;
    }
    Ok(())
}

async fn all_events_are_read_in_pages(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    equal("an empty store", &owner.store.read_all(Position::default(), 10).await?.0, &Vec::new())?;
    fill(&mut owner).await?;
    let (whole, end) = owner.store.read_all(Position::default(), usize::MAX).await?;
    equal("how many events", &whole.len(), &200)?;
    for limit in [1, 2, 7, 40, 199, 200, 201] {
        let (pages, behind) = drain(&*owner.store, Position::default(), limit).await?;
        let mut last = Position::default();
        for stored in &pages {
            let before = last.0.insert(stored.slice, stored.sequence).unwrap_or(0);
            holds("a slice is read in its order", before < stored.sequence)?;
        }
        equal("pages and the whole", &sorted(pages), &sorted(whole.clone()))?;
        equal("the end", &behind, &end)?;
    }
    let (nothing, start) = owner.store.read_all(Position::default(), 0).await?;
    equal("a page of nothing", &nothing, &Vec::new())?;
    equal("does not move", &start, &Position::default())
}

async fn a_page_can_be_read_again(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    fill(&mut owner).await?;
    let (_, middle) = owner.store.read_all(Position::default(), 77).await?;
    let first = owner.store.read_all(middle.clone(), 50).await?;
    equal("the same page", &owner.store.read_all(middle, 50).await?, &first)
}

async fn a_reader_goes_on_from_its_position(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    fill(&mut owner).await?;
    let (_, position) = drain(&*owner.store, Position::default(), 9).await?;
    let batch = owner.batch(vec![decided("account 0", 6, 100), rejected("account 1", 101), further("account 0", 7)]);
    owner.send(batch.clone()).await?;
    let (later, end) = drain(&*owner.store, position, 9).await?;
    let expected = batch.records.iter().filter_map(as_stored).collect();
    equal("what came later", &sorted(later), &sorted(expected))?;
    equal("nothing after the end", &owner.store.read_all(end, 9).await?.0, &Vec::new())
}

/// A store that was brought back from an older backup.
async fn a_position_ahead_of_the_store_is_damage(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    fill(&mut owner).await?;
    let (_, end) = drain(&*owner.store, Position::default(), 9).await?;
    equal("nothing at the end", &owner.store.read_all(end.clone(), 9).await?.0, &Vec::new())?;
    let slice = stream("account 0").slice();
    for ahead in [1, 100] {
        let mut lost = end.clone();
        *lost.0.entry(slice).or_insert(0) += ahead;
        let read = owner.store.read_all(lost.clone(), 9).await;
        holds(&format!("{ahead} numbers ahead"), matches!(read, Err(StoreError::Damaged(_))))?;
        lost.0.retain(|of, _| *of == slice);
        let read = owner.store.read_all(lost, usize::MAX).await;
        holds("with more to read elsewhere", matches!(read, Err(StoreError::Damaged(_))))?;
    }
    owner.append(vec![decided("account 0", 6, 100)]).await?;
    equal("an event later", &drain(&*owner.store, end, 9).await?.0.len(), &1)
}

async fn outcomes_are_passed_over(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    owner.append((0..100).map(|n| rejected("a", n)).collect()).await?;
    let (nothing, position) = owner.store.read_all(Position::default(), 3).await?;
    equal("outcomes are no events", &nothing, &Vec::new())?;
    owner.append(vec![decided("a", 1, 100), rejected("a", 101), rejected("a", 102), decided("a", 2, 103)]).await?;
    for start in [position, Position::default()] {
        let (events, _) = owner.store.read_all(start, 2).await?;
        let versions: Vec<_> = events.iter().map(|stored| stored.event.version).collect();
        equal("a full page behind many outcomes", &versions, &vec![1, 2])?;
    }
    equal("the stream", &owner.versions("a").await?, &vec![1, 2])
}

/// Streams that are larger than an answer, and snapshots that are so together.
async fn an_answer_has_a_bounded_size(place: Place<'_>) -> Checked {
    const LARGE: usize = 700_000;
    let mut owner = Owner::of(place.open().await?).await?;
    let mut expected = Vec::new();
    for version in 1..=20 {
        let records = ["a", "b", "c"].map(|id| {
            let mut record = decided(id, version, version);
            if let Some(event) = &mut record.event {
                event.payload = vec![u8::try_from(version).unwrap_or(0); LARGE];
            }
            record
        });
        let batch = owner.batch(records.to_vec());
        expected.extend(batch.records.iter().filter_map(as_stored));
        owner.send(batch).await?;
    }
    // what several databases answer together may be that of one, and almost that of another
    let most = 2 * PAGE_BYTES + LARGE;
    let fits = |events: &[StoredEvent]| holds("a bound", events.iter().map(StoredEvent::bytes).sum::<usize>() <= most);

    let mut versions = Vec::new();
    loop {
        let page = owner.store.read_stream(stream("a"), versions.len() as u64 + 1, usize::MAX).await?;
        fits(&page)?;
        versions.extend(page.iter().map(|stored| stored.event.version));
        if !fills_page(&page) {
            break;
        }
    }
    equal("a stream, page by page", &versions, &(1..=20).collect())?;

    let (mut all, mut position) = (Vec::new(), Position::default());
    loop {
        let (page, behind) = owner.store.read_all(position, usize::MAX).await?;
        fits(&page)?;
        position = behind;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    holds("all events, page by page", sorted(all) == sorted(expected))?;

    let load = |id: &&str| Load { stream: stream(id), fingerprint: Some(7), keys: 100, events: 1000 };
    loaded_in_turns(&owner, ["a", "b", "c", "nobody"].iter().map(load).collect(), &[20, 20, 20, 0]).await?;
    for (id, payload) in [("a", PAGE_BYTES), ("b", PAGE_BYTES), ("c", 10)] {
        let payload = vec![1; payload];
        let snapshot = Snapshot { stream: stream(id), version: 15, time_micros: 0, fingerprint: 7, codec: 1, payload };
        owner.store.put_snapshot(snapshot).await?;
    }
    loaded_in_turns(&owner, ["a", "b", "c", "nobody"].iter().map(load).collect(), &[6, 6, 6, 0]).await
}

/// Loads until nothing is left out, and reads on where events were; they are as many as expected.
async fn loaded_in_turns(owner: &Owner, loads: Vec<Load>, expected: &[usize]) -> Checked {
    let mut left: Vec<(Load, usize)> = loads.into_iter().zip(expected.iter().copied()).collect();
    while !left.is_empty() {
        let found = owner.store.load(left.iter().map(|(load, _)| load.clone()).collect()).await?;
        let bytes: usize = found.iter().map(Loaded::bytes).sum();
        holds("a bound of a load", bytes <= 3 * PAGE_BYTES)?;
        equal("an answer for each", &found.len(), &left.len())?;
        let count = left.len();
        let (again, done): (Vec<_>, Vec<_>) = left.into_iter().zip(found).partition(|(_, found)| found.is_left_out());
        holds("never all of them are left out", again.len() < count)?;
        left = again.into_iter().map(|(load, _)| load).collect();
        for ((load, expected), found) in done {
            let first = found.snapshot.as_ref().map_or(1, |snapshot| snapshot.version);
            let mut versions: Vec<_> = found.events.iter().map(|stored| stored.event.version).collect();
            let mut more = found.cut;
            while more {
                let next = first + versions.len() as u64;
                let page = owner.store.read_stream(load.stream.clone(), next, 1000).await?;
                versions.extend(page.iter().map(|stored| stored.event.version));
                more = fills_page(&page);
            }
            let expected: Vec<_> = (first..).take(expected).collect();
            equal("the versions of an aggregate", &versions, &expected)?;
        }
    }
    Ok(())
}

async fn ids_are_read_in_pages(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    let ids = appends::odd_ids();
    for id in &ids {
        owner.append(vec![decided(id, 1, 1), rejected(id, 2), further(id, 2)]).await?;
    }
    let mut expected: Vec<_> = ids.iter().filter_map(|id| AggregateId::new(id).ok()).collect();
    expected.sort();
    for limit in [1, 3, 100] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = owner.store.ids(stream("a").aggregate, after, limit).await?;
            holds("a page has at most as many ids as were asked for", page.len() <= limit)?;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            found.extend(page);
        }
        equal("ids in their order", &found, &expected)?;
    }
    equal("no id", &owner.store.ids(stream("a").aggregate, None, 0).await?, &Vec::new())
}

async fn ids_are_those_of_aggregates_with_events(place: Place<'_>) -> Checked {
    let mut owner = Owner::of(place.open().await?).await?;
    let mut other = decided("b", 1, 1);
    other.stream = StreamId { aggregate: "order".into(), ..other.stream };
    other.slice = other.stream.slice();
    owner.append(vec![rejected("a", 1), other, decided("c", 1, 1)]).await?;
    let of = |name: &str| owner.store.ids(name.into(), None, 10);
    equal("ids of a type", &of("bank-account").await?, &vec![stream("c").id])?;
    equal("ids of another type", &of("order").await?, &vec![stream("b").id])?;
    equal("ids of an unknown type", &of("ban").await?, &Vec::new())
}
