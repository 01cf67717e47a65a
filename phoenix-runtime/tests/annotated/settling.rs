//! The second block of the aggregate.

use phoenix_runtime::prelude::*;

use crate::messages::{Correct, Corrected, OrderError, Paid, Receipt, SettleOrder, Settled};
use crate::orders::Order;

/// What a node lends to the handlers.
#[derive(Debug)]
pub struct Surcharge(pub i64);

#[event_sourced(part = 2)]
impl Order {
    /// The reply is fixed while deciding.
    #[command_handler]
    fn settle(&self, _: SettleOrder) -> Result<(Settled, Reply<Receipt>), OrderError> {
        match self.left() {
            0 => Ok((Settled, Reply(Receipt { paid: self.paid }))),
            by => Err(OrderError::Short { by }),
        }
    }

    #[command_handler(reply = self.paid, uses(Surcharge))]
    async fn correct(&self, command: Correct, context: &Context) -> Vec<Corrected> {
        let before = self.paid;
        tokio_free_pause().await;
        let surcharge = context.resource::<Surcharge>().map_or(0, |surcharge| surcharge.0);
        let paid = Corrected::Paid(Paid { amount: command.1 - before + surcharge });
        let end = if command.1 == 0 { Corrected::Nothing } else { Corrected::Settled(Settled) };
        vec![paid, end]
    }

    #[event_handler]
    fn settled(&mut self, _: &Settled) {
        self.settled = true;
    }
}

/// Pending once.
async fn tokio_free_pause() {
    let mut is_second = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut is_second, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
