//! Events whose bytes are in an archive: taken out here, and given back.

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

use super::SqlStore;
use super::dialect::Dialect;
use super::entity::events::{Column, Entity};
use super::reader::signed;
use crate::event_store::port::{ARCHIVED, StoreError, StoredEvent, StreamId};
use crate::event_store::rules;

/// How many rows are changed, and so locked, at once.
const AT_ONCE: u64 = 1000;

impl<D: Dialect> SqlStore<D> {
    pub(super) async fn strip_events(&self, stream: StreamId, up_to: u64) -> Result<u64, StoreError> {
        let Some(number) = self.number_of(&stream).await? else { return Ok(0) };
        let mut all = 0;
        loop {
            let stripped = self.strip_some(&stream, number, up_to).await?;
            all += stripped;
            // the oldest go first, so that what is stripped is a beginning, wherever this is cut short
            if stripped < AT_ONCE {
                return Ok(all);
            }
        }
    }

    async fn strip_some(&self, stream: &StreamId, number: i64, up_to: u64) -> Result<u64, StoreError> {
        let failed = |e| self.dialect.failed(&e);
        let transaction = self.begin().await?;
        self.settled_in(&transaction, stream.slice()).await?;
        let with_command = |then: Expr| Expr::case(Column::Dedup.is_not_null(), then).finally(Expr::null());
        // from the end, so that it costs as much as there is to strip, however long the stream is
        let newest: Option<Option<i64>> = Entity::find()
            .select_only()
            .column(Column::Version)
            .filter(Column::Stream.eq(number))
            .filter(Column::Version.lte(signed(up_to)))
            .filter(Column::Codec.eq(i16::from(ARCHIVED)))
            .order_by_desc(Column::Version)
            .limit(1)
            .into_tuple()
            // not by a second connection: those who wait for one would hold all of them
            .one(&transaction)
            .await
            .map_err(failed)?;
        let newest = newest.flatten().unwrap_or(0);
        let stripped = Entity::update_many()
            .col_expr(Column::Payload, Expr::val(Vec::<u8>::new()))
            .col_expr(Column::Codec, Expr::val(i16::from(ARCHIVED)))
            .col_expr(Column::OutcomeBody, with_command(Expr::val(Vec::<u8>::new())).into())
            .col_expr(Column::OutcomeCodec, with_command(Expr::val(i16::from(ARCHIVED))).into())
            .filter(Column::Stream.eq(number))
            .filter(Column::Version.gt(newest))
            .filter(Column::Version.lte(signed(up_to).min(newest.saturating_add(signed(AT_ONCE)))))
            .filter(Column::Codec.ne(i16::from(ARCHIVED)))
            .exec(&transaction)
            .await
            .map_err(failed)?;
        self.end(transaction).await?;
        Ok(stripped.rows_affected)
    }

    pub(super) async fn refill_events(&self, events: Vec<StoredEvent>) -> Result<(), StoreError> {
        let (Some(first), Some(last)) =
            (events.iter().map(|e| e.event.version).min(), events.iter().map(|e| e.event.version).max())
        else {
            return Ok(());
        };
        // what is stored never changes but for the bytes, so it may be compared before the transaction
        let mut taken = Vec::new();
        if let Some(event) = events.first() {
            let limit = usize::try_from(last - first).unwrap_or(usize::MAX).saturating_add(1);
            let mut stored = Vec::new();
            // what is given is in memory already, and what is stored has at most as many bytes
            while stored.len() < limit {
                let from = first.max(1).saturating_add(stored.len() as u64);
                let page = self.stream_events(event.stream.clone(), from, limit - stored.len()).await?;
                if page.is_empty() {
                    break;
                }
                stored.extend(page);
            }
            for event in &events {
                let stored = usize::try_from(event.event.version - first.max(1)).ok().and_then(|n| stored.get(n));
                if rules::takes_back(stored.ok_or_else(|| rules::not_there(event))?, event)? {
                    taken.push(event);
                }
            }
        }
        // the newest go first, so that a beginning stays stripped, wherever this is cut short
        for some in taken.rchunks(usize::try_from(AT_ONCE).unwrap_or(usize::MAX)) {
            self.refill_some(some).await?;
        }
        Ok(())
    }

    async fn refill_some(&self, taken: &[&StoredEvent]) -> Result<(), StoreError> {
        let failed = |e| self.dialect.failed(&e);
        let transaction = self.begin().await?;
        if let Some(event) = taken.first() {
            self.settled_in(&transaction, event.stream.slice()).await?;
        }
        for event in taken {
            let outcome = event.command.as_ref().map(|command| &command.outcome);
            Entity::update_many()
                .col_expr(Column::Payload, Expr::val(event.event.payload.clone()))
                .col_expr(Column::Codec, Expr::val(i16::from(event.event.codec)))
                .col_expr(Column::OutcomeBody, Expr::val(outcome.map(|outcome| outcome.body.clone())))
                .col_expr(Column::OutcomeCodec, Expr::val(outcome.map(|outcome| i16::from(outcome.codec))))
                .filter(Column::Position.eq(rules::position(event.slice, event.sequence)))
                .exec(&transaction)
                .await
                .map_err(failed)?;
        }
        // dropped before, the transaction is rolled back
        self.end(transaction).await
    }
}
