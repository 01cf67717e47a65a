//! Several services start on one database at once.

use libtest_mimic::Trial;

use crate::http::Connection;
use crate::service::{Service, Setup, Starting};
use crate::stores::{Place, SERVERS, on_each};

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

pub(crate) fn trials() -> Vec<Trial> {
    on_each!(SERVERS, services_that_start_together_on_an_empty_database_leave_one_owner)
}
