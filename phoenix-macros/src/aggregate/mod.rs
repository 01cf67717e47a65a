//! `#[aggregate]`: a struct becomes the state of an aggregate.

mod expand;
mod parse;

use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

use crate::errors::Errors;

pub(crate) fn expand(arguments: TokenStream, item: &TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let input: DeriveInput = match syn::parse2(item.clone()) {
        Ok(input) => input,
        Err(error) => {
            // what starts like a type is being typed; anything else is in the wrong place
            let is_type = item.clone().into_iter().any(|t| matches!(t.to_string().as_str(), "struct" | "enum"));
            if is_type {
                errors.push(error);
            } else {
                errors.at(error.span(), "#[aggregate] goes on a struct: the state of the aggregate");
            }
            let errors = errors.into_tokens();
            return quote!(#item #errors);
        }
    };
    let aggregate = parse::read(arguments, &input, &mut errors);
    let generated = expand::expand(&aggregate, &input, &mut errors);
    let derive = expand::derived_schema(&aggregate, &input);
    let errors = errors.into_tokens();
    quote!(#derive #item #generated #errors)
}
