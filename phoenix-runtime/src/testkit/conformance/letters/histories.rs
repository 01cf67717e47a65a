//! Changes by lot against a model, and several who change at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::{try_join_all, try_join4};

use super::super::fixture::{Checked, equal, holds};
use super::super::{Failure, Place, promises};
use super::{dead, everything, letter, letters, reopened, row};
use crate::event_store::letters::{DeadFilter, DeadLetter, Due, InboxKey, InboxRow, Letters, Standing};
use crate::event_store::port::EventStore;

promises! {
    letters_are_those_of_a_model
    letters_that_are_changed_at_once_are_all_there
    dead_letters_appear_in_the_order_of_their_numbers
}

const HISTORIES: u64 = 6;
const CHANGES: u64 = 50;
const PARTITIONS: [u16; 3] = [0, 1, 7];

/// A row of numbers that look random.
struct Lot(u64);

impl Lot {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn partition(&mut self) -> u16 {
        PARTITIONS[usize::try_from(self.below(3)).unwrap_or(0)]
    }

    fn row(&mut self) -> InboxRow {
        let (partition, first, records) = (self.partition(), self.below(12), self.below(3));
        let due_micros = i64::try_from(self.below(50)).unwrap_or(0);
        InboxRow { due_micros, ..row(partition, first, first + records) }
    }

    fn rows(&mut self) -> Vec<InboxRow> {
        (0..self.below(5)).map(|_| self.row()).collect()
    }

    /// Keys of rows that are perhaps there.
    fn keys(&mut self) -> Vec<InboxKey> {
        (0..self.below(6)).map(|_| self.row().key()).collect()
    }

    fn letters(&mut self) -> Vec<DeadLetter> {
        (0..self.below(4)).map(|_| letter(0, self.partition(), self.below(12))).collect()
    }

    fn numbers(&mut self) -> Vec<u64> {
        (0..self.below(4)).map(|_| 1 + self.below(20)).collect()
    }

    fn standing(&mut self) -> Standing {
        [Standing::Waiting, Standing::Replayed, Standing::Discarded][usize::try_from(self.below(3)).unwrap_or(0)]
    }
}

/// The letters as plain lists, in the order in which they came.
#[derive(Debug, Default)]
struct Model {
    rows: Vec<InboxRow>,
    dead: Vec<DeadLetter>,
    last: u64,
}

impl Model {
    fn put(&mut self, rows: &[InboxRow]) {
        for row in rows {
            if !self.rows.iter().any(|there| there.key() == row.key()) {
                self.rows.push(row.clone());
            }
        }
    }

    fn finish(&mut self, keys: &[InboxKey]) {
        self.rows.retain(|row| !keys.contains(&row.key()));
    }

    fn bury(&mut self, letters: &[DeadLetter]) {
        for letter in letters {
            let is_it = |there: &DeadLetter| (there.partition, there.offset) == (letter.partition, letter.offset);
            if !self.dead.iter().any(is_it) {
                self.last += 1;
                self.dead.push(DeadLetter { number: self.last, ..letter.clone() });
            }
        }
    }

    fn settle(&mut self, numbers: &[u64], standing: Standing, time_micros: i64) -> u64 {
        let mut changed = 0;
        let wanted = self.dead.iter_mut().filter(|letter| numbers.contains(&letter.number));
        for letter in wanted.filter(|letter| letter.standing != standing) {
            letter.standing = standing;
            letter.settled_micros = (standing != Standing::Waiting).then_some(time_micros);
            changed += 1;
        }
        changed
    }

    fn due(&self, until_micros: i64) -> Vec<InboxRow> {
        let mut due: Vec<_> = self.rows.iter().filter(|row| row.due_micros <= until_micros).cloned().collect();
        due.sort_by_key(InboxRow::key);
        due
    }
}

/// Does one change to both, and compares what they say of it.
async fn step(lot: &mut Lot, model: &mut Model, letters: &dyn Letters, time_micros: i64) -> Checked {
    match lot.below(12) {
        0..=3 => {
            let rows = lot.rows();
            model.put(&rows);
            letters.put(rows).await?;
        }
        4 | 5 => {
            let (keys, due_micros) = (lot.keys(), time_micros);
            for row in model.rows.iter_mut().filter(|row| keys.contains(&row.key())) {
                row.tries += 1;
                row.due_micros = due_micros;
            }
            letters.note_try(keys, due_micros).await?;
        }
        6 => {
            let (key, rows) = (lot.row().key(), lot.rows());
            let there = model.rows.iter().any(|row| row.key() == key);
            if there {
                model.finish(std::slice::from_ref(&key));
                model.put(&rows);
            }
            equal("whether a row was replaced", &letters.replace(key, rows).await?, &there)?;
        }
        7 => {
            let keys = lot.keys();
            model.finish(&keys);
            letters.finish(keys).await?;
        }
        8 | 9 => {
            let (dead, keys) = (lot.letters(), lot.keys());
            model.bury(&dead);
            model.finish(&keys);
            letters.bury(dead, keys).await?;
        }
        10 => {
            let (number, body) = (1 + lot.below(20), vec![1; usize::try_from(lot.below(9)).unwrap_or(0)]);
            let wanted =
                model.dead.iter_mut().find(|letter| letter.number == number && letter.standing == Standing::Waiting);
            let there = wanted.is_some();
            if let Some(letter) = wanted {
                let before = std::mem::replace(&mut letter.body, body.clone());
                letter.original.get_or_insert(before);
            }
            equal("whether a letter was amended", &letters.amend(number, body).await?, &there)?;
        }
        _ => {
            let (numbers, standing) = (lot.numbers(), lot.standing());
            let changed = model.settle(&numbers, standing, time_micros);
            equal("settled letters", &letters.settle(numbers, standing, time_micros).await?, &changed)?;
            if lot.below(4) == 0 {
                let before = time_micros - 10;
                let all = model.dead.len();
                model.dead.retain(|letter| letter.settled_micros.is_none_or(|settled| settled >= before));
                let forgotten = (all - model.dead.len()) as u64;
                equal("forgotten letters", &letters.forget(before).await?, &forgotten)?;
            }
        }
    }
    Ok(())
}

async fn compare(model: &Model, letters: &dyn Letters, time_micros: i64) -> Checked {
    let due = letters.due(Due { until_micros: time_micros, ..everything(&PARTITIONS) }).await?;
    equal("rows that are due", &due, &model.due(time_micros))?;
    equal("all rows", &letters.due(everything(&PARTITIONS)).await?, &model.due(i64::MAX))?;
    equal("dead letters", &dead(letters).await?, &model.dead)?;
    let counted: u64 = letters.backlog(None).await?.values().map(|backlog| backlog.rows).sum();
    equal("rows of the backlog", &counted, &(model.rows.len() as u64))?;
    let mut waiting = BTreeMap::new();
    for letter in model.dead.iter().filter(|letter| letter.standing == Standing::Waiting) {
        *waiting.entry(letter.code.to_string()).or_insert(0) += 1;
    }
    equal("letters that wait", &letters.dead_counts().await?, &waiting)
}

async fn letters_are_those_of_a_model(place: Place<'_>) -> Checked {
    let mut store = place.open().await?;
    let mut model = Model::default();
    for seed in 0..HISTORIES {
        let mut lot = Lot(seed);
        for change in 0..CHANGES {
            let time_micros = i64::try_from(seed * CHANGES + change).unwrap_or(0);
            let of_seed = |Failure(text): Failure| Failure(format!("history {seed}, change {change}: {text}"));
            step(&mut lot, &mut model, letters(&store)?, time_micros).await.map_err(of_seed)?;
            compare(&model, letters(&store)?, time_micros).await.map_err(of_seed)?;
        }
        if store.is_durable() {
            if let Some(again) = reopened(place, store).await? {
                store = again;
            } else {
                return Ok(());
            }
            compare(&model, letters(&store)?, 0).await?;
        }
    }
    Ok(())
}

/// Every one of these puts the same rows as the others, finishes some of them, and buries some.
async fn change(store: Arc<dyn EventStore>, who: u64) -> Checked {
    let letters = letters(&store)?;
    for n in 0..30 {
        letters.put(vec![row(0, n, n), row(1, n * 4 + who, n * 4 + who)]).await?;
        if n % 3 == 0 {
            letters.finish(vec![row(0, n, n).key()]).await?;
        }
        letters.note_try(vec![row(1, n * 4 + who, n * 4 + who).key()], 7).await?;
        if n % 5 == who {
            letters.bury(vec![letter(0, 0, n), letter(0, 1, n * 4 + who)], vec![row(0, n, n).key()]).await?;
        }
    }
    Ok(())
}

async fn letters_that_are_changed_at_once_are_all_there(place: Place<'_>) -> Checked {
    let store = place.open().await?;
    let tasks = (0..4).map(|who| tokio::spawn(change(Arc::clone(&store), who)));
    for task in try_join_all(tasks).await.map_err(|e| Failure(format!("a task of the suite ended: {e}")))? {
        task?;
    }
    let letters = letters(&store)?;
    let found = letters.due(everything(&[1])).await?;
    equal("rows of one each", &found.len(), &120)?;
    holds("each of them was tried once", found.iter().all(|row| (row.tries, row.due_micros) == (1, 7)))?;
    // rows of all may be finished by one after another has put them anew; what nobody finished is there once
    let firsts: Vec<_> = letters.due(everything(&[0])).await?.iter().map(|row| row.first).collect();
    let once: BTreeSet<_> = firsts.iter().copied().collect();
    equal("each row once", &firsts.len(), &once.len())?;
    let kept = |n: &u64| !n.is_multiple_of(3) && n % 5 == 4;
    holds("what nobody finished", (0..30).filter(kept).all(|n| once.contains(&n)))?;
    let dead = dead(letters).await?;
    let numbers: Vec<_> = dead.iter().map(|letter| letter.number).collect();
    equal("numbers without a gap", &numbers, &(1..=numbers.len() as u64).collect())?;
    let places: BTreeSet<_> = dead.iter().map(|letter| (letter.partition, letter.offset)).collect();
    equal("each letter once", &(places.len(), dead.len()), &(48, 48))
}

async fn dead_letters_appear_in_the_order_of_their_numbers(place: Place<'_>) -> Checked {
    const EACH: u64 = 25;
    let store = place.open().await?;
    let bury = async |who: u16| {
        let letters = letters(&store)?;
        for n in 0..EACH {
            letters.bury(vec![letter(0, who, n * 2), letter(0, who, n * 2 + 1)], Vec::new()).await?;
        }
        Ok::<_, Failure>(())
    };
    // one who follows by the last number that was seen misses none
    let follow = async || {
        let letters = letters(&store)?;
        let mut seen = Vec::new();
        while seen.len() < usize::try_from(3 * 2 * EACH).unwrap_or(0) {
            let page = letters.dead(DeadFilter::default(), seen.last().copied().unwrap_or(0), 10).await?;
            seen.extend(page.iter().map(|letter| letter.number));
            tokio::task::yield_now().await;
        }
        Ok::<_, Failure>(seen)
    };
    let ((), (), (), seen) = try_join4(bury(0), bury(1), bury(2), follow()).await?;
    equal("numbers", &seen, &(1..=3 * 2 * EACH).collect())
}
