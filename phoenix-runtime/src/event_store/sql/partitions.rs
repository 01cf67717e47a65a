//! How many partitions there are: a document, which the first owner writes.

use sea_orm::{ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _};

use super::SqlStore;
use super::dialect::Dialect;
use super::entity::partitions;
use super::row::damaged;
use crate::event_store::port::StoreError;
use crate::event_store::rules;
use crate::event_store::sources::port::Document;

const NAME: &str = "partitions";

impl<D: Dialect> SqlStore<D> {
    pub(super) async fn fixed_partitions(&self, wanted: u16) -> Result<u16, StoreError> {
        let transaction = self.begin().await?;
        self.lock_documents(&transaction).await?;
        let acquired = partitions::Entity::find().filter(partitions::Column::Epoch.gt(0)).count(&transaction).await;
        let count = rules::partitions(wanted, self.db(acquired)? > 0)?;
        if let Some(document) = self.document_in(NAME, &transaction).await? {
            let what = format_args!("`{}` is no number of partitions", document.text);
            return document.text.parse().map_err(|_| damaged(self.dialect.place(), what));
        }
        self.add_document(NAME, Document { version: 1, text: count.to_string() }, &transaction).await?;
        self.end(transaction).await?;
        Ok(count)
    }
}
