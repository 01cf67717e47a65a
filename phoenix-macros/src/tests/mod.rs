//! What the macros expand to, as it is read by people, and what they say about options and half-typed code. The
//! compiler's part of the diagnostics is tested where it compiles.

mod half_typed;
mod mistakes;
mod snapshots;

use proc_macro2::{TokenStream, TokenTree};
use syn::LitStr;

/// The tokens of `source`.
#[track_caller]
fn tokens(source: &str) -> TokenStream {
    source.parse().unwrap_or_else(|error| panic!("{error}: {source}"))
}

/// The text of every `compile_error!`, in order.
fn errors(expanded: &TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_next = false;
    for token in expanded.clone() {
        match token {
            TokenTree::Ident(word) => is_next = word == "compile_error",
            TokenTree::Group(group) if is_next => {
                found.extend(syn::parse2::<LitStr>(group.stream()).map(|text| text.value()));
                is_next = false;
            }
            TokenTree::Group(group) => found.extend(errors(&group.stream())),
            _ => {}
        }
    }
    found
}
