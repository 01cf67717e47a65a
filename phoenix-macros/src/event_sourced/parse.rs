//! The block as the author wrote it. Bodies stay tokens, so that a half-typed one expands.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::discouraged::Speculative as _;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Generics, Result, Signature, Token, Type, Visibility};

use crate::tokens::HANDLERS;

/// `impl Type { ... }`.
pub(super) struct Block {
    pub(super) attributes: Vec<Attribute>,
    /// Everything before the braces.
    pub(super) head: TokenStream,
    pub(super) generics: Generics,
    /// `Trait for`, if it is the impl of a trait.
    pub(super) of_trait: Option<TokenStream>,
    pub(super) aggregate: Type,
    pub(super) items: Vec<Item>,
}

/// One item of the block.
pub(super) enum Item {
    Method(Box<Method>),
    /// What is no method, and what can't be read, with what is wrong with it.
    Other(TokenStream, Option<syn::Error>),
}

/// A method, a handler or not.
pub(super) struct Method {
    /// Those of handlers.
    pub(super) ours: Vec<Attribute>,
    /// All others.
    pub(super) attributes: Vec<Attribute>,
    pub(super) visibility: Visibility,
    pub(super) defaultness: Option<Token![default]>,
    pub(super) signature: Signature,
    pub(super) body: TokenTree,
}

impl Parse for Block {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let Ok(impl_token) = input.parse::<Token![impl]>() else {
            return Err(
                input.error("#[event_sourced] goes on the `impl` block that holds the handlers of an aggregate")
            );
        };
        let mut generics: Generics = if input.peek(Token![<]) { input.parse()? } else { Generics::default() };
        let mut aggregate: Type = input.parse()?;
        let mut of_trait = None;
        if let Some(for_token) = input.parse::<Option<Token![for]>>()? {
            of_trait = Some(quote!(#aggregate #for_token));
            aggregate = input.parse()?;
        }
        generics.where_clause = input.parse()?;
        let content;
        syn::braced!(content in input);
        let mut items = Vec::new();
        while !content.is_empty() {
            items.push(content.parse()?);
        }
        let (impl_generics, _, where_clause) = generics.split_for_impl();
        let head = quote!(#impl_token #impl_generics #of_trait #aggregate #where_clause);
        Ok(Self { attributes, head, generics, of_trait, aggregate, items })
    }
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let (ours, attributes): (Vec<_>, Vec<_>) = attributes.into_iter().partition(|a| handler_word(a).is_some());
        let visibility: Visibility = input.parse()?;
        let defaultness: Option<Token![default]> = input.parse()?;
        let ahead = input.fork();
        let error = match method(&ahead) {
            Ok((signature, body)) => {
                input.advance_to(&ahead);
                let method = Method { ours, attributes, visibility, defaultness, signature, body };
                return Ok(Self::Method(Box::new(method)));
            }
            Err(error) => ours.first().map(|attribute| {
                if looks_like_a_method(input) {
                    return error;
                }
                let word = handler_word(attribute).unwrap_or_default();
                syn::Error::new_spanned(attribute, format!("#[{word}] goes on a method"))
            }),
        };
        let mut tokens = quote!(#(#attributes)* #visibility #defaultness);
        while !input.is_empty() {
            let token: TokenTree = input.parse()?;
            let is_last = match &token {
                TokenTree::Punct(punct) => punct.as_char() == ';',
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                _ => false,
            };
            token.to_tokens(&mut tokens);
            // the next item may well be in order
            let next_begins = input.peek(Token![#]) && input.peek2(syn::token::Bracket);
            if is_last || next_begins {
                break;
            }
        }
        Ok(Self::Other(tokens, error))
    }
}

fn method(input: ParseStream<'_>) -> Result<(Signature, TokenTree)> {
    let signature = input.parse()?;
    // the body is one group, whatever is in it; a fragment of a `macro_rules!` has an invisible one around it
    let mut body: TokenTree = input.parse()?;
    while let TokenTree::Group(group) = &body {
        let mut inside = group.stream().into_iter();
        match (group.delimiter(), inside.next(), inside.next()) {
            (Delimiter::Brace, ..) => return Ok((signature, body)),
            (Delimiter::None, Some(only), None) => body = only,
            _ => break,
        }
    }
    Err(syn::Error::new(body.span(), "expected the body of the method, `{ ... }`"))
}

fn looks_like_a_method(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    while !ahead.is_empty() && !ahead.peek(Token![;]) && !ahead.peek(syn::token::Brace) {
        if ahead.peek(Token![fn]) {
            return true;
        }
        if ahead.parse::<TokenTree>().is_err() {
            break;
        }
    }
    false
}

/// Which of our attributes it is, by whatever path.
pub(super) fn handler_word(attribute: &Attribute) -> Option<&'static str> {
    let last = attribute.path().segments.last()?;
    HANDLERS.into_iter().find(|word| last.ident == word)
}
