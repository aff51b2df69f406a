//! Which task stands at which position of a mixture's stream: a function of the seed and the position.

use crate::Random;

/// Draws tasks by their rates, each draw in the same time (Walker's alias method, in Vose's form).
#[derive(Clone, Debug)]
pub(crate) struct Draw {
    seed: u64,
    /// Of each column: below this it is itself, else its alias.
    columns: Vec<(u64, u32)>,
}

impl Draw {
    /// Draws in the ratio of `rates`, some of which are above 0.
    pub(crate) fn new(rates: &[f64], seed: u64) -> Self {
        let (count, all) = (rates.len() as f64, rates.iter().sum::<f64>());
        let mut scaled: Vec<f64> = rates.iter().map(|rate| rate * count / all).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..rates.len()).partition(|index| scaled[*index] < 1.0);
        let mut columns = vec![(u64::MAX, 0); rates.len()];
        while let (Some(poor), Some(rich)) = (small.pop(), large.pop()) {
            // Two to the 64th: a rate of 0 has a threshold of 0, and is never drawn.
            columns[poor] = ((scaled[poor] * 18_446_744_073_709_551_616.0) as u64, rich as u32);
            scaled[rich] -= 1.0 - scaled[poor];
            if scaled[rich] < 1.0 { small.push(rich) } else { large.push(rich) }
        }
        // What is left has, up to rounding, a whole column; unless rounding has left one of rate 0.
        let richest = (0..rates.len()).max_by(|a, b| rates[*a].total_cmp(&rates[*b])).unwrap_or(0);
        for left in small.into_iter().chain(large) {
            let whole = if rates[left] > 0.0 { u64::MAX } else { 0 };
            columns[left] = (whole, if whole > 0 { left } else { richest } as u32);
        }
        Self { seed, columns }
    }

    /// The task at a position.
    pub(crate) fn task(&self, position: u64) -> usize {
        let mut random = Random::new(self.seed, "mixture", position);
        let column = random.below(self.columns.len());
        let (own, alias) = self.columns[column];
        if random.next() < own { column } else { alias as usize }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Draws so often, and adds up (found - wanted)^2 / wanted.
    fn chi_square(rates: &[f64], draws: u64, seed: u64) -> f64 {
        let draw = Draw::new(rates, seed);
        let mut counts = vec![0u64; rates.len()];
        (0..draws).for_each(|position| counts[draw.task(position)] += 1);
        let all: f64 = rates.iter().sum();
        let terms = rates.iter().zip(counts).map(|(rate, found)| {
            let wanted = draws as f64 * rate / all;
            if wanted > 0.0 { (found as f64 - wanted).powi(2) / wanted } else { found as f64 * 1e9 }
        });
        terms.sum()
    }

    /// The rates of the ten tasks of `the_flan_collection_by_hand` in `tests/data/mixture.rs`.
    #[test]
    fn a_million_draws_pass_a_chi_square_test_at_one_in_a_thousand() {
        let rates = [
            0.2 * 25.0 / 325.0,
            0.2 * 300.0 / 325.0,
            0.2 * 25.0 / 325.0,
            0.2 * 300.0 / 325.0,
            0.032,
            0.128,
            0.16,
            0.2,
            0.05,
            0.03,
        ];
        // The 0.999 quantile of chi-square with 9 degrees of freedom.
        let found = [0, 1, 2].map(|seed| chi_square(&rates, 1_000_000, seed));
        assert!(found.iter().all(|found| *found < 27.877), "{found:?}");
    }

    #[test]
    fn the_draws_are_frozen() {
        let draw = Draw::new(&[1.0, 2.0, 0.0, 5.0], 7);
        let tasks: Vec<_> = (0..16).map(|position| draw.task(position)).collect();
        insta::assert_compact_debug_snapshot!(tasks, @"[3, 1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 0, 3, 0]");
    }

    proptest! {
        #[test]
        fn rates_of_any_size_are_met_and_a_rate_of_zero_is_never_drawn(
            rates in prop::collection::vec(prop_oneof![Just(0.0), 1e-3..1e3f64], 1..40), seed: u64
        ) {
            prop_assume!(rates.iter().any(|rate| *rate > 0.0));
            let draw = Draw::new(&rates, seed);
            // What the columns give each task, exactly.
            let mut given = vec![0.0; rates.len()];
            for (column, (own, alias)) in draw.columns.iter().enumerate() {
                let share = *own as f64 / 18_446_744_073_709_551_616.0;
                given[column] += share / rates.len() as f64;
                given[*alias as usize] += (1.0 - share) / rates.len() as f64;
            }
            let all: f64 = rates.iter().sum();
            for (given, rate) in given.iter().zip(&rates) {
                // Rounding of 40 sums and of a threshold to 2^-64.
                prop_assert!((given - rate / all).abs() < 1e-13, "{given} {}", rate / all);
            }
            for position in 0..200 {
                prop_assert!(rates[draw.task(position)] > 0.0);
            }
        }
    }
}
