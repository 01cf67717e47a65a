//! Names on the wire, and the nearest of the known ones.

use proc_macro2::Span;
use syn::{Ident, LitStr, ext::IdentExt};

use crate::errors::Errors;

const LONGEST: usize = 64;

/// What a wire name is, as the author is told.
const RULE: &str = "a wire name has 1 to 64 of `a-z`, `0-9` and `-`, a letter first";

/// A Rust name as a wire name: `HTTPRequestV2` becomes `http-request-v2`.
pub(crate) fn kebab(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut kebab = String::with_capacity(name.len() + 4);
    for (i, c) in letters.iter().enumerate() {
        if !c.is_alphanumeric() {
            kebab.push('-');
            continue;
        }
        let before = i.checked_sub(1).and_then(|b| letters.get(b)).filter(|b| b.is_alphanumeric());
        let word_goes_on = letters.get(i + 1).is_none_or(|next| !next.is_lowercase());
        if c.is_uppercase() && before.is_some_and(|b| !b.is_uppercase() || !word_goes_on) {
            kebab.push('-');
        }
        kebab.extend(c.to_lowercase());
    }
    kebab
}

/// The wire name of a type that is given none.
pub(crate) fn of_type(ident: &Ident) -> String {
    kebab(&ident.unraw().to_string())
}

/// The name that was given, checked.
pub(crate) fn given(name: &LitStr, errors: &mut Errors) -> String {
    let text = name.value();
    if !is_wire_name(&text) {
        let remedy = corrected(&text).map(|name| format!(": write \"{name}\"")).unwrap_or_default();
        errors.at(name.span(), format!("\"{text}\" is no wire name{remedy}\n{RULE}"));
    }
    text
}

/// The wire name that a message has from its type, checked.
pub(crate) fn default_for(ident: &Ident, of: &str, errors: &mut Errors) -> String {
    let name = of_type(ident);
    if !is_wire_name(&name) {
        let remedy = corrected(&name).unwrap_or_else(|| "...".to_owned());
        let text = format!("`{ident}` makes no wire name: give it one, `{}(name = \"{remedy}\")]`\n{RULE}", open(of));
        errors.at(ident.span(), text);
    }
    name
}

/// The mistake that no name was given where one is stored for ever.
pub(crate) fn missing(ident: &Ident, span: Span, of: &str, what: &str, errors: &mut Errors) -> String {
    let name = of_type(ident);
    let shown = corrected(&name).unwrap_or_else(|| "...".to_owned());
    let text = format!(
        "{what} needs a wire name of its own, which is stored and never changes: `{}(name = \"{shown}\")]`",
        open(of)
    );
    errors.at(span, text);
    name
}

/// `#[event]` without its end, to be continued with options.
fn open(of: &str) -> &str {
    of.strip_suffix(']').unwrap_or(of)
}

fn is_wire_name(name: &str) -> bool {
    name.len() <= LONGEST
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// The wire name that the author may have meant.
fn corrected(name: &str) -> Option<String> {
    let kebab = kebab(name);
    let words = kebab.split('-').map(|word| word.chars().filter(char::is_ascii_alphanumeric).collect::<String>());
    let words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
    let joined = words.join("-");
    let mut name = joined.trim_start_matches(|c: char| !c.is_ascii_lowercase()).to_owned();
    name.truncate(LONGEST);
    is_wire_name(&name).then_some(name)
}

/// `: did you mean ...?`, if one of the known names is near.
pub(crate) fn hint(name: &str, known: &[&str]) -> String {
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(name, k), k))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, k)| *distance <= 1 + k.len() / 3)
        .map(|(_, k)| format!(": did you mean `{k}`?"))
        .unwrap_or_default()
}

/// The known names, for a message.
pub(crate) fn list(known: &[&str]) -> String {
    known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_become_kebab_case() {
        #[track_caller]
        fn check(rust: &str, wire: &str) {
            assert_eq!(kebab(rust), wire);
        }
        check("Deposit", "deposit");
        check("OpenAccount", "open-account");
        check("HTTPRequestV2", "http-request-v2");
        check("Order2Pay", "order2-pay");
        check("open_account", "open-account");
        check("A", "a");
    }

    #[test]
    fn a_refused_name_comes_with_a_correct_one() {
        #[track_caller]
        fn check(given: &str, wire: Option<&str>) {
            assert!(!is_wire_name(given), "{given}");
            assert_eq!(corrected(given).as_deref(), wire, "{given}");
        }
        check("BankAccount", Some("bank-account"));
        check("bank account", Some("bank-account"));
        check("bank.account_v2", Some("bank-account-v2"));
        check("2nd", Some("nd"));
        check("", None);
        check("42", None);
        check("Ünder", Some("nder"));
        check(&"x".repeat(65), Some(&"x".repeat(64)));
    }
}
