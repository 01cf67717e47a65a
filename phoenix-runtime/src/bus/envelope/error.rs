//! What can't be read.

/// Why a record is no message that this release can read. Such a record is parked, with its bytes, and never dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// It is neither of the two forms.
    #[error("it is no CloudEvent: {0}")]
    NoEnvelope(String),
    /// It was written by a newer release.
    #[error(
        "its envelope has version {found}, and this release reads version {}: deploy the newer release here as well",
        super::VERSION
    )]
    Version {
        /// The version that it names.
        found: String,
    },
    /// An attribute is missing.
    #[error("it has no attribute `{0}`")]
    Missing(&'static str),
    /// An attribute has a value that can't be meant.
    #[error("its attribute `{name}` can't be read: {reason}")]
    Attribute {
        /// Which one.
        name: String,
        /// Why.
        reason: String,
    },
    /// Its body is kept elsewhere, and can't be had.
    #[error("its body is kept as `{claim}`, which can't be had: {reason}")]
    Claim {
        /// What names it.
        claim: String,
        /// Why.
        reason: String,
    },
    /// Its attributes are larger than any that are written.
    #[error("its attributes have {bytes} bytes where {} are allowed", super::MAX_ATTRIBUTE_BYTES)]
    TooLarge {
        /// How many bytes they have.
        bytes: usize,
    },
}
