//! Commands and queries over HTTP: every answer that they can get.

use std::time::Duration;

use serde_json::json;

use crate::call::{self, start, start_with};

const KEY: &str = "Idempotency-Key";

#[tokio::test]
async fn a_command_is_replied_to_with_what_it_rests_on() {
    let under = start().await;
    let first = under.post("/commands/account/deposit", r#"{"account":"a","amount":7}"#).await;
    assert_eq!(first.status, 200);
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert_eq!(first.json(), json!({"reply": 7, "aggregate": {"type": "account", "id": "a", "version": 1}}));
    assert_eq!(first.header("idempotent-replayed"), None);
    let short = under.post("/commands/deposit", r#"{"account":"a","amount":1}"#).await;
    assert_eq!(short.json(), json!({"reply": 8, "aggregate": {"type": "account", "id": "a", "version": 2}}));
    let unit = under.post("/commands/vault/open", r#"{"vault":"\"ü\""}"#).await;
    assert_eq!(unit.json(), json!({"reply": null, "aggregate": {"type": "vault", "id": "\"ü\"", "version": 1}}));
    under.node.stop().await;
}

#[tokio::test]
async fn a_query_is_answered_or_not_found() {
    let under = start().await;
    let nothing = under.post("/queries/account/balance", r#"{"account":"a"}"#).await;
    assert_eq!((nothing.status, nothing.code().as_str()), (404, "not-found"));
    assert_eq!(nothing.json()["aggregate"], json!({"type": "account", "id": "a"}));
    under.post("/commands/account/deposit", r#"{"account":"a","amount":7}"#).await;
    for path in ["/queries/account/balance", "/queries/balance"] {
        let found = under.post(path, r#"{"account":"a"}"#).await;
        assert_eq!(found.json(), json!({"reply": 7, "aggregate": {"type": "account", "id": "a", "version": 1}}));
    }
    under.node.stop().await;
}

#[tokio::test]
async fn a_rejection_is_a_problem_with_the_handlers_own_words() {
    let under = start().await;
    let refused = under.post("/commands/account/withdraw", r#"{"account":"a","amount":9}"#).await;
    assert_eq!((refused.status, refused.code().as_str()), (422, "not-found"), "no aggregate, and none is created");
    under.post("/commands/account/deposit", r#"{"account":"a","amount":7}"#).await;
    let refused = under.post("/commands/account/withdraw", r#"{"account":"a","amount":9}"#).await;
    assert_eq!((refused.status, refused.code().as_str()), (422, "rejected"));
    assert_eq!(refused.json()["rejection"], json!({"Short": {"by": 2}}));
    assert_eq!(refused.json()["aggregate"], json!({"type": "account", "id": "a", "version": 1}));
    under.node.stop().await;
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_marked() {
    let under = start().await;
    let deposit = r#"{"account":"a","amount":7}"#;
    let first = under.post_with("/commands/account/deposit", &[(KEY, "k1")], deposit).await;
    under.post("/commands/account/deposit", deposit).await;
    for (path, key) in [("/commands/account/deposit", "k1"), ("/commands/deposit", "\"k1\"")] {
        let again = under.post_with(path, &[(KEY, key)], deposit).await;
        assert_eq!((again.status, again.json()), (200, first.json()));
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
    }

    let withdraw = r#"{"account":"a","amount":15}"#;
    let refused = under.post_with("/commands/account/withdraw", &[(KEY, "k2")], withdraw).await;
    assert_eq!((refused.status, refused.header("idempotent-replayed")), (422, None));
    under.post("/commands/account/deposit", deposit).await;
    let again = under.post_with("/commands/account/withdraw", &[(KEY, "k2")], withdraw).await;
    assert_eq!((again.status, again.json()), (422, refused.json()), "a no stays a no");
    assert_eq!(again.header("idempotent-replayed"), Some("true"));

    let missing = r#"{"account":"later","amount":1}"#;
    under.post_with("/commands/account/withdraw", &[(KEY, "k3")], missing).await;
    under.post("/commands/account/deposit", r#"{"account":"later","amount":7}"#).await;
    let again = under.post_with("/commands/account/withdraw", &[(KEY, "k3")], missing).await;
    assert_eq!((again.code().as_str(), again.header("idempotent-replayed")), ("not-found", Some("true")));

    let other = r#"{"account":"a","amount":8}"#;
    let other_payload = under.post_with("/commands/account/deposit", &[(KEY, "k1")], other).await;
    assert_eq!((other_payload.status, other_payload.code().as_str()), (422, "key-reused"));
    assert_eq!(other_payload.header("idempotent-replayed"), None);
    under.node.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_its_place() {
    let under = start().await;
    for (path, body, status, code, at, detail) in [
        (
            "/commands/account/deposit",
            r#"{"account":"a","amount":"x"}"#,
            400,
            "invalid-message",
            "amount",
            "`deposit` does not fit at `amount`: invalid type: string \"x\", expected u64 at line 1 column 27",
        ),
        (
            "/queries/account/balance",
            r#"{"account":[]}"#,
            400,
            "invalid-message",
            "account",
            "`balance` does not fit at `account`: invalid type: sequence, expected a string at line 1 column 11",
        ),
        (
            "/commands/account/deposit",
            "{",
            400,
            "invalid-message",
            ".",
            "`deposit` does not fit at `.`: EOF while parsing an object at line 1 column 1",
        ),
        (
            "/commands/account/deposit",
            r#"{"account":"","amount":1}"#,
            400,
            "invalid-message",
            "",
            "an aggregate id can't be empty",
        ),
        (
            "/commands/account/%ff",
            "{}",
            400,
            "invalid-message",
            "",
            "the path can't be read: Invalid UTF-8 in `second`",
        ),
        ("/commands/accounts/deposit", "{}", 404, "unknown-name", "", "this node has no aggregate `accounts`"),
        (
            "/commands/account/deposits",
            "{}",
            404,
            "unknown-name",
            "",
            "the aggregate `account` has no command `deposits`",
        ),
        ("/queries/account/deposit", "{}", 404, "unknown-name", "", "the aggregate `account` has no query `deposit`"),
        ("/commands/deposits", "{}", 404, "unknown-name", "", "no aggregate of this node has the command `deposits`"),
        (
            "/commands/open",
            "{}",
            404,
            "unknown-name",
            "",
            "several aggregates have the command `open`: say which one (`account`, `vault`)",
        ),
    ] {
        let response = under.post(path, body).await;
        assert_eq!((response.status, response.code().as_str()), (status, code), "{path} {body}");
        let problem = response.json();
        assert_eq!(problem["at"].as_str().unwrap_or_default(), at, "{path} {body}");
        assert_eq!(problem["detail"], detail, "{path} {body}");
    }
    let long = format!(r#"{{"account":"{}","amount":1}}"#, "x".repeat(256));
    let long = under.post("/commands/account/deposit", &long).await;
    assert_eq!(long.json()["detail"], "an aggregate id has at most 255 bytes, this one has 256");
    let unknown = under.post(&format!("/commands/{}", "x".repeat(1000)), "{}").await;
    assert!(unknown.json()["detail"].as_str().is_some_and(|detail| detail.len() < 200), "{unknown:?}");
    under.node.stop().await;
}

#[tokio::test]
async fn headers_are_checked() {
    let under = start().await;
    let long = "x".repeat(256);
    for (name, value) in [(KEY, long.as_str()), (KEY, "\""), ("Request-Timeout", "5"), ("Request-Timeout", "1d")] {
        let body = r#"{"account":"a","amount":1}"#;
        let response = under.post_with("/commands/account/deposit", &[(name, value)], body).await;
        assert_eq!((response.status, response.code().as_str()), (400, "invalid-header"), "{name}: {value}");
    }
    under.node.stop().await;
}

#[tokio::test]
async fn a_correlation_id_comes_back() {
    let under = start().await;
    let body = r#"{"account":"a","amount":1}"#;
    let given = under.post_with("/commands/account/deposit", &[("X-Correlation-Id", "c-1")], body).await;
    assert_eq!(given.header("x-correlation-id"), Some("c-1"));
    let made = under.post("/commands/account/deposit", body).await;
    assert!(made.header("x-correlation-id").is_some_and(|id| id.len() == 36), "{made:?}");
    under.node.stop().await;
}

#[tokio::test]
async fn bodies_are_bounded_in_size_and_time() {
    let mut config = call::config();
    config.http.max_body = 64;
    config.http.body_timeout = Duration::from_millis(20);
    let under = start_with(config, std::sync::Arc::new(phoenix_runtime::event_store::MemoryStore::new())).await;
    let path = "/commands/account/deposit";
    let large = format!(r#"{{"account":"{}","amount":1}}"#, "x".repeat(64));
    let sized = under.post(path, &large).await;
    assert_eq!((sized.status, sized.code().as_str()), (413, "too-large"));
    assert_eq!(sized.json()["detail"], "the body of a request has at most 64B");
    let chunked = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let chunked = under.post_with(path, &[("Transfer-Encoding", "chunked")], &chunked).await;
    assert_eq!((chunked.status, chunked.code().as_str()), (413, "too-large"));
    let slow = under.post_with(path, &[("Content-Length", "60")], "{").await;
    assert_eq!((slow.status, slow.code().as_str()), (408, "body-timed-out"));
    under.node.stop().await;
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let under = start().await;
    let body = r#"{"account":"a","amount":1}"#;
    let own = format!("http://{}", under.address);
    for (origin, status) in [("https://evil.example", 403), ("null", 403), (own.as_str(), 200)] {
        let response = under.post_with("/commands/account/deposit", &[("Origin", origin)], body).await;
        assert_eq!(response.status, status, "{origin}");
    }
    under.node.stop().await;
}

#[tokio::test]
async fn the_router_answers_with_problems_too() {
    let under = start().await;
    for path in ["/", "/commands", "/commands/a/b/c", "/health"] {
        let response = under.post(path, "{}").await;
        assert_eq!((response.status, response.code().as_str()), (404, "unknown-path"), "{path}");
    }
    let get = under.get("/commands/account/deposit").await;
    assert_eq!((get.status, get.code().as_str(), get.header("allow")), (405, "method-not-allowed", Some("POST")));
    let post = under.post("/health/ready", "").await;
    assert_eq!(
        (post.status, post.code().as_str(), post.header("allow")),
        (405, "method-not-allowed", Some("GET,HEAD"))
    );
    under.node.stop().await;
}

#[tokio::test]
async fn every_answer_says_whether_it_survives_the_node() {
    let folder = tempfile::tempdir().expect("a folder");
    for (store, expected) in [
        ("memory".to_owned(), "volatile"),
        ("none".to_owned(), "volatile"),
        (format!("sqlite:{}", folder.path().join("a.db").display()), "durable"),
    ] {
        let mut config = call::config();
        config.store = store.parse().expect("a store");
        let opened = phoenix_runtime::node::open_store(&config).await.expect("it opens");
        let under = start_with(config, opened).await;
        for (path, body, status) in [
            ("/commands/account/deposit", r#"{"account":"a","amount":7}"#, 200),
            ("/commands/account/withdraw", r#"{"account":"a","amount":9}"#, 422),
            ("/commands/account/withdraw", r#"{"account":"nobody","amount":9}"#, 422),
            ("/queries/account/balance", r#"{"account":"a"}"#, 200),
            ("/queries/account/balance", r#"{"account":"nobody"}"#, 404),
        ] {
            let answer = under.post(path, body).await;
            assert_eq!(
                (answer.status, answer.header("phoenix-durability")),
                (status, Some(expected)),
                "{store} {path}"
            );
        }
        under.node.stop().await;
    }
}
