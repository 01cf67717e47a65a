//! What a service may be called: what cargo, rustc and file systems all take as a name.

use std::fmt;

use miette::SourceSpan;

const LONGEST: usize = 64;

/// The words that can't name a crate (Reference, "Keywords").
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Names that mean something else, each with what it means.
const TAKEN: &[(&str, &str)] = &[
    ("alloc", "a crate of Rust's own library"),
    ("core", "a crate of Rust's own library"),
    ("proc-macro", "a crate of Rust's own library"),
    ("std", "a crate of Rust's own library"),
    ("test", "a crate of Rust's own library"),
    ("build", "a folder that cargo keeps beside the binary"),
    ("deps", "a folder that cargo keeps beside the binary"),
    ("examples", "a folder that cargo keeps beside the binary"),
    ("incremental", "a folder that cargo keeps beside the binary"),
    ("phoenix-cli", "a crate of Phoenix"),
    ("phoenix-macros", "a crate of Phoenix"),
    ("phoenix-runtime", "a crate of Phoenix"),
    ("phoenix-tests", "a crate of Phoenix"),
    ("proptest", "a crate that the service depends on"),
    ("serde", "a crate that the service depends on"),
    ("serde-json", "a crate that the service depends on"),
    ("tokio", "a crate that the service depends on"),
    ("aux", "a device on Windows"),
    ("con", "a device on Windows"),
    ("nul", "a device on Windows"),
    ("prn", "a device on Windows"),
];

/// The checked name of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name(String);

/// A name that was refused.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("a service can't be called `{name}`")]
pub(crate) struct BadName {
    #[source_code]
    name: String,
    #[label("{why}")]
    at: SourceSpan,
    why: String,
    #[help]
    remedy: String,
}

impl Name {
    /// Checks a name.
    pub(crate) fn new(name: &str) -> Result<Self, BadName> {
        match fault(name) {
            None => Ok(Self(name.to_owned())),
            Some((at, why)) => Err(BadName { name: name.to_owned(), at, why, remedy: remedy(name) }),
        }
    }

    /// The name as cargo knows it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as Rust code knows it.
    pub(crate) fn crate_name(&self) -> String {
        self.0.replace('-', "_")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with a name, and where.
fn fault(name: &str) -> Option<(SourceSpan, String)> {
    let whole = || SourceSpan::from((0, name.len()));
    let fits = |(i, c): (usize, char)| match c {
        'a'..='z' => true,
        '0'..='9' | '-' | '_' => i > 0,
        _ => false,
    };
    if name.is_empty() {
        return Some((whole(), "a name has at least one letter".to_owned()));
    }
    if let Some((i, c)) = name.char_indices().find(|&found| !fits(found)) {
        let why = match c {
            'A'..='Z' => "a name has no capitals",
            '0'..='9' | '-' | '_' => "a name starts with a letter",
            '/' | '\\' | '.' => "a name is no path; `--path` says where its folder is put",
            _ => "a name has letters from a to z, digits, `-` and `_` only",
        };
        return Some(((i, c.len_utf8()).into(), why.to_owned()));
    }
    if name.len() > LONGEST {
        let beyond = (LONGEST, name.len() - LONGEST).into();
        return Some((beyond, format!("a name has at most {LONGEST} letters, this one has {}", name.len())));
    }
    if KEYWORDS.contains(&name) {
        return Some((whole(), "this is a keyword of Rust".to_owned()));
    }
    let dashed = name.replace('_', "-");
    TAKEN.iter().find(|(taken, _)| *taken == dashed).map(|(_, what)| (whole(), format!("this is {what}")))
}

/// The nearest name that is none of that.
fn remedy(name: &str) -> String {
    let mapped = name.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "-");
    let short = mapped.trim_matches(|c: char| !c.is_ascii_alphanumeric()).chars().take(LONGEST).collect::<String>();
    [short.clone(), short.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).to_owned(), format!("{short}-service")]
        .into_iter()
        .find(|candidate| fault(candidate).is_none())
        .map_or_else(|| "take a name like `my-service`".to_owned(), |name| format!("`{name}` would do"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(name: &str, why: &str, remedy: &str) {
        let found = Name::new(name).expect_err("a bad name");
        assert_eq!((found.why.as_str(), found.remedy.as_str()), (why, remedy));
    }

    #[test]
    fn names_that_cargo_and_rust_take() {
        for name in ["bank", "b", "my-bank", "my_bank", "bank2", &"x".repeat(LONGEST)] {
            assert_eq!(Name::new(name).map(|name| name.to_string()).ok().as_deref(), Some(name));
        }
    }

    #[test]
    fn bad_names_are_refused_with_a_better_one() {
        refused("", "a name has at least one letter", "take a name like `my-service`");
        refused("Bank", "a name has no capitals", "`bank` would do");
        refused("my bank", "a name has letters from a to z, digits, `-` and `_` only", "`my-bank` would do");
        refused("bänk", "a name has letters from a to z, digits, `-` and `_` only", "`b-nk` would do");
        refused("../bank", "a name is no path; `--path` says where its folder is put", "`bank` would do");
        refused("9lives", "a name starts with a letter", "`lives` would do");
        refused("-", "a name starts with a letter", "take a name like `my-service`");
        refused("match", "this is a keyword of Rust", "`match-service` would do");
        refused("std", "this is a crate of Rust's own library", "`std-service` would do");
        refused("phoenix_runtime", "this is a crate of Phoenix", "`phoenix_runtime-service` would do");
        refused("tokio", "this is a crate that the service depends on", "`tokio-service` would do");
        refused("con", "this is a device on Windows", "`con-service` would do");
        let long = "x".repeat(LONGEST + 1);
        let why = "a name has at most 64 letters, this one has 65";
        refused(&long, why, &format!("`{}` would do", "x".repeat(LONGEST)));
    }
}
