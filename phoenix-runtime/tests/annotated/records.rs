//! What is stored: events in every form, snapshots, schemas, the table by name.

use std::time::Duration;

use phoenix_runtime::domain::aggregate::{Options, SnapshotOf, event_entry};
use phoenix_runtime::domain::codec::{Codec as _, Json, Postcard};
use phoenix_runtime::domain::message::Event as _;
use phoenix_runtime::domain::schema::{Body, Document, Field, Type, fingerprint};
use phoenix_runtime::prelude::*;

use crate::messages::{Line, OpenOrder, OrderError, Paid, PaidV1, Settled};
use crate::orders::Order;

#[test]
fn options_are_read_at_compile_time() {
    let expected = Options {
        snapshot_every: Some(50),
        snapshot_bytes: Some(64 << 10),
        snapshots_kept: 3,
        archive: true,
        idempotency_window: 7,
        passivate_after: Some(Duration::from_mins(10)),
        max_resident: Some(1000),
        logic_version: 3,
    };
    assert_eq!((Order::NAME, Order::OPTIONS), ("order", expected));
}

#[test]
fn both_blocks_are_in_the_table() {
    let parts = || Order::PARTS.iter().flatten();
    assert_eq!(parts().count(), 2);
    let commands: Vec<_> = parts().flat_map(|part| part.commands).map(|c| c.facts.name).collect();
    assert_eq!(commands, ["open-order", "pay", "touch", "settle", "correct"]);
    let events: Vec<_> = parts().flat_map(|part| part.events).map(|e| (e.name, e.version)).collect();
    assert_eq!(events, [("order-opened", 1), ("paid", 3), ("looked", 1), ("order-settled", 1)]);
    assert_eq!(parts().flat_map(|part| part.queries).map(|q| q.name).collect::<Vec<_>>(), ["open"]);
    assert!(parts().all(|part| part.place.contains("annotated") && part.place.contains(".rs:")));
}

#[test]
fn every_form_of_an_event_is_read() {
    #[track_caller]
    fn check(name: &str, version: u32, json: &str, expected: i64) {
        let entry = event_entry::<Order>(name).expect("a handler");
        assert_eq!(entry.name, "paid");
        let mut order = Order::default();
        (entry.apply)(&mut order, name, version, Json::ID, json.as_bytes()).expect("it is read");
        assert_eq!(order.paid, expected);
        let today = (entry.upcast)(name, version, Json::ID, json.as_bytes()).expect("it is read");
        assert_eq!(String::from_utf8(today), Ok(format!(r#"{{"amount":{expected}}}"#)));
    }
    check("paid", 3, r#"{"amount":5}"#, 5);
    check("paid", 1, "6", 6);
    check("payment", 1, r#"{"units":7}"#, 700);
    assert!(event_entry::<Order>("never-heard-of").is_none());
}

#[test]
fn a_form_that_nobody_knows_is_refused() {
    #[track_caller]
    fn check(name: &str, version: u32, remedy: &str) {
        let error = Paid::read::<Json>(name, version, Json::ID, b"6").expect_err("no such form").to_string();
        assert!(error.contains("knows version 3") && error.contains(remedy), "{error}");
    }
    check("paid", 4, "a newer service wrote it");
    check("paid", 2, "upcast_from");
    check("paid", 0, "upcast_from");
    check("payment", 4, "a newer service wrote it");
}

#[test]
fn an_event_is_read_in_the_codec_that_it_was_stored_in() {
    let mut bytes = Vec::new();
    Postcard::encode(&PaidV1(8), &mut bytes).expect("it is encoded");
    assert_eq!(Paid::read::<Json>("paid", 1, Postcard::ID, &bytes).expect("it is read"), Paid { amount: 8 });
    assert!(Paid::read::<Json>("paid", 1, 99, &bytes).is_err());
}

#[test]
fn a_snapshot_brings_the_state_back() {
    let order = Order { paid: 3, ..Order::default() };
    let bytes = <Order as Aggregate>::Snapshots::take(&order).expect("it is encoded").expect("snapshots are on");
    assert_eq!(<Order as Aggregate>::Snapshots::restore(Json::ID, &bytes).expect("it is read"), Some(order));
}

#[test]
fn a_schema_has_the_names_on_the_wire() {
    let document = Document::of(OpenOrder::schema());
    let path = |name: &str| format!("{}::{name}", module_path!().replace("records", "messages"));
    let line = &document.definitions[&*path("Line")];
    let int = Type::Int { bits: 64, signed: true };
    let field = |name, shape, serde| Field { name, shape, serde };
    let fields = vec![field("itemName", Type::Text, ""), field("cents", int, "default")];
    assert_eq!((line.name, &line.body), ("Line", &Body::Struct(fields)));
    let json = serde_json::to_value(&document).expect("a document is JSON");
    assert_eq!(json["root"]["defined"], path("OpenOrder"));

    let error = Document::of(OrderError::schema()).definitions.remove(&*path("OrderError")).expect("it is defined");
    let Body::Enum(variants) = error.body else { panic!("an enum") };
    assert_eq!(
        variants.iter().map(|v| (v.name, v.body.is_some())).collect::<Vec<_>>(),
        [("settled", false), ("short", true)]
    );
    assert_eq!(Document::of(Settled::schema()).definitions[&*path("Settled")].body, Body::Unit);
}

/// Equal names, so that only the layout can tell them apart.
mod layouts {
    use phoenix_runtime::prelude::*;

    pub(super) mod plain {
        #[derive(super::Schema)]
        #[expect(dead_code, reason = "only its schema counts")]
        pub(crate) struct State<T> {
            inner: Vec<T>,
        }
    }
    pub(super) mod renamed {
        #[derive(super::Schema)]
        #[serde(rename_all = "UPPERCASE")]
        #[expect(dead_code, reason = "only its schema counts")]
        pub(crate) struct State<T> {
            inner: Vec<T>,
        }
    }
    #[derive(Schema)]
    #[serde(transparent)]
    #[expect(dead_code, reason = "only its schema counts")]
    pub(super) struct Wrapper(u8);
    #[derive(Schema)]
    #[expect(dead_code, reason = "only its schema counts")]
    pub(super) struct Tree {
        children: Vec<Tree>,
    }
}

#[test]
fn a_fingerprint_covers_nested_types_and_the_logic_version() {
    let prints = [
        fingerprint(&layouts::plain::State::<u8>::schema(), 1),
        fingerprint(&layouts::plain::State::<u16>::schema(), 1),
        fingerprint(&layouts::plain::State::<layouts::plain::State<u8>>::schema(), 1),
        fingerprint(&layouts::plain::State::<layouts::plain::State<u16>>::schema(), 1),
        fingerprint(&layouts::renamed::State::<u8>::schema(), 1),
        fingerprint(&layouts::renamed::State::<u8>::schema(), 2),
        fingerprint(&Line::schema(), 1),
    ];
    let different: std::collections::BTreeSet<_> = prints.iter().collect();
    assert_eq!(different.len(), prints.len(), "{prints:?}");
    assert_eq!(fingerprint(&layouts::Wrapper::schema(), 1), fingerprint(&u8::schema(), 1));
    assert_eq!(Document::of(layouts::Tree::schema()).definitions.len(), 1, "a type may contain itself");
}
