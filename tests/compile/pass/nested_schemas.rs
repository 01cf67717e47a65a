//! Types in types: generic, recursive, shared, of every collection that has an order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, Schema)]
struct Page<T, const SIZE: usize = 2> {
    rows: Vec<T>,
    next: Option<Box<Page<T, SIZE>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Schema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
enum Key {
    Whole { number: i64 },
    Nothing,
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, Schema)]
struct Tree {
    name: String,
    children: Vec<Tree>,
    parents: VecDeque<Arc<Leaf>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize, Schema)]
#[serde(transparent)]
struct Leaf(f64);

#[aggregate(name = "archive")]
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Archive {
    pages: BTreeMap<u8, Page<(char, [bool; 3]), 7>>,
    keys: BTreeSet<Key>,
    tree: Tree,
    #[serde(skip)]
    cache: Cache,
}

/// Has no schema, and needs none: it is never written.
#[derive(Debug, Default, PartialEq)]
struct Cache;

#[derive(Command, Serialize, Deserialize)]
#[command(id = archive, reply = Page<Page<u8>>, rejection = Result<Key, ()>)]
struct File {
    archive: String,
    pages: BTreeMap<u8, Page<(char, [bool; 3]), 7>>,
    refuse: bool,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "filed")]
struct Filed {
    pages: BTreeMap<u8, Page<(char, [bool; 3]), 7>>,
}

#[event_sourced]
impl Archive {
    #[command_handler]
    fn file(&self, File { pages, refuse, .. }: File) -> Result<(Filed, Reply<Page<Page<u8>>>), Result<Key, ()>> {
        if refuse { Err(Ok(Key::Nothing)) } else { Ok((Filed { pages }, Reply(Page::default()))) }
    }

    #[event_handler]
    fn filed(&mut self, event: &Filed) {
        self.pages.clone_from(&event.pages);
        self.keys.insert(Key::Whole { number: 1 });
        self.tree.parents.push_back(Arc::new(Leaf(0.5)));
    }
}

#[test]
fn an_archive_files() {
    let pages = || BTreeMap::from([(1, Page { rows: vec![('a', [true; 3])], next: None })]);
    let file = |refuse| File { archive: "a".into(), pages: pages(), refuse };
    let filed = Fixture::<Archive>::new().when(file(false)).then(Filed { pages: pages() }).then_reply(Page::default());
    let filed = filed.then_state(|archive| assert_eq!((&archive.pages, &archive.cache), (&pages(), &Cache))).and();
    filed.when(file(true)).then_rejected(Ok(Key::Nothing));
}
