//! By scores that were made elsewhere.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::{Map, Value};

use super::likelihood::Likelihood;
use super::{Group, Original, RankConfig, Unranked};
use crate::candidates::{CandidateSet, ORIGINAL, Response, id_text, numbers};
use crate::read::read_objects;
use crate::{Error, Result};

/// Ranks a group by the scores that its answers have.
///
/// # Errors
/// If one has none.
pub fn by_scores(group: Group) -> Result<Group, Unranked> {
    let missing = group.candidates.iter().filter(|one| one.score.is_none()).count();
    if missing > 0 {
        let detail = format!("{missing} of {} answers have none", group.candidates.len());
        return Err(group.unranked("no score", Some(detail)));
    }
    Ok(group)
}

/// What a line says.
enum Line {
    /// The scores of all answers of a set.
    All(usize, Vec<f64>),
    /// That of one answer.
    One(usize, usize, f64),
}

/// Gives the answers of each set the scores of a file: `{id, scores: [...]}` a set, or a line for each
/// answer, whose id is the set's, a slash and the answer's number from 0: with `score`, or with the `logprob`
/// and `tokens` that `albacore score` writes. Where the original answers are candidates, theirs may come
/// last. Scores that the sets had are forgotten; a set without a line stays without.
///
/// # Errors
/// If the file cannot be read, a line is of no set, names an answer that is not there or one twice, has
/// another number of scores than the set has answers, or one that is no number: all are told of.
pub fn read_scores(path: &Path, sets: &mut [CandidateSet], config: &RankConfig) -> Result<()> {
    let objects = read_objects(path)?;
    let count = objects.good.len() + objects.bad.len();
    let mut problems: Vec<_> = objects.bad.iter().map(ToString::to_string).collect();
    sets.iter_mut().flat_map(|set| &mut set.responses).for_each(|response| response.score = None);
    let places = sets.iter().enumerate().map(|(place, set)| (set.id.clone(), place));
    let places: HashMap<String, usize> = places.collect();
    let mut known = HashSet::new();
    for (origin, object) in objects.good {
        let id = object.get("id").and_then(id_text).unwrap_or_default();
        let given = read(&object, &id, &places, sets, config).and_then(|line| {
            let keys: Vec<_> = match &line {
                Line::All(set, scores) => (0..scores.len()).map(|number| (*set, number)).collect(),
                Line::One(set, number, _) => vec![(*set, *number)],
            };
            match keys.into_iter().all(|key| known.insert(key)) {
                true => Ok(line),
                false => Err("scores an answer that has a score already".to_owned()),
            }
        });
        match given {
            Ok(Line::All(set, scores)) => {
                (0..).zip(scores).for_each(|(number, score)| give(&mut sets[set], number, score));
            }
            Ok(Line::One(set, number, score)) => give(&mut sets[set], number, score),
            Err(why) => problems.push(format!("{origin}: `{id}`: {why}")),
        }
    }
    Error::records(problems, count)
}

/// How many answers of a set may have a score.
fn most(set: &CandidateSet, config: &RankConfig) -> usize {
    let candidates = set.responses.iter().filter(|response| response.source != ORIGINAL).count();
    let joins = config.original == Original::Candidate && set.original.is_some();
    candidates + usize::from(joins)
}

fn give(set: &mut CandidateSet, number: usize, score: f64) {
    if number == set.responses.len() {
        let original = set.original.clone().unwrap_or_default();
        set.responses.push(Response::new(original, ORIGINAL));
    }
    set.responses[number].score = Some(score);
}

fn read(
    object: &Map<String, Value>,
    id: &str,
    places: &HashMap<String, usize>,
    sets: &[CandidateSet],
    config: &RankConfig,
) -> Result<Line, String> {
    if object.contains_key("scores") {
        let &set = places.get(id).ok_or("there is no such set")?;
        let (given, most) = (sets[set].responses.len(), most(&sets[set], config));
        let found = object.get("scores").and_then(Value::as_array).map_or(0, Vec::len);
        let wanted = if found == most { most } else { given };
        return Ok(Line::All(set, numbers(object, "scores", wanted, "responses")?));
    }
    let (set, number) = id.rsplit_once('/').ok_or("wanted an id `SET/NUMBER`, or `scores`")?;
    let &place = places.get(set).ok_or_else(|| format!("there is no set `{set}`"))?;
    let most = most(&sets[place], config);
    let number: usize = number.parse().map_err(|_| format!("`{number}` is no number"))?;
    if number >= most {
        return Err(format!(
            "there is no answer {number}, wanted one from 0 to {}",
            most.max(1) - 1
        ));
    }
    let number_of = |field: &str| {
        let value = object.get(field).ok_or_else(|| format!("there is no `{field}`"))?;
        let number = value.as_f64().filter(|number| number.is_finite());
        number.ok_or_else(|| format!("`{field}` is {value}, wanted a finite number"))
    };
    let score = match object.contains_key("logprob") {
        false => number_of("score")?,
        true => {
            let (logprob, tokens) = (number_of("logprob")?, number_of("tokens")?);
            if tokens < 1.0 {
                return Err(format!("`tokens` is {tokens}, wanted 1 or more"));
            }
            Likelihood { logprob, tokens: tokens as u64 }.score(config.length_exponent)
        }
    };
    Ok(Line::One(place, number, score))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::group::tests::group;
    use super::*;

    fn sets() -> Vec<CandidateSet> {
        let set = |id: &str| CandidateSet {
            id: id.into(),
            prompt: "P".into(),
            responses: group(&["x", "y"]).candidates,
            original: Some("o".into()),
            ..CandidateSet::default()
        };
        vec![set("a"), set("b/c")]
    }

    fn scored(lines: &str, config: &RankConfig) -> Result<Vec<Vec<Option<f64>>>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.jsonl");
        fs::write(&path, lines).unwrap();
        let mut sets = sets();
        read_scores(&path, &mut sets, config)?;
        let scores = |set: &CandidateSet| set.responses.iter().map(|one| one.score).collect();
        Ok(sets.iter().map(scores).collect())
    }

    #[test]
    fn a_line_scores_a_set_or_an_answer() {
        let config = RankConfig::default();
        let lines = "{\"id\": \"a\", \"scores\": [1, 2.5]}\n{\"id\": \"b/c/1\", \"score\": 3}\n\
                     {\"id\": \"b/c/0\", \"logprob\": -6.0, \"tokens\": 4, \"token_logprobs\": []}\n";
        let wanted = [[Some(1.0), Some(2.5)], [Some(-1.5), Some(3.0)]];
        assert_eq!(scored(lines, &config).unwrap(), wanted);
        // The original answer's comes last, where it is a candidate.
        let config = RankConfig { original: Original::Candidate, ..config };
        let lines =
            "{\"id\": \"a\", \"scores\": [1, 2, 9]}\n{\"id\": \"b/c\", \"scores\": [1, 2]}\n";
        let wanted = vec![vec![Some(1.0), Some(2.0), Some(9.0)], vec![Some(1.0), Some(2.0)]];
        assert_eq!(scored(lines, &config).unwrap(), wanted);
        let why = by_scores(group(&["x"])).unwrap_err();
        assert_eq!(
            (why.reason.as_str(), why.detail.as_deref()),
            ("no score", Some("1 of 1 answers have none"))
        );
    }

    #[test]
    fn what_fits_no_set_is_named_all_at_once() {
        let lines = "{\"id\": \"z\", \"scores\": [1, 2]}\n{\"id\": \"a\", \"scores\": [1]}\n\
                     {\"id\": \"a\", \"scores\": [1, \"NaN\"]}\n{\"id\": \"a/2\", \"score\": 1}\n\
                     {\"id\": \"a/0\", \"score\": 1}\n{\"id\": \"a/0\", \"score\": 1}\n{\"id\": \"q\"}\n\
                     {\"id\": \"a/1\", \"score\": NaN}\n";
        let error = scored(lines, &RankConfig::default()).unwrap_err().to_string();
        let wanted = [
            "7 of 8 records cannot be used",
            "1: `z`: there is no such set",
            "2: `a`: `scores` has 1 items, `responses` has 2",
            "3: `a`: `scores[1]` is a string, wanted a finite number",
            "4: `a/2`: there is no answer 2, wanted one from 0 to 1",
            "6: `a/0`: scores an answer that has a score already",
            "7: `q`: wanted an id `SET/NUMBER`, or `scores`",
            "scores.jsonl:8: ",
        ];
        for text in wanted {
            assert!(error.contains(text), "`{text}` in {error}");
        }
    }
}
