//! What file and environment say, each value with its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::error::{Place, Problem};

/// The prefix of the environment variables that set keys; `__` stands for each dot.
pub(super) const PREFIX: &str = "PHOENIX__";

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) place: Place,
    pub(super) value: Said,
}

/// What is said at one place.
#[derive(Debug, Clone)]
pub(super) enum Said {
    /// Further keys.
    Table(BTreeMap<String, Setting>),
    /// A value of the file.
    Toml(toml::Value),
    /// The text of an environment variable, taken as a text.
    Text(String),
}

impl Setting {
    /// Nothing said.
    pub(super) fn empty() -> Self {
        Self { place: Place::Program, value: Said::Table(BTreeMap::new()) }
    }

    /// Reads a file; mistakes of its syntax go to `problems`.
    pub(super) fn of_file(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Self {
        let file = File { path: Arc::new(path.to_owned()), text };
        let (table, errors) = DeTable::parse_recoverable(text);
        problems.extend(errors.iter().map(|error| Problem {
            place: file.place(error.span().map_or(0, |span| span.start)),
            key: String::new(),
            message: error.message().to_owned(),
        }));
        Self { place: file.place(0), value: Said::Table(file.table(table.get_ref())) }
    }

    /// Sets one key from the environment; it goes before the file.
    pub(super) fn set(&mut self, variable: &str, keys: &[String], text: String) -> Result<(), Problem> {
        let place = Place::Variable(variable.to_owned());
        let Some((first, rest)) = keys.split_first() else {
            *self = Self { place, value: Said::Text(text) };
            return Ok(());
        };
        let Said::Table(table) = &mut self.value else {
            let message = format!("{} sets a value where this one expects a table", self.place);
            return Err(Problem { place, key: String::new(), message });
        };
        let vacant = || Self { place: place.clone(), value: Said::Table(BTreeMap::new()) };
        table.entry(first.clone()).or_insert_with(vacant).set(variable, rest, text)
    }

    /// The setting at `path`, or the nearest one above it.
    pub(super) fn nearest(&self, path: &[String]) -> &Self {
        match (path.split_first(), &self.value) {
            (Some((first, rest)), Said::Table(table)) => table.get(first).map_or(self, |next| next.nearest(rest)),
            _ => self,
        }
    }

    /// The setting at `path`.
    pub(super) fn at_mut(&mut self, path: &[String]) -> Option<&mut Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        match &mut self.value {
            Said::Table(table) => table.get_mut(first)?.at_mut(rest),
            _ => None,
        }
    }

    /// Takes the setting at `path` away, or what holds it where it is no table's entry. `false` where nothing is left
    /// to take.
    pub(super) fn remove(&mut self, path: &[String]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        let Said::Table(table) = &mut self.value else { return false };
        let Some(next) = table.get_mut(first) else { return false };
        next.remove(rest) || table.remove(first).is_some()
    }

    /// Without places.
    pub(super) fn to_toml(&self) -> toml::Value {
        match &self.value {
            Said::Table(table) => {
                toml::Value::Table(table.iter().map(|(key, setting)| (key.clone(), setting.to_toml())).collect())
            }
            Said::Toml(value) => value.clone(),
            Said::Text(text) => toml::Value::String(text.clone()),
        }
    }
}

/// An environment variable's text as TOML would read it, if it is a number, a boolean or a list there.
pub(super) fn typed(text: &str) -> Option<toml::Value> {
    let value = DeValue::parse(text).ok()?;
    match plain(value.get_ref()) {
        toml::Value::String(_) => None,
        value => Some(value),
    }
}

struct File<'a> {
    path: Arc<PathBuf>,
    text: &'a str,
}

impl File<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Place::File { path: Arc::clone(&self.path), line, column }
    }

    fn table(&self, table: &DeTable<'_>) -> BTreeMap<String, Setting> {
        table
            .iter()
            .map(|(key, value)| {
                let place = self.place(key.span().start);
                let value = match value.get_ref() {
                    DeValue::Table(inner) => Said::Table(self.table(inner)),
                    other => Said::Toml(plain(other)),
                };
                (key.get_ref().to_string(), Setting { place, value })
            })
            .collect()
    }
}

/// The value without its spans. What does not fit TOML's own types becomes a text, which its reader then refuses.
fn plain(value: &DeValue<'_>) -> toml::Value {
    match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| toml::Value::String(number.to_string()), toml::Value::Integer),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| toml::Value::String(number.as_str().to_owned()), toml::Value::Float)
        }
        DeValue::Boolean(yes) => toml::Value::Boolean(*yes),
        DeValue::Datetime(time) => toml::Value::String(time.to_string()),
        DeValue::Array(items) => toml::Value::Array(items.iter().map(|item| plain(item.get_ref())).collect()),
        DeValue::Table(table) => toml::Value::Table(
            table.iter().map(|(key, value)| (key.get_ref().to_string(), plain(value.get_ref()))).collect(),
        ),
    }
}
