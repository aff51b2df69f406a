//! Random numbers that stay the same for ever: they decide the order of the data, and so the bits
//! of a resumed run. No crate's release may change them; `the_stream_is_frozen` below guards it.

/// SplitMix64 (Steele, Lea and Flood, 2014): a counter whose every value is mixed thoroughly.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream of a seed for one purpose. Streams of different purposes (`"shuffle"`, epoch 3) are
    /// unrelated, so that a change of one never moves another.
    pub fn new(seed: u64, purpose: &str, number: u64) -> Self {
        let mut random = Self { state: seed };
        for word in purpose.bytes().map(u64::from).chain([number]) {
            random.state = random.next() ^ word;
        }
        random
    }

    /// The next 64 bits.
    #[expect(clippy::should_implement_trait, reason = "a stream without an end is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`: the high half of a 128-bit product. Its bias is `end / 2^64`.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// Puts the items in random order (Fisher and Yates, from the last place to the first).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// The numbers `0..len` in random order.
pub fn shuffled(len: usize, mut random: Random) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..len as u32).collect();
    random.shuffle(&mut numbers);
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_frozen() {
        // The first outputs of SplitMix64 from state 1234567, as its authors publish them.
        let mut random = Random { state: 1_234_567 };
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
        insta::assert_compact_debug_snapshot!(shuffled(8, Random::new(7, "shuffle", 0)), @"[7, 6, 0, 2, 3, 4, 5, 1]");
        insta::assert_compact_debug_snapshot!(shuffled(8, Random::new(7, "shuffle", 1)), @"[6, 4, 3, 7, 0, 1, 2, 5]");
    }

    #[test]
    fn every_order_of_three_is_about_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for number in 0..6000 {
            *counts.entry(shuffled(3, Random::new(1, "test", number))).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        // 1000 expected, standard deviation 29: five of them either way
        assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
