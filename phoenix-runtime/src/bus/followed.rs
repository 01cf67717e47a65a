//! A follower of what a thread reads from a broker.

use std::sync::Arc;

use super::hand_over::HandOver;
use super::port::{BusError, Follower, Happening, Received};
use crate::domain::ports::BoxFuture;

/// The port's side; its partition was assigned at the beginning, and is never taken.
#[derive(Debug)]
pub(super) struct Followed(pub(super) Arc<HandOver>);

impl Follower for Followed {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Received>, BusError>> {
        Box::pin(async {
            loop {
                match self.0.next().await? {
                    Happening::Records(records) => return Ok(records),
                    Happening::OutOfRange { partition, wanted, earliest, end } => {
                        tracing::warn!(%partition, wanted, earliest, end, "records are gone that were not read");
                        // a topic that was made anew is followed from now on
                        self.0.seek(&partition, wanted.max(earliest).min(end))?;
                    }
                    Happening::Assigned(_) | Happening::Revoking(_) | Happening::Lost(_) => {}
                }
            }
        })
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.0.close();
    }
}
