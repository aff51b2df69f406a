//! By likelihood: how probable a teacher finds each answer, per token.

use super::{Group, RankConfig, Unranked};
use crate::candidates::Response;

/// What a teacher finds of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likelihood {
    /// Natural logarithm of its probability.
    pub logprob: f64,
    /// How many tokens that is of.
    pub tokens: u64,
}

impl Likelihood {
    /// log p / tokens^exponent: for 1 the mean.
    pub fn score(self, exponent: f64) -> f64 {
        self.logprob / (self.tokens as f64).powf(exponent)
    }
}

/// Ranks a group by what was recorded when its answers were written.
///
/// # Errors
/// If that is not known of one of them.
pub fn by_own_likelihood(group: Group, config: &RankConfig) -> Result<Group, Unranked> {
    let scores = group.candidates.iter().map(|response| own(response, config.length_exponent));
    match scores.collect::<Result<Vec<_>, _>>() {
        Ok(scores) => group.scored(&scores),
        Err(missing) => {
            let unknown = |response: &&Response| own(response, config.length_exponent).is_err();
            let unknown = group.candidates.iter().filter(unknown).count();
            let all = group.candidates.len();
            Err(group.unranked(missing, Some(format!("{unknown} of {all} answers have none"))))
        }
    }
}

/// The mean as it was told, if nothing else is wanted: its sum may have been rounded elsewhere.
fn own(response: &Response, exponent: f64) -> Result<f64, &'static str> {
    if exponent == 1.0
        && let Some(mean) = response.mean_logprob
    {
        return Ok(mean);
    }
    let logprob = response.logprob.ok_or("no log-probability")?;
    let tokens = response.tokens.filter(|tokens| *tokens > 0).ok_or("no number of tokens")?;
    Ok(Likelihood { logprob, tokens }.score(exponent))
}

/// Ranks a group by what a teacher has found of each of its answers.
///
/// # Errors
/// If that is no number.
pub fn by_likelihood(
    mut group: Group,
    found: &[Likelihood],
    config: &RankConfig,
) -> Result<Group, Unranked> {
    for (response, found) in group.candidates.iter_mut().zip(found) {
        response.logprob = Some(found.logprob);
        response.tokens = Some(found.tokens);
    }
    let scores: Vec<_> = found.iter().map(|found| found.score(config.length_exponent)).collect();
    group.scored(&scores)
}

#[cfg(test)]
mod tests {
    use super::super::group::tests::group;
    use super::*;

    #[test]
    fn the_exponent_weighs_length() {
        let config = |length_exponent| RankConfig { length_exponent, ..RankConfig::default() };
        // Means -1 and -0.8; by 8^2 = 64 and 10^2 = 100: -0.125 and -0.08; by 1: -8 and -8.
        let found = [(-8.0, 8), (-8.0, 10)].map(|(logprob, tokens)| Likelihood { logprob, tokens });
        let scores = |exponent| {
            let ranked = by_likelihood(group(&["a", "b"]), &found, &config(exponent)).unwrap();
            ranked.candidates.iter().filter_map(|one| one.score).collect::<Vec<_>>()
        };
        assert_eq!(scores(1.0), [-1.0, -0.8]);
        assert_eq!(scores(2.0), [-0.125, -0.08]);
        assert_eq!(scores(0.0), [-8.0, -8.0]);
    }

    #[test]
    fn without_log_probabilities_nothing_is_ranked() {
        let config = RankConfig::default();
        let mut some = group(&["a", "b"]);
        some.candidates[0].mean_logprob = Some(-0.5);
        let why = by_own_likelihood(some.clone(), &config).unwrap_err();
        assert_eq!(why.reason, "no log-probability");
        assert_eq!(why.detail.as_deref(), Some("1 of 2 answers have none"));
        some.candidates[1].logprob = Some(-3.0);
        let why = by_own_likelihood(some.clone(), &config).unwrap_err();
        assert_eq!(why.reason, "no number of tokens");
        some.candidates[1].tokens = Some(4);
        let ranked = by_own_likelihood(some, &config).unwrap();
        assert_eq!(ranked.candidates[1].score, Some(-0.75));
    }
}
