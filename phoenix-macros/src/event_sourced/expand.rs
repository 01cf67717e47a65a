//! Trait impls and one part of the table. What is generated stands at the tokens of the message, so that the compiler
//! reports there, once.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Attribute, Type};

use super::Arguments;
use super::check::{Checked, Handler, Member, Role};
use crate::tokens::{self, Runtime, first_self, placed, quiet, shown, text};

pub(super) fn expand(arguments: &Arguments, block: &Checked) -> TokenStream {
    let Arguments { runtime, part, is_misread } = arguments;
    let number = part.as_ref().map_or(1, |part| part.value);
    let mut kept = TokenStream::new();
    let mut parts = Parts::default();
    for member in &block.members {
        match member {
            Member::Other(tokens) => kept.extend(tokens.clone()),
            Member::Method(method, handler) => {
                let super::parse::Method { ours, attributes, visibility, defaultness, signature, body } = &**method;
                // the shape of a handler is prescribed: lints about it would be noise
                let unlinted = (!ours.is_empty()).then(|| {
                    quote! {
                        #[allow(
                            clippy::needless_pass_by_value, clippy::trivially_copy_pass_by_ref, clippy::unused_self,
                            clippy::unnecessary_wraps, clippy::unused_async, reason = "the shape of a handler is given"
                        )]
                    }
                });
                kept.extend(quote!(#(#attributes)* #unlinted #visibility #defaultness #signature #body));
                if let (true, Some(handler)) = (block.is_plain, handler) {
                    parts.add(&Scope::new(runtime, &block.aggregate, attributes, handler, number));
                }
            }
        }
    }
    let Checked { attributes, head, aggregate, .. } = block;
    let part = (block.is_plain && !is_misread).then(|| {
        let at = part.as_ref().map_or_else(|| shown(aggregate), |part| part.literal.span());
        parts.table(runtime, aggregate, number, at)
    });
    let cfgs = attributes.iter().filter(|attribute| is_cfg(attribute));
    let Parts { impls, .. } = parts;
    let generated = (!impls.is_empty() || part.is_some()).then(|| {
        let quiet = quiet();
        quote! {
            #(#cfgs)* #quiet const _: () = {
                #[allow(unused_imports, reason = "for what is mistaken")]
                use #runtime::{NoTable as _, Unknown as _};
                #impls
                #part
            };
        }
    });
    quote! {
        #(#attributes)* #head { #kept }
        #generated
    }
}

fn is_cfg(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
}

/// What the handlers of a block add up to.
#[derive(Default)]
struct Parts {
    impls: TokenStream,
    commands: Vec<TokenStream>,
    events: Vec<TokenStream>,
    queries: Vec<TokenStream>,
}

impl Parts {
    fn add(&mut self, scope: &Scope<'_>) {
        let (entry, of_role) = match scope.handler.role {
            Role::Command => (scope.entry("COMMAND"), &mut self.commands),
            Role::Event => (scope.entry("EVENT"), &mut self.events),
            Role::Query => (scope.entry("QUERY"), &mut self.queries),
        };
        of_role.push(entry);
        let handler = match scope.handler.role {
            Role::Command => scope.command(),
            Role::Event => scope.event(),
            Role::Query => scope.query(),
        };
        let (cfgs, check) = (&scope.cfgs, scope.check());
        self.impls.extend(quote!(#(#cfgs)* #handler #(#cfgs)* #check));
    }

    /// The block's claim of its number.
    fn table(&self, runtime: &Runtime, aggregate: &Type, number: u64, at: Span) -> TokenStream {
        let Self { commands, events, queries, .. } = self;
        let number = Literal::u64_unsuffixed(number);
        let codec = codec(runtime, aggregate);
        let aggregate = placed(aggregate, at);
        let placed = runtime.at(at);
        let head = quote_spanned!(at=> impl #placed::GiveEachBlockItsOwnPart<#number> for #aggregate);
        let body = quote! {
            #codec
            const PART: &'static #runtime::Part<Self> = &#runtime::Part {
                place: #runtime::core::concat!(#runtime::core::file!(), ":", #runtime::core::line!()),
                commands: &[#(#commands),*],
                events: &[#(#events),*],
                queries: &[#(#queries),*],
            };
        };
        quote_spanned!(at=> #[automatically_derived] #head { #body })
    }
}

/// The aggregate's codec, asked for at the aggregate: where it is none this is told, wherever it is asked in the same
/// words, which the compiler then says once.
fn codec(runtime: &Runtime, aggregate: &Type) -> TokenStream {
    let at = shown(aggregate);
    let (runtime, aggregate) = (runtime.at(at), placed(aggregate, at));
    quote_spanned!(at=> type Codec = <#aggregate as #runtime::Aggregate>::Codec;)
}

/// One handler, and where its impls stand.
struct Scope<'a> {
    /// At the message.
    runtime: Runtime,
    handler: &'a Handler,
    message: &'a Type,
    /// The aggregate, at the message.
    aggregate: TokenStream,
    /// The aggregate's codec, at the aggregate.
    codec: TokenStream,
    /// The message's tokens.
    at: Span,
    /// There, for what is not the author's.
    ours: Span,
    /// `#[cfg(...)]` of the method.
    cfgs: Vec<&'a Attribute>,
    number: u64,
}

impl<'a> Scope<'a> {
    fn new(
        runtime: &Runtime,
        aggregate: &Type,
        attributes: &'a [Attribute],
        handler: &'a Handler,
        number: u64,
    ) -> Self {
        let at = shown(&handler.message);
        let (codec, aggregate) = (codec(runtime, aggregate), placed(aggregate, at));
        let cfgs = attributes.iter().filter(|attribute| is_cfg(attribute)).collect();
        let (runtime, ours) = (runtime.at(at), tokens::ours(at));
        Self { runtime, handler, message: &handler.message, aggregate, codec, at, ours, cfgs, number }
    }

    /// The handler's row in the block's table.
    fn entry(&self, of_role: &str) -> TokenStream {
        let Self { runtime, message, at, cfgs, .. } = self;
        let of_role = Ident::new(of_role, *at);
        quote_spanned!(*at=> #(#cfgs)* #runtime::Row::<Self, #message>::#of_role)
    }

    /// Fails the build at the message if its wire name is taken, or if it is addressed to another aggregate.
    fn check(&self) -> TokenStream {
        let Self { runtime, message, aggregate, at, .. } = self;
        let number = Literal::u64_unsuffixed(self.number);
        let check = match self.handler.role {
            Role::Command => "own_command",
            Role::Event => "own_event",
            Role::Query => "own_query",
        };
        let (check, rust) = (Ident::new(check, *at), text(message));
        quote_spanned!(*at=> const _: () = #runtime::#check(#runtime::TableOf::<#aggregate>::TABLE, #number, #rust);)
    }

    /// An impl for the aggregate, all of whose scaffolding stands at the message.
    fn implement(&self, of_trait: &str, body: &TokenStream) -> TokenStream {
        let Self { runtime, message, aggregate, at, .. } = self;
        let (of_trait, rust) = (Ident::new(of_trait, *at), text(message));
        let head = quote_spanned!(*at=> impl #runtime::#of_trait<#message> for #aggregate);
        let rust = quote_spanned!(*at=> const RUST: &'static #runtime::core::primitive::str = #rust;);
        quote_spanned!(*at=> #[automatically_derived] #head { #rust #body })
    }

    fn event(&self) -> TokenStream {
        let Self { runtime, handler, message, codec, at, ours, .. } = self;
        let method = &handler.method;
        let call = if handler.is_refused {
            quote_spanned!(*ours=> let _ = event;)
        } else {
            quote_spanned!(*ours=> <Self>::#method(self, event);)
        };
        let version = quote_spanned!(*at=> const VERSION: #runtime::core::primitive::u32 = <#message as #runtime::Event>::VERSION;);
        let body = quote_spanned!(*ours=> #codec #version fn evolve(&mut self, event: &#message) { #call });
        self.implement("HasOneEventHandler", &body)
    }

    fn query(&self) -> TokenStream {
        let Self { runtime, handler, message, at, ours, .. } = self;
        let method = &handler.method;
        let reply = self.declared("Query", "Reply");
        let answer = if handler.is_refused {
            quote_spanned!(*ours=> let _ = query; #runtime::core::unreachable!())
        } else {
            let at = handler.return_span();
            let (placed, answer) = (runtime.at(at), Ident::new("answer", at));
            let fit = quote_spanned!(at=> #placed::IsTheAnswerTo::<#message, #reply>::fit(#answer));
            quote_spanned!(*ours=> let #answer = <Self>::#method(self, query); #fit)
        };
        let parameters = quote_spanned!(*ours=> (&self, query: #message));
        let body = quote_spanned!(*at=> type Reply = #reply; fn answer #parameters -> #reply { #answer });
        self.implement("HasOneQueryHandler", &body)
    }

    fn command(&self) -> TokenStream {
        let Self { runtime, handler, message, at, ours, .. } = self;
        let settings = &handler.settings;
        let creates = (!settings.creates)
            .then(|| quote_spanned!(*ours=> const CREATES: #runtime::core::primitive::bool = false;));
        let needs = (!settings.uses.is_empty()).then(|| {
            let needs = settings.uses.iter().map(|ty| {
                let (at, name) = (shown(ty), text(ty));
                let runtime = runtime.at(at);
                quote_spanned!(at=> #runtime::Needs::of::<#ty>(#name))
            });
            quote_spanned!(*ours=> const NEEDS: &'static [#runtime::Needs] = &[#(#needs),*];)
        });
        let reply_after = self.reply_after();
        let decider = if handler.is_refused {
            quote_spanned!(*ours=> #runtime::Decider::Sync(|_, _, _| #runtime::core::unreachable!()))
        } else {
            self.decider()
        };
        let (reply, rejection) = (self.declared("Command", "Reply"), self.declared("Command", "Rejection"));
        let head = quote_spanned!(*at=> fn decider() -> #runtime::Decider<Self, #message, #reply, #rejection>);
        let asynchronous =
            handler.is_async.then(|| quote_spanned!(*ours=> const IS_ASYNC: #runtime::core::primitive::bool = true;));
        let body = quote_spanned! {*at=>
            type Reply = #reply;
            type Rejection = #rejection;
            #creates
            #needs
            #asynchronous
            #head { #decider }
            #reply_after
        };
        self.implement("HasOneCommandHandler", &body)
    }

    /// A type that the message declares. Where the message is none, that is told at its tokens, and wherever this
    /// stands in the same words, which the compiler then says once.
    fn declared(&self, of_trait: &str, what: &str) -> TokenStream {
        let Self { runtime, message, at, .. } = self;
        let (of_trait, what) = (Ident::new(of_trait, *at), Ident::new(what, *at));
        let message = placed(message, *at);
        quote_spanned!(*at=> <#message as #runtime::#of_trait>::#what)
    }

    fn decider(&self) -> TokenStream {
        let Self { runtime, handler, message, ours, .. } = self;
        let method = &handler.method;
        let (reply, rejection) = (self.declared("Command", "Reply"), self.declared("Command", "Rejection"));
        let how = Ident::new(if handler.settings.reply.is_some() { "FromTheState" } else { "WithTheEvents" }, *ours);
        let unit = || quote_spanned!(handler.method.span()=> ());
        let returned = handler.returns.as_ref().map_or_else(unit, ToTokens::to_token_stream);
        let (first, last) = tokens::ends(&returned);
        let (placed, closing) = (runtime.at(first), quote_spanned!(last=> >));
        let settle = quote_spanned! {first=>
            #placed::a_command_handler_returns::<Self, #message, #reply, #rejection, #runtime::#how, #returned #closing
        };
        // named, and not called, so that the compiler reports at the return type, from its first token to its last
        let settle = quote_spanned!(*ours=> let settle: fn(_, &mut #runtime::Sink<'_, Self>) -> _ = #settle;);
        // shown, and found, at the parameter that it is given to
        let context = handler.context.as_ref().map(|ty| Ident::new("context", shown(ty)));
        if handler.is_async {
            let given = context.as_ref().map(|context| quote_spanned!(context.span()=> &#context));
            let context = context.unwrap_or_else(|| Ident::new("context", *ours));
            let unused = given.is_none().then(|| quote_spanned!(*ours=> let _ = #context;));
            return quote_spanned! {*ours=>
                #runtime::Decider::Async(|state, command, #context| #runtime::std::boxed::Box::pin(async move {
                    #unused
                    let returned = <Self>::#method(&state, command, #given).await;
                    let finish: #runtime::Finish<Self, #reply, #rejection> =
                        #runtime::std::boxed::Box::new(move |sink| { #settle settle(returned, sink) });
                    (state, finish)
                }))
            };
        }
        let parameter = context.as_ref().map_or_else(|| quote_spanned!(*ours=> _), ToTokens::to_token_stream);
        quote_spanned! {*ours=>
            #runtime::Decider::Sync(|sink, command, #parameter| {
                let returned = <Self>::#method(#runtime::Sink::state(sink), command, #context);
                #settle
                settle(returned, sink)
            })
        }
    }

    fn reply_after(&self) -> Option<TokenStream> {
        let Self { runtime, handler, ours, .. } = self;
        let reply = handler.settings.reply.as_ref()?;
        if handler.is_refused {
            return None;
        }
        let tokens = &reply.tokens;
        let value = if reply.is_whole { tokens.clone() } else { quote!({ #tokens }) };
        // seen by the expression, also when a `macro_rules!` wrote one of them
        let this = first_self(tokens).unwrap_or_else(|| Ident::new("self", *ours));
        let ty = self.declared("Command", "Reply");
        Some(quote_spanned! {*ours=>
            fn reply_after(&#this) -> #runtime::core::option::Option<#ty> {
                let reply: #ty = #value;
                #runtime::core::option::Option::Some(reply)
            }
        })
    }
}
