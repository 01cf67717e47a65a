//! Whether what the clients saw goes with what is stored.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::history::{Account, Answer, Attempt, Entry, History, Ledger, Tick};
use crate::plan::Order;

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// An acknowledged command has no event.
    Lost { key: String },
    /// A command has more than one event.
    Twice { key: String, versions: Vec<u64> },
    /// A command was refused, and has an event.
    RefusedAndDone { key: String },
    /// An event rests on no command that was sent, or is not what that command asked for.
    Unasked { account: String, version: u64 },
    /// A version is missing, or there twice.
    Gap { account: String, after: u64, found: u64 },
    /// Two answers to one command are not the same, byte for byte.
    AnswersDiffer { key: String, first: String, then: String },
    /// An answer to a repeat is not marked as such.
    NotMarked { key: String },
    /// The answer to a command that was never sent before is marked as a repeat's.
    WronglyMarked { key: String },
    /// A reply, or a refusal, does not follow from the events up to its version.
    WrongAnswer { key: String, body: String },
    /// What a query told is not the sum of the events up to its version.
    WrongReading { account: String, version: u64, balance: i64 },
    /// A command that a bus had accepted has no outcome.
    Vanished { key: String },
    /// A command that was sent when a bus had accepted another one of its account was done before that.
    Overtaken { key: String, by: String },
    /// What was told rests on an older version than what had been told before.
    WentBack { account: String, from: u64, to: u64 },
}

/// Every broken promise, in order.
pub(crate) fn check(history: &History, ledger: &Ledger) -> Vec<Violation> {
    let mut orders: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
    for attempt in &history.attempts {
        orders.entry(&attempt.order.key).or_default().push(attempt);
    }
    let mut found = Vec::new();
    let done = check_events(ledger, &orders, &mut found);
    for (key, attempts) in &orders {
        check_order(key, attempts, done.get(key), ledger, &mut found);
    }
    for reading in &history.readings {
        let stored = ledger.get(&reading.account);
        let (last, sum) = stored.map_or((0, 0), |account| (account.version(), account.balance_at(reading.version)));
        if reading.version > last || reading.balance != sum {
            let (account, version, balance) = (reading.account.clone(), reading.version, reading.balance);
            found.push(Violation::WrongReading { account, version, balance });
        }
    }
    check_times(history, &mut found);
    check_turns(history, ledger, &done, &mut found);
    found.sort();
    found
}

/// The commands that a bus had accepted and that have no outcome, seen by what they were answered when everything of
/// theirs had come to its end: an answer that is not a repeat's is the first one.
pub(crate) fn check_accepted(history: &History, repeats: &History) -> Vec<Violation> {
    let accepted = history.attempts.iter().filter(|attempt| attempt.accepted.is_some());
    let accepted: BTreeSet<&str> = accepted.map(|attempt| &*attempt.order.key).collect();
    let known = repeats.attempts.iter().filter(|attempt| attempt.answer.as_ref().is_some_and(|answer| answer.replayed));
    let known: BTreeSet<&str> = known.map(|attempt| &*attempt.order.key).collect();
    accepted.difference(&known).map(|key| Violation::Vanished { key: (*key).to_owned() }).collect()
}

/// Looks at the events alone, and finds the versions of each key.
fn check_events<'a>(
    ledger: &'a Ledger,
    orders: &BTreeMap<&str, Vec<&Attempt>>,
    found: &mut Vec<Violation>,
) -> HashMap<&'a str, Vec<u64>> {
    let mut done: HashMap<&str, Vec<u64>> = HashMap::new();
    for (name, account) in ledger {
        let mut last = 0;
        for Entry { version, key, change } in &account.entries {
            if *version != last + 1 {
                found.push(Violation::Gap { account: name.clone(), after: last, found: *version });
            }
            last = *version;
            done.entry(key).or_default().push(*version);
            let asked = |order: &Order| order.account == *name && order.change == *change;
            if !orders.get(&**key).is_some_and(|attempts| attempts.iter().all(|attempt| asked(&attempt.order))) {
                found.push(Violation::Unasked { account: name.clone(), version: *version });
            }
        }
    }
    for (key, versions) in &done {
        if versions.len() > 1 {
            found.push(Violation::Twice { key: (*key).to_owned(), versions: versions.clone() });
        }
    }
    done
}

/// Looks at all attempts of one order, against its events.
fn check_order(key: &str, attempts: &[&Attempt], done: Option<&Vec<u64>>, ledger: &Ledger, found: &mut Vec<Violation>) {
    let mut answered: Vec<(Tick, &Answer)> =
        attempts.iter().filter_map(|attempt| Some((attempt.began, attempt.answer.as_ref()?))).collect();
    answered.sort_by_key(|(_, answer)| answer.ended);
    let Some(&(_, first)) = answered.first() else { return };
    let key = key.to_owned();

    for (_, then) in &answered {
        if (then.status, &then.body) != (first.status, &first.body) {
            let (first, then) = (shown(first), shown(then));
            found.push(Violation::AnswersDiffer { key: key.clone(), first, then });
        }
    }
    let mut unmarked = answered.iter().filter(|(_, answer)| !answer.replayed);
    match (unmarked.next(), unmarked.next()) {
        (Some((began, _)), None) if *began < first.ended => {}
        (Some(_), _) => found.push(Violation::NotMarked { key: key.clone() }),
        // the first may be among those whose answer got lost
        (None, _) if answered.len() == attempts.len() => found.push(Violation::WronglyMarked { key: key.clone() }),
        (None, _) => {}
    }
    let nothing = Account::default();
    let order = &attempts[0].order;
    let account = ledger.get(&order.account).unwrap_or(&nothing);
    let right = match (first.status, done) {
        (200, None) => return found.push(Violation::Lost { key }),
        (200, Some(versions)) => versions.iter().any(|version| {
            told_version(&first.body) == Some(*version)
                && told_balance(&first.body) == Some(account.balance_at(*version))
        }),
        (_, Some(_)) => return found.push(Violation::RefusedAndDone { key }),
        // one without a version rests on an account without events
        (_, None) => account.balance_at(told_version(&first.body).unwrap_or(0)) + order.change < 0,
    };
    if !right {
        found.push(Violation::WrongAnswer { key, body: first.body.clone() });
    }
}

/// What began after something had been told rests on the same version or a later one.
fn check_times(history: &History, found: &mut Vec<Violation>) {
    let told = history.attempts.iter().filter_map(|attempt| {
        let answer = attempt.answer.as_ref().filter(|answer| !answer.replayed)?;
        Some((&attempt.order.account, attempt.began, answer.ended, told_version(&answer.body)?))
    });
    let read = history.readings.iter().map(|read| (&read.account, read.began, read.ended, read.version));
    let mut accounts: BTreeMap<&String, Vec<(Tick, Tick, u64)>> = BTreeMap::new();
    for (account, began, ended, version) in told.chain(read) {
        accounts.entry(account).or_default().push((began, ended, version));
    }
    for (account, mut seen) in accounts {
        let mut ends: Vec<(Tick, u64)> = seen.iter().map(|(_, ended, version)| (*ended, *version)).collect();
        seen.sort_unstable();
        ends.sort_unstable();
        let (mut ends, mut highest) = (ends.into_iter().peekable(), 0);
        for (began, _, version) in seen {
            while let Some((_, before)) = ends.next_if(|(ended, _)| *ended < began) {
                highest = highest.max(before);
            }
            if version < highest {
                found.push(Violation::WentBack { account: account.clone(), from: highest, to: version });
            }
        }
    }
}

/// What was sent when a bus had accepted another command of the same account is done after that one.
fn check_turns(history: &History, ledger: &Ledger, done: &HashMap<&str, Vec<u64>>, found: &mut Vec<Violation>) {
    let version = |key: &str| done.get(key).and_then(|versions| versions.first().copied());
    // when the first attempt of each order began
    let mut began: BTreeMap<&str, Tick> = BTreeMap::new();
    for attempt in &history.attempts {
        let first = began.entry(&attempt.order.key).or_insert(attempt.began);
        *first = attempt.began.min(*first);
    }
    let mut accepted: BTreeMap<&str, Vec<(Tick, u64, &str)>> = BTreeMap::new();
    for attempt in &history.attempts {
        if let (Some(at), Some(version)) = (attempt.accepted, version(&attempt.order.key)) {
            accepted.entry(&attempt.order.account).or_default().push((at, version, &attempt.order.key));
        }
    }
    for (account, mut accepted) in accepted {
        accepted.sort_unstable();
        let entries = ledger.get(account).map_or(&[][..], |account| &account.entries);
        let sent = entries.iter().filter_map(|entry| Some((*began.get(&*entry.key)?, entry.version, &*entry.key)));
        let mut sent: Vec<(Tick, u64, &str)> = sent.collect();
        sent.sort_unstable();
        let (mut accepted, mut last) = (accepted.into_iter().peekable(), None);
        for (began, version, key) in sent {
            while let Some((_, before, earlier)) = accepted.next_if(|(at, ..)| *at < began) {
                last = last.max(Some((before, earlier)));
            }
            if let Some((before, earlier)) = last
                && version < before
            {
                found.push(Violation::Overtaken { key: earlier.to_owned(), by: key.to_owned() });
            }
        }
    }
}

fn shown(answer: &Answer) -> String {
    format!("{} {}", answer.status, answer.body)
}

/// The aggregate's version in an answer.
pub(crate) fn told_version(body: &str) -> Option<u64> {
    let body: Value = serde_json::from_str(body).ok()?;
    body.pointer("/aggregate/version")?.as_u64()
}

/// The balance in a reply.
pub(crate) fn told_balance(body: &str) -> Option<i64> {
    let body: Value = serde_json::from_str(body).ok()?;
    body.pointer("/reply/balance")?.as_i64()
}

#[cfg(test)]
pub(crate) mod tests {
    use libtest_mimic::Trial;

    use super::*;
    use crate::history::Reading;

    fn order(key: &str, change: i64) -> Order {
        Order { key: key.to_owned(), account: "a".to_owned(), change }
    }

    fn attempt(key: &str, change: i64, began: Tick, answer: impl Into<Option<Answer>>) -> Attempt {
        Attempt { order: order(key, change), began, answer: answer.into(), accepted: None }
    }

    fn done(ended: Tick, version: u64, balance: i64, replayed: bool) -> Answer {
        let body = format!(r#"{{"reply":{{"balance":{balance}}},"aggregate":{{"version":{version}}}}}"#);
        Answer { ended, status: 200, replayed, body }
    }

    fn refused(ended: Tick, version: u64, replayed: bool) -> Answer {
        let body = format!(r#"{{"code":"rejected","aggregate":{{"version":{version}}}}}"#);
        Answer { ended, status: 422, replayed, body }
    }

    fn entry(version: u64, key: &str, change: i64) -> Entry {
        Entry { version, key: key.to_owned(), change }
    }

    /// Two deposits, the second without an answer until it was repeated; a refusal and its repeat; an order of which
    /// nobody knows; a query.
    fn run() -> (History, Ledger) {
        let attempts = vec![
            attempt("first", 5, 0, done(2, 1, 5, false)),
            attempt("first", 5, 1, done(3, 1, 5, true)),
            attempt("second", 7, 4, None),
            attempt("second", 7, 5, done(6, 2, 12, true)),
            attempt("too-much", -20, 7, refused(8, 2, false)),
            attempt("too-much", -20, 9, refused(10, 2, true)),
            attempt("unknown", 1, 11, None),
        ];
        let readings = vec![Reading { account: "a".to_owned(), began: 12, ended: 13, version: 2, balance: 12 }];
        let entries = vec![entry(1, "first", 5), entry(2, "second", 7)];
        (History { attempts, readings }, Ledger::from([("a".to_owned(), Account { entries })]))
    }

    #[track_caller]
    fn finds(change: impl FnOnce(&mut Vec<Attempt>, &mut Vec<Reading>, &mut Vec<Entry>), expected: &[Violation]) {
        let (mut history, mut ledger) = run();
        let entries = &mut ledger.get_mut("a").unwrap().entries;
        change(&mut history.attempts, &mut history.readings, entries);
        assert_eq!(check(&history, &ledger), expected);
    }

    fn key(key: &str) -> String {
        key.to_owned()
    }

    fn a_good_run_has_no_violation() {
        finds(|_, _, _| {}, &[]);
        // whoever was not acknowledged may have been done, once
        finds(|_, _, entries| entries.push(entry(3, "unknown", 1)), &[]);
    }

    fn an_acknowledged_command_without_its_event() {
        finds(
            |attempts, readings, entries| {
                attempts.truncate(4);
                readings.clear();
                entries.pop();
            },
            &[Violation::Lost { key: key("second") }],
        );
    }

    fn an_acknowledged_command_done_twice() {
        let twice = Violation::Twice { key: key("first"), versions: vec![1, 3] };
        finds(|_, _, entries| entries.push(entry(3, "first", 5)), &[twice]);
    }

    fn an_unacknowledged_command_done_twice() {
        let twice = Violation::Twice { key: key("unknown"), versions: vec![3, 4] };
        finds(|_, _, entries| entries.extend([entry(3, "unknown", 1), entry(4, "unknown", 1)]), &[twice]);
    }

    fn a_refused_command_that_was_done() {
        let done = Violation::RefusedAndDone { key: key("too-much") };
        finds(|_, _, entries| entries.push(entry(3, "too-much", -20)), &[done]);
    }

    fn an_event_that_nobody_asked_for() {
        let unasked = Violation::Unasked { account: key("a"), version: 3 };
        finds(|_, _, entries| entries.push(entry(3, "from nowhere", 1)), std::slice::from_ref(&unasked));
        finds(|_, _, entries| entries.push(entry(3, "unknown", 2)), &[unasked]);
    }

    fn a_missing_version() {
        let gap = Violation::Gap { account: key("a"), after: 2, found: 4 };
        finds(|_, _, entries| entries.push(entry(4, "unknown", 1)), &[gap]);
    }

    fn a_repeat_with_another_answer() {
        #[track_caller]
        fn check(answer: Answer, then: &str) {
            let first = r#"200 {"reply":{"balance":5},"aggregate":{"version":1}}"#.to_owned();
            let differ = Violation::AnswersDiffer { key: key("first"), first, then: then.to_owned() };
            finds(|attempts, _, _| attempts[1].answer = Some(answer), &[differ]);
        }
        check(done(3, 1, 6, true), r#"200 {"reply":{"balance":6},"aggregate":{"version":1}}"#);
        check(refused(3, 1, true), r#"422 {"code":"rejected","aggregate":{"version":1}}"#);
    }

    fn a_repeated_refusal_with_another_answer() {
        let then = r#"422 {"code":"rejected","aggregate":{"version":1}}"#.to_owned();
        let first = r#"422 {"code":"rejected","aggregate":{"version":2}}"#.to_owned();
        let differ = Violation::AnswersDiffer { key: key("too-much"), first, then };
        finds(|attempts, _, _| attempts[5].answer = Some(refused(10, 1, true)), &[differ]);
    }

    fn a_repeat_that_is_not_marked() {
        let not_marked = |of: &str| Violation::NotMarked { key: key(of) };
        finds(|attempts, _, _| attempts[1].answer = Some(done(3, 1, 5, false)), &[not_marked("first")]);
        finds(|attempts, _, _| attempts[5].answer = Some(refused(10, 2, false)), &[not_marked("too-much")]);
        // the mark is on the wrong one of two, which did not overlap
        let swapped = |attempts: &mut Vec<Attempt>| {
            attempts[4].answer = Some(refused(8, 2, true));
            attempts[5].answer = Some(refused(10, 2, false));
        };
        finds(|attempts, _, _| swapped(attempts), &[not_marked("too-much")]);
    }

    fn a_first_attempt_that_is_marked() {
        let marked = Violation::WronglyMarked { key: key("first") };
        finds(|attempts, _, _| attempts[0].answer = Some(done(2, 1, 5, true)), &[marked]);
    }

    fn an_answer_that_does_not_follow_from_the_events() {
        let wrong = |of: &str, answer: &Answer| Violation::WrongAnswer { key: key(of), body: answer.body.clone() };
        for answer in [done(6, 2, 13, true), done(6, 1, 5, true)] {
            finds(|attempts, _, _| attempts[3].answer = Some(answer.clone()), &[wrong("second", &answer)]);
        }
        // there is enough for this one
        let answer = refused(8, 2, false);
        let enough = |attempts: &mut Vec<Attempt>| attempts[4..6].iter_mut().for_each(|a| a.order.change = -12);
        finds(|attempts, _, _| enough(attempts), &[wrong("too-much", &answer)]);
    }

    fn a_reading_that_does_not_follow_from_the_events() {
        #[track_caller]
        fn check(version: u64, balance: i64) {
            let wrong = Violation::WrongReading { account: key("a"), version, balance };
            finds(|_, readings, _| (readings[0].version, readings[0].balance) = (version, balance), &[wrong]);
        }
        check(2, 11);
        // read, and never made durable
        check(3, 12);
    }

    fn a_version_older_than_what_was_told_before() {
        let back = Violation::WentBack { account: key("a"), from: 2, to: 1 };
        finds(|_, readings, _| (readings[0].version, readings[0].balance) = (1, 5), &[back]);
    }

    fn accepted(key: &str, change: i64, began: Tick, at: Tick) -> Attempt {
        Attempt { accepted: Some(at), ..attempt(key, change, began, None) }
    }

    /// What was told one after the other is done one after the other, and what was told at once in any order.
    fn a_command_that_was_accepted_and_overtaken() {
        #[track_caller]
        fn check_turns_of(second_began: Tick, expected: &[Violation]) {
            let attempts = vec![accepted("one", 5, 0, 2), accepted("two", 7, second_began, 9)];
            let history = History { attempts, readings: Vec::new() };
            let entries = vec![entry(1, "two", 7), entry(2, "one", 5)];
            let ledger = Ledger::from([("a".to_owned(), Account { entries })]);
            assert_eq!(check(&history, &ledger), expected);
        }
        check_turns_of(3, &[Violation::Overtaken { key: key("one"), by: key("two") }]);
        check_turns_of(1, &[]);
    }

    fn a_command_that_was_accepted_and_vanished() {
        #[track_caller]
        fn check_repeat(answer: Answer, expected: &[Violation]) {
            let told = History { attempts: vec![accepted("one", 5, 0, 1)], readings: Vec::new() };
            let again = History { attempts: vec![attempt("one", 5, 2, answer)], readings: Vec::new() };
            assert_eq!(check_accepted(&told, &again), expected);
        }
        check_repeat(done(3, 1, 5, true), &[]);
        check_repeat(refused(3, 0, true), &[]);
        check_repeat(done(3, 1, 5, false), &[Violation::Vanished { key: key("one") }]);
    }

    pub(crate) fn trials() -> Vec<Trial> {
        crate::trials![
            a_good_run_has_no_violation,
            an_acknowledged_command_without_its_event,
            an_acknowledged_command_done_twice,
            an_unacknowledged_command_done_twice,
            a_refused_command_that_was_done,
            an_event_that_nobody_asked_for,
            a_missing_version,
            a_repeat_with_another_answer,
            a_repeated_refusal_with_another_answer,
            a_repeat_that_is_not_marked,
            a_first_attempt_that_is_marked,
            an_answer_that_does_not_follow_from_the_events,
            a_reading_that_does_not_follow_from_the_events,
            a_version_older_than_what_was_told_before,
            a_command_that_was_accepted_and_overtaken,
            a_command_that_was_accepted_and_vanished,
        ]
    }
}
