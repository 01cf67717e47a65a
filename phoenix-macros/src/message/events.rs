//! An enum of events: what a handler returns that decides between them.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, Fields, Variant, parse_quote};

use crate::errors::Errors;
use crate::options::{self, Spec};
use crate::tokens::{Runtime, shown};

const SPEC: Spec = Spec { of: "#[events]", known: &["crate"] };

pub(super) fn expand(input: &DeriveInput, errors: &mut Errors) -> TokenStream {
    let tokens = super::attribute(&SPEC, input, errors).tokens;
    let mut path = None;
    options::read(&SPEC, tokens, errors, |_, value| {
        path = Some(value.path()?);
        Ok(())
    });
    let runtime = &Runtime::of(path);
    let variants: Vec<&Variant> = match &input.data {
        Data::Enum(data) => data.variants.iter().collect(),
        Data::Struct(data) => {
            errors.on(
                data.struct_token,
                "#[derive(Events)] is for an enum of events: a single event is #[derive(Event)]",
            );
            Vec::new()
        }
        Data::Union(data) => {
            errors.on(data.union_token, "#[derive(Events)] is for an enum of events");
            Vec::new()
        }
    };
    for parameter in &input.generics.params {
        errors.on(parameter, "an enum of events can't be generic: name the events");
    }

    let mut generics = input.generics.clone();
    let placed = &runtime.at(input.ident.span());
    let aggregate = quote_spanned!(input.ident.span()=> AnyAggregate);
    generics.params.push(parse_quote!(#aggregate));
    let mut arms = Vec::new();
    for variant in variants {
        let name = &variant.ident;
        match &variant.fields {
            Fields::Unit => arms.push(quote!(Self::#name => #runtime::core::result::Result::Ok(#runtime::NoReply))),
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                for ty in fields.unnamed.iter().map(|field| &field.ty) {
                    let runtime = runtime.at(shown(ty));
                    let bound = quote_spanned! {shown(ty)=>
                        #ty: #runtime::Emits<AnyAggregate, Reply = #runtime::NoReply, Rejection = #runtime::NoRejection>
                    };
                    generics.make_where_clause().predicates.push(parse_quote!(#bound));
                    arms.push(quote!(Self::#name(event) => #runtime::Emits::<AnyAggregate>::emit(event, out)));
                }
            }
            other => {
                errors.on(other, format!("a variant holds one event, `{name}(Event)`, or nothing, `{name}`"));
                arms.push(quote!(Self::#name { .. } => #runtime::core::result::Result::Ok(#runtime::NoReply)));
            }
        }
    }
    let body = if arms.is_empty() {
        quote!({ let _ = out; #runtime::core::result::Result::Ok(#runtime::NoReply) })
    } else {
        quote!(match self { #(#arms,)* })
    };
    let (ident, span) = (&input.ident, input.ident.span());
    let (_, type_generics, _) = input.generics.split_for_impl();
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let head = quote_spanned! {span=>
        impl #impl_generics #placed::Emits<AnyAggregate> for #ident #type_generics #where_clause
    };
    quote! {
        #[automatically_derived]
        #head {
            type Reply = #runtime::NoReply;
            type Rejection = #runtime::NoRejection;
            fn emit(
                self,
                out: &mut #runtime::Sink<'_, AnyAggregate>,
            ) -> #runtime::core::result::Result<#runtime::NoReply, #runtime::NoRejection> {
                #body
            }
        }
    }
}
