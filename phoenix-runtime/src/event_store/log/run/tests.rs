#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::files::Folder;
use super::*;

/// A hash like those that are made of names.
fn hash(number: u64) -> Hash {
    Hash(xxhash_rust::xxh3::xxh3_128(&number.to_le_bytes()))
}

fn sorted(entries: &BTreeMap<Hash, Address>) -> Vec<Entry> {
    entries.iter().map(|(hash, at)| Entry { hash: *hash, at: *at }).collect()
}

fn written(folder: &Folder, number: u64, entries: &BTreeMap<Hash, Address>) -> Run {
    let entries = sorted(entries);
    write(folder, number, entries.len() as u64, entries.into_iter().map(Ok)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn what_is_in_a_run_is_found_and_nothing_else(count in 0..2000_u64) {
        let temporary = TempDir::new().unwrap();
        let folder = Folder::at(temporary.path());
        let entries = (0..count).map(|number| (hash(number), Address(number + 1))).collect();
        let run = written(&folder, 1, &entries);
        for run in [run, Run::open(&folder, 1).unwrap()] {
            prop_assert_eq!(run.entries, count);
            prop_assert_eq!(run.iter().map(Result::unwrap).collect::<Vec<_>>(), sorted(&entries));
            for number in 0..2 * count {
                prop_assert_eq!(run.find(hash(number)).unwrap(), (number < count).then_some(Address(number + 1)));
            }
        }
    }

    #[test]
    fn of_merged_runs_the_newest_counts(ranges in proptest::collection::vec((0..800_u64, 0..800_u64), 1..5)) {
        let temporary = TempDir::new().unwrap();
        let folder = Folder::at(temporary.path());
        let mut expected = BTreeMap::new();
        let mut runs = Vec::new();
        for ((start, count), number) in ranges.into_iter().zip(1_u64..) {
            let entries = (start..start + count).map(|n| (hash(n), Address(n * 10 + number))).collect();
            expected.extend(&entries);
            runs.insert(0, Arc::new(written(&folder, number, &entries)));
        }
        let found: Vec<_> = merged(&runs).map(Result::unwrap).collect();
        prop_assert_eq!(found, sorted(&expected));
    }

    #[test]
    fn a_flipped_bit_is_found_or_in_nothing_that_counts(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let temporary = TempDir::new().unwrap();
        let folder = Folder::at(temporary.path());
        let entries = (0..500).map(|number| (hash(number), Address(number + 1))).collect();
        drop(written(&folder, 1, &entries));
        let path = temporary.path().join(name(1));
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        std::fs::write(&path, &bytes).unwrap();
        let Ok(run) = Run::open(&folder, 1) else { return Ok(()) };
        for (hash, at) in &entries {
            if let Ok(found) = run.find(*hash) {
                prop_assert_eq!(found, Some(*at));
            }
        }
    }
}

#[test]
fn most_of_what_is_not_there_costs_no_read() {
    let mut filter = Filter::for_entries(10_000);
    (0..10_000).for_each(|number| filter.add(hash(number)));
    assert!((0..10_000).all(|number| filter.may_have(hash(number))));
    let wrong = (10_000..110_000).filter(|number| filter.may_have(hash(*number))).count();
    assert!(wrong < 2_000, "{wrong} of 100000");
}
