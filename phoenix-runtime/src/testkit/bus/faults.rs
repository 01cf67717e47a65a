//! What holds when the servers fail.

use super::case::{Place, promises};
use super::fixture::{Checked, Reader, equal, holds, numbered, produce, text, within, words};
use crate::bus::BusError;

promises! {
    what_was_acknowledged_is_there_when_the_servers_are_back [ServerFaults]
    a_consumer_goes_on_when_the_servers_are_back [ServerFaults]
    what_has_no_answer_is_unknown_and_what_is_unavailable_never_comes [ServerFaults]
}

/// Sends one record after the other until this many are acknowledged, and tells what became of each.
async fn send(
    place: Place<'_>,
    bus: &dyn crate::bus::Bus,
    topic: &std::sync::Arc<str>,
    word: &str,
    tries: u64,
) -> Result<Vec<(String, Result<u64, BusError>)>, super::Failure> {
    let mut all = Vec::new();
    for n in 0..tries {
        let answers = within(place, "produce", bus.produce(numbered(topic, 0, word, [n]).into())).await?;
        all.extend(answers.into_iter().map(|answer| (format!("{word} {n}"), answer)));
    }
    Ok(all)
}

/// The texts of these, as told by their answers: acknowledged, or perhaps there.
fn texts(answers: &[(String, Result<u64, BusError>)], wanted: fn(&Result<u64, BusError>) -> bool) -> Vec<String> {
    answers.iter().filter(|(_, answer)| wanted(answer)).map(|(text, _)| text.clone()).collect()
}

async fn what_was_acknowledged_is_there_when_the_servers_are_back(place: Place<'_>) -> Checked {
    let (bus, servers) = (place.open().await?, place.servers()?);
    let topic = place.topic(&*bus, "a", 1).await?;
    let mut answers = send(place, &*bus, &topic, "before", 20).await?;
    servers.kill().await?;
    let meanwhile = send(place, &*bus, &topic, "meanwhile", 2).await?;
    holds("nothing is acknowledged meanwhile", meanwhile.iter().all(|(_, answer)| answer.is_err()))?;
    holds("it may work later", meanwhile.iter().all(|(_, answer)| answer.as_ref().is_err_and(BusError::is_passing)))?;
    answers.extend(meanwhile);
    servers.revive().await?;
    let last = within(place, "an acknowledgement", async {
        loop {
            let again = send(place, &*bus, &topic, "after", 1).await?;
            let done = again.iter().any(|(_, answer)| answer.is_ok());
            answers.extend(again);
            if done {
                return Ok::<_, super::Failure>("after 0".to_owned());
            }
            tokio::task::yield_now().await;
        }
    })
    .await??;
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    while reader.got.iter().map(text).next_back() != Some(last.clone()) {
        reader.step().await?;
    }
    let got: Vec<String> = reader.got.iter().map(text).collect();
    let missing: Vec<_> = texts(&answers, Result::is_ok).into_iter().filter(|text| !got.contains(text)).collect();
    equal("acknowledged and missing", &missing, &Vec::new())?;
    equal("in their order", &got[..20].to_vec(), &words("before", 0..20))
}

async fn a_consumer_goes_on_when_the_servers_are_back(place: Place<'_>) -> Checked {
    let (bus, servers) = (place.open().await?, place.servers()?);
    let topic = place.topic(&*bus, "a", 1).await?;
    produce(place, &*bus, numbered(&topic, 0, "r", 0..10)).await?;
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    reader.take(10).await?;
    reader.commit(&topic, 0, 10).await?;
    servers.kill().await?;
    let refused = within(place, "commit", reader.commit(&topic, 0, 8)).await?;
    holds("a commit may work later", refused.is_err_and(|error| error.is_passing()))?;
    servers.revive().await?;
    within(place, "an acknowledgement", async {
        while bus.produce(numbered(&topic, 0, "r", [10]).into()).await.iter().any(Result::is_err) {
            tokio::task::yield_now().await;
        }
    })
    .await?;
    // the partition may have been lost and assigned anew; then what was committed tells where it goes on
    equal("the next record", &reader.texts(1).await?, &words("r", [10]))?;
    within(place, "a commit", async {
        while reader.commit(&topic, 0, 11).await.is_err_and(|error| error.is_passing()) {
            tokio::task::yield_now().await;
        }
    })
    .await
}

async fn what_has_no_answer_is_unknown_and_what_is_unavailable_never_comes(place: Place<'_>) -> Checked {
    let (bus, servers) = (place.open().await?, place.servers()?);
    let topic = place.topic(&*bus, "a", 1).await?;
    let mut answers = send(place, &*bus, &topic, "before", 3).await?;
    servers.freeze().await?;
    let frozen = send(place, &*bus, &topic, "frozen", 1).await;
    servers.thaw().await?;
    let frozen = frozen?;
    // it was sent before anybody could know, so nobody may say that it never comes
    let unknown = |answer: &Result<u64, BusError>| matches!(answer, Err(BusError::Unknown(_)));
    holds("what has no answer is unknown", frozen.iter().all(|(_, answer)| unknown(answer)))?;
    answers.extend(frozen);
    servers.kill().await?;
    answers.extend(send(place, &*bus, &topic, "killed", 3).await?);
    servers.revive().await?;
    // what is on its way comes before the second of these
    for n in 0..2 {
        within(place, "an acknowledgement", async {
            while bus.produce(numbered(&topic, 0, "last", [n]).into()).await.iter().any(Result::is_err) {
                tokio::task::yield_now().await;
            }
        })
        .await?;
    }
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    while !reader.got.iter().any(|received| text(received) == "last 1") {
        reader.step().await?;
    }
    let got: Vec<String> = reader.got.iter().map(text).collect();
    holds("what was acknowledged", texts(&answers, Result::is_ok).iter().all(|text| got.contains(text)))?;
    let never = texts(&answers, |answer| matches!(answer, Err(BusError::Unavailable(_))));
    equal("what was certainly not done", &never.into_iter().find(|text| got.contains(text)), &None)
}
