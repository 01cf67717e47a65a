//! What the bus says: records become commands, queries, and what nobody can read.

use std::sync::Arc;

use super::frontier::Frontier;
use super::job::Job;
use super::settle::Dead;
use super::slot::Stage;
use super::work::{Done, Work};
use crate::bus::envelope::Message;
use crate::bus::port::{BusError, Consumer, Happening, Received, Record, TopicPartition};
use crate::domain::error::Code;
use crate::domain::id::{Slice, identity_hash};

impl Work {
    pub(super) async fn happens(&mut self, happening: Happening, consumer: &mut dyn Consumer) -> Result<(), BusError> {
        match happening {
            Happening::Assigned(partitions) => self.assigned(partitions, consumer),
            Happening::Revoking(partitions) => {
                let numbers: Vec<u16> = partitions.iter().map(|partition| partition.partition).collect();
                self.leave(&numbers);
                let unknown = partitions.into_iter().filter(|one| !self.slots.contains_key(&one.partition)).collect();
                self.meanwhile(consumer.release(unknown)).await?;
            }
            Happening::Lost(partitions) => {
                let numbers: Vec<u16> = partitions.iter().map(|partition| partition.partition).collect();
                self.lose(&numbers);
            }
            Happening::Records(records) => records.into_iter().for_each(|record| self.take(record)),
            Happening::OutOfRange { partition, wanted, earliest, end } => {
                metrics::counter!("phoenix_delivery_out_of_range_total").increment(1);
                tracing::error!(
                    %partition, wanted, earliest, end,
                    "COMMANDS MAY BE LOST: the committed offset is not on the topic; reading on from the earliest record \
                     that is there. Was the topic made anew, or is its retention shorter than the service was down?"
                );
                if let Some(slot) = self.slots.get_mut(&partition.partition) {
                    slot.frontier = Frontier::new(Some(earliest));
                }
                self.meanwhile(consumer.seek(&partition, earliest)).await?;
            }
        }
        Ok(())
    }

    /// Takes a record from the bus.
    pub(super) fn take(&mut self, Received { from, offset, record }: Received) {
        let count = self.parts.partitions.count();
        let Some(slot) = self.slots.get_mut(&from.partition) else { return };
        // what comes while it leaves is the next owner's
        if matches!(slot.stage, Stage::Leaving { .. }) || !slot.frontier.take(offset) {
            return;
        }
        let bytes = record.bytes();
        slot.bytes += bytes;
        let assignment = slot.assignment;
        match Message::from_record(&record) {
            Ok(Message::Call(call)) => {
                let lane = identity_hash(&call.aggregate, &call.subject);
                let partition = Slice::from_hash(lane).0 % count;
                if partition == from.partition {
                    let record = Arc::new(record);
                    let before = call.attempt > 0;
                    slot.backlog.push_back(Job { partition, assignment, offset, lane, call, record, tries: 0, before });
                    self.dispatch(partition);
                } else {
                    // never decided here: its aggregate has another door
                    slot.settling += 1;
                    tracing::warn!(at = %from, offset, partition, "a command in the wrong partition; sending it on");
                    let settling = Arc::clone(&self.settling);
                    let to = TopicPartition { topic: from.topic, partition };
                    self.done.push(Box::pin(async move {
                        if let Err(error) = settling.send_on(to.clone(), record.clone()).await {
                            let reason =
                                format!("it is for the partition {to}, and the bus does not take it there: {error}");
                            let dead = Dead { code: Code::BusFailed, reason, tries: 0 };
                            settling.bury((from.partition, offset), &to.topic, &record, None, &dead).await;
                        }
                        Done::Settled { partition: from.partition, assignment, offset, bytes }
                    }));
                }
            }
            Ok(Message::Reply(reply)) => {
                let reason = format!("it is the reply to {}, and this is a topic of commands", reply.to);
                self.bury_unread(from, assignment, offset, record, reason);
            }
            Err(reason) => self.bury_unread(from, assignment, offset, record, reason.to_string()),
        }
    }

    pub(super) fn bury_unread(
        &mut self,
        from: TopicPartition,
        assignment: u64,
        offset: u64,
        record: Record,
        reason: String,
    ) {
        let Some(slot) = self.slots.get_mut(&from.partition) else { return };
        slot.settling += 1;
        let (settling, bytes) = (Arc::clone(&self.settling), record.bytes());
        self.done.push(Box::pin(async move {
            let dead = Dead { code: Code::Unreadable, reason, tries: 0 };
            settling.bury((from.partition, offset), &from.topic, &record, None, &dead).await;
            Done::Settled { partition: from.partition, assignment, offset, bytes }
        }));
    }
}
