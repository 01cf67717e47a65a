//! What is written is read, in either form; what is not ours is told, and never a panic.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::bus::port::{TopicPartition, Traits};
use crate::domain::error::{AskError, Code, Fault};
use crate::domain::id::MessageId;
use crate::domain::metadata::{Metadata, Priority};
use crate::domain::pending::Answer;

const WITH: Traits = Traits { headers: true, rebalances: true, max_record_bytes: usize::MAX };
const WITHOUT: Traits = Traits { headers: false, ..WITH };

fn id() -> impl Strategy<Value = MessageId> {
    any::<u128>().prop_map(|bits| MessageId(uuid::Uuid::from_u128(bits)))
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let text = || prop::option::of(".{0,40}");
    let headers = prop::collection::btree_map("[a-z-]{1,12}", ".{0,40}", 0..4);
    (text(), text(), text(), headers).prop_map(|(correlation_id, causation_id, traceparent, headers)| Metadata {
        correlation_id,
        causation_id,
        traceparent,
        headers,
    })
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let object =
        ".{0,200}".prop_map(|text| serde_json::json!({ "text": text, "data": [1, 2.5, null], "dataref": text }));
    prop_oneof![9 => object, 1 => Just(serde_json::Value::Null)].prop_map(|value| value.to_string().into_bytes())
}

prop_compose! {
    fn call()(
        kind in prop_oneof![Just(CallKind::Command), Just(CallKind::Query)],
        id in id(),
        names in ("[a-z-]{1,20}", ".{1,60}", "[a-z-]{1,20}"),
        key in prop::option::of(".{1,60}"),
        metadata in metadata(),
        reply_to in prop::option::of(("[a-z./-]{1,20}", any::<u16>())),
        priority in prop_oneof![Just(Priority::High), Just(Priority::Normal), Just(Priority::Low)],
        deadline_millis in any::<Option<i64>>(),
        attempt in any::<u32>(),
        payload in payload(),
    ) -> Call {
        let (aggregate, subject, name) = names;
        let reply_to = reply_to.map(|(topic, partition)| ReplyTo(TopicPartition::new(topic, partition)));
        Call { kind, id, aggregate, subject, name, idempotency_key: key, metadata, reply_to, priority, deadline_millis, attempt, payload }
    }
}

prop_compose! {
    fn reply()(
        ids in (id(), id()),
        names in ("[a-z-]{1,20}", ".{1,60}", "[a-z-]{1,20}"),
        metadata in metadata(),
        outcome in prop_oneof![
            Just(ReplyOutcome::Replied),
            Just(ReplyOutcome::Rejected),
            Just(ReplyOutcome::NotFound),
            prop::sample::select(Code::ALL.to_vec()).prop_map(ReplyOutcome::Fault),
        ],
        version in any::<Option<u64>>(),
        flags in any::<(bool, bool)>(),
        payload in payload(),
    ) -> Replied {
        let (aggregate, subject, name) = names;
        let (replayed, durable) = flags;
        Replied { id: ids.0, to: ids.1, aggregate, subject, name, metadata, outcome, version, replayed, durable, payload }
    }
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![call().prop_map(Message::Call), reply().prop_map(Message::Reply)]
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in message()) {
        for traits in [WITH, WITHOUT] {
            let record = message.clone().into_record(None, traits);
            prop_assert_eq!(record.headers.is_empty(), !traits.headers);
            prop_assert_eq!(Message::from_record(&record), Ok(message.clone()));
        }
    }

    #[test]
    fn what_was_cut_or_changed_is_told(message in message(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut record = message.into_record(None, WITHOUT);
        let at = at.index(record.value.len());
        if cut { record.value.truncate(at) } else { record.value[at] = byte }
        // read as something, or refused: never a panic
        let _ = Message::from_record(&record);
    }

    #[test]
    fn an_attribute_that_is_missing_is_named(call in call(), which in 0..7_usize) {
        let mut record = Message::Call(call).into_record(None, WITH);
        let required = ["ce_specversion", "ce_phxversion", "ce_type", "ce_id", "ce_phxaggregate", "ce_subject", "ce_phxname"];
        record.headers = record.headers.iter().filter(|(name, _)| *name != required[which]).collect();
        let expected = match which {
            // nothing says that it is one of ours, and its value is none by itself
            0 => matches!(Message::from_record(&record), Err(Unreadable::NoEnvelope(_) | Unreadable::Missing(_))),
            _ => matches!(Message::from_record(&record), Err(Unreadable::Missing(name)) if required[which].ends_with(name)),
        };
        prop_assert!(expected, "{:?}", Message::from_record(&record));
    }
}

fn example() -> Call {
    Call {
        kind: CallKind::Command,
        id: MessageId(uuid::Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001)),
        aggregate: "bank-account".to_owned(),
        subject: "account-1".to_owned(),
        name: "deposit".to_owned(),
        idempotency_key: Some("order-7".to_owned()),
        metadata: Metadata {
            correlation_id: Some("transfer-3".to_owned()),
            headers: BTreeMap::from([("tenant".to_owned(), "x".to_owned())]),
            ..Metadata::default()
        },
        reply_to: Some(ReplyTo(TopicPartition::new("replies", 3))),
        priority: Priority::High,
        deadline_millis: None,
        attempt: 0,
        payload: br#"{"account":"account-1","amount":5}"#.to_vec(),
    }
}

/// Records that were written rest on this form.
#[test]
fn the_form_is_for_ever() {
    let record = Message::Call(example()).into_record(None, WITHOUT);
    expect_test::expect![[r#"{"datacontenttype":"application/json","correlationid":"transfer-3","id":"01920000-0000-7000-8000-000000000001","phxaggregate":"bank-account","phxkey":"order-7","phxname":"deposit","phxpriority":"high","phxreplyto":"replies/3","phxversion":"1","source":"/phoenix","specversion":"1.0","subject":"account-1","type":"phoenix.command","phxheaders":"{\"tenant\":\"x\"}","data":{"account":"account-1","amount":5}}"#]]
    .assert_eq(std::str::from_utf8(&record.value).expect("UTF-8"));
    let record = Message::Call(example()).into_record(None, WITH);
    let headers: Vec<String> =
        record.headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))).collect();
    expect_test::expect![[r"
        content-type: application/json
        ce_correlationid: transfer-3
        ce_id: 01920000-0000-7000-8000-000000000001
        ce_phxaggregate: bank-account
        ce_phxkey: order-7
        ce_phxname: deposit
        ce_phxpriority: high
        ce_phxreplyto: replies/3
        ce_phxversion: 1
        ce_source: /phoenix
        ce_specversion: 1.0
        ce_subject: account-1
        ce_type: phoenix.command
        phx-tenant: x"]]
    .assert_eq(&headers.join("\n"));
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let mut record = Message::Call(example()).into_record(None, WITH);
    let newer = |(name, value)| (name, if name == "ce_phxversion" { &b"2"[..] } else { value });
    record.headers = record.headers.iter().map(newer).collect();
    assert_eq!(Message::from_record(&record), Err(Unreadable::Version { found: "2".to_owned() }));
}

#[test]
fn attributes_are_bounded() {
    let mut call = example();
    call.metadata.headers.insert("long".to_owned(), "x".repeat(MAX_ATTRIBUTE_BYTES));
    for traits in [WITH, WITHOUT] {
        let record = Message::Call(call.clone()).into_record(None, traits);
        assert!(matches!(Message::from_record(&record), Err(Unreadable::TooLarge { .. })));
    }
}

#[test]
fn what_was_answered_is_told_as_it_was() {
    let answer = Err(Fault::new(Code::Panicked, "it said \"no\"").into());
    let told = Replied::new(example().id, &example(), answer.clone());
    assert_eq!(told.metadata.causation_id, Some(example().id.to_string()));
    let record = Message::Reply(told).into_record(None, WITHOUT);
    let Ok(Message::Reply(told)) = Message::from_record(&record) else { panic!("{record:?}") };
    assert_eq!(told.into_answer(), answer);
}

#[test]
fn a_reply_that_is_written_without_copies_is_the_same() {
    let reply = Answer { reply: b"7".to_vec(), version: 3, replayed: true, durable: false };
    let rejected = AskError::Rejected { rejection: b"\"no\"".to_vec(), version: 4, replayed: false };
    let fault = Fault::new(Code::TooLarge, "\"much\"").into();
    let id = MessageId::generate(1_700_000_000_000, [7; 10]);
    for answer in [Ok(reply), Err(rejected), Err(AskError::NotFound { replayed: true }), Err(fault)] {
        for traits in [WITH, WITHOUT] {
            let copied = Message::Reply(Replied::new(id, &example(), answer.clone()));
            let record = Message::record_of_reply(id, &example(), answer.clone(), Some(b"key".to_vec()), traits);
            assert_eq!(record, copied.into_record(Some(b"key".to_vec()), traits));
        }
    }
}
