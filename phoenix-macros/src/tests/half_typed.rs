//! Code that is being typed: it expands as far as it can, so that completion works and nothing else is reported.

use proc_macro2::TokenStream;

use super::{errors, tokens};
use crate::event_sourced;

/// Expands a block; `kept` must be found in it, and so many mistakes.
#[track_caller]
fn check(block: &str, kept: &[&str], mistakes: usize) {
    let expanded = event_sourced::expand(TokenStream::new(), tokens(block));
    let text = expanded.to_string();
    for kept in kept {
        let kept = tokens(kept).to_string();
        assert!(text.contains(&kept), "{kept} is not in {text}");
    }
    assert_eq!(errors(&expanded).len(), mistakes, "{:?}", errors(&expanded));
    assert!(!text.contains("_handler ]"), "an attribute is left over: {text}");
}

#[test]
fn bodies_are_not_read() {
    check(
        "impl X { #[command_handler] fn a(&self, c: C) -> E { self. } #[event_handler] fn e(&mut self, e: &E) { let x = match } }",
        &["{ self. }", "HasOneCommandHandler<C> for X", "HasOneEventHandler<E> for X"],
        0,
    );
}

#[test]
fn a_signature_that_is_not_finished_leaves_the_others_alone() {
    check(
        "impl X { #[command_handler] fn a(&self, c: ) -> E {} #[event_handler] fn e(&mut self, e: &E) {} }",
        &["fn a(&self, c: ) -> E {}", "HasOneEventHandler<E> for X"],
        1,
    );
    check(
        "impl X { #[command_handler] fn #[event_handler] fn e(&mut self, e: &E) {} }",
        &["fn e(&mut self, e: &E) {}"],
        1,
    );
}

#[test]
fn an_unfinished_block_is_given_back() {
    check("impl { #[command_handler] fn a(&self, c: C) -> E {} }", &["impl { fn a(&self, c: C) -> E {} }"], 1);
    check("impl X { #[command_handler] }", &["impl X"], 1);
    check("struct X;", &["struct X;"], 1);
}

#[test]
fn an_unfinished_reply_is_the_compilers_to_complete() {
    check(
        "impl X { #[command_handler(reply = self., create = false)] fn a(&self, c: C) {} }",
        &["{ self. }", "HasOneCommandHandler<C> for X", "CREATES"],
        0,
    );
    check("impl X { #[command_handler(reply = )] fn a(&self, c: C) {} }", &["HasOneCommandHandler<C> for X"], 1);
}

#[test]
fn handlers_may_come_out_of_a_macro() {
    // a fragment of a `macro_rules!` comes in an invisible group
    let fragment = |source: &str| proc_macro2::Group::new(proc_macro2::Delimiter::None, tokens(source));
    let (event, body, reply) = (fragment("&m::E"), fragment("{}"), fragment("self.n + 1"));
    let block = quote::quote!(impl X {
        #[command_handler(reply = #reply)]
        fn c(&self, _: C) -> Vec<m::E> #body
        #[event_handler]
        fn e(&mut self, _: #event) #body
    });
    let expanded = event_sourced::expand(TokenStream::new(), block);
    assert_eq!(errors(&expanded), Vec::<String>::new());
    assert!(expanded.to_string().contains(r#""m::E""#));
}
