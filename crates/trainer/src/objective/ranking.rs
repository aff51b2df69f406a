//! Responses in the order of their scores, and how far a model agrees with it.
//!
//! What is measured does not depend on the objective, so runs with different ones compare. `s` is
//! the mean log-probability of a response's supervised tokens, in nats.
//!
//! | term | is the mean over | of |
//! | --- | --- | --- |
//! | `ranking_accuracy` | pairs of a group whose scores differ | 1 if the better one has the higher `s` |
//! | `ranking_accuracy_adjacent` | such pairs that are neighbours in the ranking | the same |
//! | `ranking_accuracy_top1` | groups whose scores are not all equal | 1 if a best one has the highest `s` |
//! | `score_best`, `score_worst` | these groups | `s` of the best, of the worst |
//! | `margin` | these groups | `s` of the best less `s` of the worst |
//! | `kl` | responses, where a reference is kept | `(log p - log p_ref) / tokens` |
//! | `reward_accuracy` | pairs, where a reference is kept | 1 if the better has the higher `log p - log p_ref` |
//!
//! Equal values of the model are no agreement. A response without supervised tokens takes no part.
//!
//! `kl` estimates the KL divergence from the reference, in nats per token, as far as the model itself
//! would give these responses. Those of a data set are not its own, so it may be negative; it then
//! says how much more (above 0) or less probable training has made the responses.

use super::{Counts, Groups, Pairs, Term};

/// Where in [`Counts`] the responses that take part are counted, if a reference is kept.
const REFERRED: usize = 0;
/// Where the groups whose scores are not all equal are.
pub(super) const GROUPS: usize = 1;
/// Where the pairs whose scores differ are.
pub(super) const PAIRS: usize = 2;
/// Where those of neighbours are.
const NEIGHBOURS: usize = 3;
/// Where the units that an objective counts for itself begin.
pub(super) const OWN: usize = 4;

impl Groups<'_> {
    /// The score of a response; 0 where the data has none.
    pub fn score(&self, response: usize) -> f32 {
        self.scores.get(response).copied().unwrap_or(0.0)
    }

    /// The responses of a group that have a supervised token, best score first; ties keep the order
    /// of the file.
    pub fn ranked(&self, group: usize) -> Vec<usize> {
        let taking_part = self.responses(group).filter(|&one| !self.tokens(one).is_empty());
        let mut ranked: Vec<_> = taking_part.collect();
        // + 0.0 makes 0 of -0.
        ranked.sort_by(|&a, &b| (self.score(b) + 0.0).total_cmp(&(self.score(a) + 0.0)));
        ranked
    }
}

/// The units of a batch that [`ranking_terms`] divides by; those of the batches of a step add up.
///
/// The counts of every ranking objective begin with them.
pub fn ranking_counts(groups: &Groups) -> Counts {
    let mut counts = vec![0; OWN];
    for group in 0..groups.len() {
        let ranked = groups.ranked(group);
        counts[REFERRED] += if groups.reference.is_empty() { 0 } else { ranked.len() as u64 };
        counts[GROUPS] += Pairs::BestWorst.of(groups, &ranked).len() as u64;
        counts[PAIRS] += Pairs::All.of(groups, &ranked).len() as u64;
        counts[NEIGHBOURS] += neighbours(groups, &ranked).len() as u64;
    }
    Counts(counts)
}

/// How far the model's log-probabilities agree with the ranking: a batch's share of the means that
/// the table above lists, for a step of `counts` units.
pub fn ranking_terms(logp: &[f32], groups: &Groups, counts: &Counts) -> Vec<Term> {
    let sums: Vec<_> = (0..groups.sequences().len()).map(|one| groups.sum(logp, one)).collect();
    let mean = |one: usize| sums[one] / groups.tokens(one).len() as f64;
    let ratio = |one: usize| sums[one] - f64::from(groups.reference[one]);
    let agree = |pairs: &[(usize, usize)], value: &dyn Fn(usize) -> f64| {
        pairs.iter().filter(|(better, worse)| value(*better) > value(*worse)).count() as f64
    };

    let [mut all, mut adjacent, mut top, mut best, mut worst, mut kl, mut rewards] = [0.0; 7];
    for group in 0..groups.len() {
        let ranked = groups.ranked(group);
        let pairs = Pairs::All.of(groups, &ranked);
        all += agree(&pairs, &mean);
        adjacent += agree(&neighbours(groups, &ranked), &mean);
        for (first, last) in Pairs::BestWorst.of(groups, &ranked) {
            best += mean(first);
            worst += mean(last);
            let is_best = |one: &&usize| groups.score(**one) == groups.score(first);
            let highest = |ranked: &mut dyn Iterator<Item = &usize>| {
                ranked.map(|one| mean(*one)).fold(f64::NEG_INFINITY, f64::max)
            };
            let good = highest(&mut ranked.iter().filter(is_best));
            let rest = highest(&mut ranked.iter().filter(|one| !is_best(one)));
            top += f64::from(good > rest);
        }
        if !groups.reference.is_empty() {
            rewards += agree(&pairs, &ratio);
            let per_token = |one: &usize| ratio(*one) / groups.tokens(*one).len() as f64;
            kl += ranked.iter().map(per_token).sum::<f64>();
        }
    }

    let term = |name, sum, unit: usize| Term { name, sum, count: counts.0[unit] as f64 };
    let mut terms = vec![
        term("ranking_accuracy", all, PAIRS),
        term("ranking_accuracy_adjacent", adjacent, NEIGHBOURS),
        term("ranking_accuracy_top1", top, GROUPS),
        term("margin", best - worst, GROUPS),
        term("score_best", best, GROUPS),
        term("score_worst", worst, GROUPS),
    ];
    // The step decides: a batch of it may be empty, and its terms are those of the others.
    if counts.0[REFERRED] > 0 {
        terms.push(term("kl", kl, REFERRED));
        terms.push(term("reward_accuracy", rewards, PAIRS));
    }
    terms
}

/// The pairs of neighbours in the ranking whose scores differ.
fn neighbours(groups: &Groups, ranked: &[usize]) -> Vec<(usize, usize)> {
    let pairs = ranked.windows(2).map(|pair| (pair[0], pair[1]));
    pairs.filter(|(better, worse)| groups.score(*better) != groups.score(*worse)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One token each. The first group, best first: responses 1 (s -1), 0 (s -3), 3 (s -2), with 0 and
    /// 3 tied; response 2 is empty. Of its two pairs with different scores both agree. The second
    /// group: 5 (s -4) before 4 (s -0.5), which does not agree. The third has one response.
    const GROUPS_OF_THREE: Groups = Groups {
        target_starts: &[0, 1, 2, 2, 3, 4, 5, 6],
        group_starts: &[0, 4, 6, 7],
        scores: &[0.0, 7.5, 9.0, -0.0, 1.0, 2.0, 5.0],
        reference: &[-3.0, -2.0, 0.0, -2.5, -0.5, -4.5, -1.0],
    };
    const LOGP: [f32; 6] = [-3.0, -1.0, -2.0, -0.5, -4.0, -1.0];

    #[test]
    fn responses_are_ranked_by_score_and_ties_keep_the_order_of_the_file() {
        let groups = GROUPS_OF_THREE;
        let ranked: Vec<_> = (0..3).map(|group| groups.ranked(group)).collect();
        assert_eq!(ranked, [vec![1, 0, 3], vec![5, 4], vec![6]]);
        // Six responses with a reference, two groups of different scores, three pairs, two of neighbours.
        assert_eq!(ranking_counts(&groups), Counts(vec![6, 2, 3, 2]));
    }

    #[test]
    fn agreement_with_the_ranking_is_what_one_counts_by_hand() {
        let counts = ranking_counts(&GROUPS_OF_THREE);
        let terms = ranking_terms(&LOGP, &GROUPS_OF_THREE, &counts);
        let means: Vec<_> = terms.iter().map(|term| (term.name, term.mean())).collect();
        let wanted = [
            ("ranking_accuracy", 2.0 / 3.0),
            ("ranking_accuracy_adjacent", 0.5),
            ("ranking_accuracy_top1", 0.5),
            ("margin", ((-1.0 + 2.0) + (-4.0 + 0.5)) / 2.0),
            ("score_best", (-1.0 - 4.0) / 2.0),
            ("score_worst", (-2.0 - 0.5) / 2.0),
            // log p - log p_ref: 0, 1, 0.5, 0, 0.5, 0.
            ("kl", 2.0 / 6.0),
            ("reward_accuracy", 1.0),
        ];
        assert_eq!(means, wanted);
    }

    #[test]
    fn equal_values_of_the_model_are_no_agreement() {
        let groups = Groups { reference: &[], ..GROUPS_OF_THREE };
        let terms = ranking_terms(&[-1.0; 6], &groups, &ranking_counts(&groups));
        assert_eq!(terms.len(), 6, "no reference, no `kl`");
        assert!(terms[..4].iter().all(|term| term.mean() == 0.0), "{terms:?}");
    }

    #[test]
    fn without_scores_nothing_is_ranked() {
        let groups = Groups { scores: &[], reference: &[], ..GROUPS_OF_THREE };
        let counts = ranking_counts(&groups);
        assert_eq!(counts, Counts(vec![0; OWN]));
        let terms = ranking_terms(&LOGP, &groups, &counts);
        assert!(terms.iter().all(|term| term.sum == 0.0 && term.mean().is_nan()));
    }
}
