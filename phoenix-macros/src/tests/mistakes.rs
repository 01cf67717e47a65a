//! What is said about mistakes that the macros themselves find.

use proc_macro2::TokenStream;

use super::{errors, tokens};
use crate::{aggregate, event_sourced, message, schema};

/// The first line of each mistake.
#[track_caller]
fn says(expanded: TokenStream, expected: &[&str]) {
    let errors = errors(&expanded);
    let first: Vec<_> = errors.iter().map(|error| error.lines().next().unwrap_or_default()).collect();
    assert_eq!(first, expected);
    // whatever was found, what is expanded can be read
    syn::parse2::<syn::File>(expanded).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn options_of_an_aggregate() {
    #[track_caller]
    fn check(options: &str, expected: &[&str]) {
        says(aggregate::expand(tokens(options), &tokens("struct Account;")), expected);
    }
    check(r#"name = "account", "#, &[]);
    check(
        r#"name = "a-2", snapshot_every = 10, passivate_after = never, codec = my::Codec<u8>, max_resident = 1_000"#,
        &[],
    );
    check(
        "",
        &[
            r#"an aggregate needs a wire name of its own, which is stored and never changes: `#[aggregate(name = "account")]`"#,
        ],
    );
    check(r#"name = "BankAccount""#, &[r#""BankAccount" is no wire name: write "bank-account""#]);
    check(r#"name("account")"#, &[r#"`name` of #[aggregate] takes a string, `= "..."`"#]);
    check("name = account", &[r#"`name` of #[aggregate] takes a string, `= "..."`"#]);
    check("name =", &[r#"`name` of #[aggregate] takes a string, `= "..."`"#]);
    check(r#"name = "a", name = "b""#, &["`name` is given twice: keep one"]);
    check(r#"name = "a" snapshot_every = 3"#, &[r#"`name` of #[aggregate] takes a string, `= "..."`"#]);
    check(r#"name = "a",, codec = json"#, &["an option is missing before this `,`"]);
    check(
        r#"snapshot_evry = 3, name = "a", 5"#,
        &[
            "#[aggregate] has no option `snapshot_evry`: did you mean `snapshot_every`?",
            "expected an option of #[aggregate], `name = value`",
        ],
    );
    let every = "`snapshot_every` of #[aggregate] takes a whole number from 1 or `= never`";
    check(r#"name = "a", snapshot_every = 0"#, &[every]);
    check(r#"name = "a", snapshot_every = "often""#, &[every]);
    check(r#"name = "a", snapshot_every = 10u8"#, &[every]);
    let after = r#"`passivate_after` of #[aggregate] takes a duration, `= "30s"`, `= "10m"`, `= "2h"`, or `= never`"#;
    check(r#"name = "a", passivate_after = "10 minutes""#, &[after]);
    check(
        r#"name = "a", passivate_after = "0s", idempotency_window = -1"#,
        &[after, "`idempotency_window` of #[aggregate] takes a whole number from 0"],
    );
    let size = r#"`snapshot_bytes` of #[aggregate] takes a size, `= "64KiB"`, `= "1MiB"`"#;
    for bytes in [r#""1MB""#, r#""1 MiB""#, r#""0KiB""#, r#""MiB""#, "65536", "never", r#""17179869184GiB""#] {
        check(&format!(r#"name = "a", snapshot_bytes = {bytes}"#), &[size]);
    }
    check(r#"name = "a", snapshot_bytes = "7B", snapshots_kept = 1, archive = false"#, &[]);
    check(
        r#"name = "a", snapshots_kept = 0, archive = "folder""#,
        &[
            "`snapshots_kept` of #[aggregate] takes a whole number from 1",
            "`archive` of #[aggregate] takes `= true` or `= false`",
        ],
    );
    check(
        r#"archive = true, name = "a", snapshots_kept = 2, snapshot_bytes = "1MiB", snapshot_every = never"#,
        &[
            "`archive` moves the events up to a snapshot away, and `snapshot_every = never` turns snapshots off",
            "`snapshots_kept` says how many snapshots stay, and `snapshot_every = never` turns snapshots off",
            "`snapshot_bytes` says when to take a snapshot, and `snapshot_every = never` turns snapshots off",
        ],
    );
    check(r#"name = "a", snapshot_every = never, archive = false"#, &[]);
    check(r#"name = "a", codec = jsn"#, &["there is no codec `jsn`: did you mean `json`?"]);
}

#[test]
fn the_type_of_an_aggregate() {
    #[track_caller]
    fn check(item: &str, expected: &[&str]) {
        says(aggregate::expand(tokens(r#"name = "a""#), &tokens(item)), expected);
    }
    check("enum State { Open, Closed }", &[]);
    check("fn account() {}", &["#[aggregate] goes on a struct: the state of the aggregate"]);
    check("union Account { a: u8 }", &["a union has no schema: use an enum"]);
    check(
        "struct Account<'a, T, const N: usize>(&'a T);",
        &[
            "an aggregate outlives every borrow: it can't have a lifetime; own the data instead",
            "an aggregate has one wire name and one table of handlers: it can't be generic; write one type for each use",
            "an aggregate has one wire name and one table of handlers: it can't be generic; write one type for each use",
        ],
    );
    check(
        "#[derive(Default, Schema)] struct Account;",
        &["#[aggregate] derives the schema of its state: remove `Schema` here"],
    );
}

#[test]
fn commands() {
    #[track_caller]
    fn check(item: &str, expected: &[&str]) {
        says(message::request(message::Kind::Command, tokens(item)), expected);
    }
    check("#[command(id = a.b, reply = Map<A, B>, rejection = E)] struct C { a: A }", &[]);
    check("#[command(id = 0.1)] #[command(reply = A)] struct C((A, B));", &[]);
    check(
        "struct Deposit { account_id: A }",
        &[
            "`Deposit` does not say which aggregate it is for: name the field with its id, `#[command(id = account_id)]`, or several, `id(account_id, ...)`",
        ],
    );
    check(
        "#[command(id = kye, idempotent_by(numbr, key))] struct C { key: A, number: B }",
        &["`C` has no field `kye`: did you mean `key`?", "`C` has no field `numbr`: did you mean `number`?"],
    );
    check("#[command(id = a)] struct C;", &["`C` has no field `a`: it has none"]);
    let id = "`id` of #[command] takes a field, `= field` or `= nested.field`, or several, `(field, nested.field)`";
    check(r#"#[command(id = "a")] struct C { a: A }"#, &[id]);
    check("#[command(id())] struct C { a: A }", &[id]);
    check("#[command(id = (a, b))] struct C { a: A }", &[id]);
    check(
        "#[command(id = a, idempotent_by = b)] struct C { a: A }",
        &["`idempotent_by` of #[command] takes fields, `(field, nested.field)`"],
    );
    check(
        "#[command = 3] struct C { a: A }",
        &[
            "options are written in parentheses: `#[command(...)]`",
            "`C` does not say which aggregate it is for: name the field with its id, `#[command(id = a)]`, or several, `id(a, ...)`",
        ],
    );
    check(
        "#[command(id = a, rejecton = R)] struct C { a: A }",
        &["#[command] has no option `rejecton`: did you mean `rejection`?"],
    );
    check(
        "#[command(id = a)] enum C { A }",
        &[
            "a command is a struct, because one of its fields is the id of its aggregate; write one struct for each command",
        ],
    );
    check(
        "#[command(id = a)] struct C<T> { a: T }",
        &["a message has one wire name and one schema: it can't be generic; write one type for each use"],
    );
    check(
        "#[command(id = a)] struct C<'a> { a: &'a str }",
        &["a message is sent and stored: it can't borrow; own the data instead"],
    );
    check(
        r#"#[command(id = a, aggregate = "Bank", name = "Do It")] struct C { a: A }"#,
        &[r#""Do It" is no wire name: write "do-it""#, r#""Bank" is no wire name: write "bank""#],
    );
    check(
        "#[command(id = a)] struct Größe { a: A }",
        &[r#"`Größe` makes no wire name: give it one, `#[command(name = "gre")]`"#],
    );
}

#[test]
fn queries() {
    let item = tokens("#[query(id = a, rejection = R)] struct Q { a: A }");
    says(message::request(message::Kind::Query, item), &["#[query] has no option `rejection`"]);
}

#[test]
fn events() {
    #[track_caller]
    fn check(item: &str, expected: &[&str]) {
        says(message::event(tokens(item)), expected);
    }
    check(
        "struct Opened;",
        &[r#"an event needs a wire name of its own, which is stored and never changes: `#[event(name = "opened")]`"#],
    );
    check(
        r#"#[event(name = "o", version = 0)] struct Opened;"#,
        &["`version` of #[event] takes a whole number from 1"],
    );
    check(
        r#"#[event(name = "o", version = 2, upcast_from = Opened)] struct Opened;"#,
        &["an event can't be upcast from itself: keep its older form as a type of its own, `struct OpenedV1`"],
    );
    check(
        r#"#[event(name = "o")] struct Opened<T>(T);"#,
        &["a message has one wire name and one schema: it can't be generic; write one type for each use"],
    );
}

#[test]
fn enums_of_events() {
    #[track_caller]
    fn check(item: &str, expected: &[&str]) {
        says(message::events(tokens(item)), expected);
    }
    check("enum E {}", &[]);
    check("struct E(A);", &["#[derive(Events)] is for an enum of events: a single event is #[derive(Event)]"]);
    check(
        "enum E { A(A, B), C { c: C } }",
        &[
            "a variant holds one event, `A(Event)`, or nothing, `A`",
            "a variant holds one event, `C(Event)`, or nothing, `C`",
        ],
    );
    check("enum E<T> { A(T) }", &["an enum of events can't be generic: name the events"]);
}

#[test]
fn schemas() {
    says(schema::expand(tokens("union U { a: u8 }")), &["a union has no schema: use an enum"]);
    says(schema::expand(tokens("#[schema(name = 3)] struct S;")), &["#[schema] has no option `name`"]);
}

#[test]
fn blocks() {
    #[track_caller]
    fn check(options: &str, block: &str, expected: &[&str]) {
        says(event_sourced::expand(tokens(options), tokens(block)), expected);
    }
    check("part = 16", "impl X {}", &[]);
    check("part = 17", "impl X {}", &["`part` of #[event_sourced] takes a whole number from 1 to 16"]);
    check("prat = 2", "impl X {}", &["#[event_sourced] has no option `prat`: did you mean `part`?"]);
    check(
        "",
        "impl T for X {}",
        &["#[event_sourced] is for an inherent `impl Aggregate { ... }`, not for the impl of a trait"],
    );
    check("", "impl X<'_> {}", &["an aggregate outlives every borrow: it can't have a lifetime; own the data instead"]);
    check(
        "",
        "impl<T> X<T> {}",
        &[
            "an aggregate has one wire name and one table of handlers: it can't be generic; write one block for each type",
        ],
    );
    check("", "struct X;", &["#[event_sourced] goes on the `impl` block that holds the handlers of an aggregate"]);
    check("", "impl X { #[command_handler] const A: u8 = 1; }", &["#[command_handler] goes on a method"]);
}

#[test]
fn handlers() {
    #[track_caller]
    fn check(method: &str, expected: &[&str]) {
        let block = tokens(&format!("impl X {{ {method} }}"));
        says(event_sourced::expand(TokenStream::new(), block), expected);
    }
    let decides = "a command handler decides and changes nothing: it takes `&self`; change the state in the `#[event_handler]` of the event that it returns";
    check("#[command_handler] fn a(&mut self, c: C) {}", &[decides]);
    check("#[command_handler] fn a(self, c: C) {}", &[decides]);
    check("#[command_handler] fn a(self: &Self, c: C) {}", &[]);
    check("#[event_handler] fn a(&self, e: &E) {}", &["an event handler changes the state: it takes `&mut self`"]);
    check("#[query_handler] fn a(&mut self, q: Q) -> R {}", &["a query handler only reads: it takes `&self`"]);
    check("#[command_handler] fn a(c: C) {}", &["a handler is a method: `fn name(&self, command: Command) -> Event`"]);
    check("#[event_handler] fn a(&mut self) {}", &["a handler takes its message: `fn name(&mut self, event: &Event)`"]);
    check("#[command_handler] fn a(&self, c: &C) {}", &["this handler owns its message: `C`"]);
    check("#[event_handler] fn a(&mut self, e: m::E) {}", &["an event handler borrows its event: `&m::E`"]);
    check("#[event_handler] fn a(&mut self, e: &mut E) {}", &["an event never changes: its handler borrows it, `&E`"]);
    check(
        "#[event_handler] async fn a(&mut self, e: &E) {}",
        &[
            "an event handler is replayed: it can't be `async`; do the I/O in an `async` command handler and put what it found into the event",
        ],
    );
    check(
        "#[query_handler] async fn a(&self, q: Q) -> R {}",
        &["a query handler reads the state at one moment: it can't be `async`"],
    );
    check(
        "#[event_handler] fn a(&mut self, e: &E) -> Result<(), R> {}",
        &[
            "an event has happened: its handler returns nothing and can't fail; refuse in the command handler, before the event",
        ],
    );
    check("#[event_handler] fn a(&mut self, e: &E) -> () {}", &[]);
    check(
        "#[event_handler] fn a(&mut self, e: &E, c: &Context) {}",
        &["an event handler takes nothing but its event: what it needs to know belongs into the event"],
    );
    check(
        "#[query_handler] fn a(&self, q: Q, c: &Context) -> R {}",
        &["a query handler takes nothing but its query: only a command handler has a context"],
    );
    check(
        "#[command_handler] fn a(&self, c: C, x: Context) {}",
        &["the second parameter of a command handler is its context: `&Context`"],
    );
    check(
        "#[command_handler] fn a(&self, c: C, x: &Context, y: u8) {}",
        &["a handler takes its message and at most a `&Context`"],
    );
    check(
        "#[command_handler] fn a(&self, c: C) -> impl Sized {}",
        &["name what the handler returns: `impl Trait` hides its events"],
    );
    check(
        "#[command_handler] fn a<T>(&self, c: T) {}",
        &["a handler is for one message: it can't be generic; write one for each message"],
    );
    check(
        "#[command_handler] fn a<'a>(&'a self, c: C) {}",
        &["a handler needs no lifetime: it borrows the state, and what it returns is owned"],
    );
    check(
        "#[command_handler] unsafe fn a(&self, c: C) {}",
        &["a handler is called by the runtime: it can't be `unsafe`"],
    );
    check(
        "#[command_handler] #[event_handler] fn a(&self, c: C) {}",
        &["a method is one handler only: remove this attribute, or split the method"],
    );
    check(
        "#[command_handler(creates = false)] fn a(&self, c: C) {}",
        &["#[command_handler] has no option `creates`: did you mean `create`?"],
    );
    check(
        "#[command_handler(create = no)] fn a(&self, c: C) {}",
        &["`create` of #[command_handler] takes `= true` or `= false`"],
    );
    check(
        "#[command_handler(uses = Rates)] fn a(&self, c: C) {}",
        &["`uses` of #[command_handler] takes types, `(TypeA, TypeB)`"],
    );
    check(
        "#[command_handler(reply)] fn a(&self, c: C) {}",
        &["`reply` of #[command_handler] takes an expression on the state, `= self.balance`"],
    );
    check("#[command_handler(reply = self.a < self.b, create = false)] fn a(&self, c: C) {}", &[]);
    check(
        "#[event_handler] fn a(&mut self, e: &E) {} #[event_handler] fn b(&mut self, e: &E) {}",
        &["`E` is handled by `a` already: an aggregate has one handler for each event; make them one method"],
    );
    check(
        "#[cfg(a)] #[event_handler] fn a(&mut self, e: &E) {} #[cfg(b)] #[event_handler] fn b(&mut self, e: &E) {}",
        &[],
    );
    check("#[event_handler(reply = 1)] fn a(&mut self, e: &E) {}", &["#[event_handler] takes no options"]);
}
