//! What came of a ranking, and its files.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Agreement, Group, Original, Unranked, agreement};
use crate::candidates::RankedRecord;
use crate::{Error, Result, Statistics, lines};

/// What happened on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Answers that were empty.
    pub empty: usize,
    /// Answers that were the same text as another of their set.
    pub merged: usize,
    /// Answers that the judge held to say what another says, and left out.
    pub duplicates_of_the_judge: usize,
    /// Replies that could not be read and were asked for again.
    pub asked_again: usize,
    /// Groups to which the judge's own answer was to be added, and it gave none that could be.
    pub without_reference: usize,
}

/// What came of a ranking: `summary.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Sets of candidates.
    pub sets: usize,
    /// Those that are ranked.
    pub ranked: usize,
    /// Those that are not, by reason.
    pub unranked: BTreeMap<String, usize>,
    /// Answers of the ranked ones.
    pub candidates: usize,
    /// Ranked sets in which answers are tied.
    pub with_ties: usize,
    /// Of these, sets in which all are: nothing but their place in the file orders them.
    pub all_tied: usize,
    /// Mean over the ranked sets of the mean difference between neighbours in the order.
    pub margin: f64,
    /// What happened on the way.
    #[serde(flatten)]
    pub counts: Counts,
    /// Requests that a judge has answered.
    pub requests: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Tokens of the replies.
    pub completion_tokens: u64,
    /// What they cost, if prices are known.
    pub cost: Option<f64>,
    /// How far another ranking agrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Agreement>,
}

/// A ranking that is done.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// In the order of the candidates' file.
    pub ranked: Vec<RankedRecord>,
    /// The sets that have no ranking.
    pub unranked: Vec<Unranked>,
    /// Counts of both.
    pub summary: Summary,
}

impl Outcome {
    /// Takes stock.
    ///
    /// # Errors
    /// If nothing is ranked.
    pub fn new(
        groups: Vec<Result<Group, Unranked>>,
        original: Original,
        counts: Counts,
        took: &Statistics,
        other: Option<&[RankedRecord]>,
    ) -> Result<Self> {
        let mut summary = Summary {
            sets: groups.len(),
            counts,
            requests: took.answers,
            prompt_tokens: took.prompt_tokens,
            completion_tokens: took.completion_tokens,
            cost: took.cost,
            ..Summary::default()
        };
        let (mut ranked, mut unranked) = (Vec::new(), Vec::new());
        for group in groups {
            match group {
                Ok(group) => ranked.push(group.into_record(original)),
                Err(why) => unranked.push(why),
            }
        }
        for why in &unranked {
            *summary.unranked.entry(why.reason.clone()).or_default() += 1;
        }
        if ranked.is_empty() {
            return Err(Error::NothingRanked { sets: summary.sets, reasons: reasons(&unranked) });
        }
        for record in &ranked {
            // Best first.
            let ties = record.score.windows(2).filter(|pair| pair[0] == pair[1]).count();
            let neighbours = record.score.len() - 1;
            summary.candidates += record.score.len();
            summary.with_ties += usize::from(ties > 0);
            summary.all_tied += usize::from(ties == neighbours);
            let apart = record.score[0] - record.score[neighbours];
            summary.margin += apart / neighbours as f64 / ranked.len() as f64;
        }
        summary.ranked = ranked.len();
        summary.against = other.map(|other| agreement(&ranked, other));
        Ok(Self { ranked, unranked, summary })
    }
}

/// Each reason with how many sets it keeps, and the ids of the first.
fn reasons(unranked: &[Unranked]) -> Vec<String> {
    /// Ids that are named.
    const SHOWN: usize = 5;
    let mut ids: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for why in unranked {
        ids.entry(&why.reason).or_default().push(&why.id);
    }
    let reasons = ids.into_iter().map(|(reason, ids)| {
        let more = if ids.len() > SHOWN { ", …" } else { "" };
        let first: Vec<_> = ids.iter().take(SHOWN).map(|id| format!("`{id}`")).collect();
        format!("{}: {reason} ({}{more})", ids.len(), first.join(", "))
    });
    reasons.collect()
}

/// Writes `ranked.jsonl`, `unranked.jsonl` and `summary.json`, each all at once.
///
/// # Errors
/// If one cannot be written.
pub fn write(folder: &Path, outcome: &Outcome) -> Result<()> {
    lines::replace(&folder.join("unranked.jsonl"), outcome.unranked.iter())?;
    lines::replace(&folder.join("ranked.jsonl"), outcome.ranked.iter())?;
    lines::replace(&folder.join("summary.json"), std::iter::once(&outcome.summary))
}

/// Writes `unranked.jsonl` alone: what was asked in vain can be looked at though nothing is ranked.
///
/// # Errors
/// If it cannot be written.
pub fn write_unranked(folder: &Path, groups: &[Result<Group, Unranked>]) -> Result<()> {
    let unranked = groups.iter().filter_map(|group| group.as_ref().err());
    lines::replace(&folder.join("unranked.jsonl"), unranked)
}

#[cfg(test)]
mod tests {
    use super::super::group::tests::group;
    use super::*;

    #[test]
    fn ties_and_margins_are_counted() {
        let scored = |scores: &[f64]| group(&["a", "b", "c"]).scored(scores);
        let lost = group(&["a"]).unranked("one candidate", None);
        let groups = vec![
            scored(&[1.0, 3.0, 2.0]),
            scored(&[1.0, 1.0, 0.0]),
            scored(&[2.0; 3]),
            Err(lost.clone()),
        ];
        let took = Statistics::default();
        let outcome = Outcome::new(groups, Original::None, Counts::default(), &took, None).unwrap();
        let Summary { sets, ranked, candidates, with_ties, all_tied, margin, unranked, .. } =
            outcome.summary;
        assert_eq!((sets, ranked, candidates, with_ties, all_tied), (4, 3, 9, 2, 1));
        // (3 - 1) / 2, (1 - 0) / 2 and 0.
        assert!((margin - 0.5).abs() < 1e-12);
        assert_eq!(unranked["one candidate"], 1);
        let error = Outcome::new(vec![Err(lost)], Original::None, Counts::default(), &took, None);
        let wanted = "none of 1 sets could be ranked\n  1: one candidate (`g`)";
        assert_eq!(error.unwrap_err().to_string(), wanted);
    }
}
