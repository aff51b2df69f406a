//! Codes of 8 bits for the optimizer's moments: blocks of numbers with a scale each, and a code for
//! every number that says which share of the scale it is.
//!
//! Dettmers et al., 2022, "8-bit Optimizers via Block-wise Quantization". The shares are dynamic (tree)
//! quantisation: fine near 1, coarse near 0, over seven decades. With `n` steps to a decade `e` of
//! -6 … 0, its shares are `10ᵉ (0.1 + 0.9 (k + ½) / n)` for `k < n`; besides there are 0 and 1. The signed
//! map has `n = 2^(e + 6)` steps, each with its negative; the unsigned one, for numbers that are never
//! negative, twice as many.
//!
//! A number's code is that of the nearest share: as many shares lie below it as there are midpoints
//! below it. So a tie takes the lower share. Midpoints are rounded to f32 once, here, and the kernel on a
//! GPU compares with the same ones.
//!
//! One thing is not as in the paper: a second moment above 0 never becomes 0, but the lowest share above
//! it. A step divides by its root, so what is 0 by rounding would make the step of its weight up to
//! 1/ε too long; so it is too short.

use std::sync::LazyLock;

/// Numbers that share a scale: `BLOCK` of adamw.cu.
pub(crate) const BLOCK: usize = 256;

/// Buckets of numbers of one sign, at most one midpoint in each: see [`bucket`].
const BUCKETS: usize = 1 << 12;
/// The first 16 bits of 2⁻²³: no midpoint is closer to 0.
const SMALLEST: u32 = (127 - 23) << 7;
/// Those of 1: nothing is further from it.
const LARGEST: u32 = 127 << 7;

/// For the first moment.
pub(crate) static SIGNED: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(true));
/// For the second moment.
pub(crate) static UNSIGNED: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(false));

/// What codes stand for, and how they are found.
pub(crate) struct DynamicMap {
    /// The share of each code, in rising order.
    pub(crate) shares: [f32; 256],
    /// Between each share and the next; infinity after the last.
    pub(crate) midpoints: [f32; 256],
    /// The lowest code of each bucket, those of negative numbers last.
    lowest: Box<[u8; 2 * BUCKETS]>,
    /// The lowest code of a number above 0.
    least: u8,
}

impl DynamicMap {
    fn new(signed: bool) -> Self {
        let decade = |exponent: i32| {
            let steps = 1 << (exponent + if signed { 6 } else { 7 });
            let share = move |step| 0.1 + 0.9 * (f64::from(step) + 0.5) / f64::from(steps);
            (0..steps).map(move |step| 10f64.powi(exponent) * share(step))
        };
        let positive: Vec<f64> = (-6..=0).flat_map(decade).collect();
        let negative = positive.iter().rev().filter(|_| signed).map(|share| -share);
        let all: Vec<f64> =
            negative.chain([0.0]).chain(positive.iter().copied()).chain([1.0]).collect();
        let middle = |code: usize| match all.get(code + 1) {
            Some(next) => ((all[code] + next) / 2.0) as f32,
            None => f32::INFINITY,
        };
        let shares = std::array::from_fn(|code| all[code] as f32);
        let mut map = Self {
            shares,
            midpoints: std::array::from_fn(middle),
            lowest: Box::new([0; 2 * BUCKETS]),
            least: if signed { 0 } else { 1 },
        };
        for size in 0..=LARGEST - SMALLEST {
            // The numbers of a bucket that are closest to 0 and furthest from it.
            let near = f32::from_bits((size + SMALLEST) << 16);
            let near = if size == 0 { 0.0 } else { near };
            let far = f32::from_bits(((size + SMALLEST + 1) << 16) - 1);
            map.lowest[bucket(near)] = map.midpoints_below(near);
            map.lowest[bucket(-far)] = map.midpoints_below(-far);
        }
        map
    }

    /// The code of a number, by its definition.
    fn midpoints_below(&self, number: f32) -> u8 {
        self.midpoints.partition_point(|&midpoint| midpoint < number) as u8
    }

    /// The code whose share is nearest to a number from -1 to 1 in its [`bucket`]: as
    /// [`Self::midpoints_below`], without a search.
    #[inline(always)]
    fn code(&self, bucket: usize, number: f32) -> u8 {
        let lowest = self.lowest[bucket % (2 * BUCKETS)];
        lowest.wrapping_add(u8::from(self.midpoints[usize::from(lowest)] < number))
    }

    /// Numbers of a block from their codes.
    #[inline(always)]
    pub(crate) fn widen(&self, codes: &[u8], scale: f32, numbers: &mut [f32]) {
        for (number, &code) in numbers.iter_mut().zip(codes) {
            *number = self.shares[usize::from(code)] * scale;
        }
    }

    /// Writes the codes of a block's numbers, and returns their scale: the largest magnitude.
    #[inline(always)]
    pub(crate) fn narrow(&self, numbers: &[f32], codes: &mut [u8]) -> f32 {
        // Magnitudes are in the order of their bits.
        let bits = numbers.iter().map(|number| number.to_bits() & 0x7fff_ffff);
        let scale = f32::from_bits(bits.fold(0, u32::max));
        let divisor = if scale > 0.0 { scale } else { 1.0 };
        // In passes: the first is vector code, the second loads.
        let (mut parts, mut buckets) = ([0f32; BLOCK], [0u16; BLOCK]);
        for ((part, at), number) in parts.iter_mut().zip(&mut buckets).zip(numbers) {
            *part = number / divisor;
            *at = bucket(*part) as u16;
        }
        for (((code, part), &at), number) in codes.iter_mut().zip(&parts).zip(&buckets).zip(numbers)
        {
            let least = if *number > 0.0 { self.least } else { 0 };
            *code = self.code(usize::from(at), *part).max(least);
        }
        scale
    }
}

/// Where a number from -1 to 1 is looked up: by sign, exponent and seven bits more, which tell apart
/// numbers that differ by 0.8 %; shares differ by at least as much, except around 0.
#[inline(always)]
fn bucket(number: f32) -> usize {
    let bits = number.to_bits();
    let size = (bits >> 16 & 0x7fff).clamp(SMALLEST, LARGEST) - SMALLEST;
    (size | bits >> 31 << BUCKETS.trailing_zeros()) as usize
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::support::numbers;

    fn golden(name: &str) -> Vec<f64> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/dynamic_map.json");
        let maps: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        maps[name].as_array().unwrap().iter().map(|share| share.as_f64().unwrap()).collect()
    }

    fn code_of(map: &DynamicMap, number: f32) -> u8 {
        map.code(bucket(number), number)
    }

    /// `scripts/golden_dynamic_map.py`
    #[test]
    fn the_shares_are_those_of_bitsandbytes() {
        for (map, name) in [(&*SIGNED, "signed"), (&*UNSIGNED, "unsigned")] {
            let wanted = golden(name);
            assert_eq!(wanted.len(), 256);
            for (&found, wanted) in map.shares.iter().zip(wanted) {
                // bitsandbytes rounds four times on the way, each time by at most 6e-8 of 1.
                let allowed = 2.4e-7 * wanted.abs();
                assert!((f64::from(found) - wanted).abs() <= allowed, "{name}: {found} {wanted}");
            }
        }
    }

    #[test]
    fn a_share_has_its_own_code_and_a_midpoint_the_lower_one() {
        for map in [&*SIGNED, &*UNSIGNED] {
            for code in 0..=255u8 {
                let (share, midpoint) = (map.shares[code as usize], map.midpoints[code as usize]);
                assert_eq!(code_of(map, share), code);
                if code < 255 {
                    let codes = [midpoint.next_down(), midpoint, midpoint.next_up()];
                    assert_eq!(codes.map(|number| code_of(map, number)), [code, code, code + 1]);
                }
            }
        }
    }

    /// Also at both ends of every bucket: none holds two midpoints.
    #[test]
    fn the_code_that_is_looked_up_is_that_of_the_definition() {
        let ends = (0..=LARGEST - SMALLEST).flat_map(|size| {
            let at = |bits| f32::from_bits(bits).min(1.0);
            [at((size + SMALLEST) << 16), at(((size + SMALLEST + 1) << 16) - 1)]
        });
        let small = [0.0, f32::MIN_POSITIVE, 1e-30, 1e-9, 5e-8];
        let some = numbers(100_000, 1).into_iter().map(|number| number.powi(7));
        for number in ends.chain(small).chain(some) {
            for number in [number, -number] {
                assert_eq!(code_of(&SIGNED, number), SIGNED.midpoints_below(number), "{number}");
                assert_eq!(
                    code_of(&UNSIGNED, number),
                    UNSIGNED.midpoints_below(number),
                    "{number}"
                );
            }
        }
    }

    /// The largest step between shares is a hundredth or so of the scale, and near 0 a tenth of the
    /// number, down to a millionth of the scale.
    #[test]
    fn what_is_narrowed_comes_back_close_to_what_it_was() {
        for len in [1, 33, BLOCK] {
            for (map, signed, widest) in [(&*SIGNED, true, 0.0071), (&*UNSIGNED, false, 0.0036)] {
                let wanted: Vec<f32> = numbers(len, 7)
                    .iter()
                    .map(|number| 3e-4 * if signed { *number } else { number.abs() })
                    .collect();
                let (mut codes, mut found) = (vec![0; len], vec![0.0; len]);
                let scale = map.narrow(&wanted, &mut codes);
                map.widen(&codes, scale, &mut found);
                assert_eq!(scale, wanted.iter().fold(0f32, |most, number| most.max(number.abs())));
                for (found, wanted) in found.iter().zip(&wanted) {
                    let allowed = scale * widest * 1.001;
                    assert!((found - wanted).abs() <= allowed, "{len}: {found} {wanted}");
                }
            }
        }
    }

    #[test]
    fn a_second_moment_above_zero_stays_above_it() {
        let numbers = [1.0, 1e-9, 0.0, f32::MIN_POSITIVE, 1.6e-7, 3.2e-7];
        let (mut codes, mut found) = ([9; 6], [0.0; 6]);
        let scale = UNSIGNED.narrow(&numbers, &mut codes);
        assert_eq!(codes, [255, 1, 0, 1, 1, 1]);
        UNSIGNED.widen(&codes, scale, &mut found);
        assert_eq!(found, [1.0, 3.25e-7, 0.0, 3.25e-7, 3.25e-7, 3.25e-7]);
    }

    #[test]
    fn a_block_of_zeros_stays_one() {
        let (mut codes, mut found) = ([9; 5], [1.0; 5]);
        let scale = SIGNED.narrow(&[0.0; 5], &mut codes);
        SIGNED.widen(&codes, scale, &mut found);
        assert_eq!((scale, found), (0.0, [0.0; 5]));
    }
}
