//! The names of a node: aggregates, commands, queries.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::aggregate::{Aggregate, CommandEntry, QueryEntry};
use crate::engine::kind::{Kind, Typed};

/// Who handles a message of some name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// This aggregate.
    Unique(&'static str),
    /// These aggregates: the caller has to say which.
    Ambiguous(Vec<&'static str>),
    /// Nobody on this node.
    Unknown,
}

/// The aggregate types of a node, by their names.
#[derive(Clone, Default)]
pub struct Catalog {
    kinds: Vec<Arc<dyn Kind>>,
    types: Vec<TypeId>,
    commands: BTreeMap<&'static str, Vec<(usize, &'static CommandEntry)>>,
    queries: BTreeMap<&'static str, Vec<(usize, &'static QueryEntry)>>,
}

impl Catalog {
    /// Adds an aggregate type; says whether its name was free.
    pub(crate) fn add<A: Aggregate>(&mut self) -> bool {
        if self.kinds.iter().any(|kind| kind.name() == A::NAME) {
            return false;
        }
        let index = self.kinds.len();
        let kind = Typed::<A>::new();
        for entry in kind.commands() {
            self.commands.entry(entry.facts.name).or_default().push((index, entry));
        }
        for entry in kind.queries() {
            self.queries.entry(entry.name).or_default().push((index, entry));
        }
        self.kinds.push(Arc::new(kind));
        self.types.push(TypeId::of::<A>());
        true
    }

    /// The aggregate types, in the order in which they were added.
    #[must_use]
    pub fn kinds(&self) -> &[Arc<dyn Kind>] {
        &self.kinds
    }

    pub(crate) fn index_of<A: Aggregate>(&self) -> Option<usize> {
        self.types.iter().position(|id| *id == TypeId::of::<A>())
    }

    pub(crate) fn index_of_name(&self, aggregate: &str) -> Option<usize> {
        self.kinds.iter().position(|kind| kind.name() == aggregate)
    }

    /// A command handler by its names.
    #[must_use]
    pub fn command(&self, aggregate: &str, name: &str) -> Option<&'static CommandEntry> {
        let index = self.index_of_name(aggregate)?;
        self.commands.get(name)?.iter().find(|(of, _)| *of == index).map(|(_, entry)| *entry)
    }

    /// A query handler by its names.
    #[must_use]
    pub fn query(&self, aggregate: &str, name: &str) -> Option<&'static QueryEntry> {
        let index = self.index_of_name(aggregate)?;
        self.queries.get(name)?.iter().find(|(of, _)| *of == index).map(|(_, entry)| *entry)
    }

    /// Who handles the command of this name.
    #[must_use]
    pub fn owner_of_command(&self, name: &str) -> Owner {
        self.owner(self.commands.get(name).map(|all| all.iter().map(|(index, _)| *index).collect()))
    }

    /// Who answers the query of this name.
    #[must_use]
    pub fn owner_of_query(&self, name: &str) -> Owner {
        self.owner(self.queries.get(name).map(|all| all.iter().map(|(index, _)| *index).collect()))
    }

    fn owner(&self, indices: Option<Vec<usize>>) -> Owner {
        let names: Vec<_> =
            indices.into_iter().flatten().filter_map(|index| self.kinds.get(index)).map(|kind| kind.name()).collect();
        match names.as_slice() {
            [] => Owner::Unknown,
            [one] => Owner::Unique(one),
            _ => Owner::Ambiguous(names),
        }
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.kinds.iter().map(|kind| kind.name())).finish()
    }
}
