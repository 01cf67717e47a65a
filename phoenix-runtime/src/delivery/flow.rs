//! How far the bus may go on: offsets that are committed, and partitions that rest.

use super::options::Grade;
use super::rows::Cursor;
use super::slot::{Slot, Stage};
use super::work::Work;
use crate::bus::port::Consumer;

impl Work {
    pub(super) async fn commit(&mut self, consumer: &mut dyn Consumer) {
        let due = self.slots.values().filter_map(|slot| Some((slot.partition.clone(), slot.frontier.to_commit()?)));
        let due: Vec<_> = due.collect();
        if due.is_empty() {
            return;
        }
        match self.meanwhile(consumer.commit(due.clone())).await {
            Ok(()) => {
                for (partition, offset) in due {
                    if let Some(slot) = self.slots.get_mut(&partition.partition) {
                        slot.frontier.committed(offset);
                    }
                }
            }
            // it will be told that they are gone, or tries again
            Err(error) => tracing::warn!(%error, "offsets were not committed; what was finished may come again"),
        }
    }

    /// Pauses partitions with too much that has no outcome, and those that are not this node's yet; lets those go on that
    /// have room again.
    pub(super) fn regulate(&mut self, consumer: &mut dyn Consumer) {
        let options = &self.parts.options;
        let bytes: usize = self.slots.values().map(|slot| slot.bytes).sum();
        for slot in self.slots.values_mut() {
            let rests = match slot.stage {
                Stage::Taking => true,
                Stage::Running => {
                    // what is finished behind the lowest that is not is no more than an offset
                    let unfinished = slot.entries.len().max(slot.frontier.unfinished() / 4);
                    let full = unfinished >= options.max_unfinished || bytes >= options.max_unfinished_bytes;
                    slot.flow.crowded = bytes >= options.max_unfinished_bytes;
                    // not so late that the engine has nothing to do before more comes
                    let enough = |most: usize| most - most.div_ceil(4);
                    let roomy =
                        unfinished <= enough(options.max_unfinished) && bytes <= enough(options.max_unfinished_bytes);
                    if full && !slot.flow.full {
                        metrics::counter!("phoenix_delivery_pauses_total").increment(1);
                    }
                    slot.flow.full = full || (slot.flow.full && !roomy);
                    let inbox = match self.bounds.grade {
                        // what was found there comes first
                        Grade::Broker => slot.rows.cursor != Cursor::End,
                        Grade::Inbox => slot.is_inbox_full(&self.bounds),
                    };
                    slot.flow.full || inbox
                }
                Stage::Leaving { .. } => continue,
            };
            if rests && !slot.flow.paused {
                consumer.pause(std::slice::from_ref(&slot.partition));
            } else if !rests && slot.flow.paused {
                consumer.resume(std::slice::from_ref(&slot.partition));
            }
            slot.flow.paused = rests;
        }
    }

    /// Tells how much is where.
    pub(super) fn measure(&self) {
        let sum = |of: fn(&Slot) -> u64| self.slots.values().map(of).sum::<u64>();
        // gauges are numbers with a fraction
        #[allow(clippy::cast_precision_loss, reason = "2^53 commands are more than there are")]
        let gauge = |name: &'static str, number: u64| metrics::gauge!(name).set(number as f64);
        gauge("phoenix_delivery_unfinished", sum(|slot| slot.entries.len() as u64));
        gauge("phoenix_delivery_unfinished_bytes", sum(|slot| slot.bytes as u64));
        gauge("phoenix_delivery_paused_partitions", sum(|slot| u64::from(slot.flow.paused)));
        gauge("phoenix_inbox_messages", sum(|slot| slot.rows.messages));
        gauge("phoenix_inbox_bytes", sum(|slot| slot.rows.bytes));
        gauge("phoenix_inbox_aggregates", sum(|slot| slot.spilled.len() as u64));
    }
}
