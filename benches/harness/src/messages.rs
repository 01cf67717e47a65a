//! Which account gets what: deposits of about 200 bytes on 10,000 accounts, hit at random.

/// How many aggregates are hit at random.
pub const AGGREGATES: u64 = 10_000;

/// Brings a command and its event to about 200 bytes of JSON.
pub const REFERENCE: &str = "invoice 2026-000-481516 of the customer 23-42, booked by the nightly run of the \
     clearing house, approved by two people, paid in full by direct debit";

/// One deposit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The number of the account.
    pub account: u64,
    /// The caller's key, where it has one.
    pub key: Option<String>,
}

impl Message {
    /// For this account, without a key.
    #[must_use]
    pub const fn to(account: u64) -> Self {
        Self { account, key: None }
    }
}

/// The id of an account.
#[must_use]
pub fn name(account: u64) -> String {
    format!("account-{account:07}")
}

/// What is put on an account.
#[must_use]
pub const fn amount(account: u64) -> u64 {
    100 + account % 7
}

/// Messages, made at random.
#[derive(Debug)]
pub struct Messages {
    state: u64,
    keyed: bool,
}

impl Messages {
    /// The same ones for an equal `start`.
    #[must_use]
    pub const fn new(start: u64, keyed: bool) -> Self {
        Self { state: start.wrapping_mul(0x2545_f491_4f6c_dd1d), keyed }
    }

    /// A deposit on any account, with a key of its caller where they are wanted.
    #[must_use]
    pub fn any(&mut self) -> Message {
        let key = self.keyed.then(|| format!("{:016x}", self.random()));
        Message { account: self.random() % AGGREGATES, key }
    }

    /// `SplitMix64`.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_starts_make_equal_messages() {
        let all = |start, keyed| {
            let mut messages = Messages::new(start, keyed);
            (0..100).map(|_| messages.any()).collect::<Vec<_>>()
        };
        assert_eq!(all(7, true), all(7, true));
        assert_ne!(all(7, true), all(8, true));
        assert!(all(7, false).iter().all(|message| message.account < AGGREGATES && message.key.is_none()));
    }
}
