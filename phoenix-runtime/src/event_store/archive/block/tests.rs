#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::domain::id::{AggregateId, Dedup, MessageId, Slice};
use crate::domain::outcome::{Outcome, OutcomeKind};
use crate::event_store::port::{CommandData, EventData};

fn stream() -> StreamId {
    StreamId { aggregate: "account".into(), id: AggregateId::new("a").unwrap() }
}

prop_compose! {
    fn event()(
        payload in any::<Vec<u8>>(),
        codec in any::<u8>(),
        command in proptest::option::of(any::<(u128, Vec<u8>)>()),
    ) -> StoredEvent {
        let command = command.map(|(number, body)| CommandData {
            id: MessageId(uuid::Uuid::from_u128(number)),
            dedup: Dedup(number.to_be_bytes()),
            name: "deposit".into(),
            key: Some(number.to_string()),
            payload_hash: 7,
            outcome: Outcome { kind: OutcomeKind::Replied, version: 1, codec, body },
            correlation_id: None,
            causation_id: Some("b".to_owned()),
        });
        let event = EventData { version: 0, name: "deposited".into(), schema_version: 2, codec, payload };
        let (slice, command) = (Slice(9), command.map(Box::new));
        StoredEvent { stream: stream(), slice, sequence: 1, time_micros: -4, event, command }
    }
}

prop_compose! {
    fn run()(mut events in proptest::collection::vec(event(), 1..20), first in 1_u64..1 << 60) -> Vec<StoredEvent> {
        for (stored, version) in events.iter_mut().zip(first..) {
            stored.event.version = version;
            stored.sequence = version + 3;
        }
        events
    }
}

proptest! {
    #[test]
    fn a_block_gives_back_what_was_put_into_it(events in run()) {
        let (info, bytes) = encode(&events).unwrap();
        prop_assert_eq!(info.from, events[0].event.version);
        prop_assert_eq!(info.to - info.from + 1, events.len() as u64);
        prop_assert_eq!(decode(&bytes, &stream(), info), Ok(events));
    }

    #[test]
    fn a_changed_byte_is_found(events in run(), place in any::<prop::sample::Index>(), bits in 1_u8..) {
        let (info, mut bytes) = encode(&events).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= bits;
        prop_assert!(decode(&bytes, &stream(), info).is_err());
    }

    #[test]
    fn what_is_missing_or_too_much_is_found(events in run(), cut in any::<prop::sample::Index>(), more in any::<Vec<u8>>()) {
        let (info, mut bytes) = encode(&events).unwrap();
        let cut = &bytes[..cut.index(bytes.len())];
        prop_assert!(decode(cut, &stream(), info).is_err());
        bytes.extend(&more);
        prop_assert_eq!(decode(&bytes, &stream(), info).is_ok(), more.is_empty());
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in any::<Vec<u8>>()) {
        let bytes = [MAGIC.to_vec(), vec![FORM], bytes].concat();
        let info = BlockInfo { from: 1, to: 3 };
        prop_assert!(decode(&bytes, &stream(), info).is_err());
    }
}

/// A block of versions 1 to 3, changed and with a checksum that is right again.
fn forged(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let event = |version| StoredEvent {
        stream: stream(),
        slice: Slice(9),
        sequence: version,
        time_micros: 0,
        event: EventData { version, name: "e".into(), schema_version: 1, codec: 1, payload: vec![1] },
        command: None,
    };
    let (_, mut bytes) = encode(&[event(1), event(2), event(3)]).unwrap();
    bytes.truncate(bytes.len() - CHECKSUM);
    change(&mut bytes);
    let length = (bytes.len() + CHECKSUM) as u64;
    bytes[FIXED - 8..FIXED].copy_from_slice(&length.to_le_bytes());
    let checksum = xxh3_128(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn a_block_that_is_another_one_says_so() {
    #[track_caller]
    fn check(id: &str, from: u64, to: u64, change: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let stream = StreamId { id: AggregateId::new(id).unwrap(), ..stream() };
        let found = decode(&forged(change), &stream, BlockInfo { to, from });
        assert_eq!(found.map(|events| events.len()).map_err(|e| e.to_string()), Err(expected.to_owned()));
    }
    check("b", 1, 3, |_| {}, "it holds versions 1-3 of account/a");
    check("a", 1, 2, |_| {}, "it holds versions 1-3 of account/a");
    check("a", 1, 3, |bytes| bytes[0] = b'P', "it does not begin as a block of an archive does");
    check(
        "a",
        1,
        3,
        |bytes| bytes[8] = 2,
        "it has form 2, and this program knows form 1: read it with the newer release that wrote it",
    );
    // the versions of the header are not those of the records
    check("a", 1, 4, |bytes| bytes[17] = 4, "it does not hold the versions that it says to hold");
    check("a", 2, 3, |bytes| bytes[9] = 2, "it does not hold the versions that it says to hold");
    let backwards = |bytes: &mut Vec<u8>| bytes[9] = 9;
    check("a", 9, 3, backwards, "it does not hold the versions that it says to hold");
    let endless = |bytes: &mut Vec<u8>| bytes[9..25].fill(255);
    check("a", u64::MAX, u64::MAX, endless, "it does not hold the versions that it says to hold");
    let short = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1);
    check("a", 1, 3, short, "the record of version 3 can't be read: it ends in the middle");
    assert!(decode(&forged(|_| {}), &stream(), BlockInfo { from: 1, to: 3 }).is_ok());
}

#[test]
fn no_events_make_no_block() {
    assert_eq!(encode(&[]), None);
}
