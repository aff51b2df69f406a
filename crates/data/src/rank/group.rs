//! What is ranked: the candidates of one prompt.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{Counts, Original, RankConfig, RankKind};
use crate::candidates::{CandidateSet, ORIGINAL, RankedRecord, Response};

/// Different answers to one prompt, two or more. Once they are ranked each has a score.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// As the candidates have it.
    pub id: String,
    /// The text that was asked.
    pub prompt: String,
    /// The answers.
    pub candidates: Vec<Response>,
    /// The answer that the record had.
    pub original: Option<String>,
}

/// A set that has no ranking: a line of `unranked.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unranked {
    /// As the candidates have it.
    pub id: String,
    /// Why, in words that many share.
    pub reason: String,
    /// What else is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What the judge said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// The text that was asked.
    pub prompt: String,
}

/// Makes groups of sets: lets the original answers join if they are to, leaves out empty ones, and merges
/// answers that are the same text (the first of them stays). Counts both.
pub fn groups(
    config: &RankConfig,
    sets: Vec<CandidateSet>,
) -> (Vec<Result<Group, Unranked>>, Counts) {
    let mut counts = Counts::default();
    let sets = sets.into_iter().take(config.limit.unwrap_or(usize::MAX));
    let groups = sets.map(|set| {
        let CandidateSet { id, prompt, responses: mut candidates, original, .. } = set;
        if (config.original == Original::Candidate || config.kind == RankKind::Demonstration)
            && let Some(text) = &original
            // Scores made elsewhere may have brought it in.
            && !candidates.iter().any(|candidate| candidate.source == ORIGINAL)
        {
            candidates.push(Response::new(text, ORIGINAL));
        }
        let before = candidates.len();
        candidates.retain(|candidate| !candidate.text.trim().is_empty());
        let empty = before - candidates.len();
        let mut known = HashSet::new();
        candidates.retain(|candidate| known.insert(candidate.text.clone()));
        counts.empty += empty;
        counts.merged += before - empty - candidates.len();
        let group = Group { id, prompt, candidates, original };
        match group.candidates.len() {
            0 => Err(group.unranked("no candidate", None)),
            1 => {
                let others = before - 1;
                let detail =
                    format!("{} of its answers are empty, {} the same text", empty, others - empty);
                Err(group.unranked("one candidate", (others > 0).then_some(detail)))
            }
            _ => Ok(group),
        }
    });
    let groups = groups.collect();
    (groups, counts)
}

impl Group {
    /// This group without a ranking.
    pub fn unranked(self, reason: &str, detail: Option<String>) -> Unranked {
        Unranked {
            id: self.id,
            reason: reason.to_owned(),
            detail,
            reply: None,
            prompt: self.prompt,
        }
    }

    /// Gives each candidate its score; one that is no number leaves the group without a ranking.
    pub(super) fn scored(mut self, scores: &[f64]) -> Result<Self, Unranked> {
        if let Some(index) = scores.iter().position(|score| !score.is_finite()) {
            let detail = format!("that of answer {index} is {}", scores[index]);
            return Err(self.unranked("a score that is no number", Some(detail)));
        }
        for (candidate, score) in self.candidates.iter_mut().zip(scores) {
            candidate.score = Some(*score);
        }
        Ok(self)
    }

    /// The record that is trained on: the best first, of equals the one that stood first.
    pub(super) fn into_record(mut self, original: Original) -> RankedRecord {
        let score = |candidate: &Response| candidate.score.unwrap_or(f64::NEG_INFINITY);
        self.candidates.sort_by(|one, two| score(two).total_cmp(&score(one)));
        RankedRecord {
            id: self.id,
            instruction: self.prompt,
            score: self.candidates.iter().map(score).collect(),
            source: self.candidates.iter().map(|candidate| candidate.source.clone()).collect(),
            output: self.candidates.into_iter().map(|candidate| candidate.text).collect(),
            original: self.original.filter(|_| original == Original::Record),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::rank) fn group(texts: &[&str]) -> Group {
        Group {
            id: "g".into(),
            prompt: "P".into(),
            candidates: texts.iter().map(|text| Response::new(*text, "m")).collect(),
            original: None,
        }
    }

    fn set(texts: &[&str], original: Option<&str>) -> CandidateSet {
        let Group { id, prompt, candidates, .. } = group(texts);
        let original = original.map(str::to_owned);
        CandidateSet { id, prompt, responses: candidates, original, ..CandidateSet::default() }
    }

    #[test]
    fn duplicates_are_merged_and_one_alone_is_set_aside() {
        let config = RankConfig { limit: Some(4), ..RankConfig::default() };
        let sets = vec![
            set(&["x", "y", "x"], Some("o")),
            set(&["x", "x", " "], None),
            set(&["x"], None),
            set(&[], None),
            set(&["x", "y"], None),
        ];
        let (found, counts) = groups(&config, sets.clone());
        assert_eq!((found.len(), counts.merged, counts.empty), (4, 2, 1));
        assert_eq!(found[0].as_ref().unwrap().candidates.len(), 2);
        let why = |index: usize| found[index].as_ref().unwrap_err();
        assert_eq!(why(1).detail.as_deref(), Some("1 of its answers are empty, 1 the same text"));
        assert_eq!(
            (why(2).reason.as_str(), why(3).reason.as_str()),
            ("one candidate", "no candidate")
        );
        // The original answer joins as the last, unless it says what another says.
        let config = RankConfig { original: Original::Candidate, ..config };
        let (found, _) = groups(&config, sets);
        let joined = &found[0].as_ref().unwrap().candidates;
        assert_eq!((joined.len(), joined[2].source.as_str()), (3, ORIGINAL));
        let (found, counts) = groups(&config, vec![set(&["x", "y"], Some("y"))]);
        assert_eq!((found[0].as_ref().unwrap().candidates.len(), counts.merged), (2, 1));
    }

    #[test]
    fn a_record_has_the_best_first_and_ties_in_their_order() {
        let group = group(&["a", "b", "c"]).scored(&[1.0, 2.0, 1.0]).unwrap();
        let group = Group { original: Some("o".into()), ..group };
        let record = group.clone().into_record(Original::None);
        assert_eq!(
            (record.output, record.score),
            (vec!["b".into(), "a".into(), "c".into()], vec![2.0, 1.0, 1.0])
        );
        assert_eq!(record.original, None);
        assert_eq!(group.into_record(Original::Record).original.as_deref(), Some("o"));
    }

    #[test]
    fn a_score_that_is_no_number_ranks_nothing() {
        let why = group(&["a", "b"]).scored(&[1.0, f64::NAN]).unwrap_err();
        assert_eq!(why.reason, "a score that is no number");
        assert_eq!(why.detail.as_deref(), Some("that of answer 1 is NaN"));
    }
}
