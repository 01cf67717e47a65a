//! An id is a field, a field of a field, or several of both, of whatever can be displayed.

use std::fmt;

use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize, Schema)]
struct Iban {
    country: String,
    digits: u64,
}

impl fmt::Display for Iban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.country, self.digits)
    }
}

#[derive(Serialize, Deserialize, Schema)]
struct Route {
    to: Iban,
    hops: (u8, (char, bool)),
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = iban)]
struct One {
    iban: Iban,
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = route.to.digits, idempotent_by(route.hops.1.0, route.to))]
struct Nested {
    route: Route,
}

#[derive(Query, Serialize, Deserialize)]
#[query(id(bank, route.to.country, route.hops.1.1))]
struct Several {
    bank: u16,
    route: Route,
}

#[derive(Query, Serialize, Deserialize)]
#[query(id(bank))]
struct Single {
    bank: Box<str>,
}

#[test]
fn ids_are_made_of_fields() {
    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "each case is one line")]
    fn check(id: Result<AggregateId, InvalidId>, expected: &str) {
        assert_eq!(id.as_ref().map(AggregateId::as_str), Ok(expected));
    }
    let iban = Iban { country: "DE".into(), digits: 12 };
    let route = || Route { to: iban.clone(), hops: (1, ('x', true)) };
    check(One { iban: iban.clone() }.aggregate_id(), "DE12");
    check(Nested { route: route() }.aggregate_id(), "12");
    let parts = AggregateId::from_fields(&[&7, &"DE", &true]).expect("an id");
    check(Several { bank: 7, route: route() }.aggregate_id(), parts.as_str());
    let key = Nested { route: route() }.business_key().expect("a key");
    assert!(key.contains('x') && key.contains("DE12"), "{key}");
    let single = Single { bank: "b".into() }.aggregate_id();
    assert!(single.is_ok_and(|id| id.as_str().ends_with('b')));
}
