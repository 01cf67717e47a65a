//! A handler may wait: for what it reads from a resource that it names, or for nothing at all.

use std::future::{Future, ready};

use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

struct Rates(i64);

impl Rates {
    fn of(&self, currency: &str) -> impl Future<Output = Option<i64>> + use<> {
        ready((currency == "USD").then_some(self.0))
    }
}

#[aggregate(name = "quote")]
#[derive(Default, Serialize, Deserialize)]
struct Quote {
    cents: i64,
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = quote, reply = i64, rejection = String)]
struct Convert {
    quote: String,
    currency: String,
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = quote)]
struct Wait {
    quote: String,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "converted")]
struct Converted {
    cents: i64,
}

#[event_sourced]
impl Quote {
    #[command_handler(reply = self.cents, uses(Rates))]
    async fn convert(&self, command: Convert, context: &Context) -> Result<Option<Converted>, String> {
        let rates = context.resource::<Rates>().ok_or("no rates")?;
        let rate = rates.of(&command.currency).await.ok_or_else(|| format!("no {}", command.currency))?;
        Ok(Some(Converted { cents: self.cents + rate + i64::try_from(context.version()).unwrap_or(0) }))
    }

    #[command_handler]
    async fn wait(&self, _: Wait) {}

    #[event_handler]
    fn converted(&mut self, event: &Converted) {
        self.cents = event.cents;
    }
}

#[test]
fn it_waits() {
    let convert = |currency: &str| Convert { quote: "q".into(), currency: currency.into() };
    let fixture = Fixture::<Quote>::new().with_resource(Rates(93)).given(Converted { cents: 1 });
    let fixture = fixture.when(convert("USD")).then(Converted { cents: 95 }).then_reply(95).and();
    let fixture = fixture.when(convert("XAU")).then_rejected("no XAU".into()).and();
    fixture.when(Wait { quote: "q".into() }).then_no_events();
}
