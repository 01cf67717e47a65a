use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Schema)]
#[schema(name = "money")]
struct Money(i64);

fn main() {}
