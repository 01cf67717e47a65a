//! Collects the mistakes of one item, so that all are reported at once.

use std::fmt::Display;

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// The mistakes found so far.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Errors(Vec<syn::Error>);

impl Errors {
    /// A mistake at one place.
    pub(crate) fn at(&mut self, span: Span, text: impl Display) {
        self.0.push(syn::Error::new(span, text));
    }

    /// A mistake that these tokens make up.
    pub(crate) fn on(&mut self, tokens: impl ToTokens, text: impl Display) {
        self.0.push(syn::Error::new_spanned(tokens, text));
    }

    /// A mistake that has its text and place.
    pub(crate) fn push(&mut self, error: syn::Error) {
        self.0.push(error);
    }

    /// How many there are: tells whether one step of a check found any.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// One `compile_error!` for each.
    pub(crate) fn into_tokens(self) -> TokenStream {
        self.0.iter().map(syn::Error::to_compile_error).collect()
    }
}
