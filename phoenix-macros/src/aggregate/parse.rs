//! What `#[aggregate(...)]` says.

use std::time::Duration;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens as _, quote};
use syn::{DeriveInput, Path, Type};

use crate::errors::Errors;
use crate::names;
use crate::options::{self, Spec};
use crate::tokens::{Runtime, text};

const SPEC: Spec = Spec {
    of: "#[aggregate]",
    known: &[
        "name",
        "snapshot_every",
        "snapshot_bytes",
        "snapshots_kept",
        "archive",
        "idempotency_window",
        "passivate_after",
        "max_resident",
        "logic_version",
        "codec",
        "crate",
    ],
};

/// The options, with the defaults left to the runtime.
pub(super) struct Aggregate {
    pub(super) runtime: Runtime,
    /// What `crate = path` says.
    pub(super) path: Option<Path>,
    /// The author derives the schema as well, which is told.
    pub(super) derives_schema: bool,
    pub(super) name: String,
    pub(super) snapshots: Snapshots,
    pub(super) snapshot_bytes: Option<u64>,
    pub(super) snapshots_kept: Option<u64>,
    pub(super) archive: Option<bool>,
    pub(super) idempotency_window: Option<u64>,
    pub(super) passivate_after: Option<Duration>,
    pub(super) max_resident: Option<u64>,
    pub(super) logic_version: Option<u64>,
    pub(super) codec: Codec,
}

/// When a snapshot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Snapshots {
    /// As the runtime has it.
    Default,
    /// After so many events.
    Every(u64),
    Never,
}

/// How events, replies and snapshots are encoded.
pub(super) enum Codec {
    Json,
    Postcard,
    Other(Box<Type>),
}

pub(super) fn read(arguments: TokenStream, input: &DeriveInput, errors: &mut Errors) -> Aggregate {
    let mut path = None;
    let mut name = None;
    let mut aggregate = Aggregate {
        runtime: Runtime::of(None),
        path: None,
        derives_schema: false,
        name: String::new(),
        snapshots: Snapshots::Default,
        snapshot_bytes: None,
        snapshots_kept: None,
        archive: None,
        idempotency_window: None,
        passivate_after: None,
        max_resident: None,
        logic_version: None,
        codec: Codec::Json,
    };
    let (mut misread, most) = (false, u64::from(u32::MAX));
    let mut rest_on_snapshots = Vec::new();
    options::read(&SPEC, arguments, errors, |option, value| {
        misread |= option == "name";
        match option {
            "name" => name = Some(value.text()?),
            "snapshot_every" => {
                let every = value.number_or_never(1, u64::MAX)?;
                aggregate.snapshots = every.map_or(Snapshots::Never, |every| Snapshots::Every(every.value));
            }
            "snapshot_bytes" => {
                aggregate.snapshot_bytes = Some(value.size()?);
                rest_on_snapshots.push(value.key.clone());
            }
            "snapshots_kept" => {
                aggregate.snapshots_kept = Some(value.number(1, most)?.value);
                rest_on_snapshots.push(value.key.clone());
            }
            "archive" => {
                let is_on = value.truth()?;
                aggregate.archive = Some(is_on);
                rest_on_snapshots.extend(is_on.then(|| value.key.clone()));
            }
            "idempotency_window" => aggregate.idempotency_window = Some(value.number(0, most)?.value),
            "passivate_after" => aggregate.passivate_after = value.duration_or_never()?,
            "max_resident" => aggregate.max_resident = Some(value.number(1, most)?.value),
            "logic_version" => aggregate.logic_version = Some(value.number(1, most)?.value),
            "codec" => aggregate.codec = codec(value.ty()?)?,
            _ => path = Some(value.path()?),
        }
        Ok(())
    });
    aggregate.runtime = Runtime::of(path.clone());
    aggregate.path = path;
    aggregate.name = match name {
        Some(name) => names::given(&name, errors),
        // the mistake in the name's value was told already
        None if misread => names::of_type(&input.ident),
        None => names::missing(&input.ident, Span::call_site(), SPEC.of, "an aggregate", errors),
    };
    if aggregate.snapshots == Snapshots::Never {
        without_snapshots(&rest_on_snapshots, errors);
    }
    aggregate.derives_schema = shape(input, errors);
    aggregate
}

/// Tells what means nothing where no snapshot is ever taken.
fn without_snapshots(options: &[Ident], errors: &mut Errors) {
    for option in options {
        let why = match option.to_string().as_str() {
            "snapshot_bytes" => "says when to take a snapshot",
            "snapshots_kept" => "says how many snapshots stay",
            _ => "moves the events up to a snapshot away",
        };
        let text = format!(
            "`{option}` {why}, and `snapshot_every = never` turns snapshots off\n\
             write `snapshot_every = 1000`, or remove `{option}`"
        );
        errors.at(option.span(), &text);
    }
}

fn codec(ty: Type) -> syn::Result<Codec> {
    let word = text(&ty);
    let is_word = word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    match word.as_str() {
        "json" => Ok(Codec::Json),
        "postcard" => Ok(Codec::Postcard),
        _ if is_word => {
            let hint = names::hint(&word, &["json", "postcard"]);
            let rule = "`codec` of #[aggregate] takes `json`, `postcard`, or a type that implements `Codec`";
            Err(syn::Error::new_spanned(&ty, format!("there is no codec `{word}`{hint}\n{rule}")))
        }
        _ => Ok(Codec::Other(Box::new(ty))),
    }
}

/// The rules of the type itself. Whether its schema is derived, too.
fn shape(input: &DeriveInput, errors: &mut Errors) -> bool {
    let mut derives_schema = false;
    for parameter in input.generics.lifetimes() {
        errors.on(parameter, "an aggregate outlives every borrow: it can't have a lifetime; own the data instead");
    }
    for parameter in input.generics.params.iter().filter(|p| !matches!(p, syn::GenericParam::Lifetime(_))) {
        errors.on(
            parameter,
            "an aggregate has one wire name and one table of handlers: it can't be generic; write one type for each use",
        );
    }
    let derives = input.attrs.iter().filter(|attribute| attribute.path().is_ident("derive"));
    for derive in derives {
        // what can't be read here is refused by the compiler
        let _ = derive.parse_nested_meta(|meta| {
            if meta.path.segments.last().is_some_and(|last| last.ident == "Schema") {
                derives_schema = true;
                errors.on(&meta.path, "#[aggregate] derives the schema of its state: remove `Schema` here");
            }
            Ok(())
        });
    }
    derives_schema
}

impl Codec {
    pub(super) fn tokens(&self, runtime: &Runtime) -> TokenStream {
        match self {
            Self::Json => quote!(#runtime::Json),
            Self::Postcard => quote!(#runtime::Postcard),
            Self::Other(ty) => ty.to_token_stream(),
        }
    }
}
