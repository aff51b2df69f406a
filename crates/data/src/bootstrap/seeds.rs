//! Seed tasks: what people wrote, from which the rest is made.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Instance;
use super::python::strip;
use crate::{Error, Objects, Origin, Result, read_objects};

/// A task of the published record format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedTask {
    /// Its name in records.
    pub id: String,
    /// What it is about, in a word or two.
    pub name: String,
    /// What is to be done.
    pub instruction: String,
    /// Examples of it, one at least.
    pub instances: Vec<Instance>,
    /// Whether the output is one of a few labels.
    pub is_classification: bool,
}

/// What is wrong with one line of a seed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedProblem {
    /// Where.
    pub origin: Origin,
    /// What: found and wanted.
    pub message: String,
}

/// The seed tasks that come with albacore.
pub fn our_seeds() -> Vec<SeedTask> {
    const OURS: &str = include_str!("../../../../data/seeds/seed_tasks.jsonl");
    let read = |line| serde_json::from_str(line).expect("our seeds are well formed");
    OURS.lines().map(read).collect()
}

/// Reads seed tasks.
///
/// # Errors
/// If the file cannot be read or holds no records, or with all that is wrong with its lines.
pub fn read_seeds(path: &Path) -> Result<Vec<SeedTask>> {
    let Objects { good, bad, .. } = read_objects(path)?;
    let mut problems: Vec<SeedProblem> = bad
        .into_iter()
        .map(|bad| SeedProblem { origin: bad.origin, message: bad.defect.to_string() })
        .collect();
    let (mut seeds, mut seen) = (Vec::new(), HashMap::new());
    for (origin, object) in good {
        let mut wrong = |message| problems.push(SeedProblem { origin: origin.clone(), message });
        match serde_json::from_value::<SeedTask>(object.into()) {
            Err(error) => wrong(format!(
                "{error}: a seed task has `id`, `name`, `instruction`, `instances` (a list of `input` and `output`) and `is_classification`"
            )),
            Ok(seed) => {
                for message in defects(&seed) {
                    wrong(message);
                }
                if let Some(before) = seen.insert(seed.id.clone(), origin.line) {
                    wrong(format!(
                        "the id `{}` stands in line {before} as well, wanted another",
                        seed.id
                    ));
                }
                seeds.push(seed);
            }
        }
    }
    if !problems.is_empty() {
        problems.sort_by_key(|problem| problem.origin.line);
        return Err(Error::Seeds { problems });
    }
    Ok(seeds)
}

/// What no seed may have, whatever it is about.
fn defects(seed: &SeedTask) -> Vec<String> {
    let mut defects = Vec::new();
    if strip(&seed.instruction).is_empty() {
        defects.push("`instruction` is empty, wanted a task".to_owned());
    }
    if seed.instances.is_empty() {
        defects.push("`instances` is empty, wanted one at least".to_owned());
    }
    for (number, instance) in seed.instances.iter().enumerate() {
        if strip(&instance.output).is_empty() {
            defects.push(format!("`instances[{number}].output` is empty, wanted an answer"));
        }
    }
    defects
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<SeedTask>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seeds.jsonl");
        std::fs::write(&path, text).unwrap();
        read_seeds(&path)
    }

    #[test]
    fn a_published_line_is_read_as_it_stands() {
        let line = r#"{"id": "seed_task_0", "name": "n", "instruction": "Do it.", "instances": [{"input": "", "output": "Done."}], "is_classification": false}"#;
        let seeds = read(line).unwrap();
        let instance = Instance { input: String::new(), output: "Done.".into() };
        assert_eq!(
            (seeds[0].id.as_str(), &seeds[0].instances[..]),
            ("seed_task_0", &[instance][..])
        );
    }

    #[test]
    fn every_line_that_is_wrong_is_named_with_its_field() {
        let line = |id: &str, instruction: &str, instances: &str| {
            format!(
                r#"{{"id": "{id}", "name": "n", "instruction": "{instruction}", "instances": {instances}, "is_classification": false}}"#
            )
        };
        let good = r#"[{"input": "", "output": "x"}]"#;
        let text = [
            line("a", "Do it.", good),
            line("a", "Do that.", good),
            line("b", " ", "[]"),
            line("c", "Do.", r#"[{"input": "x"}]"#),
            "{".to_owned(),
            line("d", "Do.", r#"[{"input": "", "output": " "}]"#),
        ];
        let error = read(&text.join("\n")).unwrap_err();
        let Error::Seeds { problems } = &error else { panic!("{error}") };
        let found = problems.iter().map(|problem| (problem.origin.line, problem.message.as_str()));
        let found = found.collect::<Vec<_>>();
        assert_eq!(found[0], (2, "the id `a` stands in line 1 as well, wanted another"));
        assert_eq!(found[1], (3, "`instruction` is empty, wanted a task"));
        assert_eq!(found[2], (3, "`instances` is empty, wanted one at least"));
        assert!(found[3].0 == 4 && found[3].1.starts_with("missing field `output`"), "{found:?}");
        assert!(found[4].0 == 5, "{found:?}");
        assert_eq!(found[5], (6, "`instances[0].output` is empty, wanted an answer"));
        assert_eq!(found.len(), 6);
    }
}
