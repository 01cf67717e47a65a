//! Where generated tokens stand, and what the author's tokens are without their wrapping.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Path, Type, spanned::Spanned};

/// The attributes that only `#[event_sourced]` reads.
pub(crate) const HANDLERS: [&str; 3] = ["command_handler", "event_handler", "query_handler"];

/// The path to what generated code calls, shown where it matters.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    path: Option<Path>,
    at: Option<Span>,
}

impl Runtime {
    /// Inside the crate that the author named by `crate = path`, if any.
    pub(crate) fn of(path: Option<Path>) -> Self {
        Self { path, at: None }
    }

    /// The same path, shown at `span`: the compiler reports about a call where its path begins.
    pub(crate) fn at(&self, span: Span) -> Self {
        Self { path: self.path.clone(), at: Some(span) }
    }
}

impl ToTokens for Runtime {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let at = self.at.unwrap_or_else(Span::call_site);
        let Some(path) = &self.path else {
            tokens.extend(quote_spanned!(at=> ::phoenix_runtime::__private));
            return;
        };
        let path = if self.at.is_some() { placed(path, at) } else { path.to_token_stream() };
        tokens.extend(quote_spanned!(at=> #path::__private));
    }
}

/// For names of ours that are shown at the author's tokens, and are not the author's.
pub(crate) fn ours(at: Span) -> Span {
    Span::call_site().located_at(at)
}

/// Lints that would otherwise take what is shown at the author's tokens for the author's.
pub(crate) fn quiet() -> TokenStream {
    quote!(#[allow(unused_qualifications, clippy::absolute_paths, reason = "generated")])
}

/// The same tokens, shown at `span`; names are found as before.
pub(crate) fn placed(tokens: impl ToTokens, span: Span) -> TokenStream {
    let move_there = |mut token: TokenTree| {
        if let TokenTree::Group(group) = &token {
            token = Group::new(group.delimiter(), placed(group.stream(), span)).into();
        }
        token.set_span(token.span().located_at(span));
        token
    };
    tokens.into_token_stream().into_iter().map(move_there).collect()
}

/// Where a message about a type is read best. Spans can't be joined on stable Rust, so it is one token: the last name
/// of a path.
pub(crate) fn shown(ty: &Type) -> Span {
    match ty {
        Type::Path(path) => path.path.segments.last().map_or_else(Span::call_site, |last| last.ident.span()),
        Type::Group(group) => shown(&group.elem),
        Type::Paren(paren) => shown(&paren.elem),
        Type::Reference(reference) => shown(&reference.elem),
        other => other.span(),
    }
}

/// The first and the last of the tokens: what begins at the one and ends at the other is shown at all of them.
pub(crate) fn ends(tokens: &TokenStream) -> (Span, Span) {
    let mut all = Vec::new();
    let mut rest: Vec<TokenTree> = tokens.clone().into_iter().collect();
    // groups of a `macro_rules!` fragment have no delimiters, and so no ends of their own
    rest.reverse();
    while let Some(token) = rest.pop() {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
                let mut inner: Vec<TokenTree> = group.stream().into_iter().collect();
                inner.reverse();
                rest.append(&mut inner);
            }
            TokenTree::Group(group) => all.push((group.span_open(), group.span_close())),
            token => all.push((token.span(), token.span())),
        }
    }
    let unknown = (Span::call_site(), Span::call_site());
    (all.first().unwrap_or(&unknown).0, all.last().unwrap_or(&unknown).1)
}

/// The type itself, where a `macro_rules!` fragment wraps it into an invisible group.
pub(crate) fn peeled(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => peeled(&group.elem),
        Type::Paren(paren) => peeled(&paren.elem),
        other => other,
    }
}

/// A type or path as the author wrote it, for a message.
pub(crate) fn text(tokens: impl ToTokens) -> String {
    let mut text = String::new();
    write_text(tokens.into_token_stream(), &mut text);
    text
}

fn write_text(tokens: TokenStream, text: &mut String) {
    let mut after_word = false;
    for token in tokens {
        let is_word = matches!(token, TokenTree::Ident(_) | TokenTree::Literal(_));
        if is_word && after_word {
            text.push(' ');
        }
        after_word = is_word;
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::None => ("", ""),
                };
                text.push_str(open);
                write_text(group.stream(), text);
                text.push_str(close);
            }
            TokenTree::Punct(punct) if matches!(punct.as_char(), ',' | ';') => {
                text.push(punct.as_char());
                text.push(' ');
            }
            other => text.push_str(&other.to_string()),
        }
    }
}

/// The first `self` among the tokens: a receiver that is to be seen by them has its span.
pub(crate) fn first_self(tokens: &TokenStream) -> Option<Ident> {
    tokens.clone().into_iter().find_map(|token| match token {
        TokenTree::Ident(ident) if ident == "self" => Some(ident),
        TokenTree::Group(group) => first_self(&group.stream()),
        _ => None,
    })
}

/// The tokens without our handler attributes: how a block is given back that can't be read.
pub(crate) fn bare(tokens: TokenStream) -> TokenStream {
    let mut kept = TokenStream::new();
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        match (&token, rest.peek()) {
            (TokenTree::Punct(punct), Some(TokenTree::Group(group)))
                if punct.as_char() == '#' && group.delimiter() == Delimiter::Bracket && is_ours(group.stream()) =>
            {
                rest.next();
            }
            (TokenTree::Group(group), _) => {
                let mut inner = Group::new(group.delimiter(), bare(group.stream()));
                inner.set_span(group.span());
                kept.extend([TokenTree::Group(inner)]);
            }
            _ => kept.extend([token]),
        }
    }
    kept
}

/// Whether the inside of `#[...]` names one of [`HANDLERS`], by whatever path.
fn is_ours(attribute: TokenStream) -> bool {
    let last = attribute.into_iter().take_while(|token| !matches!(token, TokenTree::Group(_))).last();
    last.is_some_and(|token| HANDLERS.contains(&token.to_string().as_str()))
}
