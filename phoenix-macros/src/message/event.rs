//! Events: what is stored for ever, and read in every form that it ever had.

use proc_macro2::{Literal, TokenStream};
use quote::{quote, quote_spanned};
use syn::{DeriveInput, LitStr, Type, parse_quote};

use crate::errors::Errors;
use crate::names;
use crate::options::{self, Spec};
use crate::tokens::{Runtime, peeled, shown, text};

const SPEC: Spec = Spec { of: "#[event]", known: &["name", "version", "upcast_from", "crate"] };

/// The options, as the author wrote them.
#[derive(Default)]
struct Event {
    name: Option<LitStr>,
    version: Option<u64>,
    upcast_from: Option<Type>,
    path: Option<syn::Path>,
}

pub(super) fn expand(input: &DeriveInput, errors: &mut Errors) -> TokenStream {
    let super::Attribute { tokens, at } = super::attribute(&SPEC, input, errors);
    let mut event = Event::default();
    let mut misread_name = false;
    options::read(&SPEC, tokens, errors, |name, value| {
        misread_name |= name == "name";
        match name {
            "name" => event.name = Some(value.text()?),
            "version" => event.version = Some(value.number(1, u64::from(u32::MAX))?.value),
            "upcast_from" => event.upcast_from = Some(value.ty()?),
            _ => event.path = Some(value.path()?),
        }
        Ok(())
    });
    let runtime = &Runtime::of(event.path);
    let name = match &event.name {
        Some(name) => names::given(name, errors),
        // the mistake in the name's value was told already
        None if misread_name => names::of_type(&input.ident),
        None => names::missing(&input.ident, at, SPEC.of, "an event", errors),
    };
    let (ident, span) = (&input.ident, input.ident.span());
    let earlier = event.upcast_from.filter(|earlier| {
        let is_itself = matches!(peeled(earlier), Type::Path(path) if path.path.is_ident(ident));
        if is_itself {
            errors.on(
                earlier,
                format!(
                    "an event can't be upcast from itself: keep its older form as a type of its own, `struct {ident}V1`"
                ),
            );
        }
        !is_itself
    });
    let version = Literal::u64_unsuffixed(event.version.unwrap_or(1));
    let generics = super::generics(runtime, input, errors);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let placed = runtime.at(span);
    let head = quote_spanned!(span=> impl #impl_generics #placed::Event for #ident #type_generics #where_clause);
    let upcast = earlier.as_ref().map(|earlier| upcast(runtime, earlier));
    let body = quote! {
        const NAME: &'static #runtime::core::primitive::str = #name;
        const VERSION: #runtime::core::primitive::u32 = #version;
        #upcast
    };
    let goes_up =
        earlier.as_ref().filter(|_| generics.params.is_empty()).map(|earlier| goes_up(runtime, ident, earlier));
    let emits = emits(runtime, input, &generics);
    let schema = super::shape(runtime, input, errors);
    quote! {
        #[automatically_derived]
        #head { #body }
        #emits
        #goes_up
        #schema
    }
}

/// The older form is read by its own type, and turned into this one.
fn upcast(runtime: &Runtime, earlier: &Type) -> TokenStream {
    let placed = runtime.at(shown(earlier));
    let lineage = quote_spanned! {shown(earlier)=>
        #placed::Lineage {
            name: <#earlier as #placed::Event>::NAME,
            version: <#earlier as #placed::Event>::VERSION,
            previous: <#earlier as #placed::Event>::PREVIOUS,
        }
    };
    let read =
        quote_spanned!(shown(earlier)=> #placed::read_upcast::<Self, #earlier, __Codec>(name, version, codec, bytes));
    quote! {
        const PREVIOUS: #runtime::core::option::Option<&'static #runtime::Lineage> =
            #runtime::core::option::Option::Some(&#lineage);
        fn read<__Codec: #runtime::Codec>(
            name: &#runtime::core::primitive::str,
            version: #runtime::core::primitive::u32,
            codec: #runtime::core::primitive::u8,
            bytes: &[#runtime::core::primitive::u8],
        ) -> #runtime::core::result::Result<Self, #runtime::CodecError> {
            #read
        }
    }
}

fn goes_up(runtime: &Runtime, ident: &syn::Ident, earlier: &Type) -> TokenStream {
    let rust = text(earlier);
    let runtime = runtime.at(shown(earlier));
    quote_spanned! {shown(earlier)=>
        const _: () = #runtime::upcast_goes_up(
            <#ident as #runtime::Event>::NAME,
            <#ident as #runtime::Event>::VERSION,
            <#earlier as #runtime::Event>::NAME,
            <#earlier as #runtime::Event>::VERSION,
            #rust,
        );
    }
}

/// An event may be returned by the handlers of every aggregate that evolves by it. The impl stands at the author's
/// tokens, so that the compiler does not call it derived in its notes.
fn emits(runtime: &Runtime, input: &DeriveInput, generics: &syn::Generics) -> TokenStream {
    let (ident, span) = (&input.ident, input.ident.span());
    let (_, type_generics, _) = input.generics.split_for_impl();
    let mut generics = generics.clone();
    let placed = runtime.at(span);
    let aggregate =
        quote_spanned!(span=> AggregateWithAHandlerOfIt: #placed::HasOneEventHandler<#ident #type_generics>);
    generics.params.push(parse_quote!(#aggregate));
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let head = quote_spanned! {span=>
        impl #impl_generics #placed::Emits<AggregateWithAHandlerOfIt> for #ident #type_generics #where_clause
    };
    let body = quote! {
        type Reply = #runtime::NoReply;
        type Rejection = #runtime::NoRejection;
        fn emit(
            self,
            out: &mut #runtime::Sink<'_, AggregateWithAHandlerOfIt>,
        ) -> #runtime::core::result::Result<#runtime::NoReply, #runtime::NoRejection> {
            out.push(&self);
            #runtime::core::result::Result::Ok(#runtime::NoReply)
        }
    };
    quote_spanned!(span=> #[automatically_derived] #head { #body })
}
