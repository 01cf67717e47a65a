//! The pages that describe a node are true.

use std::collections::BTreeSet;
use std::path::Path;

use phoenix_runtime::domain::error::Code;
use phoenix_runtime::http::GATEWAY_CODES;
use phoenix_runtime::node::NodeConfig;

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn every_code_has_its_paragraph() {
    let page = page("errors.md");
    let headings: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let codes: BTreeSet<&str> =
        Code::ALL.iter().map(|code| code.as_str()).chain(GATEWAY_CODES.iter().copied()).collect();
    assert_eq!(headings, codes);
    for code in Code::ALL {
        let again = if code.is_retryable() { "with the same key" } else { "no" };
        let row = page.lines().find(|line| line.starts_with(&format!("| `{code}` |")));
        assert!(row.is_some_and(|row| row.ends_with(&format!("| {again} |"))), "{row:?}");
    }
}

#[test]
fn the_documented_configuration_is_the_default() {
    let documented = NodeConfig::documented();
    let read = NodeConfig::read(Some((Path::new("documented"), documented)), []);
    assert_eq!(read, Ok(NodeConfig::default()));

    // a key without a default stands there as a comment, and so does a section that not every program has
    let all: String = documented
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with('[') && rest.ends_with(']') => format!("{rest}\n"),
            Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let written: toml::Table = all.parse().expect("TOML");
    let known = serde_json::to_value(NodeConfig::default()).expect("JSON");
    let mut expected = BTreeSet::new();
    for (section, keys) in known.as_object().into_iter().flatten() {
        match keys.as_object() {
            Some(keys) => expected.extend(keys.keys().map(|key| format!("{section}.{key}"))),
            None => _ = expected.insert(section.clone()),
        }
    }
    let mut found = BTreeSet::new();
    for (section, keys) in &written {
        match keys.as_table() {
            Some(keys) => found.extend(keys.keys().map(|key| format!("{section}.{key}"))),
            None => _ = found.insert(section.clone()),
        }
    }
    // an operator chooses these
    found.retain(|key| !key.starts_with("sources."));
    for (section, is_built) in [("kafka", cfg!(feature = "kafka")), ("rdkafka", cfg!(feature = "rdkafka"))] {
        if !is_built {
            found.retain(|key| key.split_once('.').is_none_or(|(of, _)| of != section));
            continue;
        }
        let defaults = known[section].as_object().expect("a section");
        for (key, value) in defaults.iter().filter(|(_, value)| value.is_string() || value.is_number()) {
            let written = serde_json::to_value(&written[section][key]).expect("JSON");
            assert_eq!(&written, value, "{section}.{key}");
        }
    }
    assert_eq!(found, expected);
    assert!(page("configuration.md").contains(&format!("```toml\n{documented}```\n")), "docs/configuration.md is old");
}
