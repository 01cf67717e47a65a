//! The schema in versions: brought up to this program's, or refused where it is newer.

use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbErr, RuntimeErr};
use sea_orm_migration::prelude::async_trait;
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

use super::error::DatabaseOpenError;
use super::reach::Refusal;
use super::url::DatabaseUrl;

/// The table that says which migrations were applied.
pub(super) const MIGRATIONS: &str = "schema_migrations";

/// A version of the schema: statements that bring it up from the one before. What was released is never edited.
pub(super) struct Statements {
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
}

impl MigrationName for Statements {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Statements {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(self.sql).await.map(drop)
    }
}

/// Brings the schema up to this program's, and refuses a newer one. Whoever calls this keeps others from it meanwhile.
pub(super) async fn migrate<M: MigratorTrait>(
    database: &DatabaseConnection,
    url: &DatabaseUrl,
    refusal: Refusal,
) -> Result<(), DatabaseOpenError> {
    refuse_newer::<M>(database, url, refusal).await?;
    M::up(database, None).await.map_err(|e| failed(url, &e, refusal))
}

/// Refuses a schema that is not this program's, without writing.
pub(super) async fn check<M: MigratorTrait>(
    database: &DatabaseConnection,
    url: &DatabaseUrl,
    refusal: Refusal,
) -> Result<(), DatabaseOpenError> {
    refuse_newer::<M>(database, url, refusal).await?;
    let pending = M::get_pending_migrations_read_only(database).await.map_err(|e| failed(url, &e, refusal))?;
    match pending.first() {
        Some(first) => Err(DatabaseOpenError::Older { url: url.clone(), missing: first.name().to_owned() }),
        None => Ok(()),
    }
}

async fn refuse_newer<M: MigratorTrait>(
    database: &DatabaseConnection,
    url: &DatabaseUrl,
    refusal: Refusal,
) -> Result<(), DatabaseOpenError> {
    if !SchemaManager::new(database).has_table(MIGRATIONS).await.map_err(|e| failed(url, &e, refusal))? {
        return Ok(());
    }
    let applied = M::get_migration_models(database).await.map_err(|e| failed(url, &e, refusal))?;
    let known: Vec<_> = M::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    match applied.into_iter().find(|model| !known.contains(&model.version)) {
        Some(newer) => Err(DatabaseOpenError::Newer {
            url: url.clone(),
            found: newer.version,
            known: known.last().cloned().unwrap_or_default(),
        }),
        None => Ok(()),
    }
}

fn failed(url: &DatabaseUrl, error: &DbErr, refusal: Refusal) -> DatabaseOpenError {
    let may_pass = match error {
        DbErr::Conn(RuntimeErr::SqlxError(e))
        | DbErr::Exec(RuntimeErr::SqlxError(e))
        | DbErr::Query(RuntimeErr::SqlxError(e)) => refusal(url, e).is_none(),
        DbErr::ConnectionAcquire(_) => true,
        _ => false,
    };
    if may_pass {
        return DatabaseOpenError::Unreachable { url: url.clone(), reason: error.to_string() };
    }
    DatabaseOpenError::Refused {
        url: url.clone(),
        reason: error.to_string(),
        remedy: "check that the user may create tables, or let an administrator run the upgrade",
    }
}
