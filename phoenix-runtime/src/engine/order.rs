//! Commands of one aggregate that one sender wants done one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::error::Code;

/// Shared by commands that are to be done in the order in which they were sent. When one of them ends without an outcome
/// that may come later, none behind it is done: the sender sends them again from there, under a new order.
#[derive(Debug, Clone, Default)]
pub struct Order(Arc<AtomicBool>);

impl Order {
    /// Whether one of the commands has no outcome.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Notes how one of the commands ended.
    pub(crate) fn ended(&self, code: Code) {
        if is_open(code) {
            self.0.store(true, Ordering::Release);
        }
    }
}

/// Whether a command that ended so may still have an outcome when it is sent again.
#[must_use]
pub const fn is_open(code: Code) -> bool {
    code.is_retryable() || matches!(code, Code::Panicked | Code::Parked | Code::Behind)
}
