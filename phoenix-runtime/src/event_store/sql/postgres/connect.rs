//! Reaching the server: what is waited for, what is an error at once, and the settings of each session.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError, PgPoolOptions, PgSslMode};
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _, Row as _, query};
use sea_orm::{DatabaseConnection, SqlxPostgresConnector};

use super::super::connections::{Connect, Connections, Made};
use super::super::database::Database;
use super::super::{DatabaseOpenError, DatabaseOptions, DatabaseUrl, TlsMode, reach, schema, tls};
use super::PostgresDatabase;
use super::error::text;
use super::migration::Migrator;

/// The lock under which the schema is migrated: any number, the same for all nodes.
const MIGRATION_LOCK: i64 = 0x7068_6f65_6e69_7801;
/// How many connections sea-orm has, for what need not be fast.
const OTHER_CONNECTIONS: u32 = 4;

/// What an address may have behind the `?`, besides the mode of TLS.
const PARAMETERS: &[&str] = &[
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Opens a database to own partitions of it.
pub(super) async fn open(url: &DatabaseUrl, options: &DatabaseOptions) -> Result<PostgresDatabase, DatabaseOpenError> {
    loop {
        match open_once(url, options).await {
            Err(DatabaseOpenError::Unreachable { reason, .. }) => reach::went_away(url, options, &reason).await,
            done => return done,
        }
    }
}

async fn open_once(url: &DatabaseUrl, options: &DatabaseOptions) -> Result<PostgresDatabase, DatabaseOpenError> {
    let connect = connect_options(url, options)?;
    let connection = reach::wait(url, options, &connecting(&connect), refusal).await?;
    let database = database(url, options, &connect, connection).await?;
    migrate(url, options, &connect).await?;
    Ok(database)
}

/// Opens a database that only is looked at.
pub(super) async fn open_to_read(
    url: &DatabaseUrl,
    options: &DatabaseOptions,
) -> Result<PostgresDatabase, DatabaseOpenError> {
    let connect = connect_options(url, options)?;
    let connection = reach::once(url, options, &connecting(&connect), refusal).await?;
    let database = database(url, options, &connect, connection).await?;
    schema::check::<Migrator>(&database.database.pool(), url, refusal).await?;
    Ok(database)
}

async fn database(
    url: &DatabaseUrl,
    options: &DatabaseOptions,
    connect: &PgConnectOptions,
    mut connection: PgConnection,
) -> Result<PostgresDatabase, DatabaseOpenError> {
    let failed = |error: sqlx::Error| reach::failed(url, &error, refusal);
    let settings = "SELECT current_setting('server_version'), current_setting('fsync'), \
                    current_setting('synchronous_commit'), current_setting('server_encoding')";
    let row = query(settings).fetch_one(&mut connection).await.map_err(failed)?;
    let text = |column: usize| row.try_get::<String, _>(column).map_err(failed);
    let (version, fsync, synchronous, encoding) = (text(0)?, text(1)?, text(2)?, text(3)?);
    // it only was to show that the database answers
    let _ = connection.close().await;
    if encoding != "UTF8" {
        return Err(DatabaseOpenError::Refused {
            url: url.clone(),
            reason: format!("its encoding is {encoding}, which does not have every character of an id"),
            remedy: "create the database with ENCODING 'UTF8' TEMPLATE template0",
        });
    }
    let made = Made::default();
    let answer_timeout = options.statement_timeout + options.connect_timeout;
    let connections = |most| Connections::new(connecting(connect), options.connect_timeout, most, &made);
    Ok(PostgresDatabase {
        place: url.to_string(),
        name: format!("postgresql {version} (fsync={fsync}, synchronous_commit={synchronous})"),
        durable: fsync == "on" && synchronous != "off",
        writers: connections(options.append_connections),
        readers: connections(options.read_connections),
        made,
        database: Database::new(answer_timeout, {
            let (options, connect) = (options.clone(), connect.clone());
            move || pool(&options, &connect, OTHER_CONNECTIONS)
        }),
        answer_timeout,
    })
}

fn connecting(connect: &PgConnectOptions) -> Connect<PgConnection> {
    let connect = connect.clone();
    Arc::new(move || {
        let connect = connect.clone();
        Box::pin(async move { connect.connect().await })
    })
}

fn pool(options: &DatabaseOptions, connect: &PgConnectOptions, most: u32) -> DatabaseConnection {
    let pool = PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(options.connect_timeout)
        .connect_lazy_with(connect.clone());
    SqlxPostgresConnector::from_sqlx_postgres_pool(pool)
}

/// Migrates on one connection, which holds a lock meanwhile: nodes that start together migrate once.
async fn migrate(
    url: &DatabaseUrl,
    options: &DatabaseOptions,
    connect: &PgConnectOptions,
) -> Result<(), DatabaseOpenError> {
    let failed = |error: sqlx::Error| reach::failed(url, &error, refusal);
    // another node's migration may take long
    let patient = connect.clone().options([("statement_timeout", "0"), ("lock_timeout", "0")]);
    let mut lock = patient.connect().await.map_err(failed)?;
    // the lock must not go with a session that does nothing while the schema is brought up; older servers do not know this
    let idle = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'";
    query(idle).execute(&mut lock).await.map_err(failed)?;
    query("SELECT pg_advisory_lock($1)").bind(MIGRATION_LOCK).execute(&mut lock).await.map_err(failed)?;
    let database = pool(options, &patient, 1);
    let migrated = schema::migrate::<Migrator>(&database, url, refusal).await;
    // the lock goes with its connection
    let _ = database.close().await;
    let _ = lock.close().await;
    migrated
}

/// What waiting does not mend.
fn refusal(url: &DatabaseUrl, error: &sqlx::Error) -> Option<DatabaseOpenError> {
    let remedy = match error {
        sqlx::Error::Database(database) => {
            let error: &PgDatabaseError = database.try_downcast_ref()?;
            match error.code() {
                "28P01" | "28000" => "check user and password of `store`, and pg_hba.conf of the server",
                "3D000" => "create the database, or correct its name in `store`",
                "42501" => "give the user the right to connect and to create tables",
                // starts, stops, has no room: it will pass
                code if ["57", "53", "08", "58"].iter().any(|class| code.starts_with(class)) => return None,
                _ => "see the log of the server",
            }
        }
        _ if reach::is_tls(error) => {
            "check `database.tls`, `database.tls_ca`, and whether the server has TLS switched on"
        }
        sqlx::Error::Configuration(_) => "correct `store`: postgres://user:password@host:port/database",
        _ => return None,
    };
    Some(DatabaseOpenError::Refused { url: url.clone(), reason: text(error), remedy })
}

fn connect_options(url: &DatabaseUrl, options: &DatabaseOptions) -> Result<PgConnectOptions, DatabaseOpenError> {
    let wrong = |reason: String| DatabaseOpenError::Options { url: url.clone(), reason };
    // the parser repeats no part of what it reads
    let mut connect: PgConnectOptions = url.secret().parse().map_err(|e: sqlx::Error| wrong(e.to_string()))?;
    if let Some(tls) = options.tls {
        connect = connect.ssl_mode(match tls {
            TlsMode::Disable => PgSslMode::Disable,
            TlsMode::Prefer => PgSslMode::Prefer,
            TlsMode::Require => PgSslMode::Require,
            TlsMode::VerifyCa => PgSslMode::VerifyCa,
            TlsMode::VerifyFull => PgSslMode::VerifyFull,
        });
    }
    if let Some(pem) = tls::certificates(url, options, PARAMETERS).map_err(wrong)? {
        connect = connect.ssl_root_cert_from_pem(pem);
    }
    let millis = |duration: Duration| duration.as_millis().to_string();
    let (statement, lock) = (millis(options.statement_timeout), millis(options.lock_timeout));
    Ok(connect.application_name(&options.application_name).disable_statement_logging().options([
        ("statement_timeout", &*statement),
        ("lock_timeout", &*lock),
        // tables that are there already are no news
        ("client_min_messages", "warning"),
        ("idle_in_transaction_session_timeout", &*statement),
        // a lock that was waited for shows the newest row
        ("default_transaction_isolation", "read committed"),
        // the server lets go what a machine held that has vanished
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
        // statements are constant, find rows by keys, and must not be planned for tables that were once small
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("max_parallel_workers_per_gather", "0"),
        ("jit", "off"),
    ]))
}
