//! What operators do with commands that came to no outcome.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::bus::envelope::{Call, Message};
use phoenix_runtime::bus::{Record, Traits};
use phoenix_runtime::delivery::settle::encode;
use phoenix_runtime::domain::id::MessageId;
use phoenix_runtime::event_store::letters::{DeadLetter, Standing};
use phoenix_runtime::event_store::{EventStore, MemoryStore};
use phoenix_runtime::node::config::BusUrl;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::call::{Response, Under, config, request, start_with};

/// One balance and this are more than fits: the handler panics.
const TOO_MUCH: u64 = u64::MAX;
const OPTIONS: [bool; 2] = [true, false];

/// A node with a bus in memory, which gives a command up at the second try, and its store.
async fn node() -> (Under, Arc<MemoryStore>) {
    let mut config = config();
    config.bus = BusUrl::Memory;
    config.delivery.max_tries = 2;
    config.delivery.first_pause = Duration::from_millis(1);
    let store = Arc::new(MemoryStore::new());
    let under = Box::pin(start_with(config, Arc::clone(&store) as Arc<dyn EventStore>)).await;
    (under, store)
}

/// A command as a record, with its attributes as headers or without.
fn record(id: u128, account: &str, name: &str, amount: u64, headers: bool) -> Record {
    let call = Call::command(
        MessageId(Uuid::from_u128(id)),
        "account",
        account,
        name,
        format!(r#"{{"account":"{account}","amount":{amount}}}"#),
    );
    let traits = Traits { headers, rebalances: true, max_record_bytes: 1 << 20 };
    Message::Call(call).into_record(Some(account.as_bytes().to_vec()), traits)
}

/// A letter as delivery keeps it, of a topic that is no more.
fn letter(offset: u64, account: &str, code: &str, record: &Record) -> DeadLetter {
    DeadLetter {
        number: 0,
        topic: "old.commands".into(),
        partition: 0,
        offset,
        aggregate: Some("account".into()),
        id: Some(account.into()),
        name: None,
        message_id: None,
        slice: None,
        code: code.into(),
        reason: "for a test".to_owned(),
        tries: 1,
        time_micros: 1,
        standing: Standing::Waiting,
        settled_micros: None,
        codec: 1,
        body: encode(record),
        original: None,
    }
}

async fn bury(store: &MemoryStore, letters: Vec<DeadLetter>) {
    store.letters().expect("it keeps letters").bury(letters, Vec::new()).await.expect("kept");
}

impl Under {
    async fn put(&self, path: &str, body: &str) -> Response {
        request(self.address, "PUT", path, &[], body).await
    }

    /// The letters that a query finds.
    async fn dead(&self, query: &str) -> Vec<Value> {
        let listed = self.get(&format!("/dead-letters?{query}")).await;
        assert_eq!(listed.status, 200, "{}", listed.text);
        listed.json()["dead_letters"].as_array().cloned().unwrap_or_default()
    }

    async fn balance(&self, account: &str) -> Value {
        self.post("/queries/account/balance", &format!(r#"{{"account":"{account}"}}"#)).await.json()["reply"].clone()
    }

    /// Waits until an account has this balance.
    async fn until_balance(&self, account: &str, wanted: u64) {
        let reached = async { while self.balance(account).await != wanted {} };
        tokio::time::timeout(Duration::from_secs(30), reached).await.expect("the balance");
    }

    /// Waits until a query finds so many letters.
    async fn until_dead(&self, query: &str, count: usize) -> Vec<Value> {
        let found = async {
            loop {
                let found = self.dead(query).await;
                if found.len() == count {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found).await.expect("the letters")
    }
}

#[track_caller]
fn numbers(letters: &[Value]) -> Vec<u64> {
    letters.iter().filter_map(|letter| letter["number"].as_u64()).collect()
}

#[tokio::test]
async fn a_command_that_panics_is_amended_sent_again_and_done_once() {
    for headers in OPTIONS {
        let (under, store) = node().await;
        under.post("/commands/account/deposit", r#"{"account":"a","amount":1}"#).await;
        let deposit = letter(0, "a", "of-this-test", &record(7, "a", "deposit", TOO_MUCH, headers));
        bury(&store, vec![deposit]).await;
        assert!(under.get("/metrics").await.text.contains("phoenix_dead_letters{code=\"of-this-test\"} 1"));

        // sent again as it is, it panics again, and is another letter
        let replayed = under.post("/dead-letters/1/replay", "").await;
        assert_eq!((replayed.status, &replayed.json()["standing"]), (200, &json!("replayed")), "{}", replayed.text);
        let dead = under.until_dead("code=panicked&aggregate=account&id=a&standing=waiting", 1).await;
        assert_eq!((numbers(&dead), &dead[0]["tries"]), (vec![2], &json!(2)));
        assert_eq!(dead[0]["message_id"], MessageId(Uuid::from_u128(7)).to_string(), "it keeps its id");
        let shown = under.get("/dead-letters/2").await;
        assert!(shown.text.contains(r#""payload":{"account":"a","amount":18446744073709551615}"#), "{}", shown.text);
        assert!(!under.get("/dead-letters?limit=9").await.text.contains("record"), "a list has no records");

        let amended = under.put("/dead-letters/2", r#"{"account":"a","amount":5}"#).await;
        assert_eq!(amended.status, 200, "{}", amended.text);
        let amended = amended.json();
        assert_eq!((&amended["amended"], &amended["payload"]["amount"]), (&json!(true), &json!(5)));
        assert_eq!(amended["original"], shown.json()["record"], "the original stays");
        assert_eq!(amended["record"]["headers"], shown.json()["record"]["headers"]);
        assert_eq!(under.balance("a").await, 1);
        assert_eq!(under.post("/dead-letters/2/replay", "").await.status, 200);
        under.until_balance("a", 6).await;

        // it is done once, however often it is sent; what comes behind it shows that it was looked at
        assert_eq!(under.post("/dead-letters/2/replay", "").await.status, 200);
        bury(&store, vec![letter(1, "a", "lost", &record(8, "a", "deposit", 100, headers))]).await;
        assert_eq!(under.post("/dead-letters/3/replay", "").await.status, 200);
        under.until_balance("a", 106).await;
        assert_eq!(numbers(&under.dead("standing=replayed").await), [1, 2, 3]);
        assert_eq!(under.dead("standing=waiting").await, Vec::<Value>::new());
        assert!(under.get("/metrics").await.text.contains("phoenix_dead_letters{code=\"of-this-test\"} 0"));
        under.node.stop().await;
    }
}

#[tokio::test]
async fn a_letter_of_an_older_release_is_upcast_and_done_once() {
    for headers in OPTIONS {
        let (under, store) = node().await;
        let renamed = record(7, "a", "pay-in", 5, headers);
        let mut changed = record(8, "a", "deposit", 0, headers);
        let text = String::from_utf8(changed.value).expect("JSON");
        changed.value = text.replace("\"amount\":0", "\"euros\":3").into_bytes();
        if headers {
            changed.headers.push("x-of-a-proxy", b"stays");
        }
        let fits = record(9, "a", "deposit", 1, headers);
        let foreign = record(10, "a", "never-heard-of", 1, headers);
        let mut wrong = record(11, "a", "pay-in", 1, headers);
        wrong.value = String::from_utf8(wrong.value).expect("JSON").replace("amount", "weight").into_bytes();
        let records = [renamed, changed, fits, foreign, wrong];
        let letters = (0..).zip(&records).map(|(offset, record)| letter(offset, "a", "unknown-name", record)).collect();
        bury(&store, letters).await;

        for (number, amount) in [(1, 5), (2, 300)] {
            let before = under.get(&format!("/dead-letters/{number}")).await.json();
            let upcast = under.post(&format!("/dead-letters/{number}/upcast"), "").await;
            assert_eq!(upcast.status, 200, "{}", upcast.text);
            let upcast = upcast.json();
            assert_eq!(upcast["payload"], json!({"account": "a", "amount": amount}));
            assert_eq!(
                (&upcast["original"], &upcast["amended"]),
                (&before["record"], &json!(true)),
                "the original stays"
            );
            assert_eq!(upcast["record"]["headers"].to_string().contains("x-of-a-proxy"), headers && number == 2);
            let again = under.post(&format!("/dead-letters/{number}/upcast"), "").await;
            assert_eq!((again.status, again.code().as_str()), (400, "invalid-message"), "{}", again.text);
            assert!(again.text.contains("fits as it is"), "{}", again.text);
        }
        for (number, reason) in
            [(3, "fits as it is"), (4, "no older form of `never-heard-of`"), (5, "none of the older forms")]
        {
            let refused = under.post(&format!("/dead-letters/{number}/upcast"), "").await;
            assert_eq!(refused.status, 400, "{}", refused.text);
            assert!(refused.text.contains(reason), "{}", refused.text);
        }
        for _ in 0..2 {
            assert_eq!(under.post("/dead-letters/1/replay", "").await.status, 200);
            assert_eq!(under.post("/dead-letters/2/replay", "").await.status, 200);
        }
        // what comes behind them shows that all were looked at
        assert_eq!(under.post("/dead-letters/3/replay", "").await.status, 200);
        under.until_balance("a", 306).await;
        assert_eq!(under.post("/dead-letters/1/upcast", "").await.code(), "not-waiting");
        under.node.stop().await;
    }
}

#[tokio::test]
async fn a_filter_sends_again_in_order() {
    let (under, store) = node().await;
    let mut letters = Vec::new();
    for step in 0..10_u64 {
        // out of order there would be less than is withdrawn
        for (name, account) in [("deposit", "b"), ("withdraw", "b"), ("deposit", "c")] {
            let offset = letters.len() as u64;
            let record = record(u128::from(offset) + 1, account, name, 10 + step, true);
            letters.push(letter(offset, account, "behind", &record));
        }
    }
    letters.push(letter(100, "b", "behind", &record(100, "b", "deposit", 7, true)));
    bury(&store, letters).await;
    let some = under.post("/dead-letters/replay?id=b&code=behind&limit=3", "").await;
    assert_eq!(some.json(), json!({"replayed": 3, "last": 4, "more": true}), "{}", some.text);
    let rest = under.post("/dead-letters/replay?id=b&code=behind", "").await;
    assert_eq!(rest.json(), json!({"replayed": 18, "last": 31, "more": false}), "{}", rest.text);
    under.until_balance("b", 7).await;
    let snapshot = under.post("/snapshots/account/b", "").await;
    assert_eq!(snapshot.json()["aggregate"]["version"], 21, "each was done, and none refused");
    assert_eq!(under.balance("c").await, json!(null), "others still wait");

    let page = under.get("/dead-letters?id=c&limit=4").await.json();
    assert_eq!(
        (numbers(page["dead_letters"].as_array().expect("a list")), &page["next"]),
        (vec![3, 6, 9, 12], &json!(12))
    );
    let last = under.get("/dead-letters?id=c&standing=waiting&topic=old.commands&after=27&limit=4").await.json();
    assert_eq!((numbers(last["dead_letters"].as_array().expect("a list")), &last["next"]), (vec![30], &json!(null)));
    under.node.stop().await;
}

#[tokio::test]
async fn what_can_not_be_sent_stops_what_is_behind_it() {
    let (under, store) = node().await;
    let good =
        |offset, account: &str| letter(offset, account, "x", &record(offset.into(), account, "deposit", 1, true));
    let newer = DeadLetter { codec: 9, ..good(2, "d") };
    let garbage = Record { value: b"\xff no message".to_vec(), ..Record::default() };
    bury(
        &store,
        vec![good(1, "d"), newer, good(3, "d"), DeadLetter { partition: 3, ..letter(4, "e", "unreadable", &garbage) }],
    )
    .await;
    let stopped = under.post("/dead-letters/replay?id=d", "").await;
    assert_eq!((stopped.status, stopped.code().as_str()), (409, "unreadable"));
    assert!(stopped.text.contains("dead letter 2 can't be sent again; 1 before it were"), "{}", stopped.text);
    assert_eq!(numbers(&under.dead("standing=waiting").await), [2, 3, 4]);
    // whoever can't read it sends it where it came from, and finds the same bytes there
    assert_eq!(under.post("/dead-letters/4/replay", "").await.status, 200);
    let again = under.until_dead("standing=waiting&code=unreadable", 1).await;
    assert_eq!((numbers(&again), &again[0]["partition"]), (vec![5], &json!(3)));
    let (first, second) = (under.get("/dead-letters/4").await.json(), under.get("/dead-letters/5").await.json());
    assert_eq!(first["record"], second["record"]);
    let refused = under.put("/dead-letters/5", "{}").await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "invalid-message"));
    assert!(refused.text.contains("amend the record as a whole"), "{}", refused.text);
    // another record is
    let whole = String::from_utf8(encode(&record(50, "e", "deposit", 3, true))).expect("JSON");
    assert_eq!(under.put("/dead-letters/5?as=record", &whole).await.status, 200);
    assert_eq!(under.post("/dead-letters/5/replay", "").await.status, 200);
    under.until_balance("e", 3).await;
    under.node.stop().await;
}

#[tokio::test]
async fn mistakes_are_told() {
    let (under, store) = node().await;
    bury(&store, vec![letter(0, "a", "x", &record(1, "a", "deposit", 1, true))]).await;
    let check = async |method: &str, path: &str, body: &str, status: u16, code: &str, words: &str| {
        let refused = request(under.address, method, path, &[], body).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{method} {path}: {}", refused.text);
        assert!(refused.text.contains(words), "{method} {path}: {}", refused.text);
        refused
    };
    for (method, path) in [("GET", ""), ("PUT", ""), ("POST", "/replay"), ("POST", "/discard")] {
        check(method, &format!("/dead-letters/99{path}"), "{}", 404, "no-dead-letter", "no dead letter 99").await;
        check(method, &format!("/dead-letters/x{path}"), "{}", 400, "invalid-message", "path").await;
    }
    for (query, words) in [
        ("limt=3", "`limt`"),
        ("limit=-3", "`limit` is a whole number"),
        ("after=x", "`after` is a whole number"),
        ("standing=done", "`waiting`, `replayed` or `discarded`"),
        ("id=%ff", "`id` is no UTF-8"),
        ("id=a&id=b", "`id` twice"),
    ] {
        check("GET", &format!("/dead-letters?{query}"), "", 400, "invalid-message", words).await;
        check("POST", &format!("/dead-letters/replay?{query}"), "", 400, "invalid-message", words).await;
    }
    for (body, words) in [
        ("{", "no JSON"),
        ("[1]", "array"),
        (r#"{"account":"b","amount":1}"#, "for another aggregate"),
        (r#"{"account":"a","amount":"x"}"#, "`amount`"),
    ] {
        check("PUT", "/dead-letters/1", body, 400, "invalid-message", words).await;
    }
    let misfit = check("PUT", "/dead-letters/1", r#"{"account":"a","amount":"x"}"#, 400, "invalid-message", "").await;
    assert_eq!(misfit.json()["at"], "amount");
    for (body, words) in [
        (r#"{"value":{"text":"x"},"headers":[],"kye":null}"#, "kye"),
        (r#"{"key":null,"value":{"hex":"abc"},"headers":[]}"#, "odd number"),
        (r#"{"key":null,"value":{"text":"x"},"headers":[]}"#, "no message"),
    ] {
        check("PUT", "/dead-letters/1?as=record", body, 400, "invalid-message", words).await;
    }
    check("PUT", "/dead-letters/1?as=x", "{}", 400, "invalid-message", "?as=record").await;
    let mut large = String::from(r#"{"account":"a","note":""#);
    let _ = write!(large, "{}\"}}", "x".repeat(300 << 10));
    check("PUT", "/dead-letters/1", &large, 413, "too-large", "256KiB").await;
    check("GET", "/dead-letters/1/replay", "", 405, "method-not-allowed", "POST").await;
    check("POST", "/dead-letters/1", "", 405, "method-not-allowed", "PUT").await;

    let shown = under.get("/dead-letters/1").await.json();
    assert_eq!((&shown["amended"], &shown["standing"]), (&json!(false), &json!("waiting")), "nothing was changed");
    let discarded = under.post("/dead-letters/1/discard", "").await.json();
    assert_eq!(discarded["standing"], "discarded");
    check("POST", "/dead-letters/1/discard", "", 409, "not-waiting", "it is discarded").await;
    check("PUT", "/dead-letters/1", r#"{"account":"a","amount":2}"#, 409, "not-waiting", "it is discarded").await;
    assert_eq!(under.post("/dead-letters/replay", "").await.json()["replayed"], 0, "only what waits");
    assert_eq!(under.balance("a").await, json!(null));
    under.node.stop().await;
}

#[tokio::test]
async fn a_node_without_a_bus_lists_and_sends_nothing() {
    let mut config = config();
    let store = Arc::new(MemoryStore::new());
    bury(&store, vec![letter(0, "a", "x", &record(1, "a", "deposit", 1, true))]).await;
    let under = start_with(config.clone(), Arc::clone(&store) as Arc<dyn EventStore>).await;
    assert_eq!(numbers(&under.dead("").await), [1]);
    for path in ["/dead-letters/1/replay", "/dead-letters/replay"] {
        let refused = under.post(path, "").await;
        assert_eq!((refused.status, refused.code().as_str()), (409, "no-bus"), "{path}");
    }
    assert_eq!(numbers(&under.dead("standing=waiting").await), [1]);
    under.node.stop().await;

    config.http.operator = Some(false);
    let under = start_with(config, store).await;
    for path in ["/dead-letters", "/dead-letters/1"] {
        let refused = under.get(path).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "operator-off"), "{path}");
    }
    under.node.stop().await;
}
