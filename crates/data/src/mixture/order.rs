//! A random order of any number of examples that takes no memory.
//!
//! The numbers below a power of four are put in order by a Feistel network of splitmix64 rounds; what
//! falls beyond the length is sent through again until it falls inside (cycle walking), at most four
//! times on average.

use crate::Random;

/// Rounds of the network. Four make it a permutation that cannot be told from a random one in theory;
/// two more are for small lengths.
const ROUNDS: usize = 6;

/// A random order of the numbers below `len`.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    len: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Order {
    /// The order of a seed for one purpose and number, as those of [`Random::new`].
    pub(crate) fn new(len: u64, seed: u64, purpose: &str, number: u64) -> Self {
        let mut random = Random::new(seed, purpose, number);
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        Self {
            len,
            half_bits: bits.div_ceil(2).max(1),
            keys: std::array::from_fn(|_| random.next()),
        }
    }

    /// The number at a place below `len`.
    pub(crate) fn at(&self, place: u64) -> u64 {
        debug_assert!(place < self.len, "{place} of {}", self.len);
        let mut number = self.once(place);
        while number >= self.len {
            number = self.once(number);
        }
        number
    }

    fn once(&self, number: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (number >> self.half_bits, number & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mixed(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

/// The finaliser of SplitMix64.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_order_is_frozen() {
        let order = Order::new(8, 7, "order", 0);
        let numbers: Vec<_> = (0..8).map(|place| order.at(place)).collect();
        insta::assert_compact_debug_snapshot!(numbers, @"[3, 2, 1, 5, 4, 7, 6, 0]");
    }

    proptest! {
        #[test]
        fn every_number_stands_at_one_place(len in 1u64..3000, seed: u64) {
            let order = Order::new(len, seed, "order", 3);
            let mut numbers: Vec<_> = (0..len).map(|place| order.at(place)).collect();
            numbers.sort_unstable();
            prop_assert!(numbers.into_iter().eq(0..len));
        }
    }

    #[test]
    fn every_order_of_three_is_about_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for number in 0..6000 {
            let order = Order::new(3, 1, "order", number);
            *counts.entry([0, 1, 2].map(|place| order.at(place))).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        // 1000 expected, standard deviation 29: five of them either way
        assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
