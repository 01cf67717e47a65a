//! What `#[serde(...)]` says about names on the wire, and the text of everything else that it says.

use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Lit, Meta, Token};

use super::case::Case;
use super::is_serde;
use crate::tokens::text;

/// Options that change nothing about what is written.
const HARMLESS: [&str; 3] = ["bound", "crate", "expecting"];

/// The options of one item. What serde itself refuses is left to serde.
#[derive(Debug, Clone, Default)]
pub(super) struct Serde {
    rename: Option<String>,
    pub(super) rename_all: Option<Case>,
    pub(super) rename_all_fields: Option<Case>,
    pub(super) skip: bool,
    pub(super) transparent: bool,
    /// The text of the others, in order.
    pub(super) rest: Vec<String>,
}

impl Serde {
    pub(super) fn of(attributes: &[Attribute]) -> Self {
        let mut found = Self::default();
        let metas = attributes
            .iter()
            .filter(|attribute| is_serde(attribute))
            .filter_map(|attribute| attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok())
            .flatten();
        for meta in metas {
            found.add(&meta);
        }
        found
    }

    fn add(&mut self, meta: &Meta) {
        let word = meta.path().get_ident().map(ToString::to_string).unwrap_or_default();
        let (written, read) = names(meta);
        let case = written.as_deref().and_then(Case::named);
        match word.as_str() {
            "rename" => self.rename.clone_from(&written),
            "rename_all" => self.rename_all = case,
            "rename_all_fields" => self.rename_all_fields = case,
            "skip" => self.skip = true,
            "transparent" => self.transparent = true,
            _ => {}
        }
        let is_read = match word.as_str() {
            "rename" | "rename_all" | "rename_all_fields" => written == read,
            // named when the type turns out not to be written as its field
            "skip" | "transparent" => true,
            other => HARMLESS.contains(&other),
        };
        if !is_read {
            self.rest.push(text(meta));
        }
    }

    /// The name on the wire of what is called `rust`.
    pub(super) fn name(&self, rust: &str, in_case: impl FnOnce(&str) -> String) -> String {
        self.rename.clone().unwrap_or_else(|| in_case(rust))
    }
}

/// The value for writing and the one for reading: `rename = ".."` or `rename(serialize = "..", deserialize = "..")`.
fn names(meta: &Meta) -> (Option<String>, Option<String>) {
    match meta {
        Meta::NameValue(pair) => (string(&pair.value), string(&pair.value)),
        Meta::List(list) => {
            let (mut written, mut read) = (None, None);
            let pairs = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).unwrap_or_default();
            for pair in pairs {
                if let Meta::NameValue(pair) = pair {
                    let value = string(&pair.value);
                    if pair.path.is_ident("serialize") {
                        written = value;
                    } else if pair.path.is_ident("deserialize") {
                        read = value;
                    }
                }
            }
            (written, read)
        }
        Meta::Path(_) => (None, None),
    }
}

fn string(value: &Expr) -> Option<String> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        Expr::Group(group) => string(&group.expr),
        _ => None,
    }
}
