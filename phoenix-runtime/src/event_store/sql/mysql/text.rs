//! Statements as text. What is not a number goes in as hexadecimal digits, so that no value can be read as SQL.
//!
//! An append is one text and so one round trip, whatever its size: MariaDB takes prepared statements of a thousand rows
//! a little faster, but each number of rows would be another statement, and each one more a round trip.

use std::fmt::Write as _;

use super::super::dialect::{Held, Row};
use crate::event_store::port::StreamId;

/// A statement that grows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

impl Text {
    pub(super) fn new(start: &str) -> Self {
        Self(start.to_owned())
    }

    pub(super) fn sql(&mut self, sql: &str) -> &mut Self {
        self.0.push_str(sql);
        self
    }

    pub(super) fn number(&mut self, number: i64) -> &mut Self {
        // writing into a text can't fail
        let _ = write!(self.0, "{number}");
        self
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
        self.0.reserve(bytes.len() * 2 + 3);
        self.0.push_str("x'");
        for byte in bytes {
            self.0.push(digit(byte >> 4));
            self.0.push(digit(*byte));
        }
        self.0.push('\'');
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.0.push_str("_utf8mb4 ");
        self.bytes(text.as_bytes())
    }

    /// Writes each item, with a text in between.
    pub(super) fn each<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        between: &str,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        for (n, item) in items.into_iter().enumerate() {
            if n > 0 {
                self.0.push_str(between);
            }
            write(self, item);
        }
        self
    }

    pub(super) fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) -> &mut Self {
        self.0.push(',');
        match value {
            Some(value) => write(self, value),
            None => self.0.push_str("NULL"),
        }
        self
    }
}

/// Statements that are sent at once; the server stops at the first one that fails.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) sql: String,
    /// How many statements it has.
    pub(super) statements: usize,
}

/// A transaction in as few parts as the server's packets allow.
#[derive(Debug)]
pub(super) struct Transaction {
    parts: Vec<Part>,
    open: Part,
    /// How many bytes a part may have.
    limit: usize,
}

/// An item that no part has room for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge {
    pub(super) item: usize,
    pub(super) bytes: usize,
}

const COMMIT: &str = "COMMIT";

impl Transaction {
    pub(super) fn new(limit: usize) -> Self {
        let open = Part { sql: "START TRANSACTION".to_owned(), statements: 1 };
        Self { parts: Vec::new(), open, limit }
    }

    /// Adds a statement that always fits.
    pub(super) fn statement(&mut self, text: &Text) -> &mut Self {
        self.open.sql.push(';');
        self.open.sql.push_str(&text.0);
        self.open.statements += 1;
        self
    }

    /// Adds `start item, item, ... end`, in as many statements and parts as it takes.
    pub(super) fn list<T>(
        &mut self,
        start: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Text, T),
        end: &str,
    ) -> Result<&mut Self, TooLarge> {
        let (mut text, mut begun) = (Text::default(), false);
        for (item, value) in items.into_iter().enumerate() {
            text.0.clear();
            write(&mut text, value);
            // a comma or a semicolon, and the end of the transaction
            let needed = text.0.len() + end.len() + COMMIT.len() + 2;
            let more = if begun { 0 } else { start.len() };
            if self.open.statements > 0 && self.open.sql.len() + more + needed > self.limit {
                if begun {
                    self.open.sql.push_str(end);
                }
                self.parts.push(std::mem::take(&mut self.open));
                begun = false;
            }
            if begun {
                self.open.sql.push(',');
            } else {
                if self.open.statements > 0 {
                    self.open.sql.push(';');
                }
                self.open.sql.push_str(start);
                self.open.statements += 1;
                begun = true;
            }
            self.open.sql.push_str(&text.0);
            let bytes = self.open.sql.len() + end.len() + COMMIT.len() + 1;
            if bytes > self.limit {
                return Err(TooLarge { item, bytes });
            }
        }
        if begun {
            self.open.sql.push_str(end);
        }
        Ok(self)
    }

    /// All parts; the last statement of the last one commits.
    pub(super) fn commit(mut self) -> Vec<Part> {
        self.statement(&Text::new(COMMIT));
        self.parts.push(self.open);
        self.parts
    }
}

/// Locks the partitions until the transaction ends, and fails where one is not held: by a sum that is too large, for
/// without a stored procedure a text stops only at an error. A locking read shows the newest committed row, also
/// after it waited.
pub(super) fn fence(fence: &[Held]) -> Text {
    let rows = i64::try_from(fence.len()).unwrap_or(i64::MAX);
    let mut text = Text::new("SELECT 9223372036854775807 + (COUNT(*) <> ");
    text.number(rows).sql(" OR COALESCE(SUM(CASE p.`partition`");
    for held in fence {
        text.sql(" WHEN ").number(held.partition.0.into());
        text.sql(" THEN p.epoch <> ").number(held.epoch.0.cast_signed());
        text.sql(" OR p.moves <> ").number(held.moves);
    }
    text.sql(" ELSE 1 END), 1) > 0) FROM partitions AS p FORCE INDEX (PRIMARY) WHERE p.`partition` IN (");
    text.each(fence, ",", |text, held| {
        text.number(held.partition.0.into());
    });
    text.sql(") LOCK IN SHARE MODE");
    text
}

pub(super) const STREAMS: &str = "INSERT INTO streams (stream, aggregate, id) VALUES ";

pub(super) fn stream(text: &mut Text, (number, stream): (i64, &StreamId)) {
    text.sql("(").number(number).sql(",").text(&stream.aggregate).sql(",").text(stream.id.as_str()).sql(")");
}

pub(super) const NAMES: &str = "INSERT INTO event_names (aggregate, event_name) VALUES ";
/// A name that is there already stays as it is.
pub(super) const NAMES_END: &str = " ON DUPLICATE KEY UPDATE event_name = event_names.event_name";

pub(super) fn name(text: &mut Text, (aggregate, name): (&str, &str)) {
    text.sql("(").text(aggregate).sql(",").text(name).sql(")");
}

pub(super) const EVENTS: &str = "INSERT INTO events (position, stream, version, dedup_short, time_micros, payload_hash, \
                                 outcome_version, schema_version, codec, outcome_kind, outcome_codec, dedup, command_id, \
                                 event_name, command_name, `key`, correlation_id, causation_id, outcome_body, payload) \
                                 VALUES ";

/// The values of one row.
pub(super) fn event(text: &mut Text, row: &Row<'_>) {
    let event = row.record.event.as_ref();
    let command = row.record.command.as_deref();
    let outcome = command.map(|command| &command.outcome);
    let number = |text: &mut Text, number: i64| {
        text.number(number);
    };
    let bytes = |text: &mut Text, bytes: &[u8]| {
        text.bytes(bytes);
    };
    let chars = |text: &mut Text, chars: &str| {
        text.text(chars);
    };
    text.sql("(").number(row.position).sql(",").number(row.stream);
    text.maybe(row.version, number);
    text.maybe(command.map(|c| c.dedup.short().cast_signed()), number);
    text.sql(",").number(row.record.time_micros);
    text.maybe(command.map(|c| c.payload_hash.cast_signed()), number);
    text.maybe(outcome.map(|o| o.version.cast_signed()), number);
    text.maybe(event.map(|e| i64::from(e.schema_version.cast_signed())), number);
    text.maybe(event.map(|e| e.codec.into()), number);
    text.maybe(outcome.map(|o| o.kind as i64), number);
    text.maybe(outcome.map(|o| o.codec.into()), number);
    text.maybe(command.map(|c| &c.dedup.0[..]), bytes);
    text.maybe(command.map(|c| &c.id.0.as_bytes()[..]), bytes);
    text.maybe(event.map(|e| &*e.name), chars);
    text.maybe(command.map(|c| &*c.name), chars);
    text.maybe(command.and_then(|c| c.key.as_deref()), chars);
    text.maybe(command.and_then(|c| c.correlation_id.as_deref()), chars);
    text.maybe(command.and_then(|c| c.causation_id.as_deref()), chars);
    text.maybe(outcome.map(|o| &o.body[..]), bytes);
    text.maybe(event.map(|e| &e.payload[..]), bytes);
    text.sql(")");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_read_as_sql() {
        #[track_caller]
        fn check(value: &str, expected: &str) {
            assert_eq!(Text::default().text(value).0, expected);
        }
        check("", "_utf8mb4 x''");
        check("a'b\\", "_utf8mb4 x'6127625C'");
        check("\u{1F525}", "_utf8mb4 x'F09F94A5'");
    }

    #[test]
    fn no_part_is_larger_than_a_packet() {
        let write = |text: &mut Text, item: &str| {
            text.sql(item);
        };
        let items = vec!["1234567890"; 20];
        for limit in 60..400 {
            let mut transaction = Transaction::new(limit);
            transaction.statement(&Text::new("SELECT 1"));
            transaction.list("INSERT ", items.iter().copied(), write, " END").expect("each fits");
            let parts = transaction.commit();
            assert!(parts.iter().all(|part| part.sql.len() <= limit), "{limit}: {parts:?}");
            let all: Vec<_> = parts.iter().flat_map(|part| part.sql.split(';')).collect();
            assert_eq!(all.len(), parts.iter().map(|part| part.statements).sum::<usize>());
            assert_eq!((all.first(), all.last()), (Some(&"START TRANSACTION"), Some(&"COMMIT")));
            let rows =
                |sql: &&str| sql.strip_prefix("INSERT ").and_then(|sql| sql.strip_suffix(" END")).map(str::to_owned);
            let rows: Vec<_> = all.iter().filter_map(rows).collect();
            assert_eq!(rows.join(","), items.join(","));
        }
        let mut transaction = Transaction::new(60);
        let long = "x".repeat(60);
        let refused = transaction.list("INSERT ", ["1", &long, "2"], write, "").map(drop);
        assert_eq!(refused.map_err(|refused| refused.item), Err(1));
    }
}
