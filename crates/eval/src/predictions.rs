//! Predictions that were made elsewhere, scored.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;

use crate::folder::json_lines;
use crate::parallel::each;
use crate::{Error, Result, Scores, Task};

/// Ids of one kind that are named; the rest are counted.
const NAMED: usize = 5;

#[derive(Deserialize)]
struct Line {
    id: serde_json::Value,
    prediction: String,
}

/// Answers by the id that a file of predictions has for them.
#[derive(Debug)]
pub struct Predictions {
    /// In the order of the file.
    lines: Vec<(String, String)>,
}

impl Predictions {
    /// Reads lines `{"id", "prediction"}`; an id is a text or a whole number.
    ///
    /// # Errors
    /// If the file cannot be read, or a line is none of these.
    pub fn read(path: &Path) -> Result<Self> {
        let lines: Vec<Line> = json_lines(path)?;
        let lines = lines.into_iter().map(|Line { id, prediction }| match id {
            serde_json::Value::String(id) => Ok((id, prediction)),
            serde_json::Value::Number(id) => Ok((id.to_string(), prediction)),
            other => {
                let message = format!("the id is `{other}`, wanted a text or a number");
                Err(Error::malformed(path.display(), message))
            }
        });
        Ok(Self { lines: lines.collect::<Result<_>>()? })
    }

    /// Whether one of the ids is none of the task's.
    pub fn has_others(&self, task: &dyn Task) -> bool {
        let ids = ids(task);
        self.lines.iter().any(|(id, _)| !ids.contains_key(id))
    }

    /// The scores of all examples. `path` and `name` are said where they do not fit each other.
    ///
    /// # Errors
    /// If an id is missing, is no example's, or stands there twice: all of them are named.
    pub fn score(
        &self,
        task: &dyn Task,
        path: &Path,
        name: &str,
    ) -> Result<BTreeMap<usize, Scores>> {
        let ids = ids(task);
        let mut found = BTreeMap::new();
        let (mut extra, mut repeated) = (Vec::new(), Vec::new());
        for (id, prediction) in &self.lines {
            match ids.get(id) {
                None => extra.push(id.as_str()),
                Some(&example) => {
                    if found.insert(example, prediction).is_some() {
                        repeated.push(id.as_str());
                    }
                }
            }
        }
        let mut missing: Vec<_> =
            ids.iter().filter(|(_, example)| !found.contains_key(example)).collect();
        missing.sort_by_key(|(_, example)| **example);
        let missing: Vec<_> = missing.into_iter().map(|(id, _)| id.as_str()).collect();
        let problems: Vec<_> = [("missing", missing), ("extra", extra), ("repeated", repeated)]
            .into_iter()
            .filter(|(_, ids)| !ids.is_empty())
            .map(|(what, ids)| told(what, &ids))
            .collect();
        if problems.is_empty() {
            let found: Vec<_> = found.into_iter().collect();
            let score = |(example, prediction): &(usize, &String)| {
                (*example, task.score(*example, &task.extract(*example, prediction)))
            };
            return Ok(each(&found, score).into_iter().collect());
        }
        Err(Error::Predictions { path: path.to_owned(), task: name.to_owned(), problems })
    }
}

/// The examples by their ids in a file: with their task before it where tasks share ids.
fn ids(task: &dyn Task) -> HashMap<String, usize> {
    let examples = task.examples();
    let plain: HashMap<_, _> =
        examples.iter().enumerate().map(|(number, example)| (example.id.clone(), number)).collect();
    if plain.len() == examples.len() {
        return plain;
    }
    let full = examples.iter().enumerate();
    full.map(|(number, example)| (format!("{}/{}", example.task, example.id), number)).collect()
}

fn told(what: &str, ids: &[&str]) -> String {
    let named: Vec<_> = ids.iter().take(NAMED).map(|id| format!("`{id}`")).collect();
    let rest = match ids.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{} {what}: {}{rest}", ids.len(), named.join(", "))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tiny::Adding;

    fn score(lines: &str) -> Result<BTreeMap<usize, Scores>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.jsonl");
        fs::write(&path, lines).unwrap();
        let predictions = Predictions::read(&path)?;
        predictions.score(&Adding::new(3), Path::new("p.jsonl"), "adding")
    }

    #[test]
    fn every_example_has_one_prediction_in_any_order() {
        let scores = score(
            "{\"id\": 2, \"prediction\": \"4\"}\n{\"id\": \"0\", \"prediction\": \" 0 \"}\n\n{\"id\": 1, \"prediction\": \"3\"}\n",
        );
        let scores: Vec<_> = scores.unwrap().values().map(|scores| scores["accuracy"]).collect();
        assert_eq!(scores, [1.0, 0.0, 1.0]);
    }

    #[test]
    fn missing_extra_and_repeated_ids_are_all_named() {
        let error = score(
            "{\"id\": 1, \"prediction\": \"\"}\n{\"id\": 1, \"prediction\": \"\"}\n{\"id\": \"x\", \"prediction\": \"\"}\n",
        );
        let wanted =
            "`p.jsonl` does not fit `adding`: 2 missing: `0`, `2`; 1 extra: `x`; 1 repeated: `1`";
        assert_eq!(error.unwrap_err().to_string(), wanted);
        let error = score("{\"id\": 1}\n").unwrap_err().to_string();
        assert!(error.contains(":1: missing field `prediction`"), "{error}");
    }

    #[test]
    fn where_tasks_share_ids_the_task_stands_before_them() {
        let both = Adding::of_tasks(&["easy", "hard"], 2);
        let mut found: Vec<_> = ids(&both).into_iter().collect();
        found.sort_by_key(|(_, number)| *number);
        let found: Vec<_> = found.into_iter().map(|(id, _)| id).collect();
        assert_eq!(found, ["easy/0", "easy/1", "hard/0", "hard/1"]);
    }
}
