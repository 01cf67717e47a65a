//! The schema of a type: its fields by their names on the wire. Derived alone, and with every message and state.

mod case;
mod serde;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::{Attribute, Data, DataEnum, DeriveInput, Field, Fields, GenericParam, Generics, Ident, parse_quote};

use self::case::Case;
use self::serde::Serde;
use crate::errors::Errors;
use crate::options::{self, Spec};
use crate::tokens::{Runtime, quiet, shown};

const SPEC: Spec = Spec { of: "#[schema]", known: &["crate"] };

/// `#[derive(Schema)]`.
pub(crate) fn expand(item: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(item) {
        Ok(input) => input,
        Err(error) => return error.to_compile_error(),
    };
    let mut errors = Errors::default();
    let tokens = crate::message::attribute(&SPEC, &input, &mut errors).tokens;
    let mut path = None;
    options::read(&SPEC, tokens, &mut errors, |_, value| {
        path = Some(value.path()?);
        Ok(())
    });
    let schema = implementation(&Runtime::of(path), &input, &mut errors);
    let (quiet, errors) = (quiet(), errors.into_tokens());
    quote! {
        #quiet
        const _: () = { #schema };
        #errors
    }
}

/// `impl Schema` with the shape of the type.
pub(crate) fn implementation(runtime: &Runtime, input: &DeriveInput, errors: &mut Errors) -> TokenStream {
    let own = Serde::of(&input.attrs);
    let shape = match transparent(&own, &input.data) {
        Some(field) => schema_of(runtime, field),
        None => defined(runtime, input, &own, errors),
    };
    let mut generics = input.generics.clone();
    for parameter in &mut generics.params {
        if let GenericParam::Type(parameter) = parameter {
            parameter.bounds.push(parse_quote!(#runtime::Schema));
        }
    }
    impl_schema(runtime, &input.ident, &generics, &shape)
}

/// `impl Schema` without a shape, for a message or state that was refused as a whole: its fields are not asked for
/// theirs.
pub(crate) fn nothing(runtime: &Runtime, input: &DeriveInput) -> TokenStream {
    impl_schema(runtime, &input.ident, &input.generics, &quote!(#runtime::Type::Never))
}

fn impl_schema(runtime: &Runtime, ident: &Ident, generics: &Generics, shape: &TokenStream) -> TokenStream {
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let (span, placed) = (ident.span(), runtime.at(ident.span()));
    let head = quote_spanned!(span=> impl #impl_generics #placed::Schema for #ident #type_generics #where_clause);
    quote! {
        #[automatically_derived]
        #head {
            fn schema() -> #runtime::Type {
                #shape
            }
        }
    }
}

fn defined(runtime: &Runtime, input: &DeriveInput, own: &Serde, errors: &mut Errors) -> TokenStream {
    let name = own.name(&input.ident.unraw().to_string(), str::to_owned);
    let path = if input.generics.params.is_empty() {
        let rust = format!("::{}", input.ident.unraw());
        quote!(#runtime::core::concat!(#runtime::core::module_path!(), #rust))
    } else {
        // the same name with other arguments is another type
        quote!(#runtime::core::any::type_name::<Self>())
    };
    let mut rest = own.rest.clone();
    let body = match &input.data {
        Data::Struct(data) => body(runtime, &data.fields, own.rename_all, &mut rest),
        Data::Enum(data) => variants(runtime, data, own),
        Data::Union(data) => {
            errors.on(data.union_token, "a union has no schema: use an enum");
            quote!(#runtime::Body::Unit)
        }
    };
    let rest = rest.join(", ");
    quote! {
        #runtime::Type::Defined(#runtime::Definition {
            name: #name,
            path: #path,
            serde: #rest,
            body: || #body,
        })
    }
}

/// The only field of a `#[serde(transparent)]` type, where nothing else is said about how it is written.
fn transparent<'a>(own: &Serde, data: &'a Data) -> Option<&'a Field> {
    let Data::Struct(data) = data else { return None };
    let mut fields = data.fields.iter().filter(|field| !Serde::of(&field.attrs).skip);
    match (fields.next(), fields.next()) {
        (Some(field), None) if own.transparent && Serde::of(&field.attrs).rest.is_empty() => Some(field),
        _ => None,
    }
}

fn variants(runtime: &Runtime, data: &DataEnum, own: &Serde) -> TokenStream {
    let variants = data.variants.iter().filter_map(|variant| {
        let serde = Serde::of(&variant.attrs);
        if serde.skip {
            return None;
        }
        let in_case = |name: &str| own.rename_all.map_or_else(|| name.to_owned(), |case| case.of_variant(name));
        let name = serde.name(&variant.ident.unraw().to_string(), in_case);
        let mut rest = serde.rest.clone();
        let body = match &variant.fields {
            Fields::Unit => quote!(#runtime::core::option::Option::None),
            fields => {
                let body = body(runtime, fields, serde.rename_all.or(own.rename_all_fields), &mut rest);
                quote!(#runtime::core::option::Option::Some(#body))
            }
        };
        let rest = rest.join(", ");
        Some(quote!(#runtime::Variant { name: #name, serde: #rest, body: #body }))
    });
    quote!(#runtime::Body::Enum(#runtime::std::vec![#(#variants),*]))
}

/// The fields of a struct or variant. Those of a tuple have no place for what serde is told about them: it goes to
/// the `rest` of their owner.
fn body(runtime: &Runtime, fields: &Fields, case: Option<Case>, rest: &mut Vec<String>) -> TokenStream {
    match fields {
        Fields::Unit => quote!(#runtime::Body::Unit),
        Fields::Unnamed(fields) => {
            let members = fields.unnamed.iter().enumerate().filter_map(|(i, field)| {
                let serde = Serde::of(&field.attrs);
                if serde.skip {
                    return None;
                }
                rest.extend(serde.rest.iter().map(|option| format!("{i}: {option}")));
                Some(schema_of(runtime, field))
            });
            let members: Vec<_> = members.collect();
            quote!(#runtime::Body::Tuple(#runtime::std::vec![#(#members),*]))
        }
        Fields::Named(fields) => {
            let fields = fields.named.iter().filter_map(|field| {
                let serde = Serde::of(&field.attrs);
                if serde.skip {
                    return None;
                }
                let ident = field.ident.as_ref()?.unraw().to_string();
                let name = serde.name(&ident, |name| case.map_or_else(|| name.to_owned(), |case| case.of_field(name)));
                let (shape, rest) = (schema_of(runtime, field), serde.rest.join(", "));
                Some(quote!(#runtime::Field { name: #name, shape: #shape, serde: #rest }))
            });
            quote!(#runtime::Body::Struct(#runtime::std::vec![#(#fields),*]))
        }
    }
}

/// Reported at the field's type.
fn schema_of(runtime: &Runtime, field: &Field) -> TokenStream {
    let ty = &field.ty;
    let runtime = runtime.at(shown(ty));
    quote_spanned!(shown(ty)=> <#ty as #runtime::Schema>::schema())
}

/// The attributes of serde.
fn is_serde(attribute: &Attribute) -> bool {
    attribute.path().is_ident("serde")
}
