//! What is known of topics, partitions and groups without asking the database: what is committed there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::Connection;

use crate::bus::port::TopicPartition;

/// A partition: how far it is filled.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) of: TopicPartition,
    /// The first offset that is there.
    pub(super) earliest: u64,
    /// The one after the last.
    pub(super) end: u64,
    /// What its records count against the bound.
    pub(super) bytes: u64,
}

/// All that is committed, besides the records.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// The numbers of each topic's partitions, in their order.
    pub(super) topics: BTreeMap<Arc<str>, Vec<u32>>,
    /// Those topics that keep the newest of their records, read or not.
    pub(super) newest: BTreeSet<Arc<str>>,
    /// By number.
    pub(super) partitions: BTreeMap<u32, Mark>,
    /// The next offset of each group and partition.
    pub(super) committed: BTreeMap<Arc<str>, BTreeMap<u32, u64>>,
}

impl Marks {
    /// Reads everything.
    pub(super) fn load(db: &Connection) -> rusqlite::Result<Self> {
        let mut marks = Self::default();
        let mut topics = db.prepare("SELECT name, newest FROM topics")?;
        let mut rows = topics.query([])?;
        while let Some(row) = rows.next()? {
            let name: Arc<str> = row.get(0)?;
            marks.topics.insert(Arc::clone(&name), Vec::new());
            if row.get(1)? {
                marks.newest.insert(name);
            }
        }
        let mut partitions = db.prepare(
            "SELECT number, topic, partition, earliest, next, bytes FROM partitions ORDER BY topic, partition",
        )?;
        let mut rows = partitions.query([])?;
        while let Some(row) = rows.next()? {
            let (number, of) = (row.get(0)?, TopicPartition::new(row.get::<_, Arc<str>>(1)?, row.get(2)?));
            marks.topics.entry(Arc::clone(&of.topic)).or_default().push(number);
            let mark = Mark { of, earliest: unsigned(row, 3)?, end: unsigned(row, 4)?, bytes: unsigned(row, 5)? };
            marks.partitions.insert(number, mark);
        }
        let mut committed = db.prepare("SELECT consumer_group, partition, next FROM committed")?;
        let mut rows = committed.query([])?;
        while let Some(row) = rows.next()? {
            let of = marks.committed.entry(row.get::<_, Arc<str>>(0)?).or_default();
            of.insert(row.get(1)?, unsigned(row, 2)?);
        }
        Ok(marks)
    }

    /// The number of a partition.
    pub(super) fn number(&self, of: &TopicPartition) -> Option<u32> {
        self.topics.get(&of.topic)?.get(usize::from(of.partition)).copied()
    }

    /// The next offset of a group in a partition.
    pub(super) fn committed(&self, group: &str, number: u32) -> Option<u64> {
        self.committed.get(group)?.get(&number).copied()
    }

    /// The first offset of a partition that a group has not read which ever committed one of the topic, with that group.
    /// Without such a group nothing is read.
    pub(super) fn read_by_all(&self, number: u32) -> Option<(u64, &Arc<str>)> {
        let mark = self.partitions.get(&number)?;
        let of_topic = self.topics.get(&mark.of.topic)?;
        let readers = self.committed.iter().filter(|(_, by)| of_topic.iter().any(|number| by.contains_key(number)));
        readers.map(|(group, by)| (by.get(&number).copied().unwrap_or(0), group)).min()
    }
}

fn unsigned(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(index).map(i64::cast_unsigned)
}
