//! A whole run with a model that answers by rote.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use albacore_data::bootstrap::{
    BootstrapConfig, Ended, Funnel, Instance, Method, Prompts, Recipe, Run, SeedTask, Stage,
};
use albacore_data::{
    Completion, CompletionRequest, Effort, Error, FinishReason, LanguageModel, NoCompletion,
    OnReply, Prompt, Random, Usage,
};

/// Answers each kind of prompt in its form; what it says follows from the request alone.
#[derive(Default)]
struct Rote {
    asked: Cell<u64>,
    /// Fails at this request.
    fails_at: Option<u64>,
}

const VERBS: [&str; 6] = ["Describe", "Compare", "List", "Translate", "Count", "Explain"];
const THINGS: [&str; 9] = [
    "rivers",
    "planets",
    "poems",
    "breakfasts",
    "bridges",
    "numbers",
    "songs",
    "trains",
    "colours",
];

impl Rote {
    fn answer(request: &CompletionRequest) -> String {
        let Prompt::Text(prompt) = &request.prompt else { panic!("text is asked for") };
        let mut random = Random::new(request.seed, "rote", 0);
        let mut task = || {
            let (verb, thing) = (VERBS[random.below(6)], THINGS[random.below(9)]);
            format!("{verb} {} famous {thing} near {}.", random.below(90), THINGS[random.below(9)])
        };
        if prompt.ends_with("Is it classification?") {
            return if prompt.len().is_multiple_of(3) { " Yes" } else { " No" }.into();
        }
        if prompt.ends_with("Instruction:") {
            let (one, two) = (task(), task());
            return format!(
                " {one}\n4. Input:\n<noinput>\n4. Output:\nDone.\n###\n5. Instruction: {two}\n5. Input:\nx\n5. Output:\ny\n###"
            );
        }
        if prompt.ends_with('.') && !prompt.ends_with("Task: .") {
            return format!(
                " {}\n10. {}\n11. Draw it on the wall.\n12. {}",
                task(),
                task(),
                task()
            );
        }
        // Both kinds of instances: the stage reads the one that it asked for.
        let number = random.below(1000);
        format!(
            "Class label: A{number}\nText: {number}\nExample 1\nWord: {number}\nOutput: {}",
            number + 1
        )
    }
}

impl LanguageModel for Rote {
    fn name(&self) -> &str {
        "rote"
    }

    fn complete(
        &self,
        requests: &mut dyn Iterator<Item = CompletionRequest>,
        on_reply: &mut OnReply<'_>,
    ) {
        // Three at a time, the last first: no one may rely on their order.
        let mut number = 0;
        loop {
            let some = requests.take(3).collect::<Vec<_>>();
            if some.is_empty() {
                return;
            }
            for (at, request) in some.iter().enumerate().rev() {
                self.asked.set(self.asked.get() + 1);
                let reply = if self.fails_at == Some(self.asked.get()) {
                    let message = "the server is asleep".to_owned();
                    Err(NoCompletion { message, hint: None, fatal: false })
                } else {
                    let (text, finish_reason) = (Self::answer(request), FinishReason::Stop);
                    let (usage, effort) = (Usage::default(), Effort::default());
                    Ok(Completion { text, finish_reason, logprobs: None, usage, effort })
                };
                if on_reply(number + at, reply).is_break() {
                    return;
                }
            }
            number += some.len();
        }
    }
}

fn seeds() -> Vec<SeedTask> {
    let seed = |number: usize| SeedTask {
        id: format!("seed_{number}"),
        name: "n".into(),
        instruction: format!("Seed task {} about {} and more", number * 7919, THINGS[number % 9]),
        instances: vec![Instance { input: String::new(), output: "x".into() }],
        is_classification: number.is_multiple_of(3),
    };
    (0..12).map(seed).collect()
}

/// Runs all stages; returns whether the run came to its end.
fn run(
    folder: &Path,
    config: &BootstrapConfig,
    model: &Rote,
    stop_after: Option<u64>,
) -> Result<bool, Error> {
    let (seeds, prompts) = (seeds(), Prompts::load(None).unwrap());
    let run = Run {
        folder,
        recipe: Recipe { config, seed: 5, seeds: &seeds, prompts: &prompts },
        model,
        stop: &|| stop_after.is_some_and(|after| model.asked.get() >= after),
        progress: &|_| {},
    };
    for stage in Stage::ALL {
        if run.stage(stage)? == Ended::Stopped {
            return Ok(false);
        }
    }
    Ok(true)
}

const FILES: [&str; 8] = [
    "instructions.jsonl",
    "rejected.jsonl",
    "classification.jsonl",
    "instances.jsonl",
    "records.jsonl",
    "train.jsonl",
    "held_out.jsonl",
    "funnel.json",
];

fn outputs(folder: &Path) -> Vec<Vec<u8>> {
    FILES.iter().map(|name| fs::read(folder.join(name)).unwrap()).collect()
}

fn config() -> BootstrapConfig {
    BootstrapConfig { instructions: 40, prompts_per_round: 4, ..BootstrapConfig::default() }
}

#[test]
fn a_run_that_was_stopped_anywhere_ends_as_one_that_was_not_and_asks_nothing_twice() {
    let whole = tempfile::tempdir().unwrap();
    let rote = Rote::default();
    assert!(run(whole.path(), &config(), &rote, None).unwrap());
    let (wanted, asked) = (outputs(whole.path()), rote.asked.get());
    let funnel: Funnel = serde_json::from_slice(&wanted[7]).unwrap();
    assert!(funnel.accepted >= 40 && funnel.rejected["keyword"] > 0, "{funnel:?}");
    assert_eq!(funnel.written, funnel.accepted + funnel.rejected.values().sum::<u64>());
    assert!(funnel.train > 0 && funnel.classification > 0, "{funnel:?}");

    let folder = tempfile::tempdir().unwrap();
    let mut asked_in_parts = 0;
    let mut parts = 0;
    loop {
        let rote = Rote::default();
        let ended = run(folder.path(), &config(), &rote, Some(7 + parts % 5)).unwrap();
        asked_in_parts += rote.asked.get();
        parts += 1;
        // Answers that were on their way when the run was stopped are asked again.
        if ended {
            break;
        }
        // A kill cuts a line of any file short.
        for name in ["instructions.jsonl", "rejected.jsonl"] {
            let path = folder.path().join(name);
            let bytes = fs::read(&path).unwrap_or_default();
            fs::write(&path, &bytes[..bytes.len() - bytes.len().min(parts as usize % 3)]).unwrap();
        }
        assert!(parts < 2000, "the run does not come to its end");
    }
    assert!(outputs(folder.path()) == wanted);
    assert_eq!(asked_in_parts, asked);
}

#[test]
fn a_failure_is_no_answer_and_the_next_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let failing = Rote { fails_at: Some(3), ..Rote::default() };
    let error = run(folder.path(), &config(), &failing, None).unwrap_err().to_string();
    assert!(error.contains("requests without an answer: 1") && error.contains("asleep"), "{error}");
    assert!(run(folder.path(), &config(), &Rote::default(), None).unwrap());
    let whole = tempfile::tempdir().unwrap();
    assert!(run(whole.path(), &config(), &Rote::default(), None).unwrap());
    assert!(outputs(folder.path()) == outputs(whole.path()));
}

#[test]
fn alpaca_s_way_needs_one_request_a_task() {
    let folder = tempfile::tempdir().unwrap();
    let config = BootstrapConfig { method: Method::Alpaca, ..config() };
    let rote = Rote::default();
    assert!(run(folder.path(), &config, &rote, None).unwrap());
    let text = fs::read_to_string(folder.path().join("records.jsonl")).unwrap();
    assert!(text.lines().count() >= 40, "{text}");
    assert!(text.lines().any(|line| line.contains(r#""input":"","output":"Done.""#)), "{text}");
}

#[test]
fn a_stage_names_the_one_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (seeds, prompts) = (seeds(), Prompts::load(None).unwrap());
    let run = Run {
        folder: folder.path(),
        recipe: Recipe { config: &config(), seed: 5, seeds: &seeds, prompts: &prompts },
        model: &Rote::default(),
        stop: &|| false,
        progress: &|_| {},
    };
    let error = run.stage(Stage::Instances).unwrap_err().to_string();
    assert!(error.ends_with("the stage `classification` has not been run"), "{error}");
}

#[test]
fn a_run_goes_on_only_with_the_settings_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let rote = Rote::default();
    assert!(!run(folder.path(), &config(), &rote, Some(5)).unwrap());
    let other = BootstrapConfig { novelty: 0.5, rules: vec!["empty".into()], ..config() };
    let error = run(folder.path(), &other, &Rote::default(), None).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("`novelty` was 0.7, is 0.5"), "{text}");
    assert!(text.contains(r#"`rules` was ["self-instruct"], is ["empty"]"#), "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
    // More of the same is no other run, nor is another layout of what it wrote.
    let more = BootstrapConfig { instructions: 45, include_seeds: true, ..config() };
    assert!(run(folder.path(), &more, &Rote::default(), None).unwrap());
}

#[test]
fn what_a_run_will_ask_is_told_before_it_asks() {
    let (seeds, prompts, config) = (seeds(), Prompts::load(None).unwrap(), config());
    let recipe = Recipe { config: &config, seed: 5, seeds: &seeds, prompts: &prompts };
    let foretold = recipe.foretell(&|text| text.split_whitespace().count()).unwrap();
    let requests = foretold.iter().map(|stage| (stage.stage, stage.requests)).collect::<Vec<_>>();
    // 40 instructions, of which an answer to a prompt that shows 8 holds 7 at most.
    let wanted = [(Stage::Instructions, 6), (Stage::Classification, 40), (Stage::Instances, 40)];
    assert_eq!(requests, wanted);
    assert_eq!((foretold[0].completion_tokens, foretold[1].completion_tokens), (6 * 1024, 40 * 3));
    assert!(foretold.iter().all(|stage| stage.prompt_tokens > 10 * stage.requests));
}
