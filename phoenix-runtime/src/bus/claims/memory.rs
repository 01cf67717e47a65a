//! Bodies in memory: for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::claim::Claim;
use super::port::{Claims, ClaimsError};
use crate::domain::ports::{BoxFuture, Clock};

/// Bodies in memory, which can be lost, damaged and out of reach. Clones are the same.
#[derive(Debug, Clone)]
pub struct MemoryClaims {
    clock: Arc<dyn Clock>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    bodies: BTreeMap<Claim, (i64, Arc<[u8]>)>,
    away: bool,
}

impl MemoryClaims {
    /// Without any.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, kept: Arc::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reached(&self) -> Result<MutexGuard<'_, Kept>, ClaimsError> {
        let kept = self.kept();
        if kept.away { Err(ClaimsError("the bodies in memory are out of reach".to_owned())) } else { Ok(kept) }
    }

    /// Which claims there are.
    #[must_use]
    pub fn claims(&self) -> Vec<Claim> {
        self.kept().bodies.keys().copied().collect()
    }

    /// From now on nobody reaches them, or everybody again.
    pub fn set_away(&self, away: bool) {
        self.kept().away = away;
    }

    /// Puts other bytes, or nothing, under each claim.
    pub fn replace(&self, body: Option<&[u8]>) {
        let mut kept = self.kept();
        match body {
            Some(body) => kept.bodies.values_mut().for_each(|(_, found)| *found = body.into()),
            None => kept.bodies.clear(),
        }
    }
}

impl Claims for MemoryClaims {
    fn name(&self) -> String {
        "memory (not durable)".to_owned()
    }

    fn put(&self, claim: Claim, body: Arc<[u8]>) -> BoxFuture<'_, Result<(), ClaimsError>> {
        let now = self.clock.wall_micros();
        let put = self.reached().map(|mut kept| _ = kept.bodies.insert(claim, (now, body)));
        Box::pin(std::future::ready(put))
    }

    fn get(&self, claim: Claim) -> BoxFuture<'_, Result<Option<Vec<u8>>, ClaimsError>> {
        let found = self.reached().map(|kept| kept.bodies.get(&claim).map(|(_, body)| body.to_vec()));
        Box::pin(std::future::ready(found))
    }

    fn expire(&self, before_micros: i64) -> BoxFuture<'_, Result<usize, ClaimsError>> {
        let expired = self.reached().map(|mut kept| {
            let count = kept.bodies.len();
            kept.bodies.retain(|_, (time, _)| *time >= before_micros);
            count - kept.bodies.len()
        });
        Box::pin(std::future::ready(expired))
    }
}
