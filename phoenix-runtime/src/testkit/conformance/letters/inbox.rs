//! Commands that were taken from a bus.

use std::collections::BTreeMap;

use super::super::fixture::{Checked, equal, holds, stream};
use super::super::{Place, promises};
use super::{TOPIC, everything, keys, letters, reopened, row, rows};
use crate::event_store::letters::{Backlog, Due, InboxRow, MOST_BODY_BYTES, MOST_NAME_BYTES};
use crate::event_store::port::{PAGE_BYTES, StoreError};

promises! {
    inbox_rows_are_due_in_the_order_of_their_offsets
    inbox_rows_are_read_in_pages
    an_inbox_row_that_is_put_again_changes_nothing
    another_cut_of_the_same_records_loses_none
    a_try_of_inbox_rows_is_counted
    an_inbox_row_is_replaced_as_a_whole
    finished_inbox_rows_are_gone
    many_inbox_rows_are_put_tried_and_finished_at_once
    the_backlog_of_an_inbox_is_counted
    an_answer_of_the_inbox_is_bounded_in_bytes
    what_an_inbox_never_takes_is_refused_by_its_place
    the_inbox_is_there_after_reopening
}

async fn inbox_rows_are_due_in_the_order_of_their_offsets(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    let hold = InboxRow { hold: Some(stream("caf\u{e9} 1")), tries: 4, codec: 9, ..row(1, 256, 259) };
    let late = InboxRow { due_micros: 200, ..row(1, 3, 3) };
    let all = [row(1, 1, 2), late.clone(), row(1, 20, 29), hold, row(2, 0, 5), row(2, 1 << 40, (1 << 40) + 1)];
    letters.put(all.iter().rev().cloned().collect()).await?;
    let elsewhere = [InboxRow { topic: "bank-account.commands2".into(), ..row(1, 1, 2) }, row(3, 7, 7)];
    letters.put(elsewhere.to_vec()).await?;
    equal("all rows", &letters.due(everything(&[2, 1])).await?, &all.to_vec())?;
    let due = letters.due(Due { until_micros: 199, ..everything(&[1, 2]) }).await?;
    equal("rows that are due", &due, &all.iter().filter(|row| **row != late).cloned().collect())?;
    equal("before anything is due", &letters.due(Due { until_micros: 99, ..everything(&[1, 2]) }).await?, &vec![])?;
    equal("no partition", &letters.due(everything(&[])).await?, &vec![])?;
    equal("another topic", &letters.due(Due { topic: "other".into(), ..everything(&[1]) }).await?, &vec![])
}

async fn inbox_rows_are_read_in_pages(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    let all: Vec<_> = (0..3).flat_map(|partition| (0..7).map(move |n| row(partition, n * 2, n * 2 + 1))).collect();
    letters.put(all.clone()).await?;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = letters.due(Due { after: after.clone(), limit: 4, ..everything(&[0, 1, 2]) }).await?;
        holds("a page has at most as many rows as were asked for", page.len() <= 4)?;
        let Some(last) = page.last() else { break };
        after = Some(last.key());
        seen.extend(page);
    }
    equal("all pages", &seen, &all)
}

async fn an_inbox_row_that_is_put_again_changes_nothing(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    let batch = vec![row(0, 5, 9), row(0, 10, 12)];
    letters.put(batch.clone()).await?;
    letters.note_try(vec![batch[0].key()], 500).await?;
    // what was tried, and when it is due, is not taken back by the bus; a row may be named twice
    letters.put([batch.clone(), batch.clone()].concat()).await?;
    let tried = InboxRow { tries: 1, due_micros: 500, ..batch[0].clone() };
    equal("the rows", &rows(letters, 0).await?, &vec![tried, batch[1].clone()])?;
    letters.put(Vec::new()).await?;
    letters.finish(keys(&batch)).await?;
    letters.put(batch.clone()).await?;
    equal("rows that come again when they are finished", &rows(letters, 0).await?, &batch)
}

async fn another_cut_of_the_same_records_loses_none(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    letters.put(vec![row(0, 5, 7)]).await?;
    letters.put(vec![row(0, 5, 9)]).await?;
    let last: Vec<_> = {
        let mut last: Vec<_> = rows(letters, 0).await?.iter().map(|row| row.last).collect();
        last.sort_unstable();
        last
    };
    equal("both rows", &last, &vec![7, 9])?;
    letters.finish(vec![row(0, 5, 7).key()]).await?;
    equal("the other row", &rows(letters, 0).await?, &vec![row(0, 5, 9)])
}

async fn a_try_of_inbox_rows_is_counted(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    let all = vec![row(0, 1, 1), row(0, 2, 2), row(1, 1, 1)];
    letters.put(all.clone()).await?;
    let some = vec![all[2].key(), all[0].key(), all[0].key(), row(0, 77, 77).key()];
    letters.note_try(some.clone(), 500).await?;
    letters.note_try(some, 400).await?;
    let tried = |row: &InboxRow| InboxRow { tries: 2, due_micros: 400, ..row.clone() };
    let expected = vec![tried(&all[0]), all[1].clone(), tried(&all[2])];
    equal("tries", &letters.due(everything(&[0, 1])).await?, &expected)?;
    let Some(store) = reopened(place, store).await? else { return Ok(()) };
    equal("tries after reopening", &super::letters(&store)?.due(everything(&[0, 1])).await?, &expected)
}

async fn an_inbox_row_is_replaced_as_a_whole(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    let (packed, other) = (row(0, 5, 7), row(0, 8, 9));
    letters.put(vec![packed.clone(), other.clone()]).await?;
    let singles: Vec<_> = (5..=7).map(|n| InboxRow { tries: 3, ..row(0, n, n) }).collect();
    let too_large = InboxRow { body: vec![0; MOST_BODY_BYTES + 1], ..row(0, 6, 6) };
    let refused = letters.replace(packed.key(), vec![singles[0].clone(), too_large]).await;
    holds("one that is too large", matches!(refused, Err(StoreError::Refused { index: 1, .. })))?;
    equal("rows as they were", &rows(letters, 0).await?, &vec![packed.clone(), other.clone()])?;
    equal("replaced", &letters.replace(packed.key(), singles.clone()).await?, &true)?;
    let all = [singles.clone(), vec![other]].concat();
    equal("rows", &rows(letters, 0).await?, &all)?;
    equal("replaced again", &letters.replace(packed.key(), vec![row(0, 99, 99)]).await?, &false)?;
    equal("rows after that", &rows(letters, 0).await?, &all)?;
    // a row that is there already, and one that takes its own place
    letters.put(vec![packed.clone()]).await?;
    let again = InboxRow { tries: 9, ..packed.clone() };
    equal("again", &letters.replace(packed.key(), vec![again.clone(), row(0, 6, 6)]).await?, &true)?;
    let mut expected = [all, vec![again]].concat();
    expected.sort_by_key(InboxRow::key);
    equal("rows at the end", &rows(letters, 0).await?, &expected)
}

async fn finished_inbox_rows_are_gone(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    let all: Vec<_> = (0..4).map(|n| row(n % 2, u64::from(n), u64::from(n))).collect();
    letters.put(all.clone()).await?;
    letters.finish(vec![all[3].key(), all[0].key(), row(0, 77, 77).key()]).await?;
    letters.finish(vec![all[3].key()]).await?;
    letters.finish(Vec::new()).await?;
    equal("the others", &letters.due(everything(&[0, 1])).await?, &vec![all[2].clone(), all[1].clone()])?;
    let Some(store) = reopened(place, store).await? else { return Ok(()) };
    let found = super::letters(&store)?.due(everything(&[0, 1])).await?;
    equal("the others after reopening", &found, &vec![all[2].clone(), all[1].clone()])
}

async fn many_inbox_rows_are_put_tried_and_finished_at_once(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    let all: Vec<_> = (0..2).flat_map(|partition| (0..600).map(move |n| row(partition, n, n))).collect();
    letters.put(all.clone()).await?;
    letters.note_try(keys(&all), 700).await?;
    let tried: Vec<_> = all.iter().map(|row| InboxRow { tries: 1, due_micros: 700, ..row.clone() }).collect();
    equal("all rows", &letters.due(everything(&[0, 1])).await?, &tried)?;
    letters.finish(keys(&all[..1199])).await?;
    equal("what is left", &letters.due(everything(&[0, 1])).await?, &tried[1199..].to_vec())
}

async fn the_backlog_of_an_inbox_is_counted(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    equal("an empty backlog", &letters.backlog(None).await?, &BTreeMap::new())?;
    let early = InboxRow { due_micros: -5, body: vec![1; 5000], ..row(1, 10, 19) };
    let other = InboxRow { topic: "other".into(), ..row(1, 3, 3) };
    let all = [row(1, 1, 4), early, row(2, 1, 1), other];
    letters.put(all.to_vec()).await?;
    let count = |rows: &[&InboxRow]| Backlog {
        rows: rows.len() as u64,
        messages: rows.iter().map(|row| u64::from(row.messages)).sum(),
        bytes: rows.iter().map(|row| row.bytes() as u64).sum(),
        due_micros: rows.iter().map(|row| row.due_micros).min(),
    };
    let of_topic = [((TOPIC.into(), 1), count(&[&all[0], &all[1]])), ((TOPIC.into(), 2), count(&[&all[2]]))];
    let of_topic = BTreeMap::from(of_topic);
    equal("of the topic", &letters.backlog(Some(TOPIC.into())).await?, &of_topic)?;
    let mut of_all = of_topic;
    of_all.insert(("other".into(), 1), count(&[&all[3]]));
    equal("of all topics", &letters.backlog(None).await?, &of_all)?;
    letters.finish(vec![all[2].key()]).await?;
    of_all.remove(&(TOPIC.into(), 2));
    equal("after a partition is done", &letters.backlog(None).await?, &of_all)
}

async fn an_answer_of_the_inbox_is_bounded_in_bytes(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    let large = |n: u64| InboxRow { body: vec![u8::try_from(n).unwrap_or(0); 3 << 20], ..row(0, n, n) };
    for n in 0..4 {
        letters.put(vec![large(n)]).await?;
    }
    let firsts = |rows: Vec<InboxRow>| rows.iter().map(|row| row.first).collect::<Vec<_>>();
    let all = letters.due(everything(&[0])).await?;
    equal("as much as an answer has", &firsts(all), &vec![0, 1, 2])?;
    let less = letters.due(Due { bytes: 4 << 20, ..everything(&[0]) }).await?;
    equal("as much as was asked for", &firsts(less), &vec![0, 1])?;
    let least = letters.due(Due { bytes: 0, ..everything(&[0]) }).await?;
    equal("never nothing", &firsts(least), &vec![0])?;
    let more = letters.due(Due { bytes: PAGE_BYTES * 2, after: Some(large(0).key()), ..everything(&[0]) }).await?;
    equal("never more than an answer has", &more, &(1..4).map(large).collect())
}

async fn what_an_inbox_never_takes_is_refused_by_its_place(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    let good = row(0, 1, 1);
    let wrong = [
        InboxRow { body: vec![0; MOST_BODY_BYTES + 1], ..row(0, 2, 2) },
        InboxRow { topic: "t".repeat(MOST_NAME_BYTES + 1).into(), ..row(0, 2, 2) },
        InboxRow { topic: "a\0b".into(), ..row(0, 2, 2) },
        InboxRow { topic: "".into(), ..row(0, 2, 2) },
        InboxRow { last: 1, messages: 1, ..row(0, 2, 2) },
        InboxRow { last: 1 << 63, messages: 1, ..row(0, 2, 2) },
    ];
    for row in wrong {
        let refused = letters.put(vec![good.clone(), good.clone(), row]).await;
        equal(
            "its place",
            &refused.map_err(|e| match e {
                StoreError::Refused { index, .. } => Ok(index),
                other => Err(other),
            }),
            &Err(Ok(2)),
        )?;
    }
    equal("nothing was stored", &rows(letters, 0).await?, &vec![])?;
    let largest = InboxRow { body: vec![7; MOST_BODY_BYTES], topic: TOPIC.into(), ..row(0, 2, 2) };
    letters.put(vec![good.clone(), largest.clone()]).await?;
    equal("what is as large as may be", &rows(letters, 0).await?, &vec![good, largest])
}

async fn the_inbox_is_there_after_reopening(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let hold = InboxRow { hold: Some(stream("a")), ..row(0, 30, 39) };
    let all = vec![row(0, 1, 9), row(0, 10, 19), hold, row(1, 5, 5)];
    letters(&store)?.put(all.clone()).await?;
    let Some(store) = reopened(place, store).await? else { return Ok(()) };
    let letters = letters(&store)?;
    equal("all rows", &letters.due(everything(&[0, 1])).await?, &all)?;
    letters.put(all.clone()).await?;
    equal("all rows, once", &letters.due(everything(&[0, 1])).await?, &all)
}
