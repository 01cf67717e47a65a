//! Attribute and derive macros of Phoenix. They are used through `phoenix_runtime::prelude`.
//!
//! Each macro turns annotations into trait impls and tables; behaviour lives in the runtime. The way of each is the
//! same: read what the author wrote, check it and collect every mistake, then expand, whatever was found, so that
//! nothing else is reported than the mistakes.
//!
//! # Layout
//! - `aggregate`, `event_sourced`, `message`, `schema`: a macro each, or a family of them
//! - `options`: the options of an attribute, each read by what it takes
//! - `errors`: the mistakes of one item
//! - `names`: names on the wire
//! - `tokens`: where generated tokens stand

mod aggregate;
mod errors;
mod event_sourced;
mod message;
mod names;
mod options;
mod schema;
#[cfg(test)]
mod tests;
mod tokens;

use proc_macro::TokenStream;
use proc_macro2::Span;

/// Makes a struct the state of an aggregate.
///
/// ```text
/// #[aggregate(name = "bank-account", snapshot_every = 1000, passivate_after = "10m")]
/// #[derive(Default, Serialize, Deserialize)]
/// pub struct BankAccount { open: bool, balance: i64 }
/// ```
///
/// | option | | |
/// |---|---|---|
/// | `name = "..."` | required | the wire name: it is stored with every event and never changes |
/// | `snapshot_every = 1000` | 1000 | a snapshot every so many events, or `never` |
/// | `snapshot_bytes = "1MiB"` | no limit | a snapshot also after so many bytes of events (`B`, `KiB`, `MiB`, `GiB`) |
/// | `snapshots_kept = 3` | 2 | how many of the newest snapshots stay |
/// | `archive = true` | `false` | whether events below the oldest snapshot that stays move to the node's archive |
/// | `idempotency_window = 100` | 100 | how many idempotency keys are remembered in memory; the store remembers all |
/// | `passivate_after = "10m"` | `never` | after how long without a message it leaves memory (`ms`, `s`, `m`, `h`, `d`) |
/// | `max_resident = 10_000` | no limit | how many aggregates of this type a node keeps in memory |
/// | `logic_version = 2` | 1 | raised by hand when handlers compute another state from the same events |
/// | `codec = postcard` | `json` | how events, replies and snapshots are encoded: `json`, `postcard`, or a type of yours |
/// | `crate = path` | `::phoenix_runtime` | where the runtime is found, if it was renamed |
///
/// The struct takes no generic parameters. Its fields need a schema: they are messages, or derive [`macro@Schema`].
#[proc_macro_attribute]
pub fn aggregate(arguments: TokenStream, item: TokenStream) -> TokenStream {
    aggregate::expand(arguments.into(), &item.into()).into()
}

/// Marks a block of handlers.
///
/// ```text
/// #[event_sourced]
/// impl BankAccount {
///     #[command_handler(reply = self.balance)]
///     fn deposit(&self, command: Deposit) -> Result<Deposited, AccountError> { ... }
///     #[event_handler]
///     fn deposited(&mut self, event: &Deposited) { self.balance += event.amount }
///     #[query_handler]
///     fn balance(&self, _: Balance) -> i64 { self.balance }
/// }
/// ```
///
/// An aggregate may have up to 16 blocks, also in other files: the first is number 1, each further one says its own,
/// `#[event_sourced(part = 2)]`. `crate = path` names the runtime, if it was renamed.
#[proc_macro_attribute]
pub fn event_sourced(arguments: TokenStream, item: TokenStream) -> TokenStream {
    event_sourced::expand(arguments.into(), item.into()).into()
}

/// Derives a command: something that an aggregate is asked to do.
///
/// ```text
/// #[derive(Command, Serialize, Deserialize)]
/// #[command(id = account, reply = i64, rejection = AccountError, idempotent_by(order_no))]
/// pub struct Deposit { account: String, amount: i64, order_no: u64 }
/// ```
///
/// | option | | |
/// |---|---|---|
/// | `id = field` | required | the aggregate's id: a field, a nested one (`id = route.account`), or several (`id(bank, account)`) |
/// | `name = "..."` | the type's name in kebab case | the wire name |
/// | `reply = Type` | `()` | what its caller gets |
/// | `rejection = Type` | `Never` | how it is refused |
/// | `aggregate = "..."` | | the aggregate's wire name, for callers that do not know its type |
/// | `idempotent_by(field, ...)` | | the fields that make two commands the same one |
/// | `crate = path` | `::phoenix_runtime` | where the runtime is found, if it was renamed |
#[proc_macro_derive(Command, attributes(command, serde))]
pub fn command(item: TokenStream) -> TokenStream {
    message::request(message::Kind::Command, item.into()).into()
}

/// Derives a query: something that an aggregate is asked to tell.
///
/// ```text
/// #[derive(Query, Serialize, Deserialize)]
/// #[query(id = account, reply = i64)]
/// pub struct Balance { account: String }
/// ```
///
/// Its options are those of [`macro@Command`] without `rejection` and `idempotent_by`.
#[proc_macro_derive(Query, attributes(query, serde))]
pub fn query(item: TokenStream) -> TokenStream {
    message::request(message::Kind::Query, item.into()).into()
}

/// Derives an event: something that happened to an aggregate, and is stored for ever.
///
/// ```text
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(name = "deposited", version = 2, upcast_from = DepositedV1)]
/// pub struct Deposited { amount: i64, currency: String }
///
/// impl From<DepositedV1> for Deposited { ... }
/// ```
///
/// | option | | |
/// |---|---|---|
/// | `name = "..."` | required | its name in the store: it never changes |
/// | `version = 2` | 1 | the version of its fields |
/// | `upcast_from = Type` | | its older form, itself an event, which it is made from where that is read |
/// | `crate = path` | `::phoenix_runtime` | where the runtime is found, if it was renamed |
#[proc_macro_derive(Event, attributes(event, serde))]
pub fn event(item: TokenStream) -> TokenStream {
    message::event(item.into()).into()
}

/// Lets a command handler return an enum of events: each variant holds one, or nothing.
///
/// ```text
/// #[derive(Events)]
/// pub enum Settled { Filled(Filled), Cancelled(Cancelled), Unchanged }
/// ```
///
/// `#[events(crate = path)]` names the runtime, if it was renamed.
#[proc_macro_derive(Events, attributes(events))]
pub fn events(item: TokenStream) -> TokenStream {
    message::events(item.into()).into()
}

/// Derives the schema of a type that stands inside a state or message.
///
/// Names are those on the wire: `rename`, `rename_all`, `rename_all_fields`, `skip` and `transparent` of serde are
/// honoured, and the text of its other options is part of the schema. `#[schema(crate = path)]` names the runtime, if
/// it was renamed.
#[proc_macro_derive(Schema, attributes(schema, serde))]
pub fn schema(item: TokenStream) -> TokenStream {
    schema::expand(item.into()).into()
}

/// Marks the method of an [`event_sourced`](macro@event_sourced) block that decides a command.
///
/// It takes `&self`, the command and, if it likes, a `&Context`. It returns an event, several (a tuple, a `Vec`, an
/// enum with [`macro@Events`]), an `Option` of these, or nothing, each in a `Result` where it may refuse. It may be
/// `async`.
///
/// | option | |
/// |---|---|
/// | `reply = expression` | the reply, computed from the state after the events; or return `(events, Reply(value))` |
/// | `create = false` | an aggregate without events refuses the command: "not found" |
/// | `uses(Type, ...)` | the resources that the node must have, for `Context::resource` |
#[proc_macro_attribute]
pub fn command_handler(_: TokenStream, item: TokenStream) -> TokenStream {
    stray("command_handler", item)
}

/// Marks the method of an [`event_sourced`](macro@event_sourced) block that applies an event: `fn name(&mut self, event: &Event)`.
#[proc_macro_attribute]
pub fn event_handler(_: TokenStream, item: TokenStream) -> TokenStream {
    stray("event_handler", item)
}

/// Marks the method of an [`event_sourced`](macro@event_sourced) block that answers a query: `fn name(&self, query: Query) -> Reply`.
#[proc_macro_attribute]
pub fn query_handler(_: TokenStream, item: TokenStream) -> TokenStream {
    stray("query_handler", item)
}

/// A handler's attribute is read by the block around it; expanded on its own, it stands outside of one.
fn stray(word: &str, item: TokenStream) -> TokenStream {
    let rule =
        format!("#[{word}] works only inside an `#[event_sourced] impl` block: put `#[event_sourced]` on the impl");
    let mut error: TokenStream = syn::Error::new(Span::call_site(), rule).into_compile_error().into();
    error.extend(item);
    error
}
