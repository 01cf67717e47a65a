//! Reaching the server: the settings of each session, what the server is, and its schema.

use std::sync::Arc;

use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPoolOptions, MySqlSslMode};
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _, raw_sql};
use sea_orm::{DatabaseConnection, SqlxMySqlConnector};

use super::super::connections::{Connect, Connections, Made};
use super::super::database::Database;
use super::super::{DatabaseOpenError, DatabaseOptions, DatabaseUrl, TlsMode, reach, schema, tls};
use super::{MySqlDatabase, error, migration};

/// The longest time-out of a server, in seconds.
const YEAR: u64 = 31_536_000;
/// How many connections sea-orm has, for what need not be fast.
const OTHER_CONNECTIONS: u32 = 4;
/// Bytes of a packet that are not the statement's own.
const PACKET_HEAD: usize = 64;

/// What an address may have behind the `?`, besides the mode of TLS.
const PARAMETERS: &[&str] = &[
    "sslca",
    "ssl-ca",
    "charset",
    "collation",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "socket",
    "timezone",
    "time-zone",
];

/// Opens a database to own partitions of it.
pub(super) async fn open(url: &DatabaseUrl, options: &DatabaseOptions) -> Result<MySqlDatabase, DatabaseOpenError> {
    loop {
        match open_once(url, options).await {
            Err(DatabaseOpenError::Unreachable { reason, .. }) => reach::went_away(url, options, &reason).await,
            done => return done,
        }
    }
}

async fn open_once(url: &DatabaseUrl, options: &DatabaseOptions) -> Result<MySqlDatabase, DatabaseOpenError> {
    let session = Session::new(url, options)?;
    let connection = reach::wait(url, options, &session.connecting(), refusal).await?;
    let server = Server::ask(url, connection).await?;
    migrate(url, options, &session, &server).await?;
    Ok(database(url, options, &session, &server))
}

/// Opens a database that only is looked at.
pub(super) async fn open_to_read(
    url: &DatabaseUrl,
    options: &DatabaseOptions,
) -> Result<MySqlDatabase, DatabaseOpenError> {
    let session = Session::new(url, options)?;
    let connection = reach::once(url, options, &session.connecting(), refusal).await?;
    let server = Server::ask(url, connection).await?;
    let database = database(url, options, &session, &server);
    if server.is_mariadb {
        schema::check::<migration::MariaDb>(&database.database.pool(), url, refusal).await?;
    } else {
        schema::check::<migration::MySql>(&database.database.pool(), url, refusal).await?;
    }
    Ok(database)
}

/// How a session is made.
#[derive(Clone)]
struct Session {
    connect: MySqlConnectOptions,
    settings: Arc<str>,
}

impl Session {
    fn new(url: &DatabaseUrl, options: &DatabaseOptions) -> Result<Self, DatabaseOpenError> {
        let (statement, lock) = (options.statement_timeout.as_millis(), options.lock_timeout.as_secs().max(1));
        Ok(Self { connect: connect_options(url, options)?, settings: settings(statement, lock).into() })
    }

    /// One that waits: another node's migration may take long.
    fn patient(&self) -> Self {
        Self { connect: self.connect.clone(), settings: settings(0, YEAR).into() }
    }

    fn connecting(&self) -> Connect<MySqlConnection> {
        let session = self.clone();
        Arc::new(move || {
            let session = session.clone();
            Box::pin(async move {
                let mut connection = session.connect.connect().await?;
                connection.execute(AssertSqlSafe(session.settings)).await?;
                Ok(connection)
            })
        })
    }

    fn pool(&self, options: &DatabaseOptions, most: u32) -> DatabaseConnection {
        let settings = Arc::clone(&self.settings);
        let pool = MySqlPoolOptions::new()
            .max_connections(most)
            .acquire_timeout(options.connect_timeout)
            .after_connect(move |connection, _| {
                let settings = Arc::clone(&settings);
                Box::pin(async move { connection.execute(AssertSqlSafe(settings)).await.map(drop) })
            })
            .connect_lazy_with(self.connect.clone());
        SqlxMySqlConnector::from_sqlx_mysql_pool(pool)
    }
}

/// What every session is set to, whatever the server's own settings are. The two servers limit a statement's time by
/// variables of their own, and so the time that a transaction may stand open between two statements: a machine that
/// has vanished must not hold an epoch for ever.
fn settings(statement_millis: u128, lock_seconds: u64) -> String {
    let (seconds, millis) = (statement_millis / 1000, statement_millis % 1000);
    let open = if statement_millis == 0 { u128::from(YEAR) } else { seconds + 1 };
    format!(
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
         innodb_lock_wait_timeout = {lock_seconds}, lock_wait_timeout = {lock_seconds}\
         /*M!100300 , max_statement_time = {seconds}.{millis:03}, idle_transaction_timeout = {open}, \
         wait_timeout = {YEAR} */\
         /*!80000 , max_execution_time = {statement_millis}, wait_timeout = {open} */; \
         SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
    )
}

/// Galera, and Group Replication with several primaries: their locks are not seen by each other's sessions.
const SEVERAL_WRITERS: &str = "SHOW GLOBAL VARIABLES WHERE (Variable_name = 'wsrep_on' AND Value = 'ON') \
                               OR (Variable_name = 'group_replication_single_primary_mode' AND Value = 'OFF')";

/// What a server says of itself.
struct Server {
    is_mariadb: bool,
    version: String,
    /// When the disk is waited for, in the server's own words.
    durability: String,
    is_durable: bool,
    max_packet: usize,
}

impl Server {
    async fn ask(url: &DatabaseUrl, mut connection: MySqlConnection) -> Result<Self, DatabaseOpenError> {
        let failed = |error: sqlx::Error| reach::failed(url, &error, refusal);
        let ask = "SELECT VERSION(), @@innodb_flush_log_at_trx_commit, @@log_bin, @@sync_binlog, @@max_allowed_packet";
        let row = raw_sql(ask).fetch_one(&mut connection).await.map_err(failed)?;
        let number = |column: usize| row.try_get_unchecked::<i64, _>(column).map_err(failed);
        let version = row.try_get_unchecked::<String, _>(0).map_err(failed)?;
        let (flush, binlog, sync_binlog, packet) = (number(1)?, number(2)?, number(3)?, number(4)?);
        let clustered = raw_sql(SEVERAL_WRITERS).fetch_optional(&mut connection).await.map_err(failed)?;
        // it only was to show that the database answers
        let _ = connection.close().await;
        if let Some(row) = clustered {
            let name = row.try_get_unchecked::<String, _>(0).map_err(failed)?;
            let value = row.try_get_unchecked::<String, _>(1).map_err(failed)?;
            return Err(DatabaseOpenError::Refused {
                url: url.clone(),
                reason: format!("it is a member of a cluster of several writers ({name} = {value})"),
                remedy: "an owner's epoch is locked on one server alone, so that two owners could append: use one \
                         primary with replicas (Group Replication: single-primary mode)",
            });
        }
        let binlog = if binlog == 0 { None } else { Some(sync_binlog) };
        Ok(Self {
            is_mariadb: version.contains("MariaDB"),
            version,
            durability: match binlog {
                None => format!("innodb_flush_log_at_trx_commit={flush}"),
                Some(sync) => format!("innodb_flush_log_at_trx_commit={flush}, sync_binlog={sync}"),
            },
            // with a binary log that one decides at recovery what was committed
            is_durable: flush == 1 && binlog.is_none_or(|sync| sync == 1),
            max_packet: usize::try_from(packet).unwrap_or(1 << 20).saturating_sub(PACKET_HEAD),
        })
    }
}

fn database(url: &DatabaseUrl, options: &DatabaseOptions, session: &Session, server: &Server) -> MySqlDatabase {
    let made = Made::default();
    let answer_timeout = options.statement_timeout + options.connect_timeout;
    let connections = |most| Connections::new(session.connecting(), options.connect_timeout, most, &made);
    let kind = if server.is_mariadb { "mariadb" } else { "mysql" };
    MySqlDatabase {
        place: url.to_string(),
        name: format!("{kind} {} ({})", server.version, server.durability),
        durable: server.is_durable,
        collation: if server.is_mariadb { migration::MARIADB_COLLATION } else { migration::MYSQL_COLLATION },
        max_packet: server.max_packet,
        writers: connections(options.append_connections),
        readers: connections(options.read_connections),
        made,
        database: Database::new(answer_timeout, {
            let (session, options) = (session.clone(), options.clone());
            move || session.pool(&options, OTHER_CONNECTIONS)
        }),
        answer_timeout,
    }
}

/// Migrates under a lock of the server: nodes that start together migrate once.
async fn migrate(
    url: &DatabaseUrl,
    options: &DatabaseOptions,
    session: &Session,
    server: &Server,
) -> Result<(), DatabaseOpenError> {
    let failed = |error: sqlx::Error| reach::failed(url, &error, refusal);
    let patient = session.patient();
    let mut lock = patient.connecting()().await.map_err(failed)?;
    let take = "SELECT GET_LOCK(CONCAT('phoenix ', MD5(COALESCE(DATABASE(), ''))), 31536000)";
    let taken = raw_sql(take).fetch_one(&mut lock).await.map_err(failed)?;
    if taken.try_get_unchecked::<Option<i64>, _>(0).map_err(failed)? != Some(1) {
        let reason = "the server did not give the lock under which the schema is brought up".to_owned();
        return Err(DatabaseOpenError::Unreachable { url: url.clone(), reason });
    }
    let database = patient.pool(options, 1);
    let migrated = if server.is_mariadb {
        schema::migrate::<migration::MariaDb>(&database, url, refusal).await
    } else {
        schema::migrate::<migration::MySql>(&database, url, refusal).await
    };
    // the lock goes with its connection
    let _ = database.close().await;
    let _ = lock.close().await;
    migrated
}

/// What waiting does not mend.
fn refusal(url: &DatabaseUrl, error: &sqlx::Error) -> Option<DatabaseOpenError> {
    let remedy = match (error, error::number(error)) {
        (_, Some(1044 | 1045 | 1698 | 1251)) => "check user and password of `store`, and what the user is granted",
        (_, Some(1049 | 1046)) => "create the database, or correct its name in `store`",
        (_, Some(1142 | 1227)) => "give the user the right to connect and to create tables",
        (_, Some(3159)) => "the server takes encrypted connections only: see `database.tls`",
        // starts, stops, has no room for another connection, was told to end this one: it will pass
        (_, Some(1040 | 1053 | 1077 | 1203 | 1226 | 1317 | 1927 | 1129 | 1205 | 1213)) => return None,
        (_, Some(_)) => "see the log of the server",
        (error, _) if reach::is_tls(error) => {
            "check `database.tls`, `database.tls_ca`, and whether the server has TLS switched on"
        }
        (sqlx::Error::Configuration(_), _) => "correct `store`: mysql://user:password@host:port/database",
        _ => return None,
    };
    Some(DatabaseOpenError::Refused { url: url.clone(), reason: error.to_string(), remedy })
}

fn connect_options(url: &DatabaseUrl, options: &DatabaseOptions) -> Result<MySqlConnectOptions, DatabaseOpenError> {
    let wrong = |reason: String| DatabaseOpenError::Options { url: url.clone(), reason };
    // the parser repeats no part of what it reads
    let mut connect: MySqlConnectOptions = url.secret().parse().map_err(|e: sqlx::Error| wrong(e.to_string()))?;
    if connect.get_database().is_none() {
        return Err(wrong("it names no database: write mysql://user:password@host:port/database".to_owned()));
    }
    if let Some(tls) = options.tls {
        connect = connect.ssl_mode(match tls {
            TlsMode::Disable => MySqlSslMode::Disabled,
            TlsMode::Prefer => MySqlSslMode::Preferred,
            TlsMode::Require => MySqlSslMode::Required,
            TlsMode::VerifyCa => MySqlSslMode::VerifyCa,
            TlsMode::VerifyFull => MySqlSslMode::VerifyIdentity,
        });
    }
    if let Some(pem) = tls::certificates(url, options, PARAMETERS).map_err(wrong)? {
        connect = connect.ssl_ca_from_pem(pem);
    }
    // the rest of the session is set by statements
    Ok(connect
        .charset("utf8mb4")
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .disable_statement_logging())
}
