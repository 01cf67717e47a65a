//! The options of an attribute, `name = value` and `name(values)`, each read by what it takes.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt as _;
use syn::parse::discouraged::Speculative as _;
use syn::parse::{Parse, ParseStream, Parser as _};
use syn::{Expr, LitBool, LitFloat, LitInt, LitStr, Member, Path, Result, Token, Type, token};

use crate::errors::Errors;
use crate::names::{hint, list};

/// An attribute, as it is named in messages, and its options.
#[derive(Debug)]
pub(crate) struct Spec {
    /// For example `#[command]`.
    pub(crate) of: &'static str,
    /// Every option that it knows.
    pub(crate) known: &'static [&'static str],
}

/// Reads all options; `take` reads the value of the one that it is given. A mistake in one leaves the others alone.
pub(crate) fn read(
    spec: &Spec,
    tokens: TokenStream,
    errors: &mut Errors,
    mut take: impl FnMut(&str, &Value<'_>) -> Result<()>,
) {
    let reader = |input: ParseStream<'_>| {
        let mut seen: Vec<Ident> = Vec::new();
        while !input.is_empty() {
            if input.peek(Token![,]) {
                errors.on(input.parse::<Token![,]>()?, "an option is missing before this `,`");
                continue;
            }
            if let Err(error) = option(spec, input, &mut seen, &mut take) {
                errors.push(error);
                skip(input);
            }
            if input.is_empty() {
                break;
            }
            if !input.peek(Token![,]) {
                errors.on(skip(input), "expected `,` between options");
            }
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(())
    };
    if let Err(error) = reader.parse2(tokens) {
        errors.push(error);
    }
}

fn option(
    spec: &Spec,
    input: ParseStream<'_>,
    seen: &mut Vec<Ident>,
    take: &mut impl FnMut(&str, &Value<'_>) -> Result<()>,
) -> Result<()> {
    let Spec { of, known } = spec;
    let Ok(key) = input.call(Ident::parse_any) else {
        let text = format!("expected an option of {of}, `name = value`\nknown options: {}", list(known));
        return Err(syn::Error::new_spanned(peek_value(input), text));
    };
    let name = key.unraw().to_string();
    if !known.contains(&name.as_str()) {
        let text = match known {
            [] => format!("{of} takes no options"),
            _ => format!("{of} has no option `{name}`{}\nknown options: {}", hint(&name, known), list(known)),
        };
        return Err(syn::Error::new(key.span(), text));
    }
    if seen.contains(&key) {
        return Err(syn::Error::new(key.span(), format!("`{name}` is given twice: keep one")));
    }
    seen.push(key.clone());
    take(&name, &Value { of, key, input })
}

/// What follows an option's name, not yet read.
#[derive(Debug)]
pub(crate) struct Value<'a> {
    of: &'static str,
    /// The option's name, where the author wrote it.
    pub(crate) key: Ident,
    input: ParseStream<'a>,
}

impl Value<'_> {
    /// `= "text"`.
    pub(crate) fn text(&self) -> Result<LitStr> {
        self.one("a string, `= \"...\"`")
    }

    /// `= true` or `= false`.
    pub(crate) fn truth(&self) -> Result<bool> {
        Ok(self.one::<LitBool>("`= true` or `= false`")?.value)
    }

    /// `= 3`, within bounds.
    pub(crate) fn number(&self, least: u64, most: u64) -> Result<Number> {
        self.one_of(&numbers(least, most), |input| bounded(input, least, most))
    }

    /// `= 3`, within bounds, or `= never`.
    pub(crate) fn number_or_never(&self, least: u64, most: u64) -> Result<Option<Number>> {
        self.one_of(&format!("{} or `= never`", numbers(least, most)), |input| {
            if never(input) { Ok(None) } else { bounded(input, least, most).map(Some) }
        })
    }

    /// `= "10m"`, or `= never`.
    pub(crate) fn duration_or_never(&self) -> Result<Option<std::time::Duration>> {
        self.one_of("a duration, `= \"30s\"`, `= \"10m\"`, `= \"2h\"`, or `= never`", |input| {
            if never(input) {
                return Ok(None);
            }
            let text: LitStr = input.parse()?;
            duration(&text.value()).map(Some).ok_or_else(|| input.error("no duration"))
        })
    }

    /// `= "1MiB"`.
    pub(crate) fn size(&self) -> Result<u64> {
        self.one_of("a size, `= \"64KiB\"`, `= \"1MiB\"`", |input| {
            let text: LitStr = input.parse()?;
            size(&text.value()).ok_or_else(|| input.error("no size"))
        })
    }

    /// `= a::Type<B>`.
    pub(crate) fn ty(&self) -> Result<Type> {
        self.one("a type, `= Type`")
    }

    /// `= a::path`.
    pub(crate) fn path(&self) -> Result<Path> {
        self.one_of("a path, `= ::a::path`", Path::parse_mod_style)
    }

    /// `= expression`. What is no expression yet, because it is being typed, is kept as it is: the compiler completes
    /// and complains better than we could.
    pub(crate) fn expression(&self) -> Result<Expression> {
        let what = "an expression on the state, `= self.balance`";
        self.assign(what)?;
        let ahead = self.input.fork();
        if let Ok(expression) = ahead.parse::<Expr>()
            && (ahead.is_empty() || ahead.peek(Token![,]))
        {
            self.input.advance_to(&ahead);
            return Ok(Expression { tokens: quote!(#expression), is_whole: true });
        }
        let tokens = skip(self.input);
        if tokens.is_empty() { Err(self.wrong(what)) } else { Ok(Expression { tokens, is_whole: false }) }
    }

    /// `(A, b::B)`.
    pub(crate) fn types(&self) -> Result<Vec<Type>> {
        self.several("types, `(TypeA, TypeB)`")
    }

    /// `(field, nested.field)`.
    pub(crate) fn fields(&self) -> Result<Vec<FieldPath>> {
        self.several("fields, `(field, nested.field)`")
    }

    /// `= field`, `= nested.field` or `(field, nested.field)`.
    pub(crate) fn field_or_fields(&self) -> Result<Vec<FieldPath>> {
        let what = "a field, `= field` or `= nested.field`, or several, `(field, nested.field)`";
        if self.input.peek(token::Paren) { self.several(what) } else { Ok(vec![self.one(what)?]) }
    }

    fn one<T: Parse>(&self, what: &str) -> Result<T> {
        self.one_of(what, T::parse)
    }

    fn one_of<T>(&self, what: &str, read: impl FnOnce(ParseStream<'_>) -> Result<T>) -> Result<T> {
        self.assign(what)?;
        let ahead = self.input.fork();
        match read(&ahead) {
            Ok(value) if ahead.is_empty() || ahead.peek(Token![,]) => {
                self.input.advance_to(&ahead);
                Ok(value)
            }
            _ => Err(self.wrong(what)),
        }
    }

    fn several<T: Parse>(&self, what: &str) -> Result<Vec<T>> {
        let ahead = self.input.fork();
        let inside = || {
            let group;
            syn::parenthesized!(group in ahead);
            let all = group.parse_terminated(T::parse, Token![,])?;
            Ok::<_, syn::Error>(Vec::from_iter(all))
        };
        match inside() {
            Ok(all) if !all.is_empty() => {
                self.input.advance_to(&ahead);
                Ok(all)
            }
            _ => Err(self.wrong(what)),
        }
    }

    fn assign(&self, what: &str) -> Result<()> {
        match self.input.parse::<Token![=]>() {
            Ok(_) if self.input.is_empty() || self.input.peek(Token![,]) => Err(self.wrong(what)),
            Ok(_) => Ok(()),
            Err(_) => Err(self.wrong(what)),
        }
    }

    /// The mistake that the value is none of `what`, at the value or, where there is none, at the name.
    fn wrong(&self, what: &str) -> syn::Error {
        let value = peek_value(self.input);
        let text = format!("`{}` of {} takes {what}", self.key, self.of);
        if value.is_empty() { syn::Error::new(self.key.span(), text) } else { syn::Error::new_spanned(value, text) }
    }
}

/// A checked whole number, where the author wrote it.
#[derive(Debug, Clone)]
pub(crate) struct Number {
    /// The number.
    pub(crate) value: u64,
    /// As it stands.
    pub(crate) literal: LitInt,
}

/// The value of `reply = ...`.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    /// As it stands.
    pub(crate) tokens: TokenStream,
    /// Whether it is an expression, and not the beginning of one.
    pub(crate) is_whole: bool,
}

/// `field` or `nested.field`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldPath(pub(crate) Vec<Member>);

impl Parse for FieldPath {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut members = Vec::new();
        loop {
            if let Some(pair) = input.parse::<Option<LitFloat>>()? {
                // `0.1` of a tuple in a tuple is one token
                for part in pair.base10_digits().split('.') {
                    let index = part.parse().map_err(|_| syn::Error::new(pair.span(), "no field"))?;
                    members.push(Member::Unnamed(syn::Index { index, span: pair.span() }));
                }
            } else {
                members.push(input.parse()?);
            }
            if input.parse::<Option<Token![.]>>()?.is_none() {
                return Ok(Self(members));
            }
        }
    }
}

impl ToTokens for FieldPath {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let members = &self.0;
        tokens.extend(quote!(#(#members).*));
    }
}

fn numbers(least: u64, most: u64) -> String {
    if most >= u64::from(u32::MAX) {
        format!("a whole number from {least}")
    } else {
        format!("a whole number from {least} to {most}")
    }
}

fn bounded(input: ParseStream<'_>, least: u64, most: u64) -> Result<Number> {
    let literal: LitInt = input.parse()?;
    match literal.base10_parse() {
        Ok(value) if (least..=most).contains(&value) && literal.suffix().is_empty() => Ok(Number { value, literal }),
        _ => Err(input.error("out of bounds")),
    }
}

fn never(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    let is_never = ahead.parse::<Ident>().is_ok_and(|word| word == "never");
    if is_never {
        input.advance_to(&ahead);
    }
    is_never
}

/// A whole number of `ms`, `s`, `m`, `h` or `d`, more than none.
fn duration(text: &str) -> Option<std::time::Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return None,
    };
    let millis = number.parse::<u64>().ok()?.checked_mul(millis)?;
    (millis > 0).then(|| std::time::Duration::from_millis(millis))
}

/// A whole number of `B`, `KiB`, `MiB` or `GiB`, more than none.
fn size(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let bytes = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(bytes).filter(|bytes| *bytes > 0)
}

/// What stands before the next option, without reading it.
fn peek_value(input: ParseStream<'_>) -> TokenStream {
    skip(&input.fork())
}

/// Reads up to the next option.
fn skip(input: ParseStream<'_>) -> TokenStream {
    let mut skipped = TokenStream::new();
    while !at_next_option(input) {
        match input.parse::<TokenTree>() {
            Ok(token) => skipped.extend([token]),
            Err(_) => break,
        }
    }
    skipped
}

/// At the end, or at a comma with `name`, `name = ` or `name(...)` after it: a comma inside `<A, B>` is none of these
/// where it matters.
fn at_next_option(input: ParseStream<'_>) -> bool {
    if input.is_empty() {
        return true;
    }
    let ahead = input.fork();
    if ahead.parse::<Token![,]>().is_err() {
        return false;
    }
    ahead.is_empty()
        || ahead.call(Ident::parse_any).is_ok()
            && (ahead.is_empty()
                || ahead.peek(Token![,])
                || ahead.peek(token::Paren)
                || ahead.peek(Token![=]) && !ahead.peek(Token![==]))
}
