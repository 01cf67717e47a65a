#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::*;

fn outcomes() -> impl Strategy<Value = Outcome> {
    let kinds = prop_oneof![Just(OutcomeKind::Replied), Just(OutcomeKind::Rejected), Just(OutcomeKind::NotFound)];
    (kinds, any::<u64>(), any::<u8>(), any::<Vec<u8>>()).prop_map(|(kind, version, codec, body)| Outcome {
        kind,
        version,
        codec,
        body,
    })
}

fn commands() -> impl Strategy<Value = CommandData> {
    let texts = (".*", any::<Option<String>>(), any::<Option<String>>(), any::<Option<String>>());
    (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u64>(), outcomes(), texts).prop_map(
        |(id, dedup, payload_hash, outcome, (name, key, correlation_id, causation_id))| CommandData {
            id: MessageId(Uuid::from_bytes(id)),
            dedup: Dedup(dedup),
            name: name.into(),
            key,
            payload_hash,
            outcome,
            correlation_id,
            causation_id,
        },
    )
}

fn events() -> impl Strategy<Value = EventData> {
    (any::<u64>(), ".*", any::<u32>(), any::<u8>(), any::<Vec<u8>>()).prop_map(
        |(version, name, schema_version, codec, payload)| EventData {
            version,
            name: name.into(),
            schema_version,
            codec,
            payload,
        },
    )
}

fn records() -> impl Strategy<Value = Record> {
    let numbers = (any::<u16>(), any::<u64>(), any::<i64>());
    let parts = (proptest::option::of(events()), proptest::option::of(commands()));
    (numbers, ".*", "[^\0]{1,60}", parts).prop_map(
        |((slice, sequence, time_micros), aggregate, id, (event, command))| Record {
            stream: StreamId { aggregate: aggregate.into(), id: AggregateId::new(id).unwrap() },
            slice: Slice(slice),
            sequence,
            time_micros,
            event,
            command: command.map(Box::new),
        },
    )
}

fn encoded(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    View::from(record).encode(&mut bytes);
    bytes
}

/// The record of a view, whether it is an event or not.
fn record(view: &View<'_>) -> Record {
    let mut names = Names::default();
    Record {
        stream: view.stream(&mut names).unwrap(),
        slice: view.slice,
        sequence: view.sequence,
        time_micros: view.time_micros,
        event: view.event.map(|event| event.data(&mut names)),
        command: view.command.map(|command| Box::new(command.data(&mut names))),
    }
}

proptest! {
    #[test]
    fn what_is_encoded_comes_back(wanted in records()) {
        let bytes = encoded(&wanted);
        let view = View::decode(&bytes).unwrap();
        prop_assert_eq!(view, View::from(&wanted));
        prop_assert_eq!(record(&view), wanted.clone());
        if let Some(stored) = view.stored_event(&mut Names::default()).unwrap() {
            prop_assert_eq!(View::from(&stored), view);
        } else {
            prop_assert!(wanted.event.is_none());
        }
    }

    #[test]
    fn what_is_cut_short_or_goes_on_is_refused(wanted in records(), more in any::<u8>()) {
        let mut bytes = encoded(&wanted);
        for end in 0..bytes.len() {
            prop_assert!(View::decode(&bytes[..end]).is_err(), "cut at {}", end);
        }
        bytes.push(more);
        prop_assert!(View::decode(&bytes).is_err());
    }

    #[test]
    fn a_record_has_one_form(wanted in records(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut bytes = encoded(&wanted);
        let checksum = xxh3_64(&bytes);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert_ne!(xxh3_64(&bytes), checksum, "the checksum around it finds it");
        // without one it is refused, or it is another record, of which these are the very bytes
        if let Ok(view) = View::decode(&bytes) {
            let mut again = Vec::new();
            view.encode(&mut again);
            prop_assert_eq!(&again, &bytes);
            prop_assert_ne!(view, View::from(&wanted));
        }
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in any::<Vec<u8>>(), parts in 0..32_u8) {
        let mut bytes = bytes;
        bytes.splice(0..0, [FORM, parts]);
        if let Ok(view) = View::decode(&bytes) {
            let mut again = Vec::new();
            view.encode(&mut again);
            prop_assert_eq!(&again, &bytes);
        }
    }

    #[test]
    fn numbers_come_back(number in any::<u64>(), bits in 0..64_u32) {
        let number = number >> bits;
        let mut bytes = Vec::new();
        put_varint(&mut bytes, number);
        prop_assert_eq!(Input(&bytes).varint(), Ok(number));
    }
}

#[test]
fn the_form_is_for_ever() {
    // written down once: stored data rests on these bytes
    let record = Record {
        stream: StreamId { aggregate: "account".into(), id: AggregateId::new("a1").unwrap() },
        slice: Slice(258),
        sequence: 3,
        time_micros: -1,
        event: Some(EventData { version: 300, name: "paid".into(), schema_version: 2, codec: 1, payload: vec![9] }),
        command: Some(Box::new(CommandData {
            id: MessageId(Uuid::from_bytes([1; 16])),
            dedup: Dedup([2; 16]),
            name: "pay".into(),
            key: Some("k".to_owned()),
            payload_hash: 4,
            outcome: Outcome { kind: OutcomeKind::Rejected, version: 5, codec: 6, body: vec![7, 8] },
            correlation_id: None,
            causation_id: Some("c".to_owned()),
        })),
    };
    let mut expected = vec![1, 0b10111, 2, 1, 3, 0, 0, 0, 0, 0, 0, 0];
    expected.extend([255; 8]);
    expected.extend(b"\x07account\x02a1");
    expected.extend(b"\xac\x02\x04paid\x02\x01\x01\x09");
    expected.extend([[1; 16], [2; 16]].concat());
    expected.extend(b"\x04\0\0\0\0\0\0\0\x02\x06\x05\x03pay\x02\x07\x08\x01k\x01c");
    assert_eq!(encoded(&record), expected);
    expected[0] = 2;
    assert_eq!(View::decode(&expected), Err(Malformed::Form(2)));
}

#[test]
fn lengths_of_a_file_ask_for_no_memory() {
    let mut bytes = vec![FORM, 0];
    bytes.extend([0; 18]);
    put_varint(&mut bytes, u64::MAX);
    assert_eq!(View::decode(&bytes), Err(Malformed::Short));
    assert_eq!(Input(&[0x80, 0]).varint(), Err(Malformed::Part("number")));
    assert_eq!(Input(&[0xff; 11]).varint(), Err(Malformed::Part("number")));
}

#[test]
fn names_are_shared() {
    let mut names = Names::default();
    assert!(Arc::ptr_eq(&names.shared("paid"), &names.shared("paid")));
    for n in 0..2 * Names::MOST {
        names.shared(&n.to_string());
    }
    assert_eq!(names.0.len(), Names::MOST);
}
