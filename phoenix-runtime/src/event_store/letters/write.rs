//! Changes to the tables that need not be fast, inside a transaction of whoever calls; the same for every server.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait as _, Func};
use sea_orm::{ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, QueryFilter as _, QuerySelect as _};

use super::read::signed;
use super::table::{dead_letter_numbers, dead_letters, inbox};
use super::{Buried, Change, InboxKey, ROW_BYTES, Sealed, Standing};

/// How many rows are named in one statement, and inserted by one.
const AT_ONCE: usize = 256;
/// How many bytes are inserted by one, but for the last row.
const BYTES_AT_ONCE: usize = 1 << 20;
/// The row that has the last number.
const NUMBERS: i32 = 1;

/// Does a change, and counts what it has changed, where its askers are told.
pub(crate) async fn write<C: ConnectionTrait>(db: &C, change: Change<Vec<u8>>) -> Result<u64, DbErr> {
    match change {
        Change::Put(rows) => put(db, rows).await.map(|()| 0),
        Change::Tried(keys, due_micros) => tried(db, &keys, due_micros).await.map(|()| 0),
        Change::Finish(keys) => finish(db, &keys).await,
        Change::Replace(key, rows) => {
            if finish(db, &[key]).await? == 0 {
                return Ok(0);
            }
            put(db, rows).await.map(|()| 1)
        }
        Change::Bury(letters, keys) => {
            bury(db, letters).await?;
            finish(db, &keys).await
        }
        Change::Amend(number, body, _) => amend(db, number, body).await,
        Change::Settle(numbers, standing, time_micros) => settle(db, &numbers, standing, time_micros).await,
        Change::Forget(before) => {
            let forgotten = dead_letters::Entity::delete_many()
                .filter(dead_letters::Column::Standing.ne(Standing::Waiting.number()))
                .filter(dead_letters::Column::SettledMicros.lt(before))
                .exec(db)
                .await?;
            Ok(forgotten.rows_affected)
        }
    }
}

/// Keys by their topics and partitions, some at a time: the first offsets, and the hashes.
fn some_at_a_time(keys: &[InboxKey]) -> impl Iterator<Item = (&InboxKey, Vec<i64>, Vec<i64>)> {
    keys.chunk_by(|a, b| a.topic == b.topic && a.partition == b.partition)
        .flat_map(|place| place.chunks(AT_ONCE))
        .filter_map(|some| {
            let firsts = some.iter().map(|key| signed(key.first)).collect();
            let digests = some.iter().map(|key| signed(key.digest)).collect();
            Some((some.first()?, firsts, digests))
        })
}

/// Rows with these keys. A hash belongs to one of the offsets alone; it is compared in a form that no index serves, so
/// that not each pair of the two lists is looked for.
macro_rules! with_keys {
    ($ask:expr, $some:expr) => {{
        let (place, firsts, digests) = $some;
        $ask.filter(inbox::Column::Topic.eq(&*place.topic))
            .filter(inbox::Column::TopicPartition.eq(i32::from(place.partition)))
            .filter(inbox::Column::FirstOffset.is_in(firsts))
            .filter(Expr::col(inbox::Column::Digest).add(0_i64).is_in(digests))
    }};
}

async fn put<C: ConnectionTrait>(db: &C, rows: Vec<Sealed<Vec<u8>>>) -> Result<(), DbErr> {
    let keys: Vec<_> = rows.iter().map(|row| row.key.clone()).collect();
    let mut there = BTreeSet::new();
    for some in some_at_a_time(&keys) {
        let (topic, partition) = (some.0.topic.clone(), some.0.partition);
        let found: Vec<(i64, i64)> = with_keys!(inbox::Entity::find(), some)
            .select_only()
            .columns([inbox::Column::FirstOffset, inbox::Column::Digest])
            .into_tuple()
            .all(db)
            .await?;
        let key = |(first, digest): (i64, i64)| InboxKey {
            topic: topic.clone(),
            partition,
            first: first.cast_unsigned(),
            digest: digest.cast_unsigned(),
        };
        there.extend(found.into_iter().map(key));
    }
    let (mut open, mut bytes) = (Vec::new(), 0);
    for row in rows.into_iter().filter(|row| !there.contains(&row.key)) {
        bytes += row.bytes;
        open.push(row_model(row));
        if open.len() >= AT_ONCE || bytes >= BYTES_AT_ONCE {
            inbox::Entity::insert_many(std::mem::take(&mut open)).exec_without_returning(db).await?;
            bytes = 0;
        }
    }
    if !open.is_empty() {
        inbox::Entity::insert_many(open).exec_without_returning(db).await?;
    }
    Ok(())
}

fn row_model(Sealed { key, row, bytes, body }: Sealed<Vec<u8>>) -> inbox::ActiveModel {
    inbox::ActiveModel {
        topic: Set(key.topic.to_string()),
        topic_partition: Set(key.partition.into()),
        first_offset: Set(signed(key.first)),
        digest: Set(signed(key.digest)),
        last_offset: Set(signed(row.last)),
        due_micros: Set(row.due_micros),
        messages: Set(row.messages.into()),
        tries: Set(row.tries.into()),
        bytes: Set(i32::try_from(bytes).unwrap_or(i32::MAX)),
        slice_group: Set(row.group.0.into()),
        codec: Set(row.codec.into()),
        hold_aggregate: Set(row.hold.as_ref().map(|hold| hold.aggregate.to_string())),
        hold_id: Set(row.hold.as_ref().map(|hold| hold.id.to_string())),
        body: Set(body),
    }
}

async fn tried<C: ConnectionTrait>(db: &C, keys: &[InboxKey], due_micros: i64) -> Result<(), DbErr> {
    for some in some_at_a_time(keys) {
        with_keys!(inbox::Entity::update_many(), some)
            .col_expr(inbox::Column::Tries, Expr::col(inbox::Column::Tries).add(1))
            .col_expr(inbox::Column::DueMicros, Expr::val(due_micros))
            .exec(db)
            .await?;
    }
    Ok(())
}

async fn finish<C: ConnectionTrait>(db: &C, keys: &[InboxKey]) -> Result<u64, DbErr> {
    let mut finished = 0;
    for some in some_at_a_time(keys) {
        finished += with_keys!(inbox::Entity::delete_many(), some).exec(db).await?.rows_affected;
    }
    Ok(finished)
}

async fn bury<C: ConnectionTrait>(db: &C, letters: Vec<Buried<Vec<u8>>>) -> Result<(), DbErr> {
    use dead_letter_numbers::{Column as Numbers, Entity};
    if letters.is_empty() {
        return Ok(());
    }
    // whoever buries comes one after the other, and sees what the one before has buried
    let numbers = Entity::find_by_id(NUMBERS).lock_exclusive().one(db).await?;
    let missing = || DbErr::Type("the row of the table `dead_letter_numbers` is missing".to_owned());
    let mut last = numbers.ok_or_else(missing)?.last_number;
    let there = buried(db, &letters).await?;
    let (mut open, mut bytes) = (Vec::new(), 0);
    for letter in letters.into_iter().filter(|buried| !there.contains(&place(buried))) {
        last += 1;
        bytes += letter.body.len();
        open.push(letter_model(last, letter));
        if open.len() >= AT_ONCE || bytes >= BYTES_AT_ONCE {
            dead_letters::Entity::insert_many(std::mem::take(&mut open)).exec_without_returning(db).await?;
            bytes = 0;
        }
    }
    if !open.is_empty() {
        dead_letters::Entity::insert_many(open).exec_without_returning(db).await?;
    }
    Entity::update_many()
        .col_expr(Numbers::LastNumber, Expr::val(last))
        .filter(Numbers::Id.eq(NUMBERS))
        .exec(db)
        .await
        .map(drop)
}

/// Topic, partition and offset.
type Place = (String, i32, i64);

fn place(Buried { letter, .. }: &Buried<Vec<u8>>) -> Place {
    (letter.topic.to_string(), letter.partition.into(), signed(letter.offset))
}

/// Which of them are there already.
async fn buried<C: ConnectionTrait>(db: &C, letters: &[Buried<Vec<u8>>]) -> Result<BTreeSet<Place>, DbErr> {
    use dead_letters::Column;
    let mut by_partition: BTreeMap<(String, i32), Vec<i64>> = BTreeMap::new();
    for (topic, partition, offset) in letters.iter().map(place) {
        by_partition.entry((topic, partition)).or_default().push(offset);
    }
    let mut there = BTreeSet::new();
    for ((topic, partition), offsets) in by_partition {
        for some in offsets.chunks(AT_ONCE) {
            let found: Vec<i64> = dead_letters::Entity::find()
                .select_only()
                .column(Column::RecordOffset)
                .filter(Column::Topic.eq(&*topic))
                .filter(Column::TopicPartition.eq(partition))
                .filter(Column::RecordOffset.is_in(some.iter().copied()))
                // what was buried while the numbers were waited for is seen by a locking read alone
                .lock_exclusive()
                .into_tuple()
                .all(db)
                .await?;
            there.extend(found.into_iter().map(|offset| (topic.clone(), partition, offset)));
        }
    }
    Ok(there)
}

fn letter_model(number: i64, Buried { letter, body }: Buried<Vec<u8>>) -> dead_letters::ActiveModel {
    let text = |text: Option<std::sync::Arc<str>>| text.map(|text| text.to_string());
    dead_letters::ActiveModel {
        number: Set(number),
        record_offset: Set(signed(letter.offset)),
        time_micros: Set(letter.time_micros),
        settled_micros: Set(None),
        tries: Set(letter.tries.into()),
        bytes: Set(i32::try_from(ROW_BYTES + letter.reason.len() + body.len()).unwrap_or(i32::MAX)),
        topic_partition: Set(letter.partition.into()),
        slice: Set(letter.slice.map(|slice| slice.0.into())),
        standing: Set(letter.standing.number()),
        codec: Set(letter.codec.into()),
        topic: Set(letter.topic.to_string()),
        aggregate: Set(text(letter.aggregate)),
        id: Set(text(letter.id)),
        name: Set(text(letter.name)),
        message_id: Set(letter.message_id.map(|id| id.0.as_bytes().to_vec())),
        code: Set(letter.code.to_string()),
        reason: Set(letter.reason),
        body: Set(body),
        original: Set(None),
    }
}

async fn amend<C: ConnectionTrait>(db: &C, number: u64, body: Vec<u8>) -> Result<u64, DbErr> {
    use dead_letters::Column;
    let length = |what: Expr| Expr::expr(Func::cust("length").arg(what));
    let first = || Expr::expr(Func::coalesce([Expr::col(Column::Original), Expr::col(Column::Body)]));
    let reason = Expr::expr(Func::cust("octet_length").arg(Expr::col(Column::Reason)));
    let rest = i64::try_from(ROW_BYTES + body.len()).unwrap_or(i64::MAX);
    // in an order that is right also where an assignment sees what the ones before it have changed
    let amended = dead_letters::Entity::update_many()
        .col_expr(Column::Bytes, reason.add(length(first())).add(rest))
        .col_expr(Column::Original, first())
        .col_expr(Column::Body, Expr::val(body))
        .filter(Column::Number.eq(signed(number)))
        .filter(Column::Standing.eq(Standing::Waiting.number()))
        .exec(db)
        .await?;
    Ok(amended.rows_affected)
}

async fn settle<C: ConnectionTrait>(
    db: &C,
    numbers: &[u64],
    standing: Standing,
    time_micros: i64,
) -> Result<u64, DbErr> {
    use dead_letters::Column;
    let settled = (standing != Standing::Waiting).then_some(time_micros);
    let mut changed = 0;
    for some in numbers.chunks(AT_ONCE) {
        let done = dead_letters::Entity::update_many()
            .col_expr(Column::Standing, Expr::val(standing.number()))
            .col_expr(Column::SettledMicros, Expr::val(settled))
            .filter(Column::Number.is_in(some.iter().map(|number| signed(*number))))
            .filter(Column::Standing.ne(standing.number()))
            .exec(db)
            .await?;
        changed += done.rows_affected;
    }
    Ok(changed)
}
