//! Commands and queries: what is sent to one aggregate.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Data, DeriveInput, LitStr, Type};

use super::fields;
use crate::errors::Errors;
use crate::names;
use crate::options::{self, FieldPath, Spec};
use crate::tokens::{Runtime, ours};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Command,
    Query,
}

impl Kind {
    fn spec(self) -> &'static Spec {
        match self {
            Self::Command => &Spec {
                of: "#[command]",
                known: &["id", "name", "reply", "rejection", "aggregate", "idempotent_by", "crate"],
            },
            Self::Query => &Spec { of: "#[query]", known: &["id", "name", "reply", "aggregate", "crate"] },
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Query => "query",
        }
    }
}

/// The options, as the author wrote them.
#[derive(Default)]
struct Request {
    id: Option<Vec<FieldPath>>,
    name: Option<LitStr>,
    reply: Option<Type>,
    rejection: Option<Type>,
    aggregate: Option<LitStr>,
    idempotent_by: Option<Vec<FieldPath>>,
    path: Option<syn::Path>,
}

pub(super) fn expand(kind: Kind, input: &DeriveInput, errors: &mut Errors) -> TokenStream {
    let spec = kind.spec();
    let super::Attribute { tokens, at } = super::attribute(spec, input, errors);
    let mut request = Request::default();
    let mut misread_id = false;
    options::read(spec, tokens, errors, |name, value| {
        misread_id |= name == "id";
        match name {
            "id" => request.id = Some(value.field_or_fields()?),
            "name" => request.name = Some(value.text()?),
            "reply" => request.reply = Some(value.ty()?),
            "rejection" => request.rejection = Some(value.ty()?),
            "aggregate" => request.aggregate = Some(value.text()?),
            "idempotent_by" => request.idempotent_by = Some(value.fields()?),
            _ => request.path = Some(value.path()?),
        }
        Ok(())
    });
    let runtime = &Runtime::of(request.path);
    let is_struct = is_struct(kind, input, errors);
    if request.id.is_none() && !misread_id && is_struct {
        let (ident, field) = (&input.ident, fields::likely(input));
        let remedy = format!("`#[{}(id = {field})]`, or several, `id({field}, ...)`", kind.word());
        errors
            .at(at, format!("`{ident}` does not say which aggregate it is for: name the field with its id, {remedy}"));
    }
    let name = match &request.name {
        Some(name) => names::given(name, errors),
        None => names::default_for(&input.ident, spec.of, errors),
    };
    let id = request.id.filter(|paths| is_struct && fields::exist(paths, input, errors));
    let key = request.idempotent_by.filter(|paths| is_struct && fields::exist(paths, input, errors));
    let aggregate = request.aggregate.as_ref().map(|name| names::given(name, errors));
    let reply = request.reply.map_or_else(|| quote!(()), |ty| ty.to_token_stream());
    let generics = super::generics(runtime, input, errors);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();

    let (ident, span) = (&input.ident, input.ident.span());
    let of_trait = Ident::new(if kind == Kind::Command { "Command" } else { "Query" }, span);
    let placed = runtime.at(span);
    let head = quote_spanned!(span=> impl #impl_generics #placed::#of_trait for #ident #type_generics #where_clause);
    let option = quote!(#runtime::core::option::Option);
    let declared = aggregate.as_ref().map_or_else(|| quote!(#option::None), |name| quote!(#option::Some(#name)));
    let rejection = (kind == Kind::Command).then(|| {
        let ty = request.rejection.map_or_else(|| quote!(#runtime::Never), |ty| ty.to_token_stream());
        quote!(type Rejection = #ty;)
    });
    let id = aggregate_id(runtime, id.as_deref());
    let key = key.map(|paths| business_key(runtime, &paths));
    let body = quote! {
        const NAME: &'static #runtime::core::primitive::str = #name;
        const AGGREGATE: #option<&'static #runtime::core::primitive::str> = #declared;
        type Reply = #reply;
        #rejection
        fn aggregate_id(&self) -> #runtime::core::result::Result<#runtime::AggregateId, #runtime::InvalidId> {
            #id
        }
        #key
    };
    let addressed = aggregate.map(|_| {
        let head =
            quote_spanned!(span=> impl #impl_generics #placed::Addressed for #ident #type_generics #where_clause);
        quote!(#[automatically_derived] #head {})
    });
    let schema = super::shape(runtime, input, errors);
    quote! {
        #[automatically_derived]
        #head { #body }
        #addressed
        #schema
    }
}

fn is_struct(kind: Kind, input: &DeriveInput, errors: &mut Errors) -> bool {
    let token: &dyn quote::ToTokens = match &input.data {
        Data::Struct(_) => return true,
        Data::Enum(data) => &data.enum_token,
        Data::Union(data) => &data.union_token,
    };
    let word = kind.word();
    errors.on(token, format!("a {word} is a struct, because one of its fields is the id of its aggregate; write one struct for each {word}"));
    false
}

fn aggregate_id(runtime: &Runtime, paths: Option<&[FieldPath]>) -> TokenStream {
    match paths {
        Some([path]) => {
            let field = field(path);
            quote!(#runtime::AggregateId::from_field(#field))
        }
        Some(paths) => {
            let fields = paths.iter().map(field);
            quote!(#runtime::AggregateId::from_fields(&[#(#fields),*]))
        }
        None => quote!(#runtime::core::result::Result::Err(#runtime::InvalidId::Empty)),
    }
}

fn business_key(runtime: &Runtime, paths: &[FieldPath]) -> TokenStream {
    let fields = paths.iter().map(field);
    quote! {
        fn business_key(&self) -> #runtime::core::option::Option<#runtime::std::string::String> {
            #runtime::core::option::Option::Some(#runtime::join(&[#(#fields),*]))
        }
    }
}

/// `&self.field`, reported at the field.
fn field(path: &FieldPath) -> TokenStream {
    // the receiver is ours, wherever the field was written
    let this = Ident::new("self", ours(path.span()));
    quote_spanned!(path.span()=> &#this.#path)
}
