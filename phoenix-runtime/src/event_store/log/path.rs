//! How to get from the last one of a numbered row to any of them.
//!
//! Each one points to the one before it, and number n to number n & (n - 1) as well, which is n without its lowest bit.
//! So a walk from n down to m takes no more steps than the square of their number of bits, and mostly far fewer.

use super::address::Address;
use crate::event_store::port::StoreError;

/// The places of n, of n & (n - 1), and so on: as many of them as were needed so far. A few steps further down are taken
/// when the next number needs them, which is one on average.
#[derive(Debug, Clone, Default)]
pub(super) struct Path {
    number: u64,
    // the place of n is the last one
    places: Vec<Address>,
}

impl Path {
    /// The path of a number that is stored at `at`.
    pub(super) fn of(number: u64, at: Address) -> Self {
        Self { number, places: if number == 0 { Vec::new() } else { vec![at] } }
    }

    /// The last number.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Its place.
    pub(super) fn last(&self) -> Address {
        self.places.last().copied().unwrap_or(Address::NONE)
    }

    /// Where the next number points to besides the one before it; `jump` says where a stored one points to.
    pub(super) fn next_jump(
        &mut self,
        mut jump: impl FnMut(Address) -> Result<Address, StoreError>,
    ) -> Result<Address, StoreError> {
        if self.number & (self.number + 1) == 0 {
            // 1, 2, 4 and so on point to nothing
            return Ok(Address::NONE);
        }
        let ones = self.number.trailing_ones() as usize;
        // what is not stored yet points to what is in the path
        while let Some(lowest) = self.places.first().filter(|_| self.places.len() <= ones) {
            let below = jump(*lowest)?;
            self.places.insert(0, below);
        }
        Ok(self.places.len().checked_sub(ones + 1).and_then(|at| self.places.get(at)).copied().unwrap_or(Address::NONE))
    }

    /// Adds the next number. Whoever does so has asked for its jump.
    pub(super) fn push(&mut self, at: Address) {
        let ones = self.number.trailing_ones() as usize;
        self.places.truncate(self.places.len().saturating_sub(ones));
        self.number += 1;
        self.places.push(at);
    }
}

/// Walks from number `from`, which is at `at`, down to number `to`; `links` says what the one at a place points to: the
/// one before it, and its jump.
pub(super) fn walk(
    mut from: u64,
    mut at: Address,
    to: u64,
    mut links: impl FnMut(u64, Address) -> Result<(Address, Address), StoreError>,
) -> Result<Address, StoreError> {
    while from > to {
        let (before, jump) = links(from, at)?;
        let further = from & (from - 1);
        (from, at) = if further >= to && further != 0 { (further, jump) } else { (from - 1, before) };
    }
    Ok(at)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_is_reached(last in 1..3000_u64, to in 1..3000_u64, known in 0..3000_u64) {
            let (to, known) = (to.min(last), known.min(last - 1));
            let place = |number: u64| Address(number * 10);
            let (mut path, mut halfway, mut jumps) = (Path::default(), None, HashMap::new());
            for number in 1..=last {
                if number - 1 == known {
                    halfway = Some(Path::of(known, place(known)));
                }
                let jump = path.next_jump(|_| panic!("the whole path is known")).unwrap();
                path.push(place(number));
                let expected = if number.is_power_of_two() { Address::NONE } else { place(number & (number - 1)) };
                prop_assert_eq!((jump, path.last()), (expected, place(number)));
                // one that was brought back in the middle goes on like one that never went, and asks only what is stored
                if let Some(halfway) = &mut halfway {
                    let stored = |at: Address| {
                        assert!(at <= place(known));
                        Ok(jumps[&at])
                    };
                    prop_assert_eq!(halfway.next_jump(stored).unwrap(), jump);
                    halfway.push(place(number));
                }
                jumps.insert(place(number), jump);
            }
            let mut steps = 0;
            let found = walk(last, place(last), to, |number, at| {
                steps += 1;
                assert_eq!(at, place(number));
                Ok((place(number - 1), jumps[&at]))
            });
            prop_assert_eq!(found, Ok(place(to)));
            prop_assert!(steps <= 80, "{} steps", steps);
        }
    }
}
