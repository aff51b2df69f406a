//! The published pipeline's own run, replayed: `ALBACORE_SELF_INSTRUCT_RUN` names a folder with its
//! `machine_generated_instances.jsonl`, `is_clf_or_not_davinci_template_1.jsonl` and
//! `all_generated_instances.jsonl`, and `ALBACORE_SELF_INSTRUCT_SEEDS` the published `seed_tasks.jsonl`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;

use albacore_data::bootstrap::{
    Instructions, Prompts, Writer, parse_classification, parse_generation, read_seeds,
};
use albacore_data::{Completion, Effort, FinishReason, Novelty, Rule, Tokenization, Usage};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

fn named(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    if path.is_none() {
        println!("skipped: {variable} is not set");
    }
    path
}

fn run() -> Option<PathBuf> {
    named("ALBACORE_SELF_INSTRUCT_RUN")
}

fn lines(folder: &std::path::Path, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn stage_4_gives_the_instances_of_the_published_run() {
    let Some(folder) = run() else { return };
    let kinds = lines(&folder, "is_clf_or_not_davinci_template_1.jsonl").into_iter();
    let kinds: HashMap<String, bool> = kinds
        .map(|line| {
            let answer = text(&line["is_classification"]);
            (text(&line["instruction"]), ["Yes", "yes", "YES"].contains(&answer.trim()))
        })
        .collect();
    let mut found = BTreeSet::new();
    for line in lines(&folder, "machine_generated_instances.jsonl") {
        let instruction = text(&line["instruction"]);
        let choice = &line["instance_metadata"]["response"]["choices"][0];
        // A request that failed has no response.
        let reason = serde_json::from_value(choice["finish_reason"].clone());
        let reason = reason.unwrap_or(FinishReason::Other("none".into()));
        let parse = if kinds[&instruction] { parse_classification } else { parse_generation };
        for instance in parse(&text(&line["raw_instances"]), &reason).instances {
            found.insert((instruction.trim().to_owned(), instance.input, instance.output));
        }
    }
    let wanted = lines(&folder, "all_generated_instances.jsonl").into_iter();
    let wanted: BTreeSet<_> = wanted
        .map(|line| (text(&line["instruction"]), text(&line["input"]), text(&line["output"])))
        .collect();
    let missing = wanted.difference(&found).count();
    let more = found.difference(&wanted).count();
    println!("stage 4: {} instances, {missing} missing, {more} more", found.len());
    assert_eq!((found.len(), missing, more), (226, 0, 0));
}

/// A line of `machine_generated_instances.jsonl`. Scores are read as text: `serde_json` may read the
/// last bit of a number otherwise than it was written.
#[derive(Deserialize)]
struct Recorded {
    instruction: String,
    instruction_metadata: Metadata,
    most_similar: BTreeMap<String, Box<RawValue>>,
    avg_similarity_score: Box<RawValue>,
}

#[derive(Deserialize)]
struct Metadata {
    response: Response,
}

#[derive(Deserialize)]
struct Response {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    text: String,
    finish_reason: FinishReason,
}

/// What is accepted of a response, with its scores, highest first, and their mean, to the bit.
type Accepted = (String, Vec<u64>, u64);

fn recorded(line: &Recorded) -> Accepted {
    let bits = |text: &RawValue| text.get().parse::<f64>().unwrap().to_bits();
    let mut scores: Vec<_> = line.most_similar.values().map(|score| bits(score)).collect();
    scores.sort_unstable_by(|a, b| b.cmp(a));
    (line.instruction.clone(), scores, bits(&line.avg_similarity_score))
}

#[test]
fn stage_1_gives_the_instructions_of_the_published_run_and_their_similarities() {
    let Some(folder) = run() else { return };
    let Some(seeds) = named("ALBACORE_SELF_INSTRUCT_SEEDS") else { return };
    let seeds = read_seeds(&seeds).unwrap();
    assert_eq!(seeds.len(), 175);
    let mut novelty = Novelty::new(0.7, Tokenization::Ascii);
    novelty.extend(seeds.iter().map(|seed| seed.instruction.as_str()));
    let text = fs::read_to_string(folder.join("machine_generated_instances.jsonl")).unwrap();
    let lines: Vec<Recorded> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // The instructions of one response stand together.
    let response = |line: &Recorded| line.instruction_metadata.response.choices[0].text.clone();
    let requests: Vec<_> = lines.chunk_by(|one, two| response(one) == response(two)).collect();
    let prompts = Prompts::load(None).unwrap();
    let writer = Instructions { prompts: &prompts, classification_only: false };
    let (mut differ, mut similarities) = (Vec::new(), 0);
    for (number, request) in requests.iter().enumerate() {
        let choice = &request[0].instruction_metadata.response.choices[0];
        let completion = Completion {
            text: choice.text.clone(),
            finish_reason: choice.finish_reason.clone(),
            logprobs: None,
            usage: Usage::default(),
            effort: Effort::default(),
        };
        let mut found: Vec<Accepted> = Vec::new();
        for candidate in writer.parse(&completion, 8) {
            let instruction = candidate.instruction;
            let rejected =
                Rule::self_instruct().iter().any(|rule| rule.rejects(&instruction).is_some());
            if rejected || !novelty.is_novel(&instruction) {
                continue;
            }
            let scores = novelty.scores(&instruction, 10);
            let nearest = scores.nearest.iter().map(|like| like.score.to_bits()).collect();
            novelty.insert(&instruction);
            found.push((instruction, nearest, scores.mean.to_bits()));
        }
        let wanted: Vec<_> = request.iter().map(recorded).collect();
        if found.len() != wanted.len() {
            differ.push(number);
        }
        for (found, wanted) in found.iter().zip(&wanted) {
            assert_eq!((&found.0, found.2), (&wanted.0, wanted.2));
            // Which of equal scores are among the ten is left to chance by numpy's `argsort`; and texts
            // that occur twice are one entry of the map.
            assert_eq!(found.1[..wanted.1.len()], wanted.1, "{}", found.0);
            similarities += 1 + wanted.1.len();
        }
    }
    println!(
        "stage 1: {} requests, {differ:?} differ; {similarities} scores equal",
        requests.len()
    );
    // The published run cut the last response off when it had as many as were wanted.
    assert_eq!((requests.len(), differ), (37, vec![36]));
}
