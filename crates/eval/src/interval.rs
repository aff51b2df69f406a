//! How sure a mean is: bootstrap intervals (Efron, 1979), of one model and of the difference of two.
//!
//! Where tasks count the same, tasks are drawn, and then questions of each task that was drawn. To draw
//! questions alone would take the tasks for all that there are, and one question of a task for certain:
//! 25 tasks of a question each would leave no doubt at all. It errs to the wide side.

use albacore_data::Random;

/// Examples below which nothing is called clear: the ends of an interval are then too uncertain
/// themselves.
pub const FEWEST_FOR_CLEAR: usize = 20;

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
    /// The mean of the groups' means; `None` if no group has a value. Groups are drawn anew where there are
    /// several, and then the values of each. `name` is of the random numbers: the same values under one name
    /// have the same interval.
    pub fn estimate(&self, name: &str, groups: &[Vec<f64>]) -> Option<Estimate> {
        let groups: Vec<_> = groups.iter().filter(|group| !group.is_empty()).collect();
        if groups.is_empty() {
            return None;
        }
        let count = groups.len() as f64;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let value = groups.iter().map(|group| mean(group)).sum::<f64>() / count;
        let mut random = Random::new(self.seed, name, 0);
        let mut means: Vec<_> = (0..self.resamples.max(1))
            .map(|_| {
                let drawn = (0..groups.len()).map(|_| {
                    // One group is all of them.
                    let place = if groups.len() > 1 { random.below(groups.len()) } else { 0 };
                    let group = groups[place];
                    let drawn = (0..group.len()).map(|_| group[random.below(group.len())]);
                    drawn.sum::<f64>() / group.len() as f64
                });
                drawn.sum::<f64>() / count
            })
            .collect();
        means.sort_by(f64::total_cmp);
        let tail = (1.0 - self.confidence) / 2.0;
        let at = |share: f64| means[((means.len() - 1) as f64 * share).round() as usize];
        Some(Estimate { value, low: at(tail), high: at(1.0 - tail) })
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
        let Estimate { value, low, high } = USUAL.estimate("x", &[values]).unwrap();
        assert!((value - 0.3).abs() < 1e-12);
        // 2,000 draws place an end to about 0.005.
        assert!((low - 0.21).abs() < 0.015 && (high - 0.39).abs() < 0.015, "{low} {high}");
    }

    #[test]
    fn groups_count_the_same_and_no_value_has_no_mean() {
        let found = USUAL.estimate("x", &[vec![1.0; 3], vec![0.0; 9], vec![]]).unwrap();
        assert_eq!(found.value, 0.5);
        assert_eq!(USUAL.estimate("x", &[vec![], vec![]]), None);
    }

    #[test]
    fn tasks_are_drawn_and_then_questions() {
        // Two tasks of one question each, right and wrong. Both draws are the right one, or both the wrong
        // one, one time in four each; else the mean is a half.
        let groups = [vec![1.0], vec![0.0]];
        let ends = |confidence| {
            let found = Bootstrap { confidence, ..USUAL }.estimate("x", &groups).unwrap();
            (found.low, found.high)
        };
        assert_eq!(ends(0.95), (0.0, 1.0));
        assert_eq!(ends(0.4), (0.5, 0.5));
        // One of 25 tasks of a question each is different. It is drawn k times in 25 with the chance
        // B(25, 1/25): 0 times 36 %, up to 2 times 92.4 %, up to 3 times 98.3 %.
        let mut groups = vec![vec![0.0]; 24];
        groups.push(vec![-1.0]);
        let found = USUAL.estimate("x", &groups).unwrap();
        assert_eq!((found.low, found.high), (-3.0 / 25.0, 0.0));
    }

    #[test]
    fn a_seed_gives_the_same_interval_again() {
        let values = vec![(0..50).map(f64::from).collect::<Vec<_>>()];
        assert_eq!(USUAL.estimate("x", &values), USUAL.estimate("x", &values));
        let other = Bootstrap { seed: 2, ..USUAL };
        assert_ne!(USUAL.estimate("x", &values), other.estimate("x", &values));
    }
}
