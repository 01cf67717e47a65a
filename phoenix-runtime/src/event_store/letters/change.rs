//! What is changed, as one value, and what no store takes.

use std::collections::HashSet;
use std::sync::Arc;

use super::{DeadLetter, InboxKey, InboxRow, MOST_BODY_BYTES, MOST_NAME_BYTES, MOST_REASON_BYTES, Standing};
use crate::domain::id::SLICES;
use crate::event_store::port::StoreError;

/// A row with its key, and its body apart, wherever that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed<B> {
    pub(crate) key: InboxKey,
    /// Without its body.
    pub(crate) row: InboxRow,
    /// What the whole row counts.
    pub(crate) bytes: usize,
    pub(crate) body: B,
}

/// A dead letter with its body apart, wherever that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Buried<B> {
    /// Without its body.
    pub(crate) letter: DeadLetter,
    pub(crate) body: B,
}

/// One change. Keys and numbers are in ascending order, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change<B> {
    Put(Vec<Sealed<B>>),
    Tried(Vec<InboxKey>, i64),
    Replace(InboxKey, Vec<Sealed<B>>),
    Finish(Vec<InboxKey>),
    Bury(Vec<Buried<B>>, Vec<InboxKey>),
    Amend(u64, B, usize),
    Settle(Vec<u64>, Standing, i64),
    Forget(i64),
}

impl Change<Vec<u8>> {
    pub(crate) fn put(rows: Vec<InboxRow>) -> Result<Self, StoreError> {
        Ok(Self::Put(sealed(rows)?))
    }

    pub(crate) fn tried(keys: Vec<InboxKey>, due_micros: i64) -> Self {
        Self::Tried(in_order(keys), due_micros)
    }

    pub(crate) fn replace(key: InboxKey, rows: Vec<InboxRow>) -> Result<Self, StoreError> {
        Ok(Self::Replace(key, sealed(rows)?))
    }

    pub(crate) fn finish(keys: Vec<InboxKey>) -> Self {
        Self::Finish(in_order(keys))
    }

    pub(crate) fn bury(letters: Vec<DeadLetter>, finished: Vec<InboxKey>) -> Result<Self, StoreError> {
        let mut seen = HashSet::new();
        let mut buried = Vec::with_capacity(letters.len());
        for (index, letter) in letters.into_iter().enumerate() {
            let letter = fitted(index, letter)?;
            if seen.insert((Arc::clone(&letter.letter.topic), letter.letter.partition, letter.letter.offset)) {
                buried.push(letter);
            }
        }
        Ok(Self::Bury(buried, in_order(finished)))
    }

    pub(crate) fn amend(number: u64, body: Vec<u8>) -> Result<Self, StoreError> {
        check_body(0, &body)?;
        let bytes = body.len();
        Ok(Self::Amend(number, body, bytes))
    }

    pub(crate) fn settle(mut numbers: Vec<u64>, standing: Standing, time_micros: i64) -> Self {
        numbers.sort_unstable();
        numbers.dedup();
        Self::Settle(numbers, standing, time_micros)
    }

    /// Whether nothing can come of it.
    pub(crate) const fn is_empty(&self) -> bool {
        match self {
            Self::Put(rows) => rows.is_empty(),
            Self::Tried(keys, _) | Self::Finish(keys) => keys.is_empty(),
            Self::Bury(letters, keys) => letters.is_empty() && keys.is_empty(),
            Self::Settle(numbers, ..) => numbers.is_empty(),
            Self::Replace(..) | Self::Amend(..) | Self::Forget(_) => false,
        }
    }
}

fn in_order(mut keys: Vec<InboxKey>) -> Vec<InboxKey> {
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn refused(index: usize, reason: impl Into<String>) -> StoreError {
    StoreError::Refused { index, reason: reason.into() }
}

fn check_body(index: usize, body: &[u8]) -> Result<(), StoreError> {
    if body.len() <= MOST_BODY_BYTES {
        return Ok(());
    }
    let bytes = body.len();
    let reason = format!(
        "its body has {bytes} bytes, and the inbox and the dead letters take {MOST_BODY_BYTES}; bound the topic's \
         records, and put fewer of them into a row"
    );
    Err(refused(index, reason))
}

/// Refuses a name that not every database can hold.
fn check_name(index: usize, what: &str, name: &str) -> Result<(), StoreError> {
    if name.is_empty() || name.len() > MOST_NAME_BYTES || name.contains('\0') {
        let reason = format!("the name of its {what} has to have 1 to {MOST_NAME_BYTES} bytes, and no NUL character");
        return Err(refused(index, reason));
    }
    Ok(())
}

fn check_number(index: usize, what: &str, number: u64) -> Result<(), StoreError> {
    let fits = i64::try_from(number).is_ok();
    if fits { Ok(()) } else { Err(refused(index, format!("{what} {number} is not below 2^63"))) }
}

/// Refuses rows that no store takes.
pub(crate) fn check(rows: &[InboxRow]) -> Result<(), StoreError> {
    for (index, row) in rows.iter().enumerate() {
        check_name(index, "topic", &row.topic)?;
        if let Some(hold) = &row.hold {
            check_name(index, "aggregate", &hold.aggregate)?;
        }
        if row.last < row.first {
            return Err(refused(index, format!("it goes from offset {} back to {}", row.first, row.last)));
        }
        check_number(index, "offset", row.last)?;
        check_body(index, &row.body)?;
    }
    Ok(())
}

/// Rows in the order of their keys, each once.
fn sealed(rows: Vec<InboxRow>) -> Result<Vec<Sealed<Vec<u8>>>, StoreError> {
    check(&rows)?;
    let seal = |mut row: InboxRow| {
        let (key, bytes) = (row.key(), row.bytes());
        let body = std::mem::take(&mut row.body);
        Sealed { key, row, bytes, body }
    };
    let mut rows: Vec<_> = rows.into_iter().map(seal).collect();
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    rows.dedup_by(|a, b| a.key == b.key);
    Ok(rows)
}

/// A letter as it is stored: a command that could not be read must not be one that can't be buried.
fn fitted(index: usize, mut letter: DeadLetter) -> Result<Buried<Vec<u8>>, StoreError> {
    check_name(index, "topic", &letter.topic)?;
    check_name(index, "code", &letter.code)?;
    check_number(index, "offset", letter.offset)?;
    check_body(index, &letter.body)?;
    if letter.slice.is_some_and(|slice| slice.0 >= SLICES) {
        return Err(refused(index, "its slice does not exist; slices go from 0 to 1023"));
    }
    for name in [&mut letter.aggregate, &mut letter.id, &mut letter.name] {
        *name = name.take().map(|name| fit(&name, MOST_NAME_BYTES).into());
    }
    letter.reason = fit(&letter.reason, MOST_REASON_BYTES);
    letter.standing = Standing::Waiting;
    letter.settled_micros = None;
    letter.original = None;
    letter.number = 0;
    let body = std::mem::take(&mut letter.body);
    Ok(Buried { letter, body })
}

/// As much of a text as fits, without NUL characters.
fn fit(text: &str, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().replace('\0', "?")
}

#[cfg(test)]
mod tests {
    use super::fit;

    #[test]
    fn a_text_is_cut_between_characters() {
        #[track_caller]
        fn check(text: &str, bytes: usize, expected: &str) {
            assert_eq!(fit(text, bytes), expected);
        }
        check("abc", 3, "abc");
        check("abc", 2, "ab");
        check("a\u{e9}c", 2, "a");
        check("a\u{1F525}", 4, "a");
        check("a\0b", 9, "a?b");
        check("", 0, "");
    }
}
