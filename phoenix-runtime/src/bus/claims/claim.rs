//! What a message says in the place of its body.

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_128;

use crate::domain::id::MessageId;

/// Before a claim in `dataref`, which is a URI.
const SCHEME: &str = "phoenix-claim:";

/// Names a body: of which message it is, its hash and its length. The same message with the same body has the same claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    message: MessageId,
    hash: u128,
    bytes: u64,
}

/// A text is no claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is none of ours, which are `phoenix-claim:<message>.<hash>.<bytes>`; nothing else is fetched")]
pub struct InvalidClaim;

impl Claim {
    /// Of the body of a message.
    #[must_use]
    pub fn of(message: MessageId, body: &[u8]) -> Self {
        Self { message, hash: xxh3_128(body), bytes: body.len() as u64 }
    }

    /// How long the body is.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether this is the body that was claimed.
    #[must_use]
    pub fn fits(&self, body: &[u8]) -> bool {
        *self == Self::of(self.message, body)
    }

    /// The first digits of the hash: which of 256 folders.
    #[must_use]
    pub fn shelf(&self) -> String {
        format!("{:02x}", self.hash >> 120)
    }

    /// A name of digits, hyphens and dots, which no other claim has.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.{:032x}.{}", self.message, self.hash, self.bytes)
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.file_name())
    }
}

impl FromStr for Claim {
    type Err = InvalidClaim;

    fn from_str(text: &str) -> Result<Self, InvalidClaim> {
        let mut parts = text.strip_prefix(SCHEME).ok_or(InvalidClaim)?.splitn(3, '.');
        let mut part = || parts.next().ok_or(InvalidClaim);
        let message = MessageId(part()?.parse().map_err(|_| InvalidClaim)?);
        let hash = u128::from_str_radix(part()?, 16).map_err(|_| InvalidClaim)?;
        let bytes = part()?.parse().map_err(|_| InvalidClaim)?;
        let claim = Self { message, hash, bytes };
        // numbers can be written in several ways, a claim in one
        if claim.to_string() == text { Ok(claim) } else { Err(InvalidClaim) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_claim_is_read_as_it_was_written(id in any::<u128>(), body in prop::collection::vec(any::<u8>(), 0..200)) {
            let claim = Claim::of(MessageId(uuid::Uuid::from_u128(id)), &body);
            prop_assert_eq!(claim.to_string().parse(), Ok(claim));
            prop_assert!(claim.fits(&body));
            let mut longer = body.clone();
            longer.push(0);
            prop_assert!(!claim.fits(&longer));
        }

        #[test]
        fn the_name_of_a_file_never_leads_elsewhere(text in "(phoenix-claim:)?[-a-f0-9./~%]{0,90}") {
            if let Ok(claim) = text.parse::<Claim>() {
                let fits = |c: char| c.is_ascii_hexdigit() || c == '-' || c == '.';
                prop_assert!(claim.file_name().chars().all(fits) && !claim.file_name().contains(".."));
            }
        }
    }

    #[test]
    fn what_is_no_claim_is_none() {
        let claim = Claim::of(MessageId(uuid::Uuid::from_u128(7)), b"body").to_string();
        for text in [
            "",
            "phoenix-claim:",
            "phoenix-claim:../../etc/passwd",
            "file:///etc/passwd",
            "https://example.com/body",
            &format!("{claim}0x"),
            &format!("{claim}/.."),
            &claim.to_uppercase(),
            &claim.replace('.', ".+"),
        ] {
            assert_eq!(text.parse::<Claim>(), Err(InvalidClaim), "{text}");
        }
    }
}
