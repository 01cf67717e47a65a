//! Fields of a message that its options name.

use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Data, DeriveInput, Fields, Member};

use crate::errors::Errors;
use crate::names::{hint, list};
use crate::options::FieldPath;

/// Checks that the first name of each path is a field; what lies deeper is the compiler's to check.
pub(super) fn exist(paths: &[FieldPath], input: &DeriveInput, errors: &mut Errors) -> bool {
    let fields = names(input);
    let mut all = true;
    for first in paths.iter().filter_map(|path| path.0.first()) {
        let name = match first {
            Member::Named(ident) => ident.unraw().to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        };
        if fields.contains(&name) {
            continue;
        }
        all = false;
        let known: Vec<&str> = fields.iter().map(String::as_str).collect();
        let text = match known.as_slice() {
            [] => format!("`{}` has no field `{name}`: it has none", input.ident),
            known => {
                format!("`{}` has no field `{name}`{}\nits fields: {}", input.ident, hint(&name, known), list(known))
            }
        };
        errors.at(first.span(), text);
    }
    all
}

/// The field that a message is most likely told apart by, for a remedy.
pub(super) fn likely(input: &DeriveInput) -> String {
    let fields = names(input);
    let first = fields.iter().find(|name| name.as_str() == "id" || name.ends_with("_id")).or(fields.first());
    first.cloned().unwrap_or_else(|| "field".to_owned())
}

fn names(input: &DeriveInput) -> Vec<String> {
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => {
                fields.named.iter().filter_map(|field| field.ident.as_ref()).map(|i| i.unraw().to_string()).collect()
            }
            Fields::Unnamed(fields) => (0..fields.unnamed.len()).map(|index| index.to_string()).collect(),
            Fields::Unit => Vec::new(),
        },
        _ => Vec::new(),
    }
}
