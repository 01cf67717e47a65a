//! Names and values of a record.

use std::fmt;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// Names and values, in their order, a name perhaps several times. All of them are in one piece of memory, because a record
/// has a dozen, and is made by one thread and dropped by another.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// For each its name's length, its value's length, the name, and the value.
    packed: Vec<u8>,
    count: usize,
    bytes: usize,
}

/// What most lengths take.
const LENGTH: usize = 1;

/// Seven bits a byte, the lowest first; the highest bit says that there is more.
#[allow(clippy::cast_possible_truncation, reason = "the lowest bits are meant")]
fn push_length(packed: &mut Vec<u8>, mut length: usize) {
    while length > 0x7f {
        packed.push(length as u8 | 0x80);
        length >>= 7;
    }
    packed.push(length as u8);
}

fn split_length(mut bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        bytes = rest;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((length, bytes));
        }
    }
    None
}

impl Headers {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { packed: Vec::new(), count: 0, bytes: 0 }
    }

    /// None, with room for so many, of so many bytes together.
    #[must_use]
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        Self { packed: Vec::with_capacity(count * 2 * LENGTH + bytes), count: 0, bytes: 0 }
    }

    /// One more, behind the others.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        push_length(&mut self.packed, name.len());
        push_length(&mut self.packed, value.len());
        self.packed.extend_from_slice(name.as_bytes());
        self.packed.extend_from_slice(value);
        self.count += 1;
        self.bytes += name.len() + value.len();
    }

    /// None any more; the memory is kept for the next.
    pub fn clear(&mut self) {
        self.packed.clear();
        (self.count, self.bytes) = (0, 0);
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How long they are together.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Names and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.pairs().filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)))
    }

    /// As [`Headers::iter`], without a check that names are what they were when they were put in.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.packed.as_slice();
        std::iter::from_fn(move || {
            let (name, after) = split_length(rest)?;
            let (value, after) = split_length(after)?;
            let (name, after) = after.split_at_checked(name)?;
            let (value, after) = after.split_at_checked(value)?;
            rest = after;
            Some((name, value))
        })
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, value.escape_ascii().to_string()))).finish()
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut headers = Self::new();
        for (name, value) in pairs {
            headers.push(name.as_ref(), value.as_ref());
        }
        headers
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>, const COUNT: usize> From<[(N, V); COUNT]> for Headers {
    fn from(pairs: [(N, V); COUNT]) -> Self {
        pairs.into_iter().collect()
    }
}

/// As a list of pairs.
impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // a sequence whose length is known
        serializer.collect_seq(self.iter().collect::<Vec<_>>())
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<(String, Vec<u8>)>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_what_was_put_in(pairs in prop::collection::vec((".{0,12}", prop::collection::vec(any::<u8>(), 0..20)), 0..20)) {
            let headers: Headers = pairs.iter().map(|(name, value)| (name, value)).collect();
            prop_assert_eq!(headers.len(), pairs.len());
            let got: Vec<_> = headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
            prop_assert_eq!(&got, &pairs);
            prop_assert_eq!(headers.bytes(), pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>());
            // files of the embedded bus have lists of pairs
            let stored = postcard::to_stdvec(&pairs).expect("encoded");
            prop_assert_eq!(&postcard::to_stdvec(&headers).expect("encoded"), &stored);
            prop_assert_eq!(postcard::from_bytes::<Headers>(&stored).expect("decoded"), headers);
        }
    }

    #[test]
    fn equal_bytes_cut_in_another_way_are_others() {
        assert_ne!(Headers::from([("ab", "c")]), Headers::from([("a", "bc")]));
        assert_ne!(Headers::from([("a", "bc"), ("b", "")]), Headers::from([("a", "b"), ("b", "c")]));
    }
}
