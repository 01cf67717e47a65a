//! What a service imports: `use phoenix_runtime::prelude::*`.

pub use phoenix_macros::{
    Command, Event, Events, Query, Schema, aggregate, command_handler, event_handler, event_sourced, query_handler,
};

#[cfg(feature = "engine")]
pub use crate::client::ContextClient;
pub use crate::domain::aggregate::Aggregate;
pub use crate::domain::codec::{Codec, CodecError};
pub use crate::domain::context::Context;
pub use crate::domain::emit::Reply;
pub use crate::domain::error::{AskError, Code, Fault, QueryError};
pub use crate::domain::id::{AggregateId, InvalidId, MessageId};
pub use crate::domain::message::{Command, Event, Never, Query};
pub use crate::domain::metadata::{Metadata, Priority};
pub use crate::domain::schema::Schema;
