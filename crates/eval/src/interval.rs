//! How sure a mean is: bootstrap intervals (Efron, 1979), of one model and of the difference of two.

use albacore_data::Random;

/// How intervals are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// Times that the examples are drawn anew.
    pub resamples: usize,
    /// Share of the means that an interval holds.
    pub confidence: f64,
    /// Start of the random numbers.
    pub seed: u64,
}

/// A mean, and where it would lie with other examples of the same kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Bootstrap {
    /// The mean of the groups' means, every group drawn anew by itself. `name` is of the random numbers:
    /// the same values under one name have the same interval.
    pub fn estimate(&self, name: &str, groups: &[Vec<f64>]) -> Estimate {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let groups: Vec<_> = groups.iter().filter(|group| !group.is_empty()).collect();
        let count = groups.len().max(1) as f64;
        let value = groups.iter().map(|group| mean(group)).sum::<f64>() / count;
        let mut random = Random::new(self.seed, name, 0);
        let mut means: Vec<_> = (0..self.resamples.max(1))
            .map(|_| {
                let drawn = groups.iter().map(|group| {
                    let drawn = (0..group.len()).map(|_| group[random.below(group.len())]);
                    drawn.sum::<f64>() / group.len() as f64
                });
                drawn.sum::<f64>() / count
            })
            .collect();
        means.sort_by(f64::total_cmp);
        let tail = (1.0 - self.confidence) / 2.0;
        let at = |share: f64| means[((means.len() - 1) as f64 * share).round() as usize];
        Estimate { value, low: at(tail), high: at(1.0 - tail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Bootstrap = Bootstrap { resamples: 2000, confidence: 0.95, seed: 1 };

    #[test]
    fn an_interval_is_about_as_wide_as_the_normal_one() {
        // 100 answers of which 30 are right: 0.3 ± 1.96 sqrt(0.3 · 0.7 / 100) = 0.3 ± 0.09.
        let values = (0..100).map(|number| f64::from(number < 30)).collect();
        let Estimate { value, low, high } = USUAL.estimate("x", &[values]);
        assert!((value - 0.3).abs() < 1e-12);
        // 2,000 draws place an end to about 0.005.
        assert!((low - 0.21).abs() < 0.015 && (high - 0.39).abs() < 0.015, "{low} {high}");
    }

    #[test]
    fn groups_count_the_same_and_equal_values_leave_no_doubt() {
        let found = USUAL.estimate("x", &[vec![1.0; 3], vec![0.0; 9], vec![]]);
        assert_eq!(found, Estimate { value: 0.5, low: 0.5, high: 0.5 });
        assert_eq!(USUAL.estimate("x", &[]).value, 0.0);
    }

    #[test]
    fn a_seed_gives_the_same_interval_again() {
        let values = vec![(0..50).map(f64::from).collect::<Vec<_>>()];
        assert_eq!(USUAL.estimate("x", &values), USUAL.estimate("x", &values));
        let other = Bootstrap { seed: 2, ..USUAL };
        assert_ne!(USUAL.estimate("x", &values), other.estimate("x", &values));
    }
}
