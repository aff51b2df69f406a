//! Super-NaturalInstructions: 119 English test tasks, the first 100 instances of each.
//!
//! - Layout: `tasks/TASK.json` and `splits/default/test_tasks.txt`, which names the test tasks; or any folder
//!   of task files, which are then all taken.
//! - Prompt (the encoding of Tk-Instruct): `Definition: …`, a blank line, ` Positive Example 1 -` with
//!   `Input: …` and ` Output: …`, and so on, each ending in a blank line; then `Now complete the following
//!   example -`, `Input: …`, `Output: `. A full stop follows where a field does not end in punctuation. Two
//!   positive examples, as far as all fits 1,024 tokens; what is longer without any is cut.
//! - Score: the best over the references. Exact match after lower case, without punctuation, blanks
//!   collapsed; F of ROUGE-L with stemming. The suite's number is the mean of its instances.
//! - With `evaluation.paraphrases`, each instance is asked under several wordings of its definition. The first, the
//!   task's own, counts in the numbers above; the others only in what is told of the wordings.
//! - A category is told by one of the two: see [`headline`](Task::headline).

mod paraphrases;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use albacore_data::Decoding;
use serde::Deserialize;

use crate::folder::{Home, json, read, stems};
use crate::{Error, Example, Question, Result, Scores, SuiteOptions, Task, text_scores};

/// Where there is no list of the test tasks.
const HOME: Home = Home {
    suite: "super_ni",
    places: &[
        "super_ni/tasks",
        "",
        "tasks",
        "test_tasks",
        "natural-instructions/test_tasks",
        "natural-instructions",
        "super_ni",
    ],
    origin: "https://github.com/allenai/natural-instructions (Apache-2.0)",
};

/// Instances of a task that are asked.
const INSTANCES: usize = 100;

/// Categories whose answers are right or wrong.
const EXACT: [&str; 6] = [
    "Textual Entailment",
    "Cause Effect Classification",
    "Coreference Resolution",
    "Dialogue Act Recognition",
    "Answerability Classification",
    "Word Analogy",
];

/// The suite.
#[derive(Debug)]
pub struct SuperNi {
    examples: Vec<Example>,
    /// Under which wording of its definition each is asked, from 0.
    wordings: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct File {
    categories: Vec<String>,
    definition: Definition,
    #[serde(rename = "Positive Examples")]
    positive: Vec<Positive>,
    instances: Vec<Instance>,
}

/// One text, or several of which the first is taken.
#[derive(Deserialize)]
#[serde(untagged)]
enum Definition {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Positive {
    input: String,
    output: String,
}

#[derive(Deserialize)]
struct Instance {
    id: String,
    input: String,
    output: Vec<String>,
}

impl SuperNi {
    /// Reads it.
    ///
    /// # Errors
    /// If files are missing or malformed, or an instance has no answer.
    pub fn open(data: &Path, options: &SuiteOptions) -> Result<Self> {
        let (folder, tasks) = tasks(data)?;
        let paraphrases = options.paraphrases.as_deref().map(paraphrases::read).transpose()?;
        let (mut examples, mut wordings, mut reworded) = (Vec::new(), Vec::new(), 0);
        for task in options.chosen("super_ni", &folder, tasks)? {
            let path = folder.join(format!("{task}.json"));
            let file: File = json(&path)?;
            let more =
                paraphrases.as_ref().map(|all| all.get(&task).map_or(&[][..], Vec::as_slice));
            reworded += usize::from(more.is_some_and(|more| !more.is_empty()));
            let heads = definitions(&file.definition, more);
            let shots = file.positive.iter().take(options.shots.unwrap_or(2));
            let shots: Arc<[_]> =
                (1..).zip(shots).map(|(number, shot)| positive(number, shot)).collect();
            let most = if options.whole { usize::MAX } else { INSTANCES };
            for Instance { id, input, output } in file.instances.into_iter().take(most) {
                if output.is_empty() {
                    let message = format!("the instance `{id}` has no output, wanted at least one");
                    return Err(Error::malformed(path.display(), message));
                }
                let tail = format!("{}Output: ", asked(&input));
                for (wording, head) in heads.iter().enumerate() {
                    let (head, shots, tail) = (head.clone(), shots.clone(), tail.clone());
                    wordings.push(wording);
                    examples.push(Example {
                        id: paraphrases::id(&id, wording),
                        task: task.clone(),
                        category: file.categories.first().cloned().unwrap_or_default(),
                        question: Question { head, shots, tail, ..Question::default() },
                        texts: vec![input.clone()],
                        references: output.clone(),
                    });
                }
            }
        }
        match &options.paraphrases {
            Some(path) if reworded == 0 => {
                Err(Error::malformed(path.display(), "it rewords none of the tasks that are asked"))
            }
            _ => Ok(Self { examples, wordings }),
        }
    }
}

/// The folder of tasks, and those that are tested.
fn tasks(data: &Path) -> Result<(PathBuf, Vec<String>)> {
    let is_task = |name: &str| name.starts_with("task") && name.ends_with(".json");
    // The published layout, whose list of test tasks holds.
    for place in ["natural-instructions", "super_ni", ""] {
        let (root, list) = (data.join(place), "splits/default/test_tasks.txt");
        if root.join(list).is_file() && root.join("tasks").is_dir() {
            let folder = root.join("tasks");
            let names = read(&root.join(list))?;
            let names: Vec<_> = names.split_whitespace().map(str::to_owned).collect();
            let missing =
                names.iter().filter(|name| !folder.join(format!("{name}.json")).is_file());
            let missing: Vec<_> = missing.collect();
            if let Some(first) = missing.first() {
                let wanted = match missing.len() {
                    1 => format!("tasks/{first}.json"),
                    more => {
                        format!("tasks/{first}.json` (and {} more of the test split)", more - 1)
                    }
                };
                return Err(HOME.missing(data, &root, &wanted));
            }
            return Ok((folder, names));
        }
    }
    let folder = HOME.find(data, "taskNNN_NAME.json", is_task)?;
    let mut names = stems(&folder, ".json");
    names.retain(|name| name.starts_with("task"));
    Ok((folder, names))
}

/// With a full stop, unless it ends in punctuation.
fn ended(text: String) -> String {
    if text.ends_with(|last: char| last.is_ascii_punctuation()) { text } else { text + "." }
}

/// The task's definition as it is asked; with `more` wordings, all that the task has and these.
fn definitions(own: &Definition, more: Option<&[String]>) -> Vec<String> {
    let own = match own {
        Definition::One(text) => std::slice::from_ref(text),
        Definition::Several(texts) => texts.as_slice(),
    };
    let first = own.first().map_or("", String::as_str);
    let others = more.map(|more| own.iter().skip(1).chain(more).map(String::as_str));
    let all = std::iter::once(first).chain(others.into_iter().flatten());
    all.map(|text| ended(format!("Definition: {}", text.trim())) + "\n\n").collect()
}

fn positive(number: usize, Positive { input, output }: &Positive) -> String {
    let input = ended(format!(" Positive Example {number} -\nInput: {}", input.trim()));
    ended(format!("{input}\n Output: {}", output.trim())) + "\n\n"
}

fn asked(input: &str) -> String {
    ended(format!("Now complete the following example -\nInput: {}", input.trim())) + "\n"
}

impl Task for SuperNi {
    fn name(&self) -> &'static str {
        "super_ni"
    }

    fn examples(&self) -> &[Example] {
        &self.examples
    }

    fn decoding(&self) -> Decoding {
        // A model that was not tuned goes on with another example behind a blank line.
        Decoding { max_tokens: 128, stop: vec!["\n\n".into()], ..Decoding::default() }
    }

    fn score(&self, example: usize, extracted: &str) -> Scores {
        text_scores(extracted, &self.examples[example].references)
    }

    fn repeats(&self, example: usize) -> bool {
        self.wordings[example] > 0
    }

    fn headline(&self, category: &str) -> &'static str {
        if EXACT.contains(&category) { "exact_match" } else { "rouge_l" }
    }

    fn most_prompt_tokens(&self) -> Option<usize> {
        Some(1024)
    }

    fn summary(&self, scored: &BTreeMap<usize, Scores>) -> BTreeMap<String, f64> {
        let headline = |category: &str| self.headline(category);
        paraphrases::robustness(&self.examples, &self.wordings, scored, headline)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;
    use crate::{Bootstrap, Results, Scored, first_of_each_task};

    fn task(instances: usize) -> String {
        let instances: Vec<_> = (0..instances)
            .map(|number| format!(r#"{{"id": "t-{number}", "input": "Number {number}", "output": ["A cat!", "dogs"]}}"#))
            .collect();
        format!(
            r#"{{"Categories": ["Textual Entailment", "Other"], "Definition": ["Say what it is"],
            "Positive Examples": [{{"input": " One? ", "output": "1", "explanation": "so"}},
              {{"input": "Two", "output": "2."}}, {{"input": "Three", "output": "3"}}],
            "Negative Examples": [], "Instances": [{}]}}"#,
            instances.join(", ")
        )
    }

    #[test]
    fn other_wordings_of_an_instance_are_no_questions_of_their_own() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let line =
            |task: &str| format!("{{\"task\": \"{task}\", \"definitions\": [\"Name it\"]}}\n");
        fs::write(file.path(), line("task1_what") + &line("task2_who")).unwrap();
        let rows = |paraphrases: Option<PathBuf>| {
            let suite = open(&SuiteOptions { paraphrases, ..SuiteOptions::default() });
            let asked = first_of_each_task(&suite, Some(40));
            // Every other instance is right; under the other wordings all are wrong.
            let mut instances = 0;
            let scored = asked.into_iter().map(|number| {
                let repeats = suite.repeats(number);
                instances += usize::from(!repeats);
                let right = !repeats && instances % 2 == 0;
                (number, suite.score(number, if right { "dogs" } else { "" }))
            });
            let (scores, unanswered) = (scored.collect(), BTreeSet::new());
            let scored = Scored { model: "a", scores: &scores, unanswered: &unanswered };
            let mut results =
                Results::new(&Bootstrap { resamples: 100, confidence: 0.95, seed: 0 });
            results.add(&suite, &[scored]);
            (results.rows, results.summaries.len())
        };
        let ((plain, none), (worded, told)) = (rows(None), rows(Some(file.path().to_owned())));
        assert_eq!((plain[0].n, plain[0].percent), (42, Some(50.0)));
        // Suite, category and tasks, with their intervals.
        assert_eq!(plain, worded);
        assert_eq!((none, told), (0, 5));
    }

    fn open(options: &SuiteOptions) -> SuperNi {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("task1_what.json"), task(103)).unwrap();
        fs::write(folder.path().join("task2_who.json"), task(2)).unwrap();
        SuperNi::open(folder.path(), options).unwrap()
    }

    #[test]
    fn the_prompt_is_that_of_tk_instruct() {
        let suite = open(&SuiteOptions::default());
        let wanted = "Definition: Say what it is.\n\n Positive Example 1 -\nInput: One?\n Output: 1.\n\n \
            Positive Example 2 -\nInput: Two.\n Output: 2.\n\nNow complete the following example -\n\
            Input: Number 0.\nOutput: ";
        assert_eq!(suite.examples()[0].question.text(2), wanted);
        assert_eq!(suite.examples()[0].question.shots.len(), 2);
        assert_eq!(suite.examples()[0].texts, ["Number 0"]);
        let zero = open(&SuiteOptions { shots: Some(0), ..SuiteOptions::default() });
        let wanted = "Definition: Say what it is.\n\nNow complete the following example -\nInput: Number 0.\nOutput: ";
        assert_eq!(zero.examples()[0].question.text(2), wanted);
    }

    #[test]
    fn the_first_hundred_instances_are_asked_or_all() {
        assert_eq!(open(&SuiteOptions::default()).examples().len(), 102);
        let whole = SuiteOptions { whole: true, ..SuiteOptions::default() };
        assert_eq!(open(&whole).examples().len(), 105);
    }

    #[test]
    fn each_instance_is_asked_under_every_wording_of_its_definition() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "{\"task\": \"task2_who\", \"definitions\": [\"Name it\"]}\n")
            .unwrap();
        let paraphrases = Some(file.path().to_owned());
        let suite = open(&SuiteOptions { paraphrases, ..SuiteOptions::default() });
        let last: Vec<_> = suite.examples()[100..].iter().collect();
        let ids: Vec<_> = last.iter().map(|example| &*example.id).collect();
        assert_eq!(ids, ["t-0", "t-0 wording 2", "t-1", "t-1 wording 2"]);
        assert_eq!(last[1].question.head, "Definition: Name it.\n\n");
        assert_eq!(
            (&last[1].question.tail, &last[1].references),
            (&last[0].question.tail, &last[0].references)
        );
        let right =
            |number: usize| (number, suite.score(number, if number == 103 { "" } else { "dogs" }));
        let summary = suite.summary(&(100..104).map(right).collect());
        // Two instances, of which the second is right under one of two wordings.
        assert_eq!([summary["wordings_mean"], summary["wordings_steady"]], [75.0, 50.0]);
        // A limit is one of instances.
        assert_eq!(first_of_each_task(&suite, Some(1)), [0, 100, 101]);
        fs::write(file.path(), "{\"task\": \"task3\", \"definitions\": [\"Name it\"]}\n").unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("task1_what.json"), task(1)).unwrap();
        let paraphrases = Some(file.path().to_owned());
        let error =
            SuperNi::open(folder.path(), &SuiteOptions { paraphrases, ..SuiteOptions::default() });
        let error = error.unwrap_err().to_string();
        assert!(error.ends_with("it rewords none of the tasks that are asked"), "{error}");
    }

    #[test]
    fn an_answer_is_as_good_as_its_best_reference() {
        let suite = open(&SuiteOptions::default());
        let scores = |answer: &str| {
            let scores = suite.score(0, &suite.extract(0, answer));
            (scores["exact_match"], scores["rouge_l"])
        };
        assert_eq!(scores(" a  CAT"), (1.0, 1.0));
        // Stemmed, `dog` is the same word.
        assert_eq!(scores("dog"), (0.0, 1.0));
        assert_eq!(scores("the cat"), (0.0, 0.5));
        assert_eq!(scores(""), (0.0, 0.0));
        assert_eq!(suite.headline("Textual Entailment"), "exact_match");
        assert_eq!(suite.headline("Title Generation"), "rouge_l");
    }

    #[test]
    fn in_the_published_layout_the_list_of_test_tasks_holds() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("splits/default")).unwrap();
        fs::create_dir_all(folder.path().join("tasks")).unwrap();
        fs::write(folder.path().join("tasks/task1_what.json"), task(1)).unwrap();
        fs::write(folder.path().join("tasks/task9_trained_on.json"), task(1)).unwrap();
        let list = folder.path().join("splits/default/test_tasks.txt");
        fs::write(&list, "task1_what\n").unwrap();
        let suite = SuperNi::open(folder.path(), &SuiteOptions::default()).unwrap();
        assert_eq!(suite.examples().len(), 1);
        fs::write(&list, "task1_what\ntask2_who\n").unwrap();
        let error = SuperNi::open(folder.path(), &SuiteOptions::default()).unwrap_err().to_string();
        assert!(error.contains("`tasks/task2_who.json` of `super_ni`"), "{error}");
    }
}
