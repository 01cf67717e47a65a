//! Commands, replies, rejections, ids and keys.

use phoenix_runtime::domain::context::Resources;
use phoenix_runtime::domain::error::Code;
use phoenix_runtime::domain::handle::{AnsweredBy, HandledBy};
use phoenix_runtime::domain::message::{Addressed, Command as _, Query as _};
use phoenix_runtime::prelude::*;

use crate::messages::{Correct, Line, Open, OpenOrder, OrderError, Pay, Receipt, Route, SettleOrder, Touch};
use crate::orders::Order;
use crate::run::decide;
use crate::settling::Surcharge;

fn lines(prices: &[i64]) -> Vec<Line> {
    let line = |(i, price): (usize, &i64)| Line { item_name: format!("item {i}"), price: *price, note: None };
    prices.iter().enumerate().map(line).collect()
}

fn opened(prices: &[i64]) -> Order {
    decide(Order::default(), OpenOrder { order: "o-1".into(), lines: lines(prices) }, 0).0
}

fn route() -> Route {
    Route { desk: 7, number: "o-1".into() }
}

#[test]
fn an_option_of_events_may_be_none() {
    let (order, records, answer) = decide(Order::default(), OpenOrder { order: "o-1".into(), lines: vec![] }, 0);
    assert_eq!((order, records.len(), answer.map(|a| a.version)), (Order::default(), 0, Ok(0)));
}

#[test]
fn a_computed_reply_sees_the_state_after_the_events() {
    let (order, records, answer) = decide(opened(&[30, 12]), Pay { route: route(), amount: 11, payment: 1 }, 1);
    assert_eq!(order.paid, 11);
    assert_eq!(records.iter().map(|r| (r.name, r.schema_version)).collect::<Vec<_>>(), [("paid", 3), ("paid", 3)]);
    assert_eq!(answer.map(|a| (a.reply, a.version)), Ok((31, 3)));
}

#[test]
fn a_fixed_reply_comes_with_the_decision() {
    let (order, _, _) = decide(opened(&[30]), Pay { route: route(), amount: 30, payment: 1 }, 1);
    let (order, records, answer) = decide(order, SettleOrder { route: route() }, 3);
    assert!(order.settled);
    assert_eq!(records.len(), 1);
    assert_eq!(answer.map(|a| a.reply), Ok(Receipt { paid: 30 }));
}

#[test]
fn a_rejection_is_typed_and_leaves_no_event() {
    let (order, records, answer) = decide(opened(&[30]), SettleOrder { route: route() }, 1);
    assert_eq!((order, records.len()), (opened(&[30]), 0));
    let error = answer.expect_err("nothing is paid");
    assert_eq!(error.code(), Code::Rejected);
    assert_eq!(error.rejection(), Some(OrderError::Short { by: 30 }));
}

#[test]
fn an_async_handler_waits_and_decides() {
    let (order, records, answer) = decide(opened(&[30]), Correct("o-1".into(), 5), 1);
    assert_eq!((order.paid, order.settled), (5, true));
    assert_eq!(records.iter().map(|r| r.name).collect::<Vec<_>>(), ["paid", "order-settled"]);
    assert_eq!(answer.map(|a| a.reply), Ok(5));
    let (_, records, _) = decide(opened(&[30]), Correct("o-1".into(), 0), 1);
    assert_eq!(records.len(), 1, "a variant without an event");
}

#[test]
fn a_handler_says_what_it_is() {
    let facts = <Pay as HandledBy<Order>>::FACTS;
    assert_eq!((facts.name, facts.of, facts.declared, facts.rust), ("pay", "order", None, "Pay"));
    assert!(!facts.creates && !facts.asynchronous && facts.needs.is_empty());
    let facts = <Correct as HandledBy<Order>>::FACTS;
    assert!(facts.creates && facts.asynchronous);
    assert_eq!(facts.needs.iter().map(|n| n.name).collect::<Vec<_>>(), ["Surcharge"]);
    assert!(Resources::default().with(Surcharge(1)).has(&facts.needs[0]));
    assert!(!Resources::default().has(&facts.needs[0]));
    assert_eq!(<OpenOrder as HandledBy<Order>>::FACTS.declared, Some("order"));
}

#[test]
fn ids_come_from_the_fields_that_are_named() {
    #[track_caller]
    fn check(id: Result<AggregateId, InvalidId>, expected: &str) {
        assert_eq!(id.map(|id| id.to_string()), Ok(expected.to_owned()));
    }
    check(OpenOrder { order: "o-1".into(), lines: vec![] }.aggregate_id(), "o-1");
    check(SettleOrder { route: route() }.aggregate_id(), "o-1");
    check(Correct("o-2".into(), 1).aggregate_id(), "o-2");
    check(Open { order: "o-3".into() }.aggregate_id(), "o-3");
    check(Pay { route: route(), amount: 1, payment: 1 }.aggregate_id(), "1:73:o-1");
    assert_eq!(Touch { order: String::new() }.aggregate_id(), Err(InvalidId::Empty));
}

#[test]
fn business_keys_join_their_fields() {
    assert_eq!(Pay { route: route(), amount: 1, payment: 42 }.business_key().as_deref(), Some("2:421:7"));
    assert_eq!(Touch { order: "o-1".into() }.business_key(), None);
}

fn addressed<M: Addressed>() {}

#[test]
fn names_default_to_the_type_in_kebab_case() {
    assert_eq!((OpenOrder::NAME, SettleOrder::NAME, Open::NAME), ("open-order", "settle", "open"));
    assert_eq!((OpenOrder::AGGREGATE, Pay::AGGREGATE), (Some("order"), None));
    addressed::<OpenOrder>();
    addressed::<Open>();
}

#[test]
fn a_query_reads_the_state() {
    assert_eq!(AnsweredBy::<Order>::answer(Open { order: "o-1".into() }, &opened(&[30, 1])), 31);
}
