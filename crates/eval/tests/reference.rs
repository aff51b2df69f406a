//! The rules against published files, where `ALBACORE_EVAL_DATA` names a folder that holds them. None of
//! them is part of this project.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use albacore_eval::{SuiteOptions, Task, open_suite};
use serde_json::Value;

/// The folder, or why the test proves nothing.
fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("ALBACORE_EVAL_DATA").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: `ALBACORE_EVAL_DATA` is not set");
    }
    folder
}

fn open(name: &str, data: &Path) -> Box<dyn Task> {
    let shots = name.starts_with("mgsm").then_some(0);
    let options = SuiteOptions { shots, ..SuiteOptions::default() };
    open_suite(name, data, &options).expect("the suite is there")
}

fn right(task: &dyn Task, example: usize, answer: &str) -> bool {
    let scores = task.score(example, &task.extract(example, answer));
    scores[task.headline("")] == 1.0
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("a file that can be read");
    serde_json::from_str(text.lines().next().unwrap_or_default()).expect("a line of JSON")
}

/// Two files were corrected after Codex had been asked.
const CORRECTED: [&str; 2] = ["date_understanding", "tracking_shuffled_objects_three_objects"];

#[test]
fn the_outputs_of_codex_on_bbh_score_as_stored_and_our_prompts_are_theirs() {
    let Some(data) = data() else { return };
    let mut files = 0;
    for (suite, kind) in [("bbh", "direct"), ("bbh_cot", "cot")] {
        let folder = data.join(format!("bbh/code-davinci-002-outputs/code-davinci-002-{kind}"));
        let Ok(entries) = fs::read_dir(folder) else { continue };
        let outputs = entries.map(|entry| entry.unwrap().path());
        for path in outputs.filter(|path| path.extension() == Some("json".as_ref())) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let name = name.split("_few_shot").next().unwrap();
            let task = open(&format!("{suite}/{name}"), &data);
            let stored: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            let outputs = stored["outputs"].as_array().unwrap();
            assert_eq!(outputs.len(), task.examples().len(), "{name}");
            let text = |output: &Value, key: &str| output[key].as_str().unwrap().to_owned();
            let mut count = 0;
            for (example, output) in outputs.iter().enumerate() {
                if !CORRECTED.contains(&name) {
                    let prompt = task.examples()[example].question.text(3);
                    assert_eq!(prompt, text(output, "input"), "{kind} {name} {example}");
                }
                count += usize::from(right(&*task, example, &text(output, "prediction")));
            }
            let metrics = path.with_file_name(format!(
                "{}_eval_metrics.jsonl",
                path.file_stem().unwrap().to_str().unwrap()
            ));
            let wanted = json(&metrics)["accuracy"].as_f64().unwrap();
            let found = 100.0 * count as f64 / outputs.len() as f64;
            assert!((found - wanted).abs() < 1e-9, "{kind} {name}: {found}, wanted {wanted}");
            files += 1;
        }
    }
    println!("{files} files of outputs");
    assert!(files > 0);
}

#[test]
fn published_solutions_of_gsm8k_are_as_right_as_stored() {
    let Some(data) = data() else { return };
    let task = open("gsm8k", &data);
    let text = fs::read_to_string(data.join("gsm8k/example_model_solutions.jsonl")).unwrap();
    let mut rights = BTreeMap::<String, usize>::new();
    for (example, line) in text.lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        for (model, stored) in line.as_object().unwrap() {
            let Some(wanted) = stored.get("is_correct") else { continue };
            let found = right(&*task, example, stored["solution"].as_str().unwrap());
            assert_eq!(Some(found), wanted.as_bool(), "{model} {example}");
            *rights.entry(model.clone()).or_default() += usize::from(found);
        }
    }
    assert_eq!(task.examples().len(), 1319);
    let percent = |model: &str| (10_000.0 * rights[model] as f64 / 1319.0).round() / 100.0;
    let models = ["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"];
    assert_eq!(models.map(percent), [21.68, 39.04, 34.72, 56.25]);
}

#[test]
fn mmlu_has_its_questions_and_five_exemplars_of_every_subject() {
    let Some(data) = data() else { return };
    let task = open("mmlu", &data);
    let subjects: std::collections::BTreeSet<_> =
        task.examples().iter().map(|example| &example.task).collect();
    assert_eq!((task.examples().len(), subjects.len()), (14_042, 57));
    assert!(task.examples().iter().all(|example| example.question.shots.len() == 5));
    let mut groups = BTreeMap::<&str, usize>::new();
    for example in task.examples() {
        *groups.entry(&example.category).or_default() += 1;
    }
    // As the benchmark's paper and script count them.
    let wanted = [("STEM", 3018), ("humanities", 4705), ("other", 3242), ("social sciences", 3077)];
    assert_eq!(groups.into_iter().collect::<Vec<_>>(), wanted);
}

#[test]
fn the_prompts_of_mmlu_that_reason_are_the_published_ones() {
    let Some(data) = data() else { return };
    let task = open("mmlu_cot", &data);
    let text = fs::read_to_string(data.join("mmlu/mmlu-cot.json")).unwrap();
    let published: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    let mut subjects = BTreeMap::new();
    for example in task.examples() {
        subjects.entry(example.task.as_str()).or_insert(&example.question);
    }
    assert_eq!(subjects.len(), 57);
    for (subject, question) in subjects {
        let ours = format!("{}{}", question.head, question.shots.concat());
        assert_eq!(ours.trim_end(), published[subject].trim_end(), "{subject}");
    }
}

#[test]
fn mgsm_has_its_ten_languages_with_the_answers_of_gsm8k() {
    let Some(data) = data() else { return };
    let task = open("mgsm", &data);
    assert_eq!(task.examples().len(), 2500);
    assert!((0..2500).all(|example| {
        let wanted = &task.examples()[example].references[0];
        right(&*task, example, &format!("1 + 1 = {wanted}."))
    }));
}

#[test]
fn super_ni_asks_the_first_hundred_instances_of_the_tasks_that_are_there() {
    let Some(data) = data() else { return };
    let task = open("super_ni", &data);
    let mut tasks = BTreeMap::<&str, usize>::new();
    for example in task.examples() {
        *tasks.entry(&example.task).or_default() += 1;
    }
    assert!(!tasks.is_empty() && tasks.values().all(|count| *count == 100), "{tasks:?}");
    // A reference is its own best answer.
    for (number, example) in task.examples().iter().enumerate() {
        let scores = task.score(number, &example.references[0]);
        assert_eq!(scores["exact_match"], 1.0);
    }
}
