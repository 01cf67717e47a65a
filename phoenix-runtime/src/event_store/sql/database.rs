//! What sea-orm asks: each statement with a limit of this side, so that a server that hangs, or a network that swallows
//! packets, keeps nobody for longer.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement, TransactionTrait as _, sqlx,
};
use sea_orm_migration::prelude::async_trait;
use tokio::time::timeout;

/// A pool of connections, and how to make another one.
///
/// A connection that was left in the middle of a statement goes back to its pool and is waited for there, for as long as
/// it hangs; so after a statement without an answer the whole pool is left, and its connections are never used again.
pub(super) struct Database {
    pool: RwLock<Pool>,
    make: Box<dyn Fn() -> DatabaseConnection + Send + Sync>,
    limit: Duration,
}

/// Which one, so that many statements that hang in one pool leave it once.
#[derive(Clone)]
struct Pool {
    number: u64,
    connections: DatabaseConnection,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Database {
    /// Waits so long for each answer.
    pub(super) fn new(limit: Duration, make: impl Fn() -> DatabaseConnection + Send + Sync + 'static) -> Self {
        let pool = Pool { number: 0, connections: make() };
        Self { pool: RwLock::new(pool), make: Box::new(make), limit }
    }

    /// The pool that is in use.
    pub(super) fn pool(&self) -> DatabaseConnection {
        self.current().connections
    }

    fn current(&self) -> Pool {
        self.pool.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins a transaction. Dropped, it is rolled back.
    pub(super) async fn begin(&self) -> Result<Transaction<'_>, DbErr> {
        let Pool { number, connections } = self.current();
        let transaction = self.within(number, connections.begin()).await?;
        Ok(Transaction { database: self, pool: number, open: transaction })
    }

    async fn ask<T>(&self, question: impl AsyncFnOnce(DatabaseConnection) -> Result<T, DbErr>) -> Result<T, DbErr> {
        let Pool { number, connections } = self.current();
        self.within(number, question(connections)).await
    }

    async fn within<T>(&self, number: u64, answer: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        if let Ok(answer) = timeout(self.limit, answer).await {
            return answer;
        }
        let mut pool = self.pool.write().unwrap_or_else(PoisonError::into_inner);
        if pool.number == number {
            *pool = Pool { number: number + 1, connections: (self.make)() };
        }
        Err(DbErr::Exec(RuntimeErr::SqlxError(Arc::new(silence(self.limit)))))
    }
}

/// What is told where no answer came.
pub(super) fn silence(limit: Duration) -> sqlx::Error {
    let text = format!("no answer within {limit:?}, which is `statement_timeout` and `connect_timeout` together");
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text))
}

/// A transaction, each of whose statements has a limit.
pub(super) struct Transaction<'a> {
    database: &'a Database,
    pool: u64,
    open: DatabaseTransaction,
}

impl Transaction<'_> {
    /// Makes it durable. Without an answer nobody knows whether it is.
    pub(super) async fn commit(self) -> Result<(), DbErr> {
        self.database.within(self.pool, self.open.commit()).await
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Database {
    fn get_database_backend(&self) -> DbBackend {
        self.pool().get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.ask(async |pool| pool.execute_raw(statement).await).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.ask(async |pool| pool.execute_unprepared(sql).await).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.ask(async |pool| pool.query_one_raw(statement).await).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.ask(async |pool| pool.query_all_raw(statement).await).await
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Transaction<'_> {
    fn get_database_backend(&self) -> DbBackend {
        self.open.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.database.within(self.pool, self.open.execute_raw(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.database.within(self.pool, self.open.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.database.within(self.pool, self.open.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.database.within(self.pool, self.open.query_all_raw(statement)).await
    }
}
