//! What is listed: ids of aggregates, names of events, slices that are elsewhere.

use std::collections::BTreeSet;
use std::sync::Arc;

use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

use super::SqlStore;
use super::dialect::Dialect;
use super::entity::{away_slices, event_names, events, streams};
use super::row::damaged;
use crate::domain::id::{AggregateId, Slice};
use crate::event_store::port::StoreError;

impl<D: Dialect> SqlStore<D> {
    pub(super) async fn names_of(&self, aggregate: Arc<str>) -> Result<BTreeSet<String>, StoreError> {
        let names = event_names::Entity::find()
            .filter(event_names::Column::Aggregate.eq(&*aggregate))
            .all(self.dialect.database())
            .await
            .map_err(|e| self.dialect.failed(&e))?;
        Ok(names.into_iter().map(|name| name.event_name).collect())
    }

    pub(super) async fn ids_of(
        &self,
        aggregate: Arc<str>,
        after: Option<AggregateId>,
        limit: usize,
    ) -> Result<Vec<AggregateId>, StoreError> {
        let first_event = Query::select()
            .expr(Expr::val(1))
            .from(events::Entity)
            .and_where(
                Expr::col((events::Entity, events::Column::Stream)).equals((streams::Entity, streams::Column::Stream)),
            )
            .and_where(Expr::col((events::Entity, events::Column::Version)).eq(1))
            .to_owned();
        // no id is empty, so all come after the empty text
        let after = after.as_ref().map_or("", AggregateId::as_str);
        let ids: Vec<String> = streams::Entity::find()
            .select_only()
            .column(streams::Column::Id)
            .filter(streams::Column::Aggregate.eq(&*aggregate))
            .filter(streams::Column::Id.gt(after))
            .filter(Expr::exists(first_event))
            .order_by_asc(streams::Column::Id)
            .limit(limit as u64 & i64::MAX.cast_unsigned())
            .into_tuple()
            .all(self.dialect.database())
            .await
            .map_err(|e| self.dialect.failed(&e))?;
        ids.into_iter().map(|id| AggregateId::new(id).map_err(|e| damaged(self.dialect.place(), e))).collect()
    }

    /// The slices that another database has.
    pub(super) async fn away(&self) -> Result<Vec<Slice>, StoreError> {
        let away = away_slices::Entity::find().all(self.dialect.database()).await;
        let away = away.map_err(|e| self.dialect.failed(&e))?;
        Ok(away.into_iter().filter_map(|row| u16::try_from(row.slice).ok().map(Slice)).collect())
    }
}
