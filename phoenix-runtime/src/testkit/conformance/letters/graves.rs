//! Commands that came to no outcome.

use std::collections::BTreeMap;

use super::super::fixture::{Checked, equal, holds};
use super::super::{Place, promises};
use super::{dead, keys, letter, letters, reopened, row, rows};
use crate::event_store::letters::{
    DeadFilter, DeadLetter, MOST_BODY_BYTES, MOST_NAME_BYTES, MOST_REASON_BYTES, Standing,
};
use crate::event_store::port::StoreError;

promises! {
    a_dead_letter_is_buried_with_its_row
    a_dead_letter_is_buried_once
    dead_letters_are_found_by_what_they_are
    dead_letters_are_read_in_pages
    a_dead_letter_that_is_amended_keeps_its_original
    dead_letters_are_settled_and_forgotten
    what_nobody_can_read_can_be_buried
    a_dead_letter_that_is_too_large_is_refused_by_its_place
    dead_letters_are_there_after_reopening
}

async fn a_dead_letter_is_buried_with_its_row(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    let all = vec![row(0, 1, 1), row(0, 2, 2), row(0, 3, 3)];
    letters.put(all.clone()).await?;
    letters.bury(vec![letter(99, 0, 2)], vec![all[1].key()]).await?;
    equal("the rows", &rows(letters, 0).await?, &vec![all[0].clone(), all[2].clone()])?;
    equal("the letter, with its number", &dead(letters).await?, &vec![letter(1, 0, 2)])?;
    // refused as a whole: the row stays
    let too_large = DeadLetter { body: vec![0; MOST_BODY_BYTES + 1], ..letter(0, 0, 3) };
    let refused = letters.bury(vec![letter(0, 0, 1), too_large], keys(&all)).await;
    holds("refused by its place", matches!(refused, Err(StoreError::Refused { index: 1, .. })))?;
    equal("the rows after that", &rows(letters, 0).await?.len(), &2)?;
    equal("the letters after that", &dead(letters).await?.len(), &1)?;
    letters.bury(Vec::new(), keys(&all)).await?;
    equal("no letter, and rows that are not needed", &rows(letters, 0).await?, &vec![])
}

async fn a_dead_letter_is_buried_once(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    letters.bury(vec![letter(0, 0, 2), letter(0, 0, 1)], Vec::new()).await?;
    let other = DeadLetter { reason: "another".to_owned(), ..letter(0, 0, 1) };
    letters.bury(vec![other, letter(0, 1, 1), letter(0, 0, 3), letter(0, 0, 3)], Vec::new()).await?;
    let expected = vec![letter(1, 0, 2), letter(2, 0, 1), letter(3, 1, 1), letter(4, 0, 3)];
    equal("in the order in which they were buried, each once", &dead(letters).await?, &expected)?;
    equal("by its number", &letters.dead_letter(3).await?, &Some(expected[2].clone()))?;
    equal("by another number", &letters.dead_letter(5).await?, &None)
}

async fn dead_letters_are_found_by_what_they_are(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    let mut all: Vec<_> = (1..=9).map(|n| letter(n, 0, n)).collect();
    all[3].aggregate = Some("order".into());
    all[4].topic = "orders".into();
    (all[5].aggregate, all[5].id, all[5].name, all[5].message_id, all[5].slice) = (None, None, None, None, None);
    letters.bury(all.clone(), Vec::new()).await?;
    letters.settle(vec![9], Standing::Discarded, 5).await?;
    (all[8].standing, all[8].settled_micros) = (Standing::Discarded, Some(5));
    let none = DeadFilter::default();
    let filters = [
        none.clone(),
        DeadFilter { aggregate: Some("bank-account".into()), ..none.clone() },
        DeadFilter { aggregate: Some("bank-account".into()), id: Some("account 1".into()), ..none.clone() },
        DeadFilter { id: Some("account 2".into()), code: Some("panicked".into()), ..none.clone() },
        DeadFilter { topic: Some("orders".into()), ..none.clone() },
        DeadFilter { standing: Some(Standing::Waiting), code: Some("unreadable".into()), ..none.clone() },
        DeadFilter { standing: Some(Standing::Discarded), ..none.clone() },
        DeadFilter { code: Some("nothing".into()), ..none },
    ];
    for filter in filters {
        let expected = all.iter().filter(|letter| {
            filter.topic.as_ref().is_none_or(|topic| letter.topic == *topic)
                && filter.aggregate.as_ref().is_none_or(|aggregate| letter.aggregate.as_ref() == Some(aggregate))
                && filter.id.as_ref().is_none_or(|id| letter.id.as_ref() == Some(id))
                && filter.code.as_ref().is_none_or(|code| letter.code == *code)
                && filter.standing.is_none_or(|standing| letter.standing == standing)
        });
        let expected = expected.cloned().collect();
        equal(&format!("{filter:?}"), &letters.dead(filter, 0, usize::MAX).await?, &expected)?;
    }
    let counts = BTreeMap::from([("panicked".to_owned(), 4), ("unreadable".to_owned(), 4)]);
    equal("how many wait, by their codes", &letters.dead_counts().await?, &counts)
}

async fn dead_letters_are_read_in_pages(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    let large = |n: u64| DeadLetter { body: vec![u8::try_from(n).unwrap_or(0); 3 << 20], ..letter(n, 0, n) };
    for n in 1..=4 {
        letters.bury(vec![large(n)], Vec::new()).await?;
    }
    letters.bury((5..=400).map(|n| letter(0, 0, n)).collect(), Vec::new()).await?;
    let first = dead(letters).await?;
    equal("as many as an answer has", &first, &(1..=3).map(large).collect())?;
    let (mut seen, mut after) = (first, 3);
    loop {
        let page = letters.dead(DeadFilter::default(), after, 300).await?;
        holds("a page has at most as many letters as were asked for", page.len() <= 300)?;
        let Some(last) = page.last() else { break };
        after = last.number;
        seen.extend(page);
    }
    let numbers: Vec<_> = seen.iter().map(|letter| letter.number).collect();
    equal("all of them", &numbers, &(1..=400).collect())
}

async fn a_dead_letter_that_is_amended_keeps_its_original(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    letters.bury(vec![letter(0, 0, 1), letter(0, 0, 2)], Vec::new()).await?;
    equal("amended", &letters.amend(1, b"better".to_vec()).await?, &true)?;
    equal("amended again", &letters.amend(1, b"best".to_vec()).await?, &true)?;
    equal("amended to nothing", &letters.amend(2, Vec::new()).await?, &true)?;
    equal("no such letter", &letters.amend(3, b"x".to_vec()).await?, &false)?;
    let refused = letters.amend(1, vec![0; MOST_BODY_BYTES + 1]).await;
    holds("too large", matches!(refused, Err(StoreError::Refused { .. })))?;
    let amended = |n: u64, body: &[u8]| {
        let original = letter(n, 0, n);
        DeadLetter { body: body.to_vec(), original: Some(original.body), ..letter(n, 0, n) }
    };
    let expected = vec![amended(1, b"best"), amended(2, b"")];
    equal("both bodies", &dead(letters).await?, &expected)?;
    letters.settle(vec![1], Standing::Replayed, 7).await?;
    equal("one that does not wait", &letters.amend(1, b"x".to_vec()).await?, &false)?;
    let first = DeadLetter { standing: Standing::Replayed, settled_micros: Some(7), ..expected[0].clone() };
    equal("the first one", &letters.dead_letter(1).await?, &Some(first.clone()))?;
    let Some(store) = reopened(place, store).await? else { return Ok(()) };
    equal("after reopening", &dead(super::letters(&store)?).await?, &vec![first, expected[1].clone()])
}

async fn dead_letters_are_settled_and_forgotten(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    letters.bury((1..=5).map(|n| letter(0, 0, n)).collect(), Vec::new()).await?;
    equal("settled", &letters.settle(vec![2, 1, 2, 77], Standing::Replayed, 10).await?, &2)?;
    equal("settled again", &letters.settle(vec![1, 2], Standing::Replayed, 20).await?, &0)?;
    equal("otherwise", &letters.settle(vec![3, 5], Standing::Discarded, 20).await?, &2)?;
    equal("brought back", &letters.settle(vec![5], Standing::Waiting, 30).await?, &1)?;
    let fates = |all: Vec<DeadLetter>| {
        all.iter().map(|letter| (letter.number, letter.standing, letter.settled_micros)).collect::<Vec<_>>()
    };
    let (waiting, replayed, discarded) = (Standing::Waiting, Standing::Replayed, Standing::Discarded);
    let after = vec![
        (1, replayed, Some(10)),
        (2, replayed, Some(10)),
        (3, discarded, Some(20)),
        (4, waiting, None),
        (5, waiting, None),
    ];
    equal("what became of them", &fates(dead(letters).await?), &after)?;
    // one that was settled is not buried anew while it is remembered
    letters.bury(vec![letter(0, 0, 1)], Vec::new()).await?;
    equal("still what became of them", &fates(dead(letters).await?), &after)?;
    equal("forgotten", &letters.forget(20).await?, &2)?;
    equal("forgotten again", &letters.forget(20).await?, &0)?;
    equal("the others", &fates(dead(letters).await?), &after[2..].to_vec())?;
    letters.bury(vec![letter(0, 0, 1)], Vec::new()).await?;
    equal("all of them forgotten", &letters.forget(i64::MAX).await?, &1)?;
    let numbers = |all: Vec<DeadLetter>| all.iter().map(|letter| letter.number).collect::<Vec<_>>();
    equal("a number of its own", &numbers(dead(letters).await?), &vec![4, 5, 6])?;
    letters.settle(vec![4, 5, 6], Standing::Discarded, 40).await?;
    letters.forget(i64::MAX).await?;
    let Some(store) = reopened(place, store).await? else { return Ok(()) };
    let letters = super::letters(&store)?;
    letters.bury(vec![letter(0, 0, 9)], Vec::new()).await?;
    equal("no number is used again", &numbers(dead(letters).await?), &vec![7])
}

async fn what_nobody_can_read_can_be_buried(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    let long = "\u{1F525}".repeat(5000);
    let broken = DeadLetter {
        aggregate: Some(long.clone().into()),
        id: Some("a\0b".into()),
        name: Some(long.clone().into()),
        reason: format!("\0{long}"),
        message_id: None,
        slice: None,
        body: vec![0xff, 0, 0xfe],
        codec: 255,
        tries: u32::MAX,
        time_micros: -1,
        offset: u64::MAX >> 1,
        partition: u16::MAX,
        ..letter(0, 0, 1)
    };
    letters.bury(vec![broken.clone()], Vec::new()).await?;
    let cut = |bytes: usize| "\u{1F525}".repeat(bytes / 4);
    let expected = DeadLetter {
        number: 1,
        aggregate: Some(cut(MOST_NAME_BYTES).into()),
        id: Some("a?b".into()),
        name: Some(cut(MOST_NAME_BYTES).into()),
        reason: format!("?{}", cut(MOST_REASON_BYTES - 1)),
        ..broken
    };
    equal("as much of it as fits", &dead(letters).await?, &vec![expected])
}

async fn a_dead_letter_that_is_too_large_is_refused_by_its_place(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let letters = letters(&store)?;
    let wrong = [
        DeadLetter { body: vec![0; MOST_BODY_BYTES + 1], ..letter(0, 0, 3) },
        DeadLetter { offset: 1 << 63, ..letter(0, 0, 3) },
        DeadLetter { topic: "".into(), ..letter(0, 0, 3) },
        DeadLetter { code: "c".repeat(MOST_NAME_BYTES + 1).into(), ..letter(0, 0, 3) },
    ];
    for wrong in wrong {
        let refused = letters.bury(vec![letter(0, 0, 1), letter(0, 0, 2), wrong], Vec::new()).await;
        holds("refused by its place", matches!(refused, Err(StoreError::Refused { index: 2, .. })))?;
    }
    equal("nothing was buried", &dead(letters).await?, &vec![])?;
    let largest = DeadLetter { body: vec![7; MOST_BODY_BYTES], ..letter(1, 0, 3) };
    letters.bury(vec![largest.clone()], Vec::new()).await?;
    equal("what is as large as may be", &dead(letters).await?, &vec![largest.clone()])?;
    letters.amend(1, vec![8; MOST_BODY_BYTES]).await?;
    let amended = DeadLetter { body: vec![8; MOST_BODY_BYTES], original: Some(largest.body.clone()), ..largest };
    equal("and amended", &dead(letters).await?, &vec![amended])
}

async fn dead_letters_are_there_after_reopening(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let all: Vec<_> = (1..=5).map(|n| letter(n, 0, n)).collect();
    letters(&store)?.bury(all.clone(), Vec::new()).await?;
    let Some(store) = reopened(place, store).await? else { return Ok(()) };
    let letters = letters(&store)?;
    equal("all of them", &dead(letters).await?, &all)?;
    letters.bury(vec![letter(0, 0, 5), letter(0, 0, 6)], Vec::new()).await?;
    equal("and a new one", &dead(letters).await?, &[all, vec![letter(6, 0, 6)]].concat())
}
