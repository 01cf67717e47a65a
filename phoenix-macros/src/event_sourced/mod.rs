//! `#[event_sourced]`: a block of handlers becomes trait impls and one part of the aggregate's table.

mod check;
mod expand;
mod parse;

use proc_macro2::TokenStream;
use quote::quote;

use crate::errors::Errors;
use crate::options::{self, Spec};
use crate::tokens::{Runtime, bare};

/// How many blocks an aggregate may have, as in the runtime.
pub(crate) const MAX_PARTS: u64 = 16;

const SPEC: Spec = Spec { of: "#[event_sourced]", known: &["part", "crate"] };

/// The options of the block.
struct Arguments {
    runtime: Runtime,
    part: Option<options::Number>,
    /// It can't be told which number the block is to have.
    is_misread: bool,
}

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let block = match syn::parse2::<parse::Block>(item.clone()) {
        Ok(block) => block,
        Err(error) => {
            errors.push(error);
            let (item, errors) = (bare(item), errors.into_tokens());
            return quote!(#item #errors);
        }
    };
    let arguments = read(arguments, &mut errors);
    let block = check::check(block, &mut errors);
    let expanded = expand::expand(&arguments, &block);
    let errors = errors.into_tokens();
    quote!(#expanded #errors)
}

fn read(tokens: TokenStream, errors: &mut Errors) -> Arguments {
    let (mut part, mut path) = (None, None);
    let before = errors.count();
    options::read(&SPEC, tokens, errors, |name, value| {
        match name {
            "part" => part = Some(value.number(1, MAX_PARTS)?),
            _ => path = Some(value.path()?),
        }
        Ok(())
    });
    Arguments { runtime: Runtime::of(path), part, is_misread: errors.count() != before }
}
