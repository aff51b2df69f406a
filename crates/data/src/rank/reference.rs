//! By the answer that the record had: what each has in common with it, or it above all others.

use super::{Group, RankConfig, Unranked};
use crate::{RougeL, Tokenization};

/// Ranks a group by ROUGE-L F with the answer that its record had.
///
/// # Errors
/// If the record had none.
pub fn by_reference(group: Group, config: &RankConfig) -> Result<Group, Unranked> {
    let Some(reference) = group.original.clone() else {
        return Err(group.unranked("no original answer", None));
    };
    let words = if config.stemmed { Tokenization::Stemmed } else { Tokenization::Ascii };
    let rouge = |text: &str| RougeL::of(text, &reference, words).f_measure;
    let scores: Vec<_> = group.candidates.iter().map(|one| rouge(&one.text)).collect();
    group.scored(&scores)
}

/// Ranks the original answer, which is one of the group, above the others, which are tied: the pairs of a
/// demonstration and an answer of the model's own.
///
/// # Errors
/// If the record had none.
pub fn by_demonstration(group: Group) -> Result<Group, Unranked> {
    let is_it = |text: &str| group.original.as_deref() == Some(text);
    let scores: Vec<_> =
        group.candidates.iter().map(|one| f64::from(u8::from(is_it(&one.text)))).collect();
    match scores.contains(&1.0) {
        true => group.scored(&scores),
        false => Err(group.unranked("no original answer", None)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::group::tests::group;
    use super::*;

    #[test]
    fn a_demonstration_is_above_all_others_which_are_tied() {
        assert_eq!(by_demonstration(group(&["a", "b"])).unwrap_err().reason, "no original answer");
        let given = Group { original: Some("mine".into()), ..group(&["a", "mine", "b"]) };
        let ranked = by_demonstration(given).unwrap().candidates;
        let scores: Vec<_> = ranked.iter().map(|one| one.score.unwrap()).collect();
        assert_eq!(scores, [0.0, 1.0, 0.0]);
    }

    #[test]
    fn the_answer_most_like_the_original_is_best() {
        let config = RankConfig::default();
        let why = by_reference(group(&["a", "b"]), &config).unwrap_err();
        assert_eq!(why.reason, "no original answer");
        let given =
            Group { original: Some("the dog runs".into()), ..group(&["the dog running", "a dog"]) };
        let score = |config: &RankConfig| {
            let ranked = by_reference(given.clone(), config).unwrap();
            ranked.candidates.iter().filter_map(|one| one.score).collect::<Vec<_>>()
        };
        // `a dog` has one of 2 and 3 words in common: 2 * 1 / 5. Unstemmed, the other has 2 of 3.
        assert_eq!(score(&config), [1.0, 0.4]);
        let plain = score(&RankConfig { stemmed: false, ..config });
        assert!((plain[0] - 2.0 / 3.0).abs() < 1e-12, "{plain:?}");
    }
}
