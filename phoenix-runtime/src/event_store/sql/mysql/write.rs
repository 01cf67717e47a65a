//! Transactions: each in one round trip, unless it is larger than a packet.

use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sea_orm::sqlx::mysql::{MySqlConnection, MySqlRow};
use sea_orm::sqlx::{self, AssertSqlSafe, Either, Executor as _, raw_sql};
use tokio::time::timeout;

use super::super::connections::Lease;
use super::super::database;
use super::super::dialect::{Failure, Held, Insert, Inserted};
use super::text::{self, Part, Text, TooLarge, Transaction};
use super::{MySqlDatabase, error};
use crate::event_store::port::{Partition, StoreError};

/// How often a transaction is tried that the server ends because others waited for it.
const TRIES: usize = 5;
/// The statement of an append that checks the fence.
const FENCE: usize = 1;
/// How many characters a name of an aggregate, a command or an event has at most.
const MOST_NAME: usize = 255;

/// Why a transaction was not done.
pub(super) struct Undone {
    /// How many statements were done before.
    done: usize,
    pub(super) error: StoreError,
    number: Option<u16>,
}

impl MySqlDatabase {
    /// Waits for open appends, which hold these rows; locks in one order, so that two owners never wait for each other.
    pub(super) async fn raise_epochs(&self, partitions: &[Partition]) -> Result<Vec<Held>, StoreError> {
        let mut rows = Text::new(" WHERE p.`partition` IN (");
        rows.each(partitions, ",", |text, partition| {
            text.number(partition.0.into());
        });
        rows.sql(") ORDER BY p.`partition`");
        let mut transaction = Transaction::new(self.max_packet);
        transaction
            .statement(Text::new("UPDATE partitions AS p SET p.epoch = p.epoch + 1").sql(&rows.0))
            .statement(Text::new("SELECT p.`partition`, p.epoch, p.moves FROM partitions AS p").sql(&rows.0));
        let rows = self.transact(&transaction.commit(), None).await.map_err(|undone| undone.error)?;
        self.held_of(rows.unwrap_or_default())
    }

    pub(super) async fn insert_all(&self, insert: &Insert<'_>) -> Result<Inserted, Failure> {
        check_names(insert)?;
        let parts = self.parts(insert).map_err(|too_large| self.too_large(&too_large))?;
        match self.transact(&parts, Some(insert.connections)).await {
            Ok(Some(_)) => Ok(Inserted::Done),
            Ok(None) => Ok(Inserted::OtherServer),
            Err(Undone { done: FENCE, number: Some(error::OUT_OF_RANGE), .. }) => Ok(Inserted::NotHeld),
            Err(Undone { number: Some(error::DUPLICATE), .. }) => Err(Failure::Taken),
            Err(Undone { error: StoreError::Refused { reason, .. }, .. }) => {
                // the server does not say which one
                Err(Failure::Store(StoreError::Refused { index: insert.largest(), reason }))
            }
            Err(undone) => Err(Failure::Store(undone.error)),
        }
    }

    pub(super) fn too_large(&self, TooLarge { item, bytes }: &TooLarge) -> StoreError {
        let reason = format!(
            "it takes a statement of {bytes} bytes, and the database takes {}; raise its max_allowed_packet",
            self.max_packet
        );
        StoreError::Refused { index: *item, reason }
    }

    fn parts(&self, insert: &Insert<'_>) -> Result<Vec<Part>, TooLarge> {
        let mut transaction = Transaction::new(self.max_packet);
        transaction.statement(&text::fence(&insert.fence));
        transaction.list(text::NAMES, insert.names.iter().copied(), text::name, text::NAMES_END)?;
        transaction.list(text::STREAMS, insert.streams.iter().copied(), text::stream, "")?;
        transaction.list(text::EVENTS, &insert.rows, text::event, "")?;
        Ok(transaction.commit())
    }

    /// Does a transaction, and again where the server has ended it for the sake of others. `None` if it rests on what
    /// was learned when so many connections had been made, and there are more: then nothing was sent.
    pub(super) async fn transact(
        &self,
        parts: &[Part],
        connections: Option<u64>,
    ) -> Result<Option<Vec<MySqlRow>>, Undone> {
        let mut tries = 1;
        loop {
            match self.transact_once(parts, connections).await {
                Err(undone) if undone.number == Some(error::DEADLOCK) && tries < TRIES => tries += 1,
                result => return result,
            }
        }
    }

    async fn transact_once(&self, parts: &[Part], connections: Option<u64>) -> Result<Option<Vec<MySqlRow>>, Undone> {
        let not_sent = |error: sqlx::Error| Undone { done: 0, error: error::failed(&self.place, &error), number: None };
        let mut lease = self.writers.take().await.map_err(not_sent)?;
        if connections.is_some_and(|connections| connections != self.made.count()) {
            lease.keep();
            return Ok(None);
        }
        let (mut rows, mut done) = (Vec::new(), 0);
        for (n, part) in parts.iter().enumerate() {
            let before = done;
            let last = n + 1 == parts.len();
            let answer = timeout(self.answer_timeout, send(&mut lease.connection, part, &mut rows, &mut done)).await;
            // the commit is the last statement of all; what failed before it is rolled back
            let committing = last && done - before + 1 >= part.statements;
            match answer {
                Ok(Ok(())) => {}
                Ok(Err(error)) if error::is_lost(&error) => {
                    self.writers.discard_idle();
                    let number = error::number(&error);
                    // a server that gives a reason has not gone on; a proxy knows nothing of it
                    let told = number.is_some_and(|number| !error::is_of_a_proxy(number));
                    let known = !last || (told && !committing);
                    let error =
                        if known { error::failed(&self.place, &error) } else { error::unknown(&self.place, &error) };
                    return Err(Undone { done, error, number });
                }
                Ok(Err(error)) => {
                    let number = error::number(&error);
                    let told = if committing {
                        error::unknown(&self.place, &error)
                    } else {
                        error::failed(&self.place, &error)
                    };
                    if let ControlFlow::Continue(lease) = roll_back(lease, self.answer_timeout).await {
                        lease.keep();
                    }
                    return Err(Undone { done, error: told, number: number.filter(|_| !committing) });
                }
                Err(_) => {
                    let silence = database::silence(self.answer_timeout);
                    let error =
                        if last { error::unknown(&self.place, &silence) } else { error::failed(&self.place, &silence) };
                    return Err(Undone { done, error, number: None });
                }
            }
        }
        lease.keep();
        Ok(Some(rows))
    }
}

/// Sends statements, and counts those that were done.
async fn send(
    connection: &mut MySqlConnection,
    part: &Part,
    rows: &mut Vec<MySqlRow>,
    done: &mut usize,
) -> Result<(), sqlx::Error> {
    let mut answers = connection.fetch_many(raw_sql(AssertSqlSafe(part.sql.as_str())));
    while let Some(answer) = answers.try_next().await? {
        match answer {
            Either::Left(_) => *done += 1,
            Either::Right(row) => rows.push(row),
        }
    }
    Ok(())
}

/// Ends a transaction in which a statement failed; a connection that does not even do that is dropped.
async fn roll_back(
    mut lease: Lease<'_, MySqlConnection>,
    limit: Duration,
) -> ControlFlow<(), Lease<'_, MySqlConnection>> {
    match timeout(limit, lease.connection.execute("ROLLBACK")).await {
        Ok(Ok(_)) => ControlFlow::Continue(lease),
        _ => ControlFlow::Break(()),
    }
}

fn check_names(insert: &Insert<'_>) -> Result<(), StoreError> {
    for (index, row) in insert.rows.iter().enumerate() {
        let event = row.record.event.as_ref().map(|event| &*event.name);
        let command = row.record.command.as_ref().map(|command| &*command.name);
        for name in [Some(&*row.record.stream.aggregate), event, command].into_iter().flatten() {
            // bytes are never fewer than characters
            if name.len() > MOST_NAME && name.chars().count() > MOST_NAME {
                let reason = format!("the name `{name}` is longer than {MOST_NAME} characters");
                return Err(StoreError::Refused { index, reason });
            }
        }
    }
    Ok(())
}
