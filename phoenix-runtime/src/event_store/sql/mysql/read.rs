//! Questions: each in bulk, as text. What is found by equal keys is joined with a table of the questions; what is a
//! range is a condition of its own, for a join would read the whole of an index that the ranges are in.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use sea_orm::sqlx::mysql::MySqlRow;
use sea_orm::sqlx::{self, AssertSqlSafe, raw_sql};
use tokio::time::timeout;

use super::super::database;
use super::super::dialect::{Held, Part};
use super::super::known::Stream;
use super::super::page::{Page, size};
use super::super::row::{Cells as _, Rows, column, damaged, event_columns};
use super::cells::ServerRow;
use super::text::Text;
use super::{MySqlDatabase, error};
use crate::domain::id::{Dedup, Slice};
use crate::event_store::port::{Epoch, Load, Partition, StoreError, StreamId};
use crate::event_store::rules::SEQUENCE_BITS;

/// How many questions one statement asks.
const AT_ONCE: usize = 256;

/// How often snapshots are asked for that are dropped meanwhile.
const TRIES: usize = 20;

/// A stream that is loaded.
#[derive(Clone, Copy)]
struct Begun {
    question: usize,
    number: i64,
    /// The version of the snapshot that is of use.
    snapshot: Option<i64>,
}

impl MySqlDatabase {
    /// The rows of a statement that only reads. A connection that was lost while nobody used it costs one more try.
    async fn rows(&self, text: &Text) -> Result<Vec<MySqlRow>, StoreError> {
        self.rows_of(text, &mut Page::default(), |_, _| Ok(true)).await
    }

    /// The rows of a statement that only reads, as far as there is room for them.
    async fn rows_of(
        &self,
        text: &Text,
        page: &mut Page,
        mut takes: impl FnMut(&mut Page, &MySqlRow) -> Result<bool, sqlx::Error> + Send,
    ) -> Result<Vec<MySqlRow>, StoreError> {
        let before = page.clone();
        let failed = |error: &sqlx::Error| error::failed(&self.place, error);
        let mut first = true;
        loop {
            let mut lease = self.readers.take().await.map_err(|e| failed(&e))?;
            let answer = async {
                let mut answer = raw_sql(AssertSqlSafe(text.0.as_str())).fetch(&mut lease.connection);
                let mut rows = Vec::new();
                while !page.is_over()
                    && let Some(row) = answer.try_next().await?
                {
                    if takes(page, &row)? {
                        rows.push(row);
                    }
                }
                Ok(rows)
            };
            match timeout(self.answer_timeout, answer).await {
                Ok(Ok(rows)) => {
                    // what is not heard to its end goes with its connection
                    if !page.is_over() {
                        lease.keep();
                    }
                    return Ok(rows);
                }
                Ok(Err(error)) if error::is_lost(&error) => {
                    self.readers.discard_idle();
                    if !first {
                        return Err(failed(&error));
                    }
                    first = false;
                    *page = before.clone();
                }
                Ok(Err(error)) => {
                    // where a row could not be read there are others behind it
                    if error.as_database_error().is_some() {
                        lease.keep();
                    }
                    return Err(failed(&error));
                }
                Err(_) => return Err(failed(&database::silence(self.answer_timeout))),
            }
        }
    }

    async fn records(&self, text: &Text, page: &mut Page) -> Result<Vec<ServerRow>, StoreError> {
        let rows = self.rows_of(text, page, Page::takes_record).await?;
        Ok(rows.into_iter().map(ServerRow::Plain).collect())
    }

    async fn plain_rows(&self, text: &Text) -> Result<Vec<ServerRow>, StoreError> {
        Ok(self.rows(text).await?.into_iter().map(ServerRow::Plain).collect())
    }

    pub(super) async fn partitions(&self, partitions: &[Partition]) -> Result<Vec<Held>, StoreError> {
        let mut text = Text::new(
            "SELECT p.`partition`, p.epoch, p.moves FROM partitions AS p FORCE INDEX (PRIMARY) WHERE p.`partition` IN (",
        );
        text.each(partitions, ",", |text, partition| {
            text.number(partition.0.into());
        });
        text.sql(")");
        self.held_of(self.rows(&text).await?)
    }

    pub(super) fn held_of(&self, rows: Vec<MySqlRow>) -> Result<Vec<Held>, StoreError> {
        let read = Rows::new(&self.place);
        let held = |row: MySqlRow| {
            let row = ServerRow::Plain(row);
            let partition = u16::try_from(read.number(&row, 0)?).unwrap_or(u16::MAX);
            let epoch = Epoch(read.number(&row, 1)?.cast_unsigned());
            Ok(Held { partition: Partition(partition), epoch, moves: read.number(&row, 2)? })
        };
        rows.into_iter().map(held).collect()
    }

    /// The number of the question in the first column.
    fn question(&self, row: &ServerRow) -> Result<usize, StoreError> {
        Ok(usize::try_from(Rows::new(&self.place).number(row, 0)?).unwrap_or(usize::MAX))
    }

    /// A table of questions about streams by name: `n`, `a`, `i`.
    fn named<'a>(&self, text: &mut Text, first: usize, streams: impl IntoIterator<Item = &'a StreamId>) {
        text.sql("(");
        text.each(streams.into_iter().enumerate(), " UNION ALL ", |text, (n, stream)| {
            let names = if n == 0 { [" AS n,", " AS a,", " AS i"] } else { [",", ",", ""] };
            text.sql("SELECT ").number(number(first + n)).sql(names[0]);
            text.text(&stream.aggregate).sql(" COLLATE ").sql(self.collation).sql(names[1]);
            text.text(stream.id.as_str()).sql(" COLLATE ").sql(self.collation).sql(names[2]);
        });
        text.sql(") AS q STRAIGHT_JOIN streams AS s FORCE INDEX (streams_by_id) ON s.aggregate = q.a AND s.id = q.i");
    }

    pub(super) async fn last_versions(&self, streams: &[&StreamId]) -> Result<Vec<(usize, Stream)>, StoreError> {
        let mut found = Vec::new();
        let read = Rows::new(&self.place);
        for (chunk, streams) in streams.chunks(AT_ONCE).enumerate() {
            let mut text = Text::new(
                "SELECT q.n, s.stream, COALESCE((SELECT e.version FROM events AS e WHERE e.stream = s.stream \
                 ORDER BY e.version DESC LIMIT 1), 0) FROM ",
            );
            self.named(&mut text, chunk * AT_ONCE, streams.iter().copied());
            for row in self.plain_rows(&text).await? {
                let version = read.number(&row, 2)?.cast_unsigned();
                found.push((self.question(&row)?, Stream { number: Some(read.number(&row, 1)?), version }));
            }
        }
        Ok(found)
    }

    pub(super) async fn stored_keys(&self, keys: &[(i64, i64)]) -> Result<Vec<(usize, Dedup)>, StoreError> {
        let mut found = Vec::new();
        let read = Rows::new(&self.place);
        for (chunk, keys) in keys.chunks(AT_ONCE).enumerate() {
            let mut text = Text::new("SELECT q.n, e.dedup FROM ");
            pairs(&mut text, chunk * AT_ONCE, keys);
            text.sql(" AS q STRAIGHT_JOIN events AS e FORCE INDEX (events_by_dedup) ON e.stream = q.a AND e.dedup_short = q.b");
            for row in self.plain_rows(&text).await? {
                let dedup = read.bytes(&row, 1)?.try_into();
                let dedup = dedup.map_err(|_| damaged(&self.place, "a key has not 16 bytes"))?;
                found.push((self.question(&row)?, Dedup(dedup)));
            }
        }
        Ok(found)
    }

    pub(super) async fn ends(&self, slices: &[Slice]) -> Result<Vec<i64>, StoreError> {
        let mut found = Vec::new();
        for slices in slices.chunks(AT_ONCE) {
            let mut text = Text::default();
            text.each(slices, " UNION ALL ", |text, slice| {
                let first = i64::from(slice.0) << SEQUENCE_BITS;
                text.sql("SELECT MAX(e.position) FROM events AS e WHERE e.position > ").number(first);
                text.sql(" AND e.position < ").number(first + (1 << SEQUENCE_BITS));
            });
            for row in self.rows(&text).await? {
                let position = ServerRow::Plain(row).number(0);
                found.extend(position.map_err(|e| error::failed(&self.place, &e))?);
            }
        }
        Ok(found)
    }

    pub(super) async fn events_of(
        &self,
        stream: &StreamId,
        from: i64,
        limit: i64,
        page: &mut Page,
    ) -> Result<Vec<ServerRow>, StoreError> {
        let mut text = Text::new(concat!(
            "SELECT ",
            event_columns!(),
            " FROM streams AS s STRAIGHT_JOIN events AS e FORCE INDEX (events_by_version) ON e.stream = s.stream \
             WHERE s.aggregate = "
        ));
        text.text(&stream.aggregate).sql(" AND s.id = ").text(stream.id.as_str());
        text.sql(" AND e.version >= ").number(from).sql(" ORDER BY e.version LIMIT ").number(limit);
        self.records(&text, page).await
    }

    /// The positions are asked in runs that ascend, for that is the order of the table.
    pub(super) async fn records_after(
        &self,
        positions: &[i64],
        limit: i64,
        page: &mut Page,
    ) -> Result<Vec<ServerRow>, StoreError> {
        let mut found = Vec::new();
        for run in positions.chunk_by(|a, b| a < b) {
            let left = limit - number(found.len());
            if left <= 0 || page.is_full() {
                break;
            }
            let mut text = Text::new(concat!(
                "SELECT ",
                event_columns!(),
                ", s.aggregate, s.id FROM events AS e FORCE INDEX (PRIMARY) STRAIGHT_JOIN streams AS s \
                 ON s.stream = e.stream WHERE "
            ));
            text.each(run, " OR ", |text, position| {
                let end = ((position >> SEQUENCE_BITS) + 1) << SEQUENCE_BITS;
                text.sql("e.position > ").number(*position).sql(" AND e.position < ").number(end);
            });
            text.sql(" ORDER BY e.position LIMIT ").number(left);
            found.extend(self.records(&text, page).await?);
        }
        Ok(found)
    }

    pub(super) async fn first_records(&self, commands: &[(StreamId, Dedup)]) -> Result<Vec<ServerRow>, StoreError> {
        let mut found = Vec::new();
        for (chunk, commands) in commands.chunks(AT_ONCE).enumerate() {
            let mut text = Text::new(concat!("SELECT ", event_columns!(), ", q.n FROM "));
            self.named(&mut text, chunk * AT_ONCE, commands.iter().map(|(stream, _)| stream));
            text.sql(" STRAIGHT_JOIN ");
            let shorts = commands.iter().map(|(_, dedup)| (0, dedup.short().cast_signed())).collect::<Vec<_>>();
            pairs(&mut text, chunk * AT_ONCE, &shorts);
            text.sql(
                " AS k ON k.n = q.n STRAIGHT_JOIN events AS e FORCE INDEX (events_by_dedup) \
                 ON e.stream = s.stream AND e.dedup_short = k.b",
            );
            found.extend(self.plain_rows(&text).await?);
        }
        Ok(found)
    }

    /// What brings aggregates into memory. Their streams are not appended to meanwhile, or their owner is refused
    /// later on; so the keys, which are read first, need not be of the same moment as the events. A snapshot may be
    /// dropped meanwhile, once there is a newer one: then it is asked again which one is of use.
    pub(super) async fn all_of(&self, loads: &[Load], page: &mut Page) -> Result<Vec<ServerRow>, StoreError> {
        let mut found = Vec::new();
        for (chunk, loads) in loads.chunks(AT_ONCE).enumerate() {
            let first = number(chunk * AT_ONCE);
            if page.is_full() || page.is_over() {
                (first..).take(loads.len()).for_each(|question| page.leave_out(question));
                continue;
            }
            let (begun, snapshots) = self.begun_with_snapshots(loads, first, page).await?;
            if begun.is_empty() {
                continue;
            }
            let (keys, events) = (self.keys_of(&begun, loads).await?, self.tails_of(&begun, loads, first, page).await?);
            let of = |rows: Vec<(usize, MySqlRow)>, part| {
                rows.into_iter().map(move |(question, row)| ServerRow::Of(row, first + number(question), part))
            };
            found.extend(of(snapshots, Part::Snapshot));
            found.extend(keys.into_iter().map(|keys| keys.row(first)));
            found.extend(of(events, Part::Event));
        }
        Ok(found)
    }

    async fn begun_with_snapshots(
        &self,
        loads: &[Load],
        first: i64,
        page: &mut Page,
    ) -> Result<(Vec<Begun>, Vec<(usize, MySqlRow)>), StoreError> {
        let before = page.clone();
        for _ in 0..TRIES {
            let begun = self.begun(loads).await?;
            let (snapshots, came) = self.snapshots_of(&begun, first, page).await?;
            if page.is_over() || came == begun.iter().filter(|begun| begun.snapshot.is_some()).count() {
                return Ok((begun, snapshots));
            }
            *page = before.clone();
        }
        let place = &self.place;
        Err(StoreError::Unavailable(format!("`{place}`: snapshots were dropped {TRIES} times while they were read")))
    }

    /// The streams that have a record, with the newest snapshot that is of use.
    async fn begun(&self, loads: &[Load]) -> Result<Vec<Begun>, StoreError> {
        let mut text =
            Text::new("SELECT q.n, s.stream, (SELECT p.version FROM snapshots AS p WHERE p.stream = s.stream AND ");
        let fingerprints: Vec<_> =
            loads.iter().enumerate().filter_map(|(n, load)| Some((n, load.fingerprint?))).collect();
        if fingerprints.is_empty() {
            text.sql("FALSE");
        } else {
            text.sql("p.fingerprint = CASE q.n");
            for (n, fingerprint) in fingerprints {
                text.sql(" WHEN ").number(number(n)).sql(" THEN ").number(fingerprint.cast_signed());
            }
            text.sql(" END");
        }
        text.sql(" ORDER BY p.version DESC LIMIT 1) FROM ");
        self.named(&mut text, 0, loads.iter().map(|load| &load.stream));
        let read = Rows::new(&self.place);
        let begun = |row: MySqlRow| {
            let row = ServerRow::Plain(row);
            let snapshot = row.number(2).map_err(|e| error::failed(&self.place, &e))?;
            Ok(Begun { question: self.question(&row)?, number: read.number(&row, 1)?, snapshot })
        };
        self.rows(&text).await?.into_iter().map(begun).collect()
    }

    /// Those for which there is room, and how many there are.
    async fn snapshots_of(
        &self,
        begun: &[Begun],
        first: i64,
        page: &mut Page,
    ) -> Result<(Vec<(usize, MySqlRow)>, usize), StoreError> {
        let wanted: Vec<_> = begun.iter().filter_map(|begun| Some((begun, begun.snapshot?))).collect();
        if wanted.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let mut text = Text::new(
            "SELECT p.stream, p.version, p.time_micros, NULL, p.codec, NULL, p.payload, NULL, NULL, p.fingerprint, \
             q.n FROM ",
        );
        let keys: Vec<_> = wanted.iter().map(|(begun, version)| (begun.number, *version)).collect();
        pairs(&mut text, 0, &keys);
        text.sql(" AS q STRAIGHT_JOIN snapshots AS p ON p.stream = q.a AND p.version = q.b");
        let question = |row: &MySqlRow| {
            let n = row.number(10)?.and_then(|n| usize::try_from(n).ok());
            Ok::<_, sqlx::Error>(n.and_then(|n| wanted.get(n)).map_or(usize::MAX, |(begun, _)| begun.question))
        };
        let mut came = 0;
        let takes = |page: &mut Page, row: &MySqlRow| {
            came += 1;
            let bytes = row.bytes(column::PAYLOAD)?.map_or(0, <[u8]>::len);
            Ok(page.takes(Part::Snapshot, first.saturating_add(number(question(row)?)), bytes))
        };
        let rows = self.rows_of(&text, page, takes).await?;
        let found = rows.into_iter().map(|row| Ok((question(&row)?, row))).collect::<Result<_, sqlx::Error>>();
        Ok((found.map_err(|e| error::failed(&self.place, &e))?, came))
    }

    /// The keys of those without a snapshot.
    async fn keys_of(&self, begun: &[Begun], loads: &[Load]) -> Result<Vec<Keys>, StoreError> {
        let most = |begun: &Begun| loads.get(begun.question).map_or(0, |load| load.keys);
        let begun: Vec<_> = begun.iter().filter(|begun| begun.snapshot.is_none()).collect();
        if begun.is_empty() {
            return Ok(Vec::new());
        }
        let mut text = Text::default();
        text.each(begun.iter().enumerate(), " UNION ALL ", |text, (n, begun)| {
            text.sql("(SELECT ").number(number(n)).sql(if n == 0 { " AS n," } else { "," });
            text.sql("e.position, e.dedup_short FROM events AS e FORCE INDEX (events_by_dedup) WHERE e.stream = ");
            // one more tells whether these are all
            text.number(begun.number).sql(" AND e.dedup_short IS NOT NULL LIMIT ");
            text.number(number(most(begun).saturating_add(1))).sql(")");
        });
        let mut all: Vec<_> =
            begun.iter().map(|begun| Keys { begun: **begun, most: most(begun), found: Vec::new() }).collect();
        let read = Rows::new(&self.place);
        for row in self.plain_rows(&text).await? {
            let (position, short) = (read.number(&row, 1)?, read.number(&row, 2)?);
            if let Some(keys) = all.get_mut(self.question(&row)?) {
                keys.found.push((position, short));
            }
        }
        Ok(all)
    }

    /// The events from each snapshot on. Versions have no gap, so that a number of events is a range of versions.
    async fn tails_of(
        &self,
        begun: &[Begun],
        loads: &[Load],
        first: i64,
        page: &mut Page,
    ) -> Result<Vec<(usize, MySqlRow)>, StoreError> {
        let range = |begun: &Begun| {
            let events = loads.get(begun.question).map_or(0, |load| number(load.events));
            let from = begun.snapshot.unwrap_or(1).max(1);
            (events > 0).then_some((begun.question, begun.number, from, from.saturating_add(events - 1)))
        };
        let mut left: Vec<_> = begun.iter().filter_map(range).collect();
        let mut found = Vec::new();
        while !left.is_empty() {
            // a stream that is asked for twice is read twice: a row is of one question
            let mut of: HashMap<i64, usize> = HashMap::new();
            let (now, later) = left
                .into_iter()
                .partition::<Vec<_>, _>(|(question, stream, ..)| *of.entry(*stream).or_insert(*question) == *question);
            left = later;
            let mut text = Text::new(concat!(
                "SELECT ",
                event_columns!(),
                ", e.stream FROM events AS e FORCE INDEX (events_by_version) WHERE "
            ));
            text.each(&now, " OR ", |text, (_, stream, from, to)| {
                text.sql("(e.stream = ").number(*stream).sql(" AND e.version BETWEEN ").number(*from);
                text.sql(" AND ").number(*to).sql(")");
            });
            text.sql(" ORDER BY e.stream, e.version");
            let question = |row: &MySqlRow| {
                let stream = row.number(column::OWN)?.unwrap_or(i64::MAX);
                Ok::<_, sqlx::Error>(of.get(&stream).copied().unwrap_or(usize::MAX))
            };
            let takes = |page: &mut Page, row: &MySqlRow| {
                Ok(page.takes(Part::Event, first.saturating_add(number(question(row)?)), size(row)?))
            };
            for row in self.rows_of(&text, page, takes).await? {
                found.push((question(&row).map_err(|e| error::failed(&self.place, &e))?, row));
            }
        }
        Ok(found)
    }
}

/// Keys of a stream.
struct Keys {
    begun: Begun,
    most: usize,
    /// Each with the position of its record.
    found: Vec<(i64, i64)>,
}

impl Keys {
    fn row(mut self, first: i64) -> ServerRow {
        let complete = self.found.len() <= self.most;
        self.found.truncate(self.most);
        self.found.sort_unstable();
        ServerRow::Keys {
            question: first + number(self.begun.question),
            stream: self.begun.number,
            complete,
            keys: self.found.iter().flat_map(|(_, short)| short.to_be_bytes()).collect(),
        }
    }
}

/// A table of questions with two numbers: `n`, `a`, `b`.
fn pairs(text: &mut Text, first: usize, pairs: &[(i64, i64)]) {
    text.sql("(");
    text.each(pairs.iter().enumerate(), " UNION ALL ", |text, (n, (a, b))| {
        let names = if n == 0 { [" AS n,", " AS a,", " AS b"] } else { [",", ",", ""] };
        text.sql("SELECT ").number(number(first + n)).sql(names[0]);
        text.number(*a).sql(names[1]).number(*b).sql(names[2]);
    });
    text.sql(")");
}

/// As a number of the database, which has no larger ones.
fn number(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
