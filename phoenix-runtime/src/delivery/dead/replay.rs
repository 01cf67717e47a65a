//! The way of dead letters back to the topic of commands.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::settle::decode;
use super::{DeadError, DeadLetters, LetterView, MOST_REPLAYED, Way};
use crate::bus::envelope::Message;
use crate::bus::port::{BusError, Outgoing, TopicPartition};
use crate::domain::id::Slice;
use crate::event_store::letters::{DeadFilter, DeadLetter, Standing};

/// How many letters are read, sent and noted together.
const PAGE: usize = 200;
/// How often a letter is sent before the operator is told that the bus does not take it.
const ATTEMPTS: u32 = 3;
/// How long the bus has between two of them.
const PAUSE: Duration = Duration::from_millis(200);

/// What was sent again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// How many letters.
    pub replayed: u64,
    /// The number of the last one; 0 where there was none.
    pub last: u64,
    /// Whether the call ended at its limit, so that more may wait.
    pub more: bool,
}

/// Letters on their way, each partition's in their order.
type Queues = BTreeMap<u16, VecDeque<(u64, Outgoing)>>;

impl DeadLetters {
    /// Sends one letter again, whatever became of it, and notes that it was.
    ///
    /// # Errors
    /// As [`DeadLetters::show`]; a record that can't be read, and a bus that does not take it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it was sent, and noted. To send it once more does no harm.
    pub async fn replay(&self, number: u64) -> Result<LetterView, DeadError> {
        let _turn = self.0.turn.lock().await;
        let letter = self.letter(number).await?;
        self.send_page(self.way()?, vec![letter], &mut Replay::default()).await?;
        self.show(number).await
    }

    /// Sends letters again in the order of their numbers, those that wait unless the filter says otherwise, and notes that
    /// they were; at most `limit`, and never more than [`MOST_REPLAYED`]. What is buried meanwhile is left alone. The
    /// first one that can't be sent ends it.
    ///
    /// # Errors
    /// As [`DeadLetters::replay`].
    ///
    /// # Cancel safety
    /// As [`DeadLetters::replay`].
    pub async fn replay_all(&self, filter: DeadFilter, after: u64, limit: usize) -> Result<Replay, DeadError> {
        let _turn = self.0.turn.lock().await;
        let (letters, way) = (self.letters()?, self.way()?);
        let filter = DeadFilter { standing: filter.standing.or(Some(Standing::Waiting)), ..filter };
        let limit = limit.min(MOST_REPLAYED);
        let begun = self.0.clock.wall_micros();
        let (mut replay, mut last, mut taken) = (Replay::default(), after, 0);
        while taken < limit {
            let page = letters.dead(filter.clone(), last, PAGE.min(limit - taken)).await?;
            let Some(newest) = page.last() else { return Ok(replay) };
            last = newest.number;
            taken += page.len();
            // one that died again since this began would go round in circles
            let page = page.into_iter().filter(|letter| letter.time_micros <= begun).collect();
            self.send_page(way, page, &mut replay).await?;
        }
        replay.more = true;
        Ok(replay)
    }

    fn way(&self) -> Result<&Way, DeadError> {
        self.0.way.as_ref().ok_or(DeadError::NoBus)
    }

    /// Sends letters, and notes those that were sent, also when one of them was not.
    async fn send_page(&self, way: &Way, page: Vec<DeadLetter>, replay: &mut Replay) -> Result<(), DeadError> {
        let mut queues = Queues::new();
        let mut unsendable = None;
        for letter in page {
            match outgoing(way, &letter) {
                Ok(sent) => queues.entry(sent.to.partition).or_default().push_back((letter.number, sent)),
                Err(reason) => {
                    unsendable = Some((letter.number, reason));
                    break;
                }
            }
        }
        let mut sent = Vec::new();
        let stopped = self.send(way, queues, &mut sent).await;
        replay.replayed += sent.len() as u64;
        replay.last = replay.last.max(sent.iter().copied().max().unwrap_or_default());
        let replayed = replay.replayed;
        if !sent.is_empty() {
            let noted = self.letters()?.settle(sent, Standing::Replayed, self.0.clock.wall_micros()).await;
            noted.map_err(|source| DeadError::NotNoted { replayed, source })?;
        }
        if let Err((number, source)) = stopped {
            return Err(DeadError::Bus { number, replayed, source });
        }
        match unsendable {
            Some((number, reason)) => Err(DeadError::Unsendable { number, replayed, reason }),
            None => Ok(()),
        }
    }

    /// One record of each partition at a time: none goes before the one in front of it is acknowledged.
    async fn send(&self, way: &Way, mut queues: Queues, sent: &mut Vec<u64>) -> Result<(), (u64, BusError)> {
        while !queues.is_empty() {
            let mut round: Vec<(u64, Outgoing)> = queues.values_mut().filter_map(VecDeque::pop_front).collect();
            queues.retain(|_, queue| !queue.is_empty());
            for attempt in 1.. {
                let records = round.iter().map(|(_, outgoing)| outgoing.clone()).collect();
                let answers = way.bus.produce(records).await;
                let lost = || Err(BusError::Unknown("the bus gave no answer for it".to_owned()));
                let mut again = Vec::new();
                let mut error = None;
                for ((number, outgoing), answer) in
                    round.into_iter().zip(answers.into_iter().chain(std::iter::repeat_with(lost)))
                {
                    match answer {
                        Ok(_) => sent.push(number),
                        Err(found) => {
                            // what can't pass is told first
                            let told = error.as_ref().is_some_and(|(_, known): &(u64, BusError)| !known.is_passing());
                            if !told {
                                error = Some((number, found));
                            }
                            again.push((number, outgoing));
                        }
                    }
                }
                let Some((number, error)) = error else { break };
                if attempt >= ATTEMPTS || !error.is_passing() {
                    return Err((number, error));
                }
                tracing::warn!(number, %error, "a dead letter was not sent again; trying once more");
                self.0.clock.sleep(PAUSE).await;
                round = again;
            }
        }
        Ok(())
    }
}

/// The record, and where it goes: its aggregate's partition as it is now. One that nobody can read goes where it came from.
fn outgoing(way: &Way, letter: &DeadLetter) -> Result<Outgoing, String> {
    let record = decode(letter)?;
    let partition = match Message::from_record(&record) {
        Ok(Message::Call(call)) => Slice::of(&call.aggregate, &call.subject).0 % way.partitions,
        // it may have come from a topic with more of them
        _ => letter.partition % way.partitions,
    };
    Ok(Outgoing { to: TopicPartition { topic: way.topic.clone(), partition }, record })
}
