//! Chance by a seed.

/// Draws numbers (`SplitMix64`): the same seed draws the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Lot(u64);

impl Lot {
    /// For one purpose among others of the same seed.
    pub(crate) fn new(seed: u64, purpose: &[u64]) -> Self {
        let mut lot = Self(seed);
        for part in purpose {
            lot.0 = lot.draw() ^ *part;
        }
        lot
    }

    /// A seed that the environment gives, to go the same way again, or else one of this moment. It is printed.
    pub(crate) fn seed() -> u64 {
        let given = std::env::var("CRASH_SEED").ok().map(|text| text.parse().expect("CRASH_SEED is a number"));
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("later than 1970");
            u64::from(now.subsec_nanos()) ^ now.as_secs() << 30
        });
        println!("the operations of this run again: CRASH_SEED={seed}");
        seed
    }

    /// How many times longer than usual a run is to be.
    pub(crate) fn times() -> u64 {
        std::env::var("CRASH_TIMES").map_or(1, |text| text.parse().expect("CRASH_TIMES is a number"))
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 up to `end`, without it.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
