//! What is in the inbox reaches an outcome, also where a command ends its process again and again; and whoever owns a
//! partition no longer gives nothing up.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use phoenix_runtime::bus::envelope::Message;
use phoenix_runtime::bus::{Bus as _, EmbeddedBus};
use phoenix_runtime::delivery::{DeliveryOptions, Grade};
use phoenix_runtime::domain::ports::Clock as _;
use phoenix_runtime::event_store::letters::Backlog;
use phoenix_runtime::event_store::port::{EventStore as _, Partition};
use phoenix_runtime::testkit::bus::{BusFaults, FaultyBus};
use phoenix_runtime::testkit::lane_map::LaneMap;
use phoenix_runtime::testkit::scripted_store::{Call as StoreCall, ScriptedStore};
use phoenix_runtime::testkit::simulation::{Faults, FaultyStore};

use crate::tally::{Harm, Tally, add, add_from, add_later, harm, order, steps};
use crate::wired::{TOPIC, Wired, call, partition_of, simulate_wired};
use crate::world::{answers, beside, sent};

fn narrow(grade: Grade) -> DeliveryOptions {
    DeliveryOptions { grade, max_unfinished: 64, max_per_aggregate: 8, max_records: 50, ..DeliveryOptions::default() }
}

async fn backlog(wired: &Wired) -> Backlog {
    let all = wired.world.memory.letters().unwrap().backlog(Some(TOPIC.into())).await.unwrap();
    all.values().fold(Backlog::default(), |sum, one| Backlog {
        rows: sum.rows + one.rows,
        messages: sum.messages + one.messages,
        ..sum
    })
}

/// Starts nodes one after the other, until one of them stays. Says how many ended.
async fn restart_until_it_stays(wired: &Wired, options: &DeliveryOptions) -> usize {
    let mut deaths = 0;
    loop {
        let node = wired.node_with(options.clone()).await;
        let burns = pin!(wired.world.fuse.burns());
        match select(burns, pin!(wired.world.pass(Duration::from_mins(1)))).await {
            Either::Left(_) => {
                deaths += 1;
                assert!(deaths < 50, "it ends again and again");
                wired.kill(node);
            }
            Either::Right(_) => return deaths,
        }
    }
}

#[test]
fn the_command_that_ends_the_process_is_found_and_its_neighbours_are_done() {
    simulate_wired(|wired| async move {
        let remote = wired.remote("a").await;
        wired.bus.create(TOPIC.into(), 16).await.unwrap();
        let other = beside("victim");
        let tell = async |id: &str, amount: i64| {
            remote.tell(add(id, amount)).await.unwrap();
        };
        for amount in 1..20 {
            tell("victim", amount).await;
            tell(&other, amount).await;
        }
        let die = call("victim", "die", serde_json::json!({"tally": "victim"}), 7);
        wired.put(partition_of("victim"), Message::Call(die).into_record(None, wired.bus.traits())).await;
        for amount in 20..40 {
            tell("victim", amount).await;
            tell(&other, amount).await;
            tell("elsewhere", amount).await;
        }
        let deaths = restart_until_it_stays(&wired, &narrow(Grade::Inbox)).await;
        // once fresh, twice with its row, three times alone; more where it came again in another row
        assert!((6..=12).contains(&deaths), "{deaths}");
        let dead = wired.dead().await;
        let facts: Vec<_> = dead.iter().map(|letter| (&*letter.code, letter.name.as_deref(), letter.tries)).collect();
        assert_eq!(facts, [("process-ended", Some("die"), 5)]);
        assert!(dead[0].reason.contains("5 times"), "{}", dead[0].reason);
        for (id, from) in [("victim", 1), (&*other, 1), ("elsewhere", 20)] {
            assert_eq!(wired.steps(id).await, (from..40).collect::<Vec<_>>(), "{id}");
        }
        assert_eq!(backlog(&wired).await, Backlog::default());
    });
}

#[test]
fn what_is_held_for_an_aggregate_and_ends_the_process_is_found_too() {
    simulate_wired(|wired| async move {
        let remote = wired.remote("a").await;
        let options = narrow(Grade::Broker);
        let node = wired.node_with(options.clone()).await;
        let _slow = sent(remote.of::<Tally>().ask(add_later("victim", 1, 20_000))).await;
        for amount in 2..30 {
            remote.tell(add("victim", amount)).await.unwrap();
        }
        let die = call("victim", "die", serde_json::json!({"tally": "victim"}), 7);
        wired.put(partition_of("victim"), Message::Call(die).into_record(None, wired.bus.traits())).await;
        for amount in 30..60 {
            remote.tell(add("victim", amount)).await.unwrap();
        }
        wired.world.pass(Duration::from_secs(2)).await;
        wired.kill(node);
        restart_until_it_stays(&wired, &options).await;
        let codes: Vec<_> = wired.dead().await.iter().map(|letter| letter.code.to_string()).collect();
        assert_eq!(codes, ["process-ended"]);
        assert_eq!(wired.steps("victim").await, (1..60).collect::<Vec<_>>());
        assert_eq!(backlog(&wired).await, Backlog::default());
    });
}

#[test]
fn a_command_that_waits_through_many_restarts_is_not_taken_for_the_one_that_ends_them() {
    simulate_wired(|wired| async move {
        let remote = wired.remote("a").await;
        wired.bus.create(TOPIC.into(), 16).await.unwrap();
        let soon = wired.world.simulation.clock().wall_micros() + 3_600_000_000;
        let options = DeliveryOptions { max_tries: 9, ..narrow(Grade::Inbox) };
        // it can't be done yet, and keeps its row
        let waiting = sent(remote.of::<Tally>().ask(add_from("a", 1, soon))).await;
        for round in 0..12 {
            let node = wired.node_with(options.clone()).await;
            wired.world.pass(Duration::from_secs(5)).await;
            assert_eq!(remote.ask(add("b", 1)).await, Ok(round + 1));
            if round % 2 == 0 {
                node.delivery.drain().await;
                node.engine.stop().await;
            } else {
                wired.kill(node);
            }
        }
        assert_eq!(wired.dead().await, []);
        wired.world.pass(Duration::from_mins(70)).await;
        let _node = wired.node_with(options).await;
        drop(waiting);
        wired.world.pass(Duration::from_mins(2)).await;
        assert_eq!(wired.dead().await, []);
        let kept = backlog(&wired).await;
        assert_eq!(remote.query(steps("a")).await, Ok(vec![1]), "{kept:?} {:?}", wired.steps("a").await);
    });
}

#[test]
fn a_former_owner_that_comes_late_buries_nothing() {
    simulate_wired(|wired| async move {
        let options = DeliveryOptions { max_tries: 1, ..DeliveryOptions::default() };
        let _late = wired.node_with(options.clone()).await;
        let remote = wired.remote("a").await;
        assert_eq!(remote.ask(add("a", 1)).await, Ok(1));
        let soon = wired.world.simulation.clock().wall_micros() + 1_000_000;
        wired.world.store.hold(StoreCall::Append);
        // it fails here, and is about to be buried
        let amounts = serde_json::json!({"tally": "a", "amount": 2, "micros": soon});
        let record = Message::Call(call("a", "add-from", amounts, 7)).into_record(None, wired.bus.traits());
        wired.put(partition_of("a"), record.clone()).await;
        wired.world.pass(Duration::from_secs(2)).await;
        // another one has the partition meanwhile, by a bus that the first one can't reach, and does it
        let mut next = Wired::new(wired.world.clone());
        next.bus = Arc::new(EmbeddedBus::memory(Arc::new(wired.world.simulation.clock())).unwrap());
        next.seen = Arc::clone(&next.bus) as _;
        next.world.store = ScriptedStore::new(Arc::new(wired.world.memory.clone()));
        let owner = next.node_with(options).await;
        next.put(partition_of("a"), record).await;
        next.world.pass(Duration::from_secs(1)).await;
        assert_eq!(wired.steps("a").await, vec![1, 2]);
        next.kill(owner);
        wired.world.store.release(StoreCall::Append);
        wired.world.pass(Duration::from_secs(5)).await;
        assert_eq!(wired.dead().await, [], "it is done, and no dead letter");
        // it takes the partition back, and what failed there is a repeat
        wired.world.pass(Duration::from_mins(1)).await;
        assert_eq!(remote.query(steps("a")).await, Ok(vec![1, 2]));
        assert_eq!(wired.dead().await, []);
    });
}

#[test]
fn what_failed_is_given_up_by_its_owner_alone_and_once() {
    simulate_wired(|wired| async move {
        let _node = wired.node_with(DeliveryOptions { max_tries: 1, ..DeliveryOptions::default() }).await;
        let remote = wired.remote("a").await;
        assert_eq!(remote.ask(add("a", 1)).await, Ok(1));
        wired.world.store.hold(StoreCall::Append);
        let poison = sent(remote.of::<Tally>().ask(harm("a", Harm::PanicInDecide))).await;
        wired.world.pass(Duration::from_secs(1)).await;
        wired.world.memory.acquire(vec![Partition(partition_of("a"))]).await.unwrap();
        wired.world.store.release(StoreCall::Append);
        wired.world.pass(Duration::from_secs(5)).await;
        assert_eq!(wired.dead().await, []);
        poison.answer().await.unwrap_err();
        assert_eq!(wired.dead().await.len(), 1);
        assert_eq!(remote.query(steps("a")).await, Ok(vec![1]));
    });
}

#[test]
fn what_is_tried_for_too_long_is_a_dead_letter_that_says_so() {
    simulate_wired(|wired| async move {
        let max_age = Some(Duration::from_secs(30));
        let _node = wired.node_with(DeliveryOptions { max_age, max_tries: 1000, ..DeliveryOptions::default() }).await;
        let remote = wired.remote("a").await;
        let never = wired.world.simulation.clock().wall_micros() + 3_600_000_000;
        let early = sent(remote.of::<Tally>().ask(add_from("a", 1, never))).await;
        let behind = sent(remote.ask(add("a", 2))).await;
        let began = wired.world.now();
        early.answer().await.unwrap_err();
        let passed = wired.world.since(began);
        assert!(passed >= Duration::from_secs(30) && passed < Duration::from_mins(2), "{passed:?}");
        assert_eq!(behind.answer().await, Ok(2));
        let dead = wired.dead().await;
        assert_eq!(dead.len(), 1);
        assert!(&*dead[0].code == "expired" && dead[0].reason.contains("delivery.max_age"), "{}", dead[0].reason);
    });
}

fn nodes_come_and_go(grade: Grade, inbox_messages: u64) {
    simulate_wired(move |mut wired| async move {
        let simulation = wired.world.simulation.clone();
        wired.bus.create(TOPIC.into(), 16).await.unwrap();
        let remote = wired.remote("a").await;
        let bus = FaultyBus::in_world(Arc::clone(&wired.seen), &simulation, BusFaults::MANY);
        wired.seen = Arc::new(bus.clone());
        let memory = Arc::new(wired.world.memory.clone());
        let store = FaultyStore::new(memory, &simulation, Faults::MANY, LaneMap::new(1));
        let options = DeliveryOptions {
            max_unfinished: 40,
            max_per_aggregate: 4,
            max_records: 30,
            inbox_messages,
            // where processes end by the dozen, the innocent may be at work each time
            max_tries: 50,
            ..narrow(grade)
        };
        let mut nodes = Vec::new();
        let mut told: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let mut asked = Vec::new();
        for round in 0..60_i64 {
            for n in 0..10 {
                // some of them are hot
                let id = format!("t{}", simulation.below(1 + n));
                let list = told.entry(id.clone()).or_default();
                let amount = i64::try_from(list.len()).unwrap() + 100;
                list.push(amount);
                if simulation.once_in(40) {
                    let message = add_later(&id, amount, simulation.below(5000));
                    remote.of::<Tally>().tell(message).await.unwrap();
                } else {
                    remote.tell(add(&id, amount)).await.unwrap();
                }
            }
            asked.push(sent(remote.of::<Tally>().ask(order("asked", 1, u64::try_from(round).unwrap()))).await);
            wired.world.store = ScriptedStore::new(Arc::new(store.for_node()));
            match simulation.below(8) {
                0 | 1 if nodes.len() < 3 => nodes.extend(wired.try_node(options.clone()).await),
                2 if !nodes.is_empty() => {
                    let node = nodes.remove(usize::try_from(simulation.below(nodes.len() as u64)).unwrap());
                    wired.kill(node);
                }
                3 if !nodes.is_empty() => {
                    let node = nodes.remove(0);
                    node.delivery.drain().await;
                    node.engine.stop().await;
                }
                _ => wired.world.pass(Duration::from_millis(simulation.below(1000))).await,
            }
        }
        bus.heal();
        store.heal();
        nodes.extend(wired.try_node(options).await);
        assert!(!nodes.is_empty());
        let mut answered: Vec<i64> = answers(asked).await.into_iter().map(Result::unwrap).collect();
        answered.sort_unstable();
        assert_eq!(answered, (1..=60).collect::<Vec<_>>(), "each order counts once");
        wired.world.pass(Duration::from_mins(5)).await;
        for (id, told) in told {
            let (found, kept) = (wired.steps(&id).await, backlog(&wired).await);
            assert_eq!(found, told, "{id}; in the inbox: {kept:?}");
        }
        assert_eq!(wired.dead().await, []);
        assert_eq!(backlog(&wired).await, Backlog::default());
    });
}

#[test]
fn nodes_of_the_brokers_grade_that_come_and_go_do_every_command_once_and_in_order() {
    nodes_come_and_go(Grade::Broker, 60);
}

#[test]
fn nodes_of_the_inboxs_grade_that_come_and_go_do_every_command_once_and_in_order() {
    nodes_come_and_go(Grade::Inbox, 60);
}

#[test]
fn nodes_without_an_inbox_that_come_and_go_do_every_command_once_and_in_order() {
    nodes_come_and_go(Grade::Broker, 0);
}
