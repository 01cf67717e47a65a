//! Opening: what is refused at once, how safe a connection is, and one schema for all.

use std::sync::Arc;

use phoenix_runtime::event_store::sql::{TlsMode, mysql};
use phoenix_runtime::event_store::{DatabaseOptions, DatabaseUrl};
use phoenix_test_servers::Server;

use crate::fixture::{Checked, Database, batch, equal, own, says, versions};
use crate::tests;

tests! {
    nodes_that_start_together_migrate_once
    a_migration_that_was_killed_half_way_goes_on
    a_newer_schema_is_refused
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
    let alone = Database::new(server, "alone")?;
    alone.open().await?;
    let migrations = "SELECT COUNT(*) FROM schema_migrations";
    equal("migrations", database.count(migrations).await?, alone.count(migrations).await?)?;
    equal("partitions", database.count("SELECT COUNT(*) FROM partitions").await?, 1024)
}

/// Each statement of a migration commits by itself.
async fn a_migration_that_was_killed_half_way_goes_on(server: &'static Server) -> Checked {
    let database = Database::new(server, "half_way")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=2)).await?;
    let before_its_end = "DELETE FROM schema_migrations; DROP TABLE snapshots; DROP TABLE archive; \
                          DROP TABLE away_slices; DELETE FROM partitions WHERE `partition` > 500";
    database.execute(before_its_end).await?;
    let store = database.open().await?;
    equal("partitions", database.count("SELECT COUNT(*) FROM partitions").await?, 1024)?;
    equal("what is stored", versions(&*store).await?, vec![1, 2])?;
    equal("the epoch", own(&*store).await?, epoch + 1)
}

async fn a_newer_schema_is_refused(server: &'static Server) -> Checked {
    let database = Database::new(server, "newer")?;
    let (url, options) = (DatabaseUrl::new(&database.url), DatabaseOptions::default());
    says(mysql::open_to_read(&url, &options).await, &["lacks the schema `0001_events`", "start the service once"])?;
    database.open().await?;
    database.execute("INSERT INTO schema_migrations (version, applied_at) VALUES ('9999_future', 0)").await?;
    let parts = ["`9999_future`", "newer than this program", "run the newer release", "phoenix:***@"];
    says(database.open().await, &parts)?;
    says(mysql::open_to_read(&url, &options).await, &parts)
}

async fn what_waiting_does_not_mend_is_told_at_once(server: &'static Server) -> Checked {
    let database = Database::new(server, "refused")?;
    let (authority, name) = database.url.rsplit_once('/').unwrap_or_default();
    let wrong_password = database.url.replace("phoenix:", "phoenix:wrong-");
    let missing = format!("{authority}/no_such_{name}");
    let wrong: [(&str, DatabaseOptions, &[&str]); 4] = [
        (&wrong_password, DatabaseOptions::default(), &["Access denied", "check user and password"]),
        (&missing, DatabaseOptions::default(), &["Unknown database", "create the database"]),
        ("mysql://u:secret@h:1", DatabaseOptions::default(), &["names no database"]),
        (
            &database.url,
            DatabaseOptions { tls_ca: Some("/no/such.pem".into()), ..DatabaseOptions::default() },
            &["`database.tls_ca`, `/no/such.pem`"],
        ),
    ];
    for (url, options, parts) in wrong {
        let refused = mysql::open(&DatabaseUrl::new(url), &options).await;
        let text = refused.as_ref().err().map(ToString::to_string).unwrap_or_default();
        equal(&format!("a password in: {text}"), text.contains("secret") || text.contains("wrong-"), false)?;
        says(refused, parts)?;
    }
    Ok(())
}

async fn a_store_may_be_looked_at_while_it_is_owned(server: &'static Server) -> Checked {
    let database = Database::new(server, "looked_at")?;
    let store = database.open().await?;
    let epoch = own(&*store).await?;
    store.append(batch(epoch, 1..=2)).await?;
    let reader = mysql::open_to_read(&DatabaseUrl::new(&database.url), &DatabaseOptions::default()).await?;
    equal("what a reader sees", versions(&*reader).await?, vec![1, 2])?;
    store.append(batch(epoch, 3..=3)).await?;
    equal("what was appended since", versions(&*reader).await?, vec![1, 2, 3])?;
    let name = phoenix_runtime::event_store::EventStore::name(&*store);
    equal(&name, name.starts_with("mariadb ") && name.ends_with("(innodb_flush_log_at_trx_commit=1)"), true)?;
    equal("durable", phoenix_runtime::event_store::EventStore::is_durable(&*store), true)
}

async fn a_connection_is_as_safe_as_it_was_asked_to_be(server: &'static Server) -> Checked {
    let Some(certificate) = server.certificate() else { return Ok(()) };
    let database = Database::new(server, "tls")?;
    // only who speaks TLS may enter as this user; the address of the tests says `ssl-mode=disabled`
    database.execute("CREATE USER IF NOT EXISTS safe@'127.0.0.1' IDENTIFIED BY 'word' REQUIRE SSL").await?;
    database.execute("GRANT ALL ON *.* TO safe@'127.0.0.1'").await?;
    let (_, rest) = database.url.split_once('@').unwrap_or_default();
    let url = DatabaseUrl::new(format!("mysql://safe:word@{rest}"));
    says(mysql::open(&url, &DatabaseOptions::default()).await, &["Access denied"])?;
    let verified = DatabaseOptions {
        tls: Some(TlsMode::VerifyFull),
        tls_ca: Some(certificate.to_owned()),
        ..DatabaseOptions::default()
    };
    let store = mysql::open(&url, &verified).await?;
    equal("the store", versions(&*store).await?, vec![])?;
    let nobody = DatabaseOptions { tls_ca: None, ..verified };
    says(mysql::open(&url, &nobody).await, &["`database.tls_ca`"])
}
