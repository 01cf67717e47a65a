//! Services that start: several at once on one database, and an older one on the database of a newer one.

use libtest_mimic::Trial;
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database};

use crate::http::Connection;
use crate::service::{Service, Setup, Starting};
use crate::stores::{Place, SERVERS, Store, on_each};

/// An empty database is made ready once, and of those that start together one owns it in the end.
fn services_that_start_together_on_an_empty_database_leave_one_owner(place: &Place) {
    let setup = Setup::new(place);
    let starting: Vec<Starting> = (0..4).map(|_| setup.begin()).collect();
    let serving = |starting: Starting| starting.serving().unwrap_or_else(|said| panic!("it does not start: {said}"));
    let services: Vec<Service> = starting.into_iter().map(serving).collect();

    let deposit = |service: &Service| {
        let mut connection = Connection::open(service.address).expect("it listens");
        let json = r#"{"account":"account-1","amount":1}"#;
        connection.post("/commands/bank-account/deposit", None, json).expect("it answers").status
    };
    let told: Vec<u16> = services.iter().map(deposit).collect();
    let owners = told.iter().filter(|status| **status == 200).count();
    assert!(owners == 1 && told.iter().all(|status| [200, 503].contains(status)), "{told:?}");
    // nobody has won it since
    assert_eq!(services.iter().map(deposit).collect::<Vec<_>>(), told);
}

/// What an older release can't know it must not write.
fn a_service_that_is_older_than_its_database_ends_and_says_so(place: &Place) {
    let setup = Setup::new(place);
    setup.start().expect("it starts").kill();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut options = ConnectOptions::new(place.url());
        options.max_connections(1).sqlx_logging(false);
        let session = Database::connect(options).await.expect("a session");
        let newer = "INSERT INTO schema_migrations (version, applied_at) VALUES ('9999_future', 0)";
        session.execute_unprepared(newer).await.expect("a row");
    });
    let (status, said) = setup.begin().ended();
    assert!(!status.success(), "{status}: {said}");
    for part in ["`9999_future`", "newer than this program", "run the newer release"] {
        assert!(said.contains(part), "{part} is missing in: {said}");
    }
}

/// Stores with a schema in versions.
const VERSIONED: &[Store] = &[Store::Sqlite, Store::Postgres, Store::MySql];

pub(crate) fn trials() -> Vec<Trial> {
    let together = on_each!(SERVERS, services_that_start_together_on_an_empty_database_leave_one_owner);
    let older = on_each!(VERSIONED, a_service_that_is_older_than_its_database_ends_and_says_so);
    together.into_iter().chain(older).collect()
}
