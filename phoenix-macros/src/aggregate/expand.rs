//! The impls of an aggregate.

use proc_macro2::{Literal, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Attribute, Data, DeriveInput, Fields, parse_quote};

use super::parse::{Aggregate, Snapshots};
use crate::errors::Errors;
use crate::event_sourced::MAX_PARTS;
use crate::schema;
use crate::tokens::quiet;

pub(super) fn expand(aggregate: &Aggregate, input: &DeriveInput, errors: &mut Errors) -> TokenStream {
    let Aggregate { runtime, name, codec, .. } = aggregate;
    let ident = &input.ident;
    let at = ident.span();
    let quiet = quiet();
    let is_plain = input.generics.params.is_empty();
    let cfgs = input.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    let mut generics = input.generics.clone();
    let (_, type_generics, _) = input.generics.split_for_impl();
    let schema = if is_plain {
        let is_elsewhere = aggregate.derives_schema || has_conditions(input);
        (!is_elsewhere).then(|| schema::implementation(runtime, input, errors))
    } else {
        // refused, and told: what else an aggregate needs is assumed, so that its blocks are not told it again
        generics.make_where_clause().predicates.push(parse_quote! {
            #ident #type_generics: #runtime::core::default::Default
                + #runtime::core::marker::Send + #runtime::core::marker::Sync + 'static
        });
        Some(schema::nothing(runtime, input))
    };
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let numbers = (1..=MAX_PARTS).map(Literal::u64_unsuffixed);
    let options = options(aggregate);
    // reported at the name of the struct
    let placed = runtime.at(at);
    let snapshots = if aggregate.snapshots == Snapshots::Never || !is_plain {
        quote_spanned!(at=> #placed::Off)
    } else {
        quote_spanned!(at=> #placed::On)
    };
    let codec = codec.tokens(runtime);
    let head = quote_spanned!(at=> impl #impl_generics #placed::Aggregate for #ident #type_generics #where_clause);
    let body = quote! {
        const NAME: &'static #runtime::core::primitive::str = #name;
        const OPTIONS: #runtime::Options = #options;
        type Codec = #codec;
        type Snapshots = #snapshots;
        const PARTS: &'static [#runtime::core::option::Option<&'static #runtime::Part<Self>>] = {
            use #runtime::NoPart as _;
            &[#(#runtime::Probe::<Self, #numbers>::FOUND),*]
        };
    };
    let aggregate = quote_spanned!(at=> #[automatically_derived] #head { #body });
    quote! {
        #(#cfgs)*
        #quiet
        const _: () = {
            #aggregate
            #schema
        };
    }
}

/// The runtime's defaults, and over them what the author said.
fn options(aggregate: &Aggregate) -> TokenStream {
    let Aggregate { runtime, .. } = aggregate;
    let some = quote!(#runtime::core::option::Option::Some);
    let every = match aggregate.snapshots {
        Snapshots::Default => None,
        Snapshots::Every(events) => {
            let events = Literal::u64_unsuffixed(events);
            Some(quote!(snapshot_every = #some(#events)))
        }
        Snapshots::Never => Some(quote!(snapshot_every = #runtime::core::option::Option::None)),
    };
    let bytes = aggregate.snapshot_bytes.map(Literal::u64_unsuffixed);
    let bytes = bytes.map(|most| quote!(snapshot_bytes = #some(#most)));
    let kept = aggregate.snapshots_kept.map(Literal::u64_unsuffixed);
    let kept = kept.map(|count| quote!(snapshots_kept = #count));
    let archive = aggregate.archive.map(|is_on| quote!(archive = #is_on));
    let window = aggregate.idempotency_window.map(Literal::u64_unsuffixed);
    let window = window.map(|keys| quote!(idempotency_window = #keys));
    let after = aggregate.passivate_after.map(|after| {
        let millis = Literal::u128_unsuffixed(after.as_millis());
        quote!(passivate_after = #some(#runtime::core::time::Duration::from_millis(#millis)))
    });
    let resident = aggregate.max_resident.map(Literal::u64_unsuffixed);
    let resident = resident.map(|most| quote!(max_resident = #some(#most)));
    let logic = aggregate.logic_version.map(Literal::u64_unsuffixed);
    let logic = logic.map(|version| quote!(logic_version = #version));
    let said = [every, bytes, kept, archive, window, after, resident, logic];
    let said: Vec<TokenStream> = said.into_iter().flatten().collect();
    if said.is_empty() {
        return quote!(#runtime::Options::DEFAULT);
    }
    quote! {{
        let mut options = #runtime::Options::DEFAULT;
        #(options.#said;)*
        options
    }}
}

/// The derive of the schema, where the compiler has yet to say which of the fields there are.
pub(super) fn derived_schema(aggregate: &Aggregate, input: &DeriveInput) -> Option<TokenStream> {
    let Aggregate { runtime, path, .. } = aggregate;
    let path = path.as_ref().map(|path| quote!(#[schema(crate = #path)]));
    let is_derived = input.generics.params.is_empty() && has_conditions(input) && !aggregate.derives_schema;
    is_derived.then(|| quote!(#[derive(#runtime::DeriveSchema)] #path))
}

/// Whether a field or variant depends on `#[cfg]`: a derive is expanded after that, an attribute before it.
fn has_conditions(input: &DeriveInput) -> bool {
    let is_condition = |attribute: &Attribute| ["cfg", "cfg_attr"].iter().any(|word| attribute.path().is_ident(word));
    let of_fields = |fields: &Fields| fields.iter().any(|field| field.attrs.iter().any(is_condition));
    match &input.data {
        Data::Struct(data) => of_fields(&data.fields),
        Data::Enum(data) => {
            data.variants.iter().any(|variant| variant.attrs.iter().any(is_condition) || of_fields(&variant.fields))
        }
        Data::Union(_) => false,
    }
}
