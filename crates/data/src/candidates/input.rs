//! Files of candidates: ours, and those that others have published.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::shapes::Shape;
use super::{CandidateSet, RankedRecord, id_text};
use crate::read::read_objects;
use crate::{Error, Origin, Result, Template};

/// Sets, and where each stands.
#[derive(Debug, Default)]
pub struct Opened {
    /// In file order, each under an id of its own.
    pub sets: Vec<CandidateSet>,
    /// One for each.
    pub origins: Vec<Origin>,
    /// SHA-256 of the file.
    pub hash: [u8; 32],
}

/// Reads candidates: what `sample` writes, `tuna` records, the raw files of Tuna's authors, or pairs of a
/// chosen and a rejected answer. Which it is, is told by the fields of each record. `template` makes
/// prompts of instructions that have none yet.
///
/// A record without `id` is called by its number, from 0.
///
/// # Errors
/// If the file cannot be read, or records cannot be used: all of them are told of.
pub fn read_candidates(path: &Path, template: &Template) -> Result<Opened> {
    read_sets(path, |object, id| Shape::of(object)?.read(object, id, template))
}

/// Reads rankings to compare others with: `tuna` records, or whatever else of the above has scores.
///
/// # Errors
/// As [`read_candidates`]; and if an answer has no score.
pub fn read_rankings(path: &Path, template: &Template) -> Result<Vec<RankedRecord>> {
    let opened = read_sets(path, |object, id| {
        let set = Shape::of(object)?.read(object, id, template)?;
        match set.responses.iter().position(|response| response.score.is_none()) {
            Some(index) => Err(format!("answer {index} has no score")),
            None => Ok(set),
        }
    })?;
    let ranked = opened.sets.into_iter().map(|set| RankedRecord {
        id: set.id,
        instruction: set.prompt,
        score: set.responses.iter().filter_map(|response| response.score).collect(),
        source: set.responses.iter().map(|response| response.source.clone()).collect(),
        output: set.responses.into_iter().map(|response| response.text).collect(),
        original: None,
    });
    Ok(ranked.collect())
}

fn read_sets(
    path: &Path,
    read: impl Fn(&Map<String, Value>, String) -> Result<CandidateSet, String>,
) -> Result<Opened> {
    let objects = read_objects(path)?;
    let mut problems: Vec<_> =
        objects.bad.iter().map(|bad| (bad.origin.line, bad.to_string())).collect();
    let count = objects.good.len() + objects.bad.len();
    let mut opened = Opened { hash: objects.hash, ..Opened::default() };
    let mut lines: HashMap<String, u32> = HashMap::new();
    for (number, (origin, object)) in objects.good.into_iter().enumerate() {
        let id = object.get("id").and_then(id_text).unwrap_or_else(|| number.to_string());
        let mut refuse = |why: String| {
            problems.push((origin.line, format!("{origin}: `{id}`: {why}")));
        };
        match lines.get(&id) {
            Some(line) => refuse(format!("stands on line {line} already")),
            None => match read(&object, id.clone()) {
                Ok(set) => {
                    lines.insert(id, origin.line);
                    opened.sets.push(set);
                    opened.origins.push(origin);
                }
                Err(why) => refuse(why),
            },
        }
    }
    problems.sort();
    Error::records(problems.into_iter().map(|(_, text)| text).collect(), count)?;
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::Patterns;

    fn read(records: &[Value]) -> Result<Opened> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sets.jsonl");
        let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
        fs::write(&path, lines).unwrap();
        read_candidates(&path, &Template::Patterns(Patterns::alpaca(), "alpaca".into()))
    }

    fn scores(set: &CandidateSet) -> Vec<(&str, Option<f64>)> {
        set.responses.iter().map(|response| (response.text.as_str(), response.score)).collect()
    }

    #[test]
    fn every_published_shape_becomes_a_set() {
        let sets = read(&[
            json!({"id": "a", "prompt": "P", "responses": [{"text": "x", "logprob": -2.0}, {"text": "y"}]}),
            json!({"id": 7, "instruction": "P", "output": ["x", "y"], "score": [1, 0.5], "original": "o"}),
            json!({"instruction": "P", "output": ["x", "y"], "rouge": 0.25}),
            json!({"orig": {"instruction": "I", "input": "", "output": "o"}, "text": ["x", "y"],
                   "avg_token_prob": [-0.5, -1.0], "length": [3, 4], "logprob": [-1.5, -4.0]}),
            json!({"prompt": "I", "instruct": "P", "generation": ["x", "y", "z"], "id": "g",
                   "ranks": [3, 2, 0], "response_4": "own"}),
            json!({"prompt": "I", "chosen": "x", "rejected": "y"}),
            json!({"chosen": [{"role": "user", "content": "I"}, {"role": "assistant", "content": "x"}],
                   "rejected": [{"role": "user", "content": "I"}, {"role": "assistant", "content": "y"}]}),
        ])
        .unwrap()
        .sets;
        let ids = ["a", "7", "2", "3", "g", "5", "6"];
        assert!(sets.iter().map(|set| set.id.as_str()).eq(ids));
        assert_eq!(sets[0].responses[0].logprob, Some(-2.0));
        assert_eq!(scores(&sets[1]), [("x", Some(1.0)), ("y", Some(0.5))]);
        assert_eq!(sets[1].original.as_deref(), Some("o"));
        assert_eq!((scores(&sets[2])[1], sets[2].rouge), (("y", None), Some(0.25)));
        let raw = &sets[3].responses[1];
        assert_eq!((raw.mean_logprob, raw.logprob, raw.tokens), (Some(-1.0), Some(-4.0), Some(4)));
        assert!(sets[3].prompt.ends_with("### Instruction:\nI\n\n### Response:"));
        assert_eq!(sets[3].original.as_deref(), Some("o"));
        // The judge left `y` out: it says what another says.
        assert_eq!(scores(&sets[4]), [("x", Some(0.0)), ("z", Some(1.0)), ("own", Some(2.0))]);
        assert_eq!(sets[4].responses[2].source, "judge");
        for pair in &sets[5..] {
            assert_eq!(scores(pair), [("x", Some(1.0)), ("y", Some(0.0))]);
            assert!(pair.prompt.contains("### Instruction:\nI\n"));
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_all_at_once() {
        let talk = json!([{"role": "user", "content": "I"}, {"role": "assistant", "content": "x"},
                          {"role": "user", "content": "J"}, {"role": "assistant", "content": "y"}]);
        let error = read(&[
            json!({"id": "a", "instruction": "P", "output": ["x", "y"], "score": [1]}),
            json!({"id": "b", "instruction": " ", "output": ["x", ""], "score": [1, 0]}),
            json!({"id": "c", "instruction": "P", "output": ["x", "y"], "score": [1, "NaN"]}),
            json!({"id": "d", "instruct": "P", "generation": ["x", "y"], "rank": [1, 5]}),
            json!({"id": "e", "instruct": "P", "generation": ["x", "y"], "rank": [1, 1]}),
            json!({"id": "f", "chosen": talk, "rejected": talk}),
            json!({"id": "g", "prompt": "P", "responses": [{"text": "x"}]}),
            json!({"id": "g", "prompt": "P", "responses": [{"text": "x"}]}),
            json!({"id": "h", "question": "P"}),
            json!({"id": "i", "instruction": "P", "output": []}),
        ])
        .unwrap_err()
        .to_string();
        let wanted = [
            "9 of 10 records cannot be used",
            "1: `a`: `score` has 1 items, `output` has 2",
            "2: `b`: `instruction` is empty",
            "3: `c`: `score[1]` is a string, wanted a finite number",
            "4: `d`: `rank` names answer 5, wanted one from 0 to 2",
            "5: `e`: `rank` names answer 1 twice",
            "6: `f`: `chosen` is a conversation of 3 messages before the answer",
            "8: `g`: stands on line 7 already",
            "9: `h`: cannot tell what it is from the fields `id`, `question`",
            "10: `i`: `output` is empty",
        ];
        for text in wanted {
            assert!(error.contains(text), "`{text}` in {error}");
        }
    }
}
