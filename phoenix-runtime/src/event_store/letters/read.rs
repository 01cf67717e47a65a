//! Questions to the tables, the same for every database.
//!
//! What an answer has room for is found out first, by keys and sizes alone; so bodies that have none are not sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, Select,
};
use uuid::Uuid;

use super::table::{dead_letters, inbox};
use super::{Backlog, DeadFilter, DeadLetter, Due, InboxKey, InboxRow, MOST_ROWS, Standing, digest};
use crate::domain::id::{AggregateId, MessageId, Slice};
use crate::event_store::port::{PAGE_BYTES, Partition, StoreError, StreamId};
use crate::event_store::rules::Room;

/// Where the tables are.
pub(crate) trait Tables: Sync {
    /// What they are asked through.
    type Connection: ConnectionTrait + Sync;

    /// What they are asked through.
    fn connection(&self) -> &Self::Connection;

    /// What an error of a question means.
    fn asked(&self, error: &DbErr) -> StoreError;

    /// What is stored is not what Phoenix wrote.
    fn spoilt(&self, what: &dyn Display) -> StoreError;
}

/// A number as the databases have it, which have no larger ones.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn most(limit: usize) -> u64 {
    limit.min(MOST_ROWS) as u64
}

pub(crate) async fn due<T: Tables>(tables: &T, question: Due) -> Result<Vec<InboxRow>, StoreError> {
    use inbox::Column;
    let partitions: BTreeSet<_> = question.partitions.iter().map(|partition| i32::from(*partition)).collect();
    if partitions.is_empty() || question.limit == 0 {
        return Ok(Vec::new());
    }
    let mut ask = inbox::Entity::find()
        .select_only()
        .columns([Column::TopicPartition, Column::FirstOffset, Column::Bytes])
        .filter(Column::Topic.eq(&*question.topic))
        .filter(Column::TopicPartition.is_in(partitions))
        .filter(Column::DueMicros.lte(question.until_micros));
    let topic = Arc::clone(&question.topic);
    let after = question.after.filter(|after| after.topic == topic);
    if let Some(after) = &after {
        ask = ask.filter(behind(after));
    }
    let sizes: Vec<(i32, i64, i32)> = in_order(ask)
        .limit(most(question.limit))
        .into_tuple()
        .all(tables.connection())
        .await
        .map_err(|e| tables.asked(&e))?;
    let room = question.bytes.min(PAGE_BYTES);
    let (mut fits, mut bytes) = (BTreeMap::<i32, (i64, u64)>::new(), 0);
    for (partition, first, size) in sizes {
        if !fits.is_empty() && bytes >= room {
            break;
        }
        bytes += usize::try_from(size).unwrap_or(0);
        let (last, rows) = fits.entry(partition).or_insert((first, 0));
        (*last, *rows) = (first, *rows + 1);
    }
    let mut found = Vec::new();
    for (partition, (last, rows)) in fits {
        let mut ask = inbox::Entity::find()
            .filter(Column::Topic.eq(&*question.topic))
            .filter(Column::TopicPartition.eq(partition))
            .filter(Column::FirstOffset.lte(last))
            .filter(Column::DueMicros.lte(question.until_micros));
        if let Some(after) = &after {
            ask = ask.filter(behind(after));
        }
        let rows = in_order(ask).limit(rows).all(tables.connection()).await.map_err(|e| tables.asked(&e))?;
        for row in rows {
            found.push(row_of(row, &topic).map_err(|what| tables.spoilt(&what))?);
        }
    }
    Ok(found)
}

fn in_order(ask: Select<inbox::Entity>) -> Select<inbox::Entity> {
    use inbox::Column;
    ask.order_by_asc(Column::TopicPartition).order_by_asc(Column::FirstOffset).order_by_asc(Column::Digest)
}

/// The rows of a topic behind one of it.
fn behind(after: &InboxKey) -> Condition {
    use inbox::Column;
    let partition = i32::from(after.partition);
    let (first, digest) = (signed(after.first), signed(after.digest));
    let same_first = Condition::all().add(Column::FirstOffset.eq(first)).add(Column::Digest.gt(digest));
    let same_partition = Condition::all()
        .add(Column::TopicPartition.eq(partition))
        .add(Condition::any().add(Column::FirstOffset.gt(first)).add(same_first));
    Condition::any().add(Column::TopicPartition.gt(partition)).add(same_partition)
}

fn row_of(row: inbox::Model, topic: &Arc<str>) -> Result<InboxRow, String> {
    let at = format!("offset {} of {topic}/{} in the inbox", row.first_offset, row.topic_partition);
    let digest_then = row.digest.cast_unsigned();
    let whole = || {
        let hold = match (row.hold_aggregate, row.hold_id) {
            (Some(aggregate), Some(id)) => {
                Some(StreamId { aggregate: aggregate.into(), id: AggregateId::new(id).ok()? })
            }
            _ => None,
        };
        Some(InboxRow {
            topic: Arc::clone(topic),
            partition: row.topic_partition.try_into().ok()?,
            first: row.first_offset.try_into().ok()?,
            last: row.last_offset.try_into().ok()?,
            messages: row.messages.try_into().ok()?,
            group: Partition(row.slice_group.try_into().ok()?),
            tries: row.tries.try_into().ok()?,
            due_micros: row.due_micros,
            hold,
            codec: row.codec.try_into().ok()?,
            body: row.body,
        })
    };
    let found = whole().ok_or_else(|| format!("the row at {at} is not what Phoenix writes"))?;
    if digest(found.codec, &found.body) == digest_then {
        Ok(found)
    } else {
        Err(format!("the bytes of the row at {at} are not those that were written"))
    }
}

pub(crate) async fn backlog<T: Tables>(
    tables: &T,
    topic: Option<Arc<str>>,
) -> Result<BTreeMap<(Arc<str>, u16), Backlog>, StoreError> {
    use inbox::Column;
    let sum = |column: Column| column.sum().cast_as("CHAR(20)");
    let mut ask = inbox::Entity::find()
        .select_only()
        .columns([Column::Topic, Column::TopicPartition])
        .expr(Column::FirstOffset.count())
        .expr(sum(Column::Messages))
        .expr(sum(Column::Bytes))
        .expr(Column::DueMicros.min())
        .group_by(Column::Topic)
        .group_by(Column::TopicPartition);
    if let Some(topic) = &topic {
        ask = ask.filter(Column::Topic.eq(&**topic));
    }
    let rows: Vec<(String, i32, i64, String, String, i64)> =
        ask.into_tuple().all(tables.connection()).await.map_err(|e| tables.asked(&e))?;
    let mut all = BTreeMap::new();
    for (topic, partition, rows, messages, bytes, due) in rows {
        let read = || {
            let backlog = Backlog {
                rows: rows.try_into().ok()?,
                messages: messages.trim_end().parse().ok()?,
                bytes: bytes.trim_end().parse().ok()?,
                due_micros: Some(due),
            };
            Some((u16::try_from(partition).ok()?, backlog))
        };
        let what = || tables.spoilt(&format!("the backlog of {topic}/{partition} is no number"));
        let (partition, backlog) = read().ok_or_else(what)?;
        all.insert((topic.into(), partition), backlog);
    }
    Ok(all)
}

pub(crate) async fn dead<T: Tables>(
    tables: &T,
    filter: DeadFilter,
    after: u64,
    limit: usize,
) -> Result<Vec<DeadLetter>, StoreError> {
    use dead_letters::Column;
    let wanted = [
        (Column::Topic, filter.topic),
        (Column::Aggregate, filter.aggregate),
        (Column::Id, filter.id),
        (Column::Code, filter.code),
    ];
    let mut ask = dead_letters::Entity::find()
        .select_only()
        .columns([Column::Number, Column::Bytes])
        .filter(Column::Number.gt(signed(after)));
    for (column, wanted) in wanted {
        if let Some(wanted) = wanted {
            ask = ask.filter(column.eq(&*wanted));
        }
    }
    if let Some(standing) = filter.standing {
        ask = ask.filter(Column::Standing.eq(standing.number()));
    }
    let sizes: Vec<(i64, i32)> = ask
        .order_by_asc(Column::Number)
        .limit(most(limit))
        .into_tuple()
        .all(tables.connection())
        .await
        .map_err(|e| tables.asked(&e))?;
    let mut room = Room::default();
    let fits = sizes.into_iter().take_while(|(_, bytes)| room.takes(usize::try_from(*bytes).unwrap_or(0)));
    let numbers: Vec<i64> = fits.map(|(number, _)| number).collect();
    let mut found = Vec::with_capacity(numbers.len());
    // few values in a statement, which every database takes
    for some in numbers.chunks(256) {
        let rows = dead_letters::Entity::find()
            .filter(Column::Number.is_in(some.iter().copied()))
            .order_by_asc(Column::Number)
            .all(tables.connection())
            .await
            .map_err(|e| tables.asked(&e))?;
        for row in rows {
            found.push(letter_of(tables, row)?);
        }
    }
    Ok(found)
}

pub(crate) async fn dead_letter<T: Tables>(tables: &T, number: u64) -> Result<Option<DeadLetter>, StoreError> {
    let row = dead_letters::Entity::find_by_id(signed(number)).one(tables.connection()).await;
    row.map_err(|e| tables.asked(&e))?.map(|row| letter_of(tables, row)).transpose()
}

fn letter_of<T: Tables>(tables: &T, row: dead_letters::Model) -> Result<DeadLetter, StoreError> {
    let number = row.number;
    let whole = || {
        let message_id = match row.message_id {
            Some(bytes) => Some(MessageId(Uuid::from_slice(&bytes).ok()?)),
            None => None,
        };
        let slice = match row.slice {
            Some(slice) => Some(Slice(slice.try_into().ok()?)),
            None => None,
        };
        Some(DeadLetter {
            number: number.try_into().ok()?,
            topic: row.topic.into(),
            partition: row.topic_partition.try_into().ok()?,
            offset: row.record_offset.try_into().ok()?,
            aggregate: row.aggregate.map(Into::into),
            id: row.id.map(Into::into),
            name: row.name.map(Into::into),
            message_id,
            slice,
            code: row.code.into(),
            reason: row.reason,
            tries: row.tries.try_into().ok()?,
            time_micros: row.time_micros,
            standing: Standing::from_number(row.standing)?,
            settled_micros: row.settled_micros,
            codec: row.codec.try_into().ok()?,
            body: row.body,
            original: row.original,
        })
    };
    whole().ok_or_else(|| tables.spoilt(&format!("dead letter {number} is not what Phoenix writes")))
}

pub(crate) async fn dead_counts<T: Tables>(tables: &T) -> Result<BTreeMap<String, u64>, StoreError> {
    use dead_letters::Column;
    let counts: Vec<(String, i64)> = dead_letters::Entity::find()
        .select_only()
        .column(Column::Code)
        .expr(Expr::col(Column::Number).count())
        .filter(Column::Standing.eq(Standing::Waiting.number()))
        .group_by(Column::Code)
        .into_tuple()
        .all(tables.connection())
        .await
        .map_err(|e| tables.asked(&e))?;
    Ok(counts.into_iter().map(|(code, count)| (code, count.cast_unsigned())).collect())
}
