//! What is seen, made durable.
//!
//! `InnoDB` shows a commit to others before its log is on the disk, and a server that ends in between has lost it. The log
//! is one sequence: whoever commits a change of its own has waited for all that was there before it.

use super::MySqlDatabase;
use super::text::{Text, Transaction};
use super::write::Undone;
use crate::event_store::port::StoreError;

/// A row for each connection, as a rule, so that they need not wait for each other.
const FLUSH: &str = "UPDATE flushes SET flushed = flushed + 1 WHERE connection = CONNECTION_ID() % 64";

impl MySqlDatabase {
    pub(super) async fn flush_log(&self) -> Result<(), StoreError> {
        let mut transaction = Transaction::new(self.max_packet);
        transaction.statement(&Text::new(FLUSH));
        let parts = transaction.commit();
        let mut done = self.transact(&parts, None).await;
        if matches!(&done, Err(Undone { error: StoreError::Unknown(_), .. })) {
            // a connection that was lost while nobody used it
            done = self.transact(&parts, None).await;
        }
        done.map(drop).map_err(|undone| match undone.error {
            // it can be done again, so it does not matter whether it was
            StoreError::Unknown(reason) => StoreError::Unavailable(reason),
            error => error,
        })
    }

    /// Does a transaction that rests on nothing that was learned. Also what an earlier one did is durable then, of which
    /// this one finds nothing more to do.
    pub(super) async fn write(&self, mut transaction: Transaction) -> Result<(), StoreError> {
        transaction.statement(&Text::new(FLUSH));
        self.transact(&transaction.commit(), None).await.map(drop).map_err(|undone| undone.error)
    }
}
