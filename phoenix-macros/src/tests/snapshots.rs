//! One expansion for each macro. `UPDATE_EXPECT=1 cargo test -p phoenix-macros` writes them anew.

use expect_test::{ExpectFile, expect_file};
use proc_macro2::TokenStream;

use super::tokens;
use crate::{aggregate, event_sourced, message, schema};

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "read as one line a case")]
fn check(expanded: TokenStream, expected: ExpectFile) {
    let file = syn::parse2(expanded).unwrap_or_else(|error| panic!("{error}"));
    expected.assert_eq(&prettyplease::unparse(&file));
}

#[test]
fn aggregate_with_defaults() {
    let item = tokens("#[derive(Default)] pub struct Account { open: bool, balance: i64 }");
    check(aggregate::expand(tokens(r#"name = "account""#), &item), expect_file!["expanded/aggregate.rs"]);
}

#[test]
fn aggregate_with_every_option() {
    let options = r#"name = "account", snapshot_every = never, idempotency_window = 7, passivate_after = "10m",
        max_resident = 1_000, logic_version = 2, codec = postcard, crate = renamed"#;
    let item = tokens("pub struct Account { balance: i64 }");
    check(aggregate::expand(tokens(options), &item), expect_file!["expanded/aggregate_options.rs"]);
}

#[test]
fn aggregate_with_retention() {
    let options =
        r#"name = "account", snapshot_every = 50, snapshot_bytes = "64KiB", snapshots_kept = 3, archive = true"#;
    let item = tokens("pub struct Account { balance: i64 }");
    check(aggregate::expand(tokens(options), &item), expect_file!["expanded/aggregate_retention.rs"]);
}

#[test]
fn command() {
    let item = tokens(
        r#"#[command(id(route.bank, account), reply = Cents, rejection = Refused, aggregate = "account", idempotent_by(order_no))]
        pub struct OpenAccount { route: Route, account: String, order_no: u64 }"#,
    );
    check(message::request(message::Kind::Command, item), expect_file!["expanded/command.rs"]);
}

#[test]
fn query() {
    let item = tokens("#[query(id = account, reply = Cents)] pub struct Balance { account: String }");
    check(message::request(message::Kind::Query, item), expect_file!["expanded/query.rs"]);
}

#[test]
fn event() {
    let item = tokens(r#"#[event(name = "deposited")] pub struct Deposited { amount: Cents }"#);
    check(message::event(item), expect_file!["expanded/event.rs"]);
}

#[test]
fn event_that_is_upcast() {
    let item =
        tokens(r#"#[event(name = "deposited", version = 2, upcast_from = old::Deposited)] struct Deposited(Cents);"#);
    check(message::event(item), expect_file!["expanded/event_upcast.rs"]);
}

#[test]
fn events() {
    let item = tokens("pub enum Outcome { Deposited(Deposited), Flagged(Flagged), Nothing }");
    check(message::events(item), expect_file!["expanded/events.rs"]);
}

#[test]
fn schema_of_a_struct() {
    let item = tokens(
        r#"#[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Page<T> { next_page: Option<u32>, #[serde(rename = "all", default)] items: Vec<T>, #[serde(skip)] seen: bool }"#,
    );
    check(schema::expand(item), expect_file!["expanded/schema_struct.rs"]);
}

#[test]
fn schema_of_an_enum() {
    let item = tokens(
        r#"#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "UPPERCASE")]
        enum Shape { NoArea, Circle { r: f64 }, #[serde(alias = "Box")] Square(#[serde(with = "side")] f64) }"#,
    );
    check(schema::expand(item), expect_file!["expanded/schema_enum.rs"]);
}

#[test]
fn block_of_handlers() {
    let item = tokens(
        r"impl Account {
            const LIMIT: Cents = 1000;
            #[command_handler(reply = self.balance, create = false)]
            fn deposit(&self, command: Deposit) -> Result<Deposited, Refused> { Ok(Deposited { amount: command.amount }) }
            #[event_handler]
            fn deposited(&mut self, event: &Deposited) { self.balance += event.amount }
            #[query_handler]
            fn balance(&self, _: Balance) -> Cents { self.balance }
            fn helper(&self) {}
        }",
    );
    check(event_sourced::expand(TokenStream::new(), item), expect_file!["expanded/block.rs"]);
}

#[test]
fn block_with_everything_else() {
    let item = tokens(
        r#"#[cfg(feature = "rates")] impl Account {
            /// Asks for the rate first.
            #[cfg(unix)]
            #[command_handler(uses(Rates, store::Cache<u8>))]
            async fn convert(&self, command: api::Convert, context: &Context) -> (Converted, Reply<Cents>) { todo!() }
            #[command_handler]
            async fn touch(&self, _: Touch) {}
            #[command_handler]
            fn close(&self, _: Close, context: &Context) -> Option<Closed> { None }
        }"#,
    );
    check(event_sourced::expand(tokens("part = 2, crate = renamed"), item), expect_file!["expanded/block_rest.rs"]);
}
