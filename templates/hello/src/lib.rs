//! Greets, and counts its greetings.

use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

/// Asks for a greeting.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = name, reply = Greeting)]
pub struct Greet {
    /// Who is greeted.
    pub name: String,
}

/// Asks how often somebody was greeted.
#[derive(Debug, Clone, Query, Serialize, Deserialize)]
#[query(id = name, reply = u64)]
pub struct Greetings {
    /// Who.
    pub name: String,
}

/// A greeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Greeting {
    /// What is said.
    pub text: String,
}

/// Somebody was greeted.
#[derive(Debug, Clone, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(name = "greeted")]
pub struct Greeted {
    /// What was said.
    pub text: String,
}

/// Somebody who is greeted.
#[aggregate(name = "greeter")]
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Greeter {
    greetings: u64,
}

#[event_sourced]
impl Greeter {
    /// Decides: reads the state and says what happens.
    #[command_handler]
    fn greet(&self, command: Greet) -> (Greeted, Reply<Greeting>) {
        let text = match self.greetings {
            0 => format!("Hello, {}!", command.name),
            n => format!("Hello again, {}! This is number {}.", command.name, n + 1),
        };
        (Greeted { text: text.clone() }, Reply(Greeting { text }))
    }

    /// Evolves: applies what has happened, whether it happened just now or years ago.
    #[event_handler]
    fn greeted(&mut self, _: &Greeted) {
        self.greetings += 1;
    }

    /// Tells: reads the state.
    #[query_handler]
    fn greetings(&self, _: Greetings) -> u64 {
        self.greetings
    }
}
