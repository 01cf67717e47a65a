//! The rules of handlers. A handler that breaks one is marked as refused, and still gets its impl.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::ToTokens as _;

use syn::spanned::Spanned;
use syn::{Attribute, FnArg, GenericParam, Meta, PatType, Receiver, ReceiverKind, ReturnType, Safety, Signature, Type};

use super::parse::{Block, Item, Method, handler_word};
use crate::errors::Errors;
use crate::options::{self, Expression, Spec};
use crate::tokens::{peeled, shown, text};

/// A block whose handlers are known.
pub(super) struct Checked {
    pub(super) attributes: Vec<Attribute>,
    pub(super) head: TokenStream,
    pub(super) aggregate: Type,
    pub(super) members: Vec<Member>,
    /// Whether the aggregate can be the subject of impls of ours.
    pub(super) is_plain: bool,
}

/// What is given back, and what it handles.
pub(super) enum Member {
    Other(TokenStream),
    Method(Box<Method>, Option<Box<Handler>>),
}

/// What a handler is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Command,
    Event,
    Query,
}

impl Role {
    fn of(word: &str) -> Self {
        match word {
            "command_handler" => Self::Command,
            "event_handler" => Self::Event,
            _ => Self::Query,
        }
    }

    fn spec(self) -> &'static Spec {
        match self {
            Self::Command => &Spec { of: "#[command_handler]", known: &["reply", "create", "uses"] },
            Self::Event => &Spec { of: "#[event_handler]", known: &[] },
            Self::Query => &Spec { of: "#[query_handler]", known: &[] },
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Event => "event",
            Self::Query => "query",
        }
    }

    fn form(self) -> &'static str {
        match self {
            Self::Command => "fn name(&self, command: Command) -> Event",
            Self::Event => "fn name(&mut self, event: &Event)",
            Self::Query => "fn name(&self, query: Query) -> Reply",
        }
    }
}

/// A handler as the author wrote it.
pub(super) struct Handler {
    pub(super) role: Role,
    pub(super) method: Ident,
    pub(super) message: Type,
    /// `None` for `()`.
    pub(super) returns: Option<Type>,
    /// The type of the second parameter.
    pub(super) context: Option<Type>,
    pub(super) is_async: bool,
    pub(super) settings: Settings,
    /// It breaks a rule: its impl is not to call it.
    pub(super) is_refused: bool,
}

/// The options of a command handler.
pub(super) struct Settings {
    pub(super) reply: Option<Expression>,
    pub(super) creates: bool,
    pub(super) uses: Vec<Type>,
}

pub(super) fn check(block: Block, errors: &mut Errors) -> Checked {
    let Block { attributes, head, generics, of_trait, aggregate, items } = block;
    let before = errors.count();
    if let Some(of_trait) = of_trait {
        errors
            .on(of_trait, "#[event_sourced] is for an inherent `impl Aggregate { ... }`, not for the impl of a trait");
    }
    for parameter in &generics.params {
        errors.on(
            parameter,
            "an aggregate has one wire name and one table of handlers: it can't be generic; write one block for each type",
        );
    }
    if let Some(at) = lifetime(aggregate.to_token_stream()) {
        errors.at(at, "an aggregate outlives every borrow: it can't have a lifetime; own the data instead");
    }
    let is_plain = errors.count() == before;
    let mut taken = Vec::new();
    let members = items
        .into_iter()
        .map(|item| match item {
            Item::Other(tokens, error) => {
                if let Some(error) = error {
                    errors.push(error);
                }
                Member::Other(tokens)
            }
            Item::Method(method) => {
                let handler = handler(&method, errors).filter(|handler| is_first(handler, &method, &mut taken, errors));
                Member::Method(method, handler.map(Box::new))
            }
        })
        .collect();
    Checked { attributes, head, aggregate, members, is_plain }
}

/// A handler whose message is taken within the block. Between blocks the compiler finds it, and so it does where
/// `#[cfg]` may choose one of them.
fn is_first(handler: &Handler, method: &Method, taken: &mut Vec<(Role, String, Ident)>, errors: &mut Errors) -> bool {
    if method.attributes.iter().any(|attribute| attribute.path().is_ident("cfg")) {
        return true;
    }
    let message = text(&handler.message);
    if let Some((role, _, first)) = taken.iter().find(|(role, name, _)| (*role, name) == (handler.role, &message)) {
        let word = role.word();
        let rule = format!("`{message}` is handled by `{first}` already: an aggregate has one handler for each {word}");
        errors.at(shown(&handler.message), format!("{rule}; make them one method"));
        return false;
    }
    taken.push((handler.role, message, handler.method.clone()));
    true
}

fn handler(method: &Method, errors: &mut Errors) -> Option<Handler> {
    let (first, more) = method.ours.split_first()?;
    let before = errors.count();
    for attribute in more {
        errors.on(attribute, "a method is one handler only: remove this attribute, or split the method");
    }
    let role = Role::of(handler_word(first)?);
    let settings = settings(role, first, errors);
    let signature = &method.signature;
    qualifiers(role, signature, errors);
    let mut inputs = signature.inputs.iter();
    let Some(FnArg::Receiver(given)) = inputs.next() else {
        errors.at(signature.ident.span(), format!("a handler is a method: `{}`", role.form()));
        return None;
    };
    receiver(role, given, errors);
    let returns = returned(role, signature, errors);
    if let (Some(_), Some(ty)) = (&settings.reply, &returns)
        && let Some(reply) = fixed_reply(ty.to_token_stream())
    {
        errors.on(reply, "the reply is given twice: remove `reply = ...` from the attribute, or `Reply(..)` here");
    }
    let mut inputs = inputs.filter_map(|input| match input {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    });
    let Some(PatType { ty: message, .. }) = inputs.next() else {
        errors.at(signature.ident.span(), format!("a handler takes its message: `{}`", role.form()));
        return None;
    };
    let message = message_type(role, message, errors);
    let context = inputs.next().and_then(|given| context_type(role, given, errors));
    for extra in inputs {
        errors.on(extra, "a handler takes its message and at most a `&Context`");
    }
    if signature.generics.type_params().any(|parameter| names(&message, &parameter.ident)) {
        return None;
    }
    Some(Handler {
        role,
        method: signature.ident.clone(),
        message,
        returns,
        context,
        is_async: signature.asyncness.is_some(),
        settings,
        is_refused: errors.count() != before,
    })
}

fn settings(role: Role, attribute: &Attribute, errors: &mut Errors) -> Settings {
    let mut settings = Settings { reply: None, creates: true, uses: Vec::new() };
    let tokens = match &attribute.meta {
        Meta::Path(_) => return settings,
        Meta::List(list) => list.tokens.clone(),
        Meta::NameValue(given) => {
            let of = role.spec().of;
            errors.on(&given.value, format!("options of {of} are written in parentheses"));
            return settings;
        }
    };
    options::read(role.spec(), tokens, errors, |name, value| {
        match name {
            "reply" => settings.reply = Some(value.expression()?),
            "create" => settings.creates = value.truth()?,
            _ => settings.uses = value.types()?,
        }
        Ok(())
    });
    settings
}

/// The `Reply<...>` that a return type ends with, as far as it can be seen.
fn fixed_reply(returns: TokenStream) -> Option<TokenTree> {
    let mut tokens = returns.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let opens = |next: &TokenTree| matches!(next, TokenTree::Punct(punct) if punct.as_char() == '<');
        match &token {
            TokenTree::Ident(word) if word == "Reply" && tokens.peek().is_some_and(opens) => return Some(token),
            TokenTree::Group(group) => {
                if let Some(found) = fixed_reply(group.stream()) {
                    return Some(found);
                }
            }
            _ => {}
        }
    }
    None
}

/// What stands before and after the name of the method.
fn qualifiers(role: Role, signature: &Signature, errors: &mut Errors) {
    if let Safety::Unsafe(token) = &signature.safety {
        errors.on(token, "a handler is called by the runtime: it can't be `unsafe`");
    }
    if let Some(abi) = &signature.abi {
        errors.on(abi, "a handler is called by the runtime: it can't be `extern`");
    }
    for parameter in &signature.generics.params {
        match parameter {
            GenericParam::Lifetime(_) => {
                errors.on(parameter, "a handler needs no lifetime: it borrows the state, and what it returns is owned");
            }
            _ => errors.on(parameter, "a handler is for one message: it can't be generic; write one for each message"),
        }
    }
    match (&signature.asyncness, role) {
        (Some(token), Role::Event) => errors.on(
            token,
            "an event handler is replayed: it can't be `async`; do the I/O in an `async` command handler and put what it found into the event",
        ),
        (Some(token), Role::Query) => {
            errors.on(token, "a query handler reads the state at one moment: it can't be `async`");
        }
        _ => {}
    }
}

fn receiver(role: Role, given: &Receiver, errors: &mut Errors) {
    let (borrows, changes) = match &given.kind {
        ReceiverKind::Reference(_, _, mutability) => (true, mutability.is_some()),
        ReceiverKind::Typed(_, ty) => match peeled(ty) {
            Type::Reference(reference) => (true, reference.mutability.is_some()),
            _ => (false, false),
        },
        _ => (false, false),
    };
    let wrong = match role {
        Role::Command if !borrows || changes => {
            "a command handler decides and changes nothing: it takes `&self`; change the state in the `#[event_handler]` of the event that it returns"
        }
        Role::Event if !borrows || !changes => "an event handler changes the state: it takes `&mut self`",
        Role::Query if !borrows || changes => "a query handler only reads: it takes `&self`",
        _ => return,
    };
    errors.on(given, wrong);
}

fn returned(role: Role, signature: &Signature, errors: &mut Errors) -> Option<Type> {
    let ReturnType::Type(_, ty) = &signature.output else { return None };
    let is_unit = matches!(peeled(ty), Type::Tuple(tuple) if tuple.elems.is_empty());
    match (role, peeled(ty)) {
        (Role::Event, _) if !is_unit => errors.on(
            ty,
            "an event has happened: its handler returns nothing and can't fail; refuse in the command handler, before the event",
        ),
        (Role::Command, Type::ImplTrait(hidden)) => {
            errors.on(hidden, "name what the handler returns: `impl Trait` hides its events");
        }
        (Role::Query, Type::ImplTrait(hidden)) => {
            errors.on(hidden, "name what the handler returns: the reply that the query declares");
        }
        _ => {}
    }
    Some((**ty).clone())
}

fn message_type(role: Role, given: &Type, errors: &mut Errors) -> Type {
    match (role, peeled(given)) {
        (Role::Event, Type::Reference(reference)) => {
            if reference.mutability.is_some() {
                errors
                    .on(given, format!("an event never changes: its handler borrows it, `&{}`", text(&reference.elem)));
            }
            (*reference.elem).clone()
        }
        (Role::Event, owned) => {
            errors.on(given, format!("an event handler borrows its event: `&{}`", text(owned)));
            owned.clone()
        }
        (_, Type::Reference(reference)) => {
            errors.on(given, format!("this handler owns its message: `{}`", text(&reference.elem)));
            (*reference.elem).clone()
        }
        (_, owned) => owned.clone(),
    }
}

fn context_type(role: Role, given: &PatType, errors: &mut Errors) -> Option<Type> {
    match (role, peeled(&given.ty)) {
        (Role::Event, _) => {
            errors.on(
                given,
                "an event handler takes nothing but its event: what it needs to know belongs into the event",
            );
        }
        (Role::Query, _) => {
            errors.on(given, "a query handler takes nothing but its query: only a command handler has a context");
        }
        (Role::Command, Type::Reference(reference)) if reference.mutability.is_none() => {
            return Some(*given.ty.clone());
        }
        (Role::Command, _) => {
            errors.on(&given.ty, "the second parameter of a command handler is its context: `&Context`");
        }
    }
    None
}

/// The first lifetime among the tokens.
fn lifetime(tokens: TokenStream) -> Option<Span> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Punct(punct) if punct.as_char() == '\'' => Some(punct.span()),
        TokenTree::Group(group) => lifetime(group.stream()),
        _ => None,
    })
}

/// Whether the type is nothing but this parameter.
fn names(ty: &Type, parameter: &Ident) -> bool {
    matches!(peeled(ty), Type::Path(path) if path.path.is_ident(parameter))
}

impl Handler {
    /// Where it is said what the handler returns: its return type, or its name if there is none.
    pub(super) fn return_span(&self) -> Span {
        self.returns.as_ref().map_or_else(|| self.method.span(), Spanned::span)
    }
}
