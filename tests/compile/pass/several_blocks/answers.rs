//! A block of answers, which names its aggregate by a path.

use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

/// How much is in it?
#[derive(Query, Serialize, Deserialize)]
#[query(id = purse, reply = u32)]
pub struct HowMuch {
    /// Which.
    pub purse: String,
}

#[event_sourced(part = 3)]
impl crate::compile::pass::several_blocks::Purse {
    #[query_handler]
    fn how_much(&self, _: HowMuch) -> u32 {
        self.coins
    }
}
