//! Checks over the table of an aggregate, made by the compiler: a failure is a panic in a constant, reported at the
//! user's token.

use crate::domain::aggregate::Table;

/// FNV-1a, 64 bits: compares names quickly at compile time. Never stored.
#[must_use]
pub const fn hash(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}

/// `a == b`, in a constant.
#[must_use]
pub const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// A message put together at compile time; what does not fit is cut.
struct Text {
    bytes: [u8; 640],
    length: usize,
}

impl Text {
    const fn new() -> Self {
        Self { bytes: [0; 640], length: 0 }
    }

    const fn and(mut self, text: &str) -> Self {
        let text = text.as_bytes();
        let mut i = 0;
        while i < text.len() && self.length < self.bytes.len() {
            self.bytes[self.length] = text[i];
            self.length += 1;
            i += 1;
        }
        self
    }

    const fn as_str(&self) -> &str {
        match std::str::from_utf8(self.bytes.split_at(self.length).0) {
            Ok(text) => text,
            Err(_) => "a name is too long to be shown here",
        }
    }
}

macro_rules! own_name {
    ($function:ident, $field:ident, [$($facts:ident)?], [$($addressed:ident)?], $plural:literal, $attribute:literal) => {
        /// Fails the build at the caller unless the wire name of a message is its own in its aggregate. The message is the one of
        /// block `number` that is called `rust` there; it is not counted out, because `#[cfg]` may leave out others.
        #[track_caller]
        #[allow(clippy::panic, reason = "this is how a constant reports")]
        pub const fn $function<A>(table: &Table<A>, number: usize, rust: &str) {
            if table.parts.len() < number {
                return;
            }
            let Some(block) = table.parts[number - 1] else { return };
            let mut own = 0;
            while own < block.$field.len() && !same(block.$field[own]$(.$facts)?.rust, rust) {
                own += 1;
            }
            if own == block.$field.len() {
                return;
            }
            let mine = &block.$field[own]$(.$facts)?;
            $($addressed(mine.declared, mine.of, mine.rust);)?
            let mut p = 0;
            while p < number {
                if let Some(part) = table.parts[p] {
                    let end = if p + 1 == number { own } else { part.$field.len() };
                    let mut i = 0;
                    while i < end {
                        let other = &part.$field[i]$(.$facts)?;
                        if other.hash == mine.hash && same(other.name, mine.name) {
                            let text = Text::new()
                                .and("`").and(rust).and("` and `").and(other.rust)
                                .and(concat!("`, two ", $plural, " of the aggregate `")).and(table.name)
                                .and("`, have one wire name, `").and(mine.name)
                                .and(concat!("`: give one of them another with #[", $attribute, "(name = \"...\")]"));
                            panic!("{}", text.as_str());
                        }
                        i += 1;
                    }
                }
                p += 1;
            }
        }
    };
}
own_name!(own_event, events, [], [], "events", "event");
own_name!(own_command, commands, [facts], [addressed_to], "commands", "command");
own_name!(own_query, queries, [], [addressed_to], "queries", "query");

/// Fails the build at the caller if the message is addressed to another aggregate.
///
/// # Panics
/// In the compiler, which shows the text.
#[track_caller]
#[allow(clippy::panic, reason = "this is how a constant reports")]
const fn addressed_to(declared: Option<&'static str>, of: &'static str, rust: &'static str) {
    if let Some(name) = declared
        && !same(name, of)
    {
        let text = Text::new()
            .and("`")
            .and(rust)
            .and("` is declared for the aggregate `")
            .and(name)
            .and("`, but this handler belongs to `")
            .and(of)
            .and("`: handle it there, or change the message's `aggregate = \"...\"`");
        panic!("{}", text.as_str());
    }
}

/// Fails the build at the caller unless an event may be upcast from `earlier`: another name, or a lower version.
///
/// # Panics
/// In the compiler, which shows the text.
#[track_caller]
#[allow(clippy::panic, reason = "this is how a constant reports")]
pub const fn upcast_goes_up(name: &str, version: u32, earlier_name: &str, earlier_version: u32, earlier_rust: &str) {
    if same(name, earlier_name) && earlier_version >= version {
        let text = Text::new()
            .and("`upcast_from = ")
            .and(earlier_rust)
            .and("`: `")
            .and(name)
            .and("` has the same name there and no lower version; raise `version` here");
        panic!("{}", text.as_str());
    }
}
