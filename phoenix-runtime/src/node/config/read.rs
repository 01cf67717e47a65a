//! Turns what file and environment say into one typed configuration, and finds every mistake on the way.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Segment, Track};

use super::error::Problem;
use super::tree::{PREFIX, Said, Setting, typed};

/// Reads `T`. Each of its keys has a default, so that a wrong value can be set aside and the next one looked at.
pub(super) fn read<T: DeserializeOwned + Serialize + Default>(
    mut said: Setting,
    mut problems: Vec<Problem>,
) -> (T, Vec<Problem>) {
    let known = serde_json::to_value(T::default()).unwrap_or_default();
    let mut unknown = Vec::new();
    let value = loop {
        unknown.clear();
        let (path, message) = match attempt(&said, &mut unknown) {
            Ok(value) => break value,
            Err(wrong) => wrong,
        };
        // the place of the value itself, or of the nearest key above it (an item of a list has no place of its own)
        if retyped(&mut said, &path) {
            continue;
        }
        let place = said.nearest(&path).place.clone();
        problems.push(Problem { place, key: path.join("."), message });
        if !said.remove(&path) {
            break T::default();
        }
    };
    problems.extend(unknown.into_iter().map(|path: Vec<String>| Problem {
        place: said.nearest(&path).place.clone(),
        message: unknown_key(&known, &path),
        key: path.join("."),
    }));
    (value, problems)
}

type Wrong = (Vec<String>, String);

fn attempt<T: DeserializeOwned>(said: &Setting, unknown: &mut Vec<Vec<String>>) -> Result<T, Wrong> {
    let mut track = Track::new();
    let tracked = serde_path_to_error::Deserializer::new(said.to_toml(), &mut track);
    let read = serde_ignored::deserialize(tracked, |path| {
        let mut keys = Vec::new();
        ignored(&path, &mut keys);
        unknown.push(keys);
    });
    read.map_err(|error| {
        let path = track.path();
        let keys = path.iter().filter_map(|segment| match segment {
            Segment::Map { key } => Some(key.clone()),
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Enum { variant } => Some(variant.clone()),
            Segment::Unknown => None,
        });
        (keys.collect(), error.message().to_owned())
    })
}

fn ignored(path: &serde_ignored::Path<'_>, keys: &mut Vec<String>) {
    use serde_ignored::Path;
    match path {
        Path::Root => {}
        Path::Map { parent, key } => {
            ignored(parent, keys);
            keys.push(key.clone());
        }
        Path::Seq { parent, index } => {
            ignored(parent, keys);
            keys.push(index.to_string());
        }
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            ignored(parent, keys);
        }
    }
}

/// An environment variable has no types: where a text did not fit, what TOML makes of it may.
fn retyped(said: &mut Setting, path: &[String]) -> bool {
    let Some(setting) = said.at_mut(path) else { return false };
    let Said::Text(text) = &setting.value else { return false };
    let Some(value) = typed(text) else { return false };
    setting.value = Said::Toml(value);
    true
}

fn unknown_key(known: &serde_json::Value, path: &[String]) -> String {
    let (Some(last), parents) = (path.last(), &path[..path.len().saturating_sub(1)]) else {
        return "no such key".to_owned();
    };
    let mut table = Some(known);
    for parent in parents {
        table = table.and_then(|table| table.get(parent));
    }
    let names: Vec<&str> =
        table.and_then(serde_json::Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let nearest = names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(name, last), *name))
        .filter(|(distance, name)| *distance <= name.len().max(last.len()) / 2)
        .min();
    let hint = nearest.map(|(_, name)| format!(", did you mean `{name}`?")).unwrap_or_default();
    format!("no such key{hint} (known here: {})", names.join(", "))
}

/// Variables that miss an underscore and would be passed over in silence: `PHOENIX_HTTP_PORT`.
pub(super) fn missed<T: Serialize + Default>(variable: &str) -> Option<String> {
    if variable.starts_with(PREFIX) {
        return None;
    }
    let mut paths = Vec::new();
    let known = serde_json::to_value(T::default()).unwrap_or_default();
    leaves(&known, "PHOENIX", &mut paths);
    paths.into_iter().find(|path| path.replace("__", "_").eq_ignore_ascii_case(variable))
}

fn leaves(value: &serde_json::Value, path: &str, into: &mut Vec<String>) {
    match value.as_object() {
        Some(table) => table.iter().for_each(|(key, value)| {
            leaves(value, &format!("{path}__{}", key.to_uppercase()), into);
        }),
        None => into.push(path.to_owned()),
    }
}
