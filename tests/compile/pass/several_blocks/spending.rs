//! A block with its own messages.

use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

use super::Purse;

/// Takes coins out.
#[derive(Command, Serialize, Deserialize)]
#[command(id = purse, rejection = u32)]
pub struct Spend {
    /// Which.
    pub purse: String,
    /// How many.
    pub coins: u32,
}

/// Coins were taken out.
#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "spent")]
pub struct Spent {
    /// How many.
    pub coins: u32,
}

#[event_sourced(part = 2)]
impl Purse {
    #[command_handler]
    fn spend(&self, command: Spend) -> Result<Spent, u32> {
        if command.coins > self.coins { Err(self.coins) } else { Ok(Spent { coins: command.coins }) }
    }
}
