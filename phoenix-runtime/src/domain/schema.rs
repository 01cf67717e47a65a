//! What a type looks like on the wire and in a snapshot: for fingerprints, schema locks, API descriptions and forms.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

/// A type whose fields a machine can list. Derived for messages and aggregates with them, otherwise by
/// `#[derive(Schema)]`.
///
/// There is none for `HashMap` and `HashSet`: their order differs from run to run, and equal states must have equal
/// bytes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no schema, so it can't be part of a state or message",
    label = "no schema",
    note = "derive it for your own types: `#[derive(Schema)]`; instead of a `HashMap` or `HashSet`, whose order changes from run to run, use a `BTreeMap` or `BTreeSet`"
)]
pub trait Schema {
    /// The type's shape.
    fn schema() -> Type;
}

/// The shape of a type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Type {
    /// Has no value.
    Never,
    /// `()`.
    Unit,
    /// `bool`.
    Bool,
    /// A whole number of so many bits.
    Int {
        /// 8 to 128.
        bits: u8,
        /// Whether it may be negative.
        signed: bool,
    },
    /// A floating-point number of so many bits.
    Float {
        /// 32 or 64.
        bits: u8,
    },
    /// `char`.
    Char,
    /// Text.
    Text,
    /// A type that is known by name and has a form of its own, for example `uuid`.
    Named(&'static str),
    /// Perhaps a value.
    Option(Box<Type>),
    /// Any number of values, in order.
    List(Box<Type>),
    /// Different values, ordered.
    Set(Box<Type>),
    /// A fixed number of values.
    Array(Box<Type>, usize),
    /// Keys and values, ordered by key.
    Map(Box<Type>, Box<Type>),
    /// Values of different types.
    Tuple(Vec<Type>),
    /// A struct or enum of the user.
    Defined(Definition),
}

/// A struct or enum. Its fields are listed when asked for, so that a type may contain itself.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// The Rust name.
    pub name: &'static str,
    /// The Rust module and name: tells equally named types apart.
    pub path: &'static str,
    /// The `#[serde(...)]` options of the type, which may change how it is written.
    pub serde: &'static str,
    /// Its shape.
    pub body: fn() -> Body,
}

impl PartialEq for Definition {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}
impl Eq for Definition {}

impl Serialize for Definition {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.path)
    }
}

/// The inside of a struct or enum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// A struct without fields.
    Unit,
    /// A struct with named fields.
    Struct(Vec<Field>),
    /// A tuple struct.
    Tuple(Vec<Type>),
    /// An enum.
    Enum(Vec<Variant>),
}

/// A named field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Its name on the wire.
    pub name: &'static str,
    /// Its shape.
    pub shape: Type,
    /// The `#[serde(...)]` options of the field, which may change how it is written.
    pub serde: &'static str,
}

/// A variant of an enum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Variant {
    /// Its name on the wire.
    pub name: &'static str,
    /// The `#[serde(...)]` options of the variant, which may change how it is written.
    pub serde: &'static str,
    /// What it holds; `None` for a unit variant.
    pub body: Option<Body>,
}

/// A type and every definition that it leads to, ready to be written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Document {
    /// The type itself.
    pub root: Type,
    /// Definitions by path.
    pub definitions: BTreeMap<&'static str, Described>,
}

/// A [`Definition`] whose fields were listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Described {
    /// The name on the wire.
    pub name: &'static str,
    /// The `#[serde(...)]` options of the type, which may change how it is written.
    pub serde: &'static str,
    /// Its shape.
    pub body: Body,
}

impl Document {
    /// Follows every definition once.
    #[must_use]
    pub fn of(root: Type) -> Self {
        let mut definitions = BTreeMap::new();
        let mut queue = VecDeque::from([root.clone()]);
        while let Some(next) = queue.pop_front() {
            match next {
                Type::Defined(definition) if !definitions.contains_key(definition.path) => {
                    let body = (definition.body)();
                    queue.extend(body.members());
                    let Definition { name, path, serde, .. } = definition;
                    definitions.insert(path, Described { name, serde, body });
                }
                Type::Option(inner) | Type::List(inner) | Type::Set(inner) | Type::Array(inner, _) => {
                    queue.push_back(*inner);
                }
                Type::Map(key, value) => queue.extend([*key, *value]),
                Type::Tuple(members) => queue.extend(members),
                _ => {}
            }
        }
        Self { root, definitions }
    }
}

impl Body {
    fn members(&self) -> Vec<Type> {
        match self {
            Self::Unit => Vec::new(),
            Self::Struct(fields) => fields.iter().map(|f| f.shape.clone()).collect(),
            Self::Tuple(members) => members.clone(),
            Self::Enum(variants) => variants.iter().filter_map(|v| v.body.as_ref()).flat_map(Self::members).collect(),
        }
    }
}

/// A number that changes when the layout of a type changes, nested types included. Module paths do not count, so
/// that a type may be moved.
#[must_use]
pub fn fingerprint(root: &Type, logic_version: u32) -> u64 {
    let mut text = format!("{logic_version};");
    write_type(root, &mut text, &mut BTreeSet::new());
    xxh3_64(text.as_bytes())
}

fn write_type(shape: &Type, text: &mut String, open: &mut BTreeSet<&'static str>) {
    // writing to a String can't fail
    match shape {
        Type::Defined(definition) => {
            let _ = write!(text, "{}[{}]", definition.name, definition.serde);
            if open.insert(definition.path) {
                write_body(&(definition.body)(), text, open);
                open.remove(definition.path);
            }
        }
        Type::Option(inner) => wrap("option", &[inner], text, open),
        Type::List(inner) => wrap("list", &[inner], text, open),
        Type::Set(inner) => wrap("set", &[inner], text, open),
        Type::Array(inner, n) => wrap(&format!("array{n}"), &[inner], text, open),
        Type::Map(key, value) => wrap("map", &[key, value], text, open),
        Type::Tuple(members) => wrap("tuple", &members.iter().collect::<Vec<_>>(), text, open),
        leaf => {
            let _ = write!(text, "{leaf:?}");
        }
    }
}

fn wrap(word: &str, members: &[&Type], text: &mut String, open: &mut BTreeSet<&'static str>) {
    text.push_str(word);
    text.push('(');
    for member in members {
        write_type(member, text, open);
        text.push(',');
    }
    text.push(')');
}

fn write_body(body: &Body, text: &mut String, open: &mut BTreeSet<&'static str>) {
    match body {
        Body::Unit => text.push_str("unit"),
        Body::Struct(fields) => {
            text.push('{');
            for field in fields {
                let _ = write!(text, "{}[{}]:", field.name, field.serde);
                write_type(&field.shape, text, open);
                text.push(',');
            }
            text.push('}');
        }
        Body::Tuple(members) => wrap("", &members.iter().collect::<Vec<_>>(), text, open),
        Body::Enum(variants) => {
            text.push('<');
            for variant in variants {
                let _ = write!(text, "{}[{}]", variant.name, variant.serde);
                if let Some(body) = &variant.body {
                    write_body(body, text, open);
                }
                text.push('|');
            }
            text.push('>');
        }
    }
}

macro_rules! leaves {
    ($($ty:ty => $shape:expr;)*) => {$(
        impl Schema for $ty {
            fn schema() -> Type {
                $shape
            }
        }
    )*};
}
leaves! {
    () => Type::Unit;
    bool => Type::Bool;
    char => Type::Char;
    String => Type::Text;
    str => Type::Text;
    u8 => Type::Int { bits: 8, signed: false };
    u16 => Type::Int { bits: 16, signed: false };
    u32 => Type::Int { bits: 32, signed: false };
    u64 => Type::Int { bits: 64, signed: false };
    u128 => Type::Int { bits: 128, signed: false };
    usize => Type::Int { bits: 64, signed: false };
    i8 => Type::Int { bits: 8, signed: true };
    i16 => Type::Int { bits: 16, signed: true };
    i32 => Type::Int { bits: 32, signed: true };
    i64 => Type::Int { bits: 64, signed: true };
    i128 => Type::Int { bits: 128, signed: true };
    isize => Type::Int { bits: 64, signed: true };
    f32 => Type::Float { bits: 32 };
    f64 => Type::Float { bits: 64 };
    std::time::Duration => Type::Named("duration");
    uuid::Uuid => Type::Named("uuid");
    jiff::Timestamp => Type::Named("timestamp");
    jiff::civil::Date => Type::Named("date");
}

macro_rules! wrappers {
    ($($ty:ty => $variant:expr;)*) => {$(
        impl<T: Schema> Schema for $ty {
            fn schema() -> Type {
                $variant(Box::new(T::schema()))
            }
        }
    )*};
}
wrappers! {
    Option<T> => Type::Option;
    Vec<T> => Type::List;
    VecDeque<T> => Type::List;
    BTreeSet<T> => Type::Set;
}

impl<T: Schema + ?Sized> Schema for Box<T> {
    fn schema() -> Type {
        T::schema()
    }
}
impl<T: Schema + ?Sized> Schema for std::sync::Arc<T> {
    fn schema() -> Type {
        T::schema()
    }
}
impl<T: Schema, const N: usize> Schema for [T; N] {
    fn schema() -> Type {
        Type::Array(Box::new(T::schema()), N)
    }
}
impl<K: Schema, V: Schema> Schema for BTreeMap<K, V> {
    fn schema() -> Type {
        Type::Map(Box::new(K::schema()), Box::new(V::schema()))
    }
}
impl<T: Schema, E: Schema> Schema for Result<T, E> {
    fn schema() -> Type {
        Type::Tuple(vec![Type::Named("result"), T::schema(), E::schema()])
    }
}

macro_rules! tuples {
    ($(($($member:ident)*))*) => {$(
        impl<$($member: Schema),*> Schema for ($($member,)*) {
            fn schema() -> Type {
                Type::Tuple(vec![$($member::schema()),*])
            }
        }
    )*};
}
tuples! { (T1) (T1 T2) (T1 T2 T3) (T1 T2 T3 T4) (T1 T2 T3 T4 T5) (T1 T2 T3 T4 T5 T6) }
