//! What is asked about topics and groups.

use std::collections::BTreeMap;

use ::kafka::client::{FetchGroupOffset, FetchOffset};

use super::connection::{Connection, of_question};
use crate::bus::{BusError, TopicPartition};

/// How many partitions a topic has.
pub(super) fn partitions(connection: &mut Connection, topic: &str) -> Result<Option<u16>, BusError> {
    // it may have been made, or made anew, since it was last asked for
    let count = connection.partitions(topic, true).map_err(|error| of_question(&error))?;
    let Some(count) = count.filter(|count| *count > 0) else { return Ok(None) };
    let count = u16::try_from(count);
    count
        .map(Some)
        .map_err(|_| BusError::Unsupported(format!("the topic `{topic}` has more than {} partitions", u16::MAX)))
}

/// The first or the next offset of a topic's partitions.
pub(super) fn ends(connection: &mut Connection, topic: &str, end: FetchOffset) -> Result<BTreeMap<u16, u64>, BusError> {
    let found =
        connection.patiently(|client| client.fetch_topic_offsets(topic, end)).map_err(|error| of_question(&error))?;
    let found = found
        .iter()
        .filter_map(|found| Some((u16::try_from(found.partition).ok()?, u64::try_from(found.offset).ok()?)));
    Ok(found.collect())
}

/// The first and the next offset of a partition.
pub(super) fn bounds(connection: &mut Connection, partition: &TopicPartition) -> Result<(u64, u64), BusError> {
    let TopicPartition { topic, partition: number } = partition;
    if partitions(connection, topic)?.is_none_or(|count| count <= *number) {
        return Err(BusError::NoTopic(partition.clone()));
    }
    let earliest = ends(connection, topic, FetchOffset::Earliest)?;
    let end = ends(connection, topic, FetchOffset::Latest)?;
    match (earliest.get(number), end.get(number)) {
        (Some(earliest), Some(end)) => Ok((*earliest, *end)),
        _ => Err(BusError::Unavailable(format!("the brokers don't know the offsets of {partition}"))),
    }
}

/// The committed offsets of a group, where there are any.
pub(super) fn committed(
    connection: &mut Connection,
    group: &str,
    topic: &str,
    partitions: &[u16],
) -> Result<BTreeMap<u16, u64>, BusError> {
    let asked = || partitions.iter().map(|partition| FetchGroupOffset::new(topic, i32::from(*partition)));
    let found = connection
        .patiently(|client| client.fetch_group_offsets(group, asked()))
        .map_err(|error| of_question(&error))?;
    let found = found.values().flatten();
    // -1 where there is none
    Ok(found
        .filter_map(|found| Some((u16::try_from(found.partition).ok()?, u64::try_from(found.offset).ok()?)))
        .collect())
}
