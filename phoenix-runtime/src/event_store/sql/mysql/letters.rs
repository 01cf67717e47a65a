//! The statements of the inbox that come with every batch of a bus, as text.

use super::MySqlDatabase;
use super::text::{Text, Transaction};
use crate::event_store::letters::{InboxKey, Sealed};
use crate::event_store::port::StoreError;

/// How many keys one statement names.
const AT_ONCE: usize = 256;

const PUT: &str = "INSERT INTO inbox (first_offset, digest, last_offset, due_micros, messages, tries, bytes, \
                   topic_partition, slice_group, codec, topic, hold_aggregate, hold_id, body) VALUES ";
/// A row that is there stays as it is.
const PUT_END: &str = " ON DUPLICATE KEY UPDATE digest = inbox.digest";

fn row(text: &mut Text, row: &Sealed<Vec<u8>>) {
    let numbers = [
        row.key.first.cast_signed(),
        row.key.digest.cast_signed(),
        row.row.last.cast_signed(),
        row.row.due_micros,
        row.row.messages.into(),
        row.row.tries.into(),
        i64::try_from(row.bytes).unwrap_or(i64::MAX),
        row.key.partition.into(),
        row.row.group.0.into(),
        row.row.codec.into(),
    ];
    let chars = |text: &mut Text, chars: &str| {
        text.text(chars);
    };
    let hold = row.row.hold.as_ref();
    text.sql("(").each(numbers, ",", |text, number| {
        text.number(number);
    });
    text.sql(",").text(&row.key.topic);
    text.maybe(hold.map(|hold| &*hold.aggregate), chars);
    text.maybe(hold.map(|hold| hold.id.as_str()), chars);
    text.sql(",").bytes(&row.body).sql(")");
}

/// One statement for the keys of each partition. A hash belongs to one of the offsets alone; it is compared in a form
/// that no index serves, so that not each pair of the two lists is looked for.
fn of_keys(transaction: &mut Transaction, start: &str, keys: &[InboxKey]) {
    let places = keys.chunk_by(|a, b| a.topic == b.topic && a.partition == b.partition);
    for some in places.flat_map(|place| place.chunks(AT_ONCE)) {
        let Some(place) = some.first() else { continue };
        let mut text = Text::new(start);
        text.sql(" WHERE topic = ").text(&place.topic).sql(" AND topic_partition = ").number(place.partition.into());
        text.sql(" AND first_offset IN (").each(some, ",", |text, key| {
            text.number(key.first.cast_signed());
        });
        text.sql(") AND digest + 0 IN (").each(some, ",", |text, key| {
            text.number(key.digest.cast_signed());
        });
        text.sql(")");
        transaction.statement(&text);
    }
}

impl MySqlDatabase {
    pub(super) async fn put_inbox(&self, rows: &[Sealed<Vec<u8>>]) -> Result<(), StoreError> {
        let mut transaction = Transaction::new(self.max_packet);
        transaction.list(PUT, rows, row, PUT_END).map_err(|too_large| self.too_large(&too_large))?;
        self.write(transaction).await
    }

    pub(super) async fn note_inbox(&self, keys: &[InboxKey], due_micros: i64) -> Result<(), StoreError> {
        let mut start = Text::new("UPDATE inbox SET tries = tries + 1, due_micros = ");
        start.number(due_micros);
        let mut transaction = Transaction::new(self.max_packet);
        of_keys(&mut transaction, &start.0, keys);
        self.write(transaction).await
    }

    pub(super) async fn finish_inbox(&self, keys: &[InboxKey]) -> Result<(), StoreError> {
        let mut transaction = Transaction::new(self.max_packet);
        of_keys(&mut transaction, "DELETE FROM inbox", keys);
        self.write(transaction).await
    }
}
