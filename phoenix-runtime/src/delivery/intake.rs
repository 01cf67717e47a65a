//! What the bus says: records become commands, queries, and what nobody can read.

use std::sync::Arc;

use super::job::{Finished, identity};
use super::options::Grade;
use super::settle::{Burial, Dead};
use super::slot::{Home, Stage};
use super::work::{Done, Work};
use crate::bus::envelope::Message;
use crate::bus::port::{BusError, Consumer, Happening, Received, Record, TopicPartition};
use crate::domain::error::Code;
use crate::domain::id::Slice;

/// How many go to the engine together: few enough that they are still in the processor's cache.
const AT_ONCE: usize = 32;

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
            Happening::Records(records) => {
                let mut records = records.into_iter().peekable();
                let mut taken = 0;
                while let Some(record) = records.next() {
                    let partition = record.from.partition;
                    self.take(record);
                    taken += 1;
                    // once for some of a partition that come together
                    if taken == AT_ONCE || records.peek().is_none_or(|next| next.from.partition != partition) {
                        taken = 0;
                        self.dispatch(partition);
                    }
                }
            }
            Happening::OutOfRange { partition, wanted, earliest, end } => {
                metrics::counter!("phoenix_delivery_out_of_range_total").increment(1);
                tracing::error!(
                    %partition, wanted, earliest, end,
                    "COMMANDS MAY BE LOST: the committed offset is not on the topic; reading on from the earliest record \
                     that is there. Was the topic made anew, or is its retention shorter than the service was down?"
                );
                if let Some(slot) = self.slots.get_mut(&partition.partition) {
                    slot.begin_anew(earliest);
                }
                self.meanwhile(consumer.seek(&partition, earliest)).await?;
            }
        }
        Ok(())
    }

    /// Takes a record from the bus; the partition is to be dispatched then.
    pub(super) fn take(&mut self, Received { from, offset, record }: Received) {
        let count = self.parts.partitions.count();
        let Some(slot) = self.slots.get_mut(&from.partition) else { return };
        // what comes while it leaves is the next owner's
        if matches!(slot.stage, Stage::Leaving { .. }) || !slot.frontier.take(offset) {
            return;
        }
        let record = Arc::new(record);
        match Message::from_record(&record) {
            Ok(Message::Call(call)) => {
                let lane = identity(&call);
                let partition = Slice::from_hash(lane).0 % count;
                if partition != from.partition {
                    return self.send_on(from, offset, record, partition);
                }
                let job = Box::new(slot.job(offset, lane, call, record, Home::Bus));
                match self.bounds.grade {
                    Grade::Inbox => slot.fresh.push_back(job),
                    Grade::Broker => slot.admit(job, self.bounds.per_aggregate),
                }
            }
            Ok(Message::Reply(reply)) => {
                let reason = format!("it is the reply to {}, and this is a topic of commands", reply.to);
                self.bury_unread(&from, offset, record, reason);
            }
            Err(reason) => self.bury_unread(&from, offset, record, reason.to_string()),
        }
    }

    /// A command in the wrong partition is never decided there: its aggregate has another door.
    fn send_on(&mut self, from: TopicPartition, offset: u64, record: Arc<Record>, partition: u16) {
        let epoch = self.epoch(from.partition);
        let Some(slot) = self.slots.get_mut(&from.partition) else { return };
        slot.settling += 1;
        let serial = slot.enter(offset, None, Arc::clone(&record), Home::Bus);
        let (assignment, origin) = (slot.assignment, slot.origin(offset));
        tracing::warn!(at = %from, offset, partition, "a command in the wrong partition; sending it on");
        let settling = Arc::clone(&self.settling);
        let to = TopicPartition { topic: from.topic, partition };
        self.done.push(Box::pin(async move {
            if let Err(error) = settling.send_on(to.clone(), Record::clone(&record)).await {
                let reason = format!("it is for the partition {to}, and the bus does not take it there: {error}");
                let dead = Dead { code: Code::BusFailed, reason, tries: 0 };
                let burial = Burial { origin: &origin, record: &record, call: None, dead: &dead, row: None };
                settling.bury_unread(burial, epoch).await;
            }
            Done::Settled(Finished { partition: from.partition, assignment, serial })
        }));
    }

    fn bury_unread(&mut self, from: &TopicPartition, offset: u64, record: Arc<Record>, reason: String) {
        let epoch = self.epoch(from.partition);
        let Some(slot) = self.slots.get_mut(&from.partition) else { return };
        slot.settling += 1;
        let serial = slot.enter(offset, None, Arc::clone(&record), Home::Bus);
        let (assignment, origin) = (slot.assignment, slot.origin(offset));
        let settling = Arc::clone(&self.settling);
        self.done.push(Box::pin(async move {
            let dead = Dead { code: Code::Unreadable, reason, tries: 0 };
            let burial = Burial { origin: &origin, record: &record, call: None, dead: &dead, row: None };
            settling.bury_unread(burial, epoch).await;
            Done::Settled(Finished { partition: origin.partition, assignment, serial })
        }));
    }
}
