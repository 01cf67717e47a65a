//! `#[derive(Command)]`, `#[derive(Query)]`, `#[derive(Event)]`, `#[derive(Events)]`.

mod event;
mod events;
mod fields;
mod request;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::spanned::Spanned as _;
use syn::{DeriveInput, GenericParam, Generics, Meta, parse_quote};

use crate::errors::Errors;
use crate::options::Spec;
use crate::schema;
use crate::tokens::{Runtime, quiet};

pub(crate) use self::request::Kind;

/// `#[derive(Command)]` and `#[derive(Query)]`.
pub(crate) fn request(kind: Kind, item: TokenStream) -> TokenStream {
    derive(item, |input, errors| request::expand(kind, input, errors))
}

/// `#[derive(Event)]`.
pub(crate) fn event(item: TokenStream) -> TokenStream {
    derive(item, event::expand)
}

/// `#[derive(Events)]`.
pub(crate) fn events(item: TokenStream) -> TokenStream {
    derive(item, events::expand)
}

fn derive(item: TokenStream, expand: impl FnOnce(&DeriveInput, &mut Errors) -> TokenStream) -> TokenStream {
    let input = match syn::parse2(item) {
        Ok(input) => input,
        Err(error) => return error.to_compile_error(),
    };
    let mut errors = Errors::default();
    let impls = expand(&input, &mut errors);
    let (quiet, errors) = (quiet(), errors.into_tokens());
    quote! {
        #quiet
        const _: () = { #impls };
        #errors
    }
}

/// The options of a derive, all its attributes together.
pub(crate) struct Attribute {
    pub(crate) tokens: TokenStream,
    /// Where what is missing is reported: the attribute, or else the type.
    pub(crate) at: Span,
}

/// Gathers `#[command(...)]` and the like.
pub(crate) fn attribute(spec: &Spec, input: &DeriveInput, errors: &mut Errors) -> Attribute {
    let word = spec.of.trim_start_matches("#[").trim_end_matches(']');
    let mut found = Attribute { tokens: TokenStream::new(), at: input.ident.span() };
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident(word)) {
        found.at = attribute.path().span();
        match &attribute.meta {
            Meta::List(list) => {
                let ends = found.tokens.clone().into_iter().last().is_none_or(|last| last.to_string() == ",");
                if !ends && !list.tokens.is_empty() {
                    found.tokens.extend(quote!(,));
                }
                found.tokens.extend(list.tokens.clone());
            }
            Meta::Path(_) => {}
            Meta::NameValue(given) => {
                errors.on(&given.value, format!("options are written in parentheses: `#[{word}(...)]`"));
            }
        }
    }
    found
}

/// The schema of a message; of one that is generic, and so refused, nothing is said.
fn shape(runtime: &Runtime, input: &DeriveInput, errors: &mut Errors) -> TokenStream {
    if input.generics.params.is_empty() {
        schema::implementation(runtime, input, errors)
    } else {
        schema::nothing(runtime, input)
    }
}

/// The generics of a message's impls. A message has none; where it does, that is reported, and what the impls need is
/// assumed, so that nothing else is.
fn generics(runtime: &Runtime, input: &DeriveInput, errors: &mut Errors) -> Generics {
    let mut generics = input.generics.clone();
    if generics.params.is_empty() {
        return generics;
    }
    for parameter in &generics.params {
        errors.on(
            parameter,
            match parameter {
                GenericParam::Lifetime(_) => "a message is sent and stored: it can't borrow; own the data instead",
                _ => "a message has one wire name and one schema: it can't be generic; write one type for each use",
            },
        );
    }
    let ident = &input.ident;
    let (_, arguments, _) = input.generics.split_for_impl();
    generics.make_where_clause().predicates.push(parse_quote! {
        #ident #arguments: #runtime::serde::Serialize + #runtime::serde::de::DeserializeOwned
            + #runtime::Schema + #runtime::core::marker::Send + 'static
    });
    generics
}
