//! Opening: what is waited for, what is refused at once, and one schema for all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use phoenix_runtime::event_store::sql::{TlsMode, postgres};
use phoenix_runtime::event_store::{DatabaseOptions, DatabaseUrl};
use phoenix_test_servers::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

use crate::fixture::{Checked, Database, batch, equal, execute, own, says, until, versions};
use crate::proxy::{Door, Proxy};
use crate::tests;

tests! {
    nodes_that_start_together_migrate_once
    the_lock_of_a_migration_outlasts_sessions_that_do_nothing
    another_encoding_is_refused
    a_newer_schema_is_refused
    a_database_that_is_down_at_start_is_waited_for
    what_waiting_does_not_mend_is_told_at_once
    a_store_may_be_looked_at_while_it_is_owned
    a_connection_is_as_safe_as_it_was_asked_to_be
}

async fn nodes_that_start_together_migrate_once(server: &'static Server) -> Checked {
    let database = Arc::new(Database::new(server, "together")?);
    let nodes = [(); 5].map(|()| {
        let database = Arc::clone(&database);
        tokio::spawn(async move { database.open().await })
    });
    for node in nodes {
        node.await??;
    }
    let first = "SELECT count(*) FROM schema_migrations WHERE version = '0001_events'";
    equal("how often the first migration was applied", database.count(first).await?, 1)?;
    equal("partitions", database.count("SELECT count(*) FROM partitions").await?, 1024)
}

async fn the_lock_of_a_migration_outlasts_sessions_that_do_nothing(server: &'static Server) -> Checked {
    let database = Arc::new(Database::new(server, "long_migration")?);
    let name = database.url.rsplit('/').next().and_then(|rest| rest.split('?').next()).unwrap_or_default();
    database.execute(&format!("ALTER DATABASE {name} SET idle_session_timeout = '50ms'")).await?;
    let mut holder = database.administrator().await?;
    // the migration waits for this table to be there, or not
    execute(&mut holder, "BEGIN").await?;
    execute(&mut holder, "CREATE TABLE schema_migrations (version text)").await?;
    let opening = tokio::spawn({
        let database = Arc::clone(&database);
        async move { database.open().await }
    });
    let long = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                AND wait_event_type = 'Lock' AND now() - query_start > interval '500 ms'";
    until("it takes long", async || Ok(database.count(long).await? == 1)).await?;
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted \
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    equal("the lock", database.count(held).await?, 1)?;
    execute(&mut holder, "ROLLBACK").await?;
    opening.await??;
    Ok(())
}

/// What such a database can't hold would be refused at the first id with a letter that it lacks.
async fn another_encoding_is_refused(server: &'static Server) -> Checked {
    let database = Database::new(server, "encoding")?;
    let (authority, rest) = database.url.rsplit_once('/').unwrap_or_default();
    let (name, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let create = format!("CREATE DATABASE {name}_latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    database.execute(&create).await?;
    let url = DatabaseUrl::new(format!("{authority}/{name}_latin?{parameters}"));
    for refused in [
        postgres::open(&url, &DatabaseOptions::default()).await,
        postgres::open_to_read(&url, &DatabaseOptions::default()).await,
    ] {
        says(refused, &["its encoding is LATIN1", "ENCODING 'UTF8'"])?;
    }
    Ok(())
}

async fn a_newer_schema_is_refused(server: &'static Server) -> Checked {
    let database = Database::new(server, "newer")?;
    let (url, options) = (DatabaseUrl::new(&database.url), DatabaseOptions::default());
    says(postgres::open_to_read(&url, &options).await, &["lacks the schema `0001_events`", "start the service once"])?;
    database.open().await?;
    database.execute("INSERT INTO schema_migrations (version, applied_at) VALUES ('9999_future', 0)").await?;
    let parts = ["`9999_future`", "(it knows `0", "run the newer release", "phoenix:***@"];
    says(database.open().await, &parts)?;
    says(postgres::open_to_read(&url, &options).await, &parts)
}

async fn a_database_that_is_down_at_start_is_waited_for(server: &'static Server) -> Checked {
    let database = Database::new(server, "down")?;
    // a port that is taken, and where nobody listens yet
    let port = TcpSocket::new_v4()?;
    port.bind("127.0.0.1:0".parse()?)?;
    let address = port.local_addr()?.to_string();
    let url = DatabaseUrl::new(database.url.replace(server.address(), &address));
    let options = DatabaseOptions { max_connect_backoff: Duration::from_millis(50), ..DatabaseOptions::default() };
    says(postgres::open_to_read(&url, &options).await, &["failed to reach", "check that the database runs"])?;
    let opening = tokio::spawn(async move { postgres::open(&url, &options).await });
    // then somebody listens who ends every connection, as a server does that starts
    let listener: TcpListener = port.listen(16)?;
    drop(listener.accept().await?);
    drop(listener.accept().await?);
    equal("whether it waits", opening.is_finished(), false)?;
    let proxy = Proxy::on(listener, server)?;
    proxy.set(Door::Open);
    let store = opening.await??;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=1)).await?;
    Ok(())
}

async fn what_waiting_does_not_mend_is_told_at_once(server: &'static Server) -> Checked {
    let database = Database::new(server, "refused")?;
    let (authority, name) = database.url.rsplit_once('/').unwrap_or_default();
    let wrong_password = database.url.replace("phoenix:", "phoenix:wrong-");
    let missing = format!("{authority}/no_such_{name}");
    let wrong: [(&str, DatabaseOptions, &[&str]); 4] = [
        (&wrong_password, DatabaseOptions::default(), &["password authentication failed", "check user and password"]),
        (&missing, DatabaseOptions::default(), &["does not exist", "create the database"]),
        ("postgres://u:secret@h:port/d", DatabaseOptions::default(), &["port"]),
        (
            &database.url,
            DatabaseOptions { tls_ca: Some("/no/such.pem".into()), ..DatabaseOptions::default() },
            &["`database.tls_ca`, `/no/such.pem`"],
        ),
    ];
    for (url, options, parts) in wrong {
        let began = Instant::now();
        let refused = postgres::open(&DatabaseUrl::new(url), &options).await;
        let text = refused.as_ref().err().map(ToString::to_string).unwrap_or_default();
        equal(&format!("a password in: {text}"), text.contains("secret") || text.contains("wrong-"), false)?;
        says(refused, parts)?;
        equal("whether it was at once", began.elapsed() < Duration::from_secs(5), true)?;
    }
    Ok(())
}

async fn a_store_may_be_looked_at_while_it_is_owned(server: &'static Server) -> Checked {
    let database = Database::new(server, "looked_at")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=2)).await?;
    let reader = postgres::open_to_read(&DatabaseUrl::new(&database.url), &DatabaseOptions::default()).await?;
    equal("what a reader sees", versions(&*reader).await?, vec![1, 2])?;
    store.append(batch(epoch, 3..=3)).await?;
    equal("what was appended since", versions(&*reader).await?, vec![1, 2, 3])?;
    equal("the name", store.name().contains("(fsync=on, synchronous_commit=on)"), true)?;
    equal("durable", store.is_durable(), true)
}

async fn a_connection_is_as_safe_as_it_was_asked_to_be(server: &'static Server) -> Checked {
    let Some(certificate) = server.certificate() else { return Ok(()) };
    let database = Database::new(server, "tls")?;
    // the address of the tests says `sslmode=disable`, and the options go before it
    let verified = DatabaseOptions {
        tls: Some(TlsMode::VerifyFull),
        tls_ca: Some(certificate.to_owned()),
        application_name: "over tls".to_owned(),
        ..DatabaseOptions::default()
    };
    let store = database.open_with(verified.clone()).await?;
    equal("the store", versions(&*store).await?, vec![])?;
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE datname = current_database() AND application_name = 'over tls' AND ssl";
    equal("whether it is encrypted", database.count(encrypted).await? > 0, true)?;
    let nobody = DatabaseOptions { tls_ca: None, ..verified.clone() };
    says(database.open_with(nobody).await, &["`database.tls_ca`"])?;
    // and where the server has none
    let plain = Database::new(server, "no_tls")?;
    let deaf = deaf_to_tls().await?;
    let url = DatabaseUrl::new(plain.url.replace(server.address(), &deaf));
    says(
        postgres::open(&url, &verified).await,
        &["server does not support TLS", "whether the server has TLS switched on"],
    )
}

/// The address of a server that answers the question for TLS with no.
async fn deaf_to_tls() -> Result<String, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut question = [0; 8];
            if client.read_exact(&mut question).await.is_ok() {
                let _ = client.write_all(b"N").await;
            }
        }
    });
    Ok(address)
}
