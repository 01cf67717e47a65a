//! Rows that were found in the inbox: they were tried before, and one of their commands may be what ended the process.
//!
//! A try is counted durably before it is made. A row of many records that was tried too often is cut into rows of one
//! record each; these are done one at a time. The one that ends the process all the same is given up, and its neighbours
//! are done.

use super::pack::{Packer, Place, unpack};
use super::rows::{Facts, RowId, id_of, until_done};
use crate::bus::port::Record;
use crate::domain::ports::Clock;
use crate::event_store::letters::InboxRow;
use crate::event_store::port::{EventStore, StoreError};

/// How often a row is tried before it is suspected.
const UNSUSPECTED: u32 = 2;

/// Tries from here on were made alone, and are counted exactly; those below may have been counted more than once.
pub(super) const ALONE: u32 = 1 << 16;

/// What is done with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its records are done.
    Do,
    /// Its only record is done while nothing else begins, and counted before.
    DoAlone,
    /// Its only record ended the process this often.
    GiveUp(u32),
    /// Nobody can read it: it stays.
    Leave,
    /// It is held for the aggregate with this hash, and read when that has room.
    Hold(u64),
}

/// A row, and what is done with it.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) id: RowId,
    pub(super) facts: Facts,
    pub(super) records: Vec<(u64, Record)>,
    pub(super) verdict: Verdict,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) rows: Vec<Examined>,
    /// Rows that were cut into others, which are among the rows.
    pub(super) cut: Vec<(RowId, Facts)>,
}

/// What is done with a row of one record that was tried so often.
fn suspect(tries: u32, max_tries: u32) -> Verdict {
    let alone = tries.saturating_sub(ALONE);
    if alone < max_tries.saturating_sub(UNSUSPECTED).max(1) {
        Verdict::DoAlone
    } else {
        Verdict::GiveUp(UNSUSPECTED.saturating_add(alone))
    }
}

/// Looks at rows before their records are done. Those of `fresh` were put by this node, and not tried yet.
pub(super) async fn examine(
    (store, clock): (&dyn EventStore, &dyn Clock),
    rows: Vec<InboxRow>,
    fresh: impl Fn(RowId) -> bool + Send,
    max_tries: u32,
) -> Result<Findings, StoreError> {
    let now_micros = clock.wall_micros();
    let (mut found, mut tried) = (Findings::default(), Vec::new());
    for row in rows {
        let (key, facts) = (row.key(), Facts::of(&row));
        let id = id_of(&key);
        let records = match unpack(&row) {
            Ok(records) => records,
            Err(reason) => {
                tracing::error!(row = %key, reason, "a row of the inbox can't be read; it stays there");
                found.rows.push(Examined { id, facts, records: Vec::new(), verdict: Verdict::Leave });
                continue;
            }
        };
        let verdict = if fresh(id) {
            Verdict::Do
        } else if row.tries < UNSUSPECTED {
            tried.push(key);
            Verdict::Do
        } else if row.messages > 1 {
            let place = Place { topic: row.topic.clone(), partition: row.partition, now_micros };
            let mut packer = Packer::one_by_one(place, row.hold.clone(), row.tries);
            for (offset, record) in &records {
                packer.push(*offset, record, 0);
            }
            let singles: Vec<InboxRow> = packer.into_rows().into_iter().map(|(row, _)| row).collect();
            tracing::warn!(row = %key, tries = row.tries, "commands were at work each time the process ended; from now on one at a time");
            found.cut.push((id, facts));
            // until it is known to be done: whoever asks for the row again does not find it. That it is not there says so too
            until_done(store, clock, "cut a row of the inbox", |letters| {
                let replacing = letters.replace(key.clone(), singles.clone());
                Box::pin(async move { replacing.await.map(|_| ()) })
            })
            .await;
            found.rows.extend(singles.into_iter().zip(records).map(|(row, record)| {
                let (id, facts) = (id_of(&row.key()), Facts::of(&row));
                Examined { id, facts, records: vec![record], verdict: Verdict::DoAlone }
            }));
            continue;
        } else {
            suspect(row.tries, max_tries)
        };
        found.rows.push(Examined { id, facts, records, verdict });
    }
    if let Some(letters) = store.letters().filter(|_| !tried.is_empty()) {
        letters.note_try(tried, now_micros).await?;
    }
    Ok(found)
}
