//! The statements of the inbox that come with every batch of a bus.

use sea_orm::sqlx::postgres::PgBindIterExt as _;
use sea_orm::sqlx::query;
use tokio::time::timeout;

use super::super::dialect::Failure;
use super::{PostgresDatabase, Query};
use crate::event_store::letters::{InboxKey, Sealed};
use crate::event_store::port::StoreError;

/// Rows that are there stay as they are.
const PUT: &str = "
INSERT INTO inbox (first_offset, digest, last_offset, due_micros, messages, tries, bytes, topic_partition, slice_group,
  codec, topic, hold_aggregate, hold_id, body)
SELECT unnest($1::bigint[]), unnest($2::bigint[]), unnest($3::bigint[]), unnest($4::bigint[]), unnest($5::bigint[]),
  unnest($6::bigint[]), unnest($7::integer[]), unnest($8::integer[]), unnest($9::integer[]), unnest($10::smallint[]),
  unnest($11::text[]), unnest($12::text[]), unnest($13::text[]), unnest($14::bytea[])
ON CONFLICT (topic, topic_partition, first_offset, digest) DO NOTHING";

const TRIED: &str = "
UPDATE inbox AS i SET tries = i.tries + 1, due_micros = $5
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[]) AS k(topic, topic_partition, first_offset, digest)
WHERE i.topic = k.topic AND i.topic_partition = k.topic_partition AND i.first_offset = k.first_offset
  AND i.digest = k.digest";

const FINISH: &str = "
DELETE FROM inbox AS i
USING unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[]) AS k(topic, topic_partition, first_offset, digest)
WHERE i.topic = k.topic AND i.topic_partition = k.topic_partition AND i.first_offset = k.first_offset
  AND i.digest = k.digest";

fn put<'q>(rows: &[Sealed<Vec<u8>>]) -> Query<'q> {
    let holds = || rows.iter().map(|row| row.row.hold.as_ref());
    query(PUT)
        .bind(rows.iter().map(|row| row.key.first.cast_signed()).bind_iter())
        .bind(rows.iter().map(|row| row.key.digest.cast_signed()).bind_iter())
        .bind(rows.iter().map(|row| row.row.last.cast_signed()).bind_iter())
        .bind(rows.iter().map(|row| row.row.due_micros).bind_iter())
        .bind(rows.iter().map(|row| i64::from(row.row.messages)).bind_iter())
        .bind(rows.iter().map(|row| i64::from(row.row.tries)).bind_iter())
        .bind(rows.iter().map(|row| i32::try_from(row.bytes).unwrap_or(i32::MAX)).bind_iter())
        .bind(rows.iter().map(|row| i32::from(row.key.partition)).bind_iter())
        .bind(rows.iter().map(|row| i32::from(row.row.group.0)).bind_iter())
        .bind(rows.iter().map(|row| i16::from(row.row.codec)).bind_iter())
        .bind(rows.iter().map(|row| &*row.key.topic).bind_iter())
        .bind(holds().map(|hold| hold.map(|hold| &*hold.aggregate)).bind_iter())
        .bind(holds().map(|hold| hold.map(|hold| hold.id.as_str())).bind_iter())
        .bind(rows.iter().map(|row| &row.body[..]).bind_iter())
}

fn of_keys<'q>(sql: &'static str, keys: &[InboxKey]) -> Query<'q> {
    query(sql)
        .bind(keys.iter().map(|key| &*key.topic).bind_iter())
        .bind(keys.iter().map(|key| i32::from(key.partition)).bind_iter())
        .bind(keys.iter().map(|key| key.first.cast_signed()).bind_iter())
        .bind(keys.iter().map(|key| key.digest.cast_signed()).bind_iter())
}

impl PostgresDatabase {
    pub(super) async fn put_inbox(&self, rows: &[Sealed<Vec<u8>>]) -> Result<(), StoreError> {
        let largest = rows.iter().enumerate().max_by_key(|(_, row)| row.bytes).map_or(0, |(index, _)| index);
        self.change_inbox(put(rows), largest).await
    }

    pub(super) async fn note_inbox(&self, keys: &[InboxKey], due_micros: i64) -> Result<(), StoreError> {
        self.change_inbox(of_keys(TRIED, keys).bind(due_micros), 0).await
    }

    pub(super) async fn finish_inbox(&self, keys: &[InboxKey]) -> Result<(), StoreError> {
        self.change_inbox(of_keys(FINISH, keys), 0).await
    }

    async fn change_inbox(&self, change: Query<'_>, largest: usize) -> Result<(), StoreError> {
        let mut lease = self.writer().await?;
        let answer = timeout(self.answer_timeout, change.execute(&mut lease.connection)).await;
        match self.written(lease, answer, largest) {
            Ok(_) => Ok(()),
            Err(Failure::Store(error)) => Err(error),
            Err(Failure::Taken) => Err(StoreError::Unavailable("a row of the inbox is there twice".to_owned())),
        }
    }
}
