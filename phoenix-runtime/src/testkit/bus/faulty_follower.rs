//! The follower of a bus that fails.

use std::pin::pin;

use futures_util::future::{Either, select};

use super::faulty_bus::FaultyBus;
use crate::bus::{BusError, Follower, Received};
use crate::domain::ports::BoxFuture;

#[derive(Debug)]
pub(super) struct FaultyFollower {
    bus: FaultyBus,
    inner: Box<dyn Follower>,
}

impl FaultyFollower {
    pub(super) fn new(bus: FaultyBus, inner: Box<dyn Follower>) -> Self {
        Self { bus, inner }
    }

    async fn faulty_next(&mut self) -> Result<Vec<Received>, BusError> {
        self.bus.latency().await;
        loop {
            self.bus.wait_for_thaw().await;
            if let Err(error) = self.bus.is_up() {
                // who asks again at once is to find another time
                let changed = pin!(self.bus.changed.notified());
                drop(select(changed, self.bus.clock.sleep(self.bus.random_delay())).await);
                return Err(error);
            }
            let changed = pin!(self.bus.changed.notified());
            match select(self.inner.next(), changed).await {
                Either::Left((records, _)) => return records,
                Either::Right(_) => {}
            }
        }
    }
}

impl Follower for FaultyFollower {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Received>, BusError>> {
        Box::pin(self.faulty_next())
    }
}
