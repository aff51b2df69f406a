//! A whole run with a model that answers by rote.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use albacore_data::bootstrap::{
    BootstrapConfig, Ended, Funnel, Instance, Method, Prompts, Recipe, Run, SeedTask, Stage, Unused,
};
use albacore_data::{
    Completion, CompletionRequest, Effort, Error, FinishReason, LanguageModel, NoCompletion,
    OnReply, Prompt, Random, Usage,
};

/// Answers each kind of prompt in its form; what it says follows from the request alone.
#[derive(Default)]
pub(crate) struct Rote {
    pub(crate) asked: Cell<u64>,
    /// Refuses for good each request whose seed is a multiple of this.
    pub(crate) refuses: Option<u64>,
    /// Fails at this request.
    pub(crate) fails_at: Option<u64>,
    /// Never comes to the end of an answer.
    pub(crate) is_cut_off: bool,
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
            let output = if random.below(4) == 0 { "" } else { "y" };
            return format!(
                " {one}\n4. Input:\n<noinput>\n4. Output:\nDone.\n###\n5. Instruction: {two}\n5. Input:\nx\n5. Output:\n{output}\n###"
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
                let reply = if self.refuses.is_some_and(|each| request.seed.is_multiple_of(each)) {
                    let message = "bad words".to_owned();
                    Err(NoCompletion { message, hint: None, fatal: false, refused: true })
                } else if self.fails_at == Some(self.asked.get()) {
                    let message = "the server is asleep".to_owned();
                    Err(NoCompletion { message, hint: None, fatal: false, refused: false })
                } else {
                    let ends = [FinishReason::Stop, FinishReason::Length];
                    let finish_reason = ends[usize::from(self.is_cut_off)].clone();
                    let text = Self::answer(request);
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
pub(crate) fn run(
    folder: &Path,
    config: &BootstrapConfig,
    model: &Rote,
    stop_after: Option<u64>,
) -> Result<bool, Error> {
    let mut is_whole = true;
    for stage in Stage::ALL {
        is_whole =
            is_whole && run_stage(folder, config, model, stop_after, stage)? != Ended::Stopped;
    }
    Ok(is_whole)
}

pub(crate) fn run_stage(
    folder: &Path,
    config: &BootstrapConfig,
    model: &Rote,
    stop_after: Option<u64>,
    stage: Stage,
) -> Result<Ended, Error> {
    let stop = || stop_after.is_some_and(|after| model.asked.get() >= after);
    run_stage_of(folder, config, model, &stop, stage)
}

/// The same with any model.
pub(crate) fn run_stage_of(
    folder: &Path,
    config: &BootstrapConfig,
    model: &dyn LanguageModel,
    stop: &dyn Fn() -> bool,
    stage: Stage,
) -> Result<Ended, Error> {
    let (seeds, prompts) = (seeds(), Prompts::load(None).unwrap());
    let run = Run {
        folder,
        recipe: Recipe { config, seed: 5, seeds: &seeds, prompts: &prompts },
        model,
        stop,
        progress: &|_| {},
    };
    run.stage(stage)
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

pub(crate) fn config() -> BootstrapConfig {
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
    assert!(text.lines().any(|line| line.contains(r#""input":"","output":"Done.""#)), "{text}");
    // What has no output is no record: training refuses it.
    let funnel = fs::read(folder.path().join("funnel.json")).unwrap();
    let funnel: Funnel = serde_json::from_slice(&funnel).unwrap();
    let empty = funnel.unused_instances[&Unused::EmptyOutput];
    assert!(funnel.accepted >= 40 && text.lines().count() == funnel.instances, "{funnel:?}");
    assert_eq!(funnel.accepted as usize, funnel.instances + empty);
    assert!(empty > 0 && !text.contains(r#""output":"""#), "{text}");
}

#[test]
fn fewer_instructions_than_there_are_leave_them_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &config(), &Rote::default(), None).unwrap());
    let before = outputs(folder.path());
    for instructions in [3, 3, 40] {
        let fewer = BootstrapConfig { instructions, ..config() };
        let rote = Rote::default();
        assert!(run(folder.path(), &fewer, &rote, None).unwrap());
        assert!(outputs(folder.path()) == before, "{instructions}");
        assert_eq!(rote.asked.get(), 0);
    }
}

#[test]
fn a_stage_refuses_to_go_on_from_fewer_instructions_than_there_are() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &config(), &Rote::default(), None).unwrap());
    let more = BootstrapConfig { instructions: 60, ..config() };
    let stage = |stage| run_stage(folder.path(), &more, &Rote::default(), None, stage);
    stage(Stage::Instructions).unwrap();
    let error = stage(Stage::Records).unwrap_err().to_string();
    assert!(error.contains("the stage `instances` has not been run since"), "{error}");
    let error = stage(Stage::Instances).unwrap_err().to_string();
    assert!(error.contains("the stage `classification` has not been run since"), "{error}");
    for next in &Stage::ALL[1..] {
        stage(*next).unwrap();
    }
}

#[test]
fn what_the_first_stage_took_is_the_same_when_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let took = || {
        let ended =
            run_stage(folder.path(), &config(), &Rote::default(), None, Stage::Instructions);
        let Ended::Complete { statistics, .. } = ended.unwrap() else { panic!("nothing stops it") };
        statistics.answers
    };
    let first = took();
    // More than one round, of which only the last is made again.
    assert!(first > 4 && first == took(), "{first}");
}

#[test]
fn answers_that_were_cut_off_are_told_where_they_bring_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = BootstrapConfig { patience: 2, ..config() };
    let rote = Rote { is_cut_off: true, ..Rote::default() };
    let ended = run_stage(folder.path(), &config, &rote, None, Stage::Instructions).unwrap();
    let Ended::Complete { warning, .. } = ended else { panic!("nothing stops it") };
    let wanted = "2 rounds brought no new instruction: stage 1 ends with 0 of 40; 8 of 8 answers were \
                  cut off: `bootstrap.instruction_decoding` has a `max_tokens` of 1024";
    assert_eq!(warning.as_deref(), Some(wanted));
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
    let other = BootstrapConfig { novelty: 0.5, rules: Some(vec!["empty".into()]), ..config() };
    let error = run(folder.path(), &other, &Rote::default(), None).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("`novelty` was 0.7, is 0.5"), "{text}");
    assert!(text.contains(r#"`rules` was ["self-instruct"], is ["empty"]"#), "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
    // Without an answer nothing follows from the settings yet.
    let fresh = tempfile::tempdir().unwrap();
    let failing = Rote { fails_at: Some(1), ..Rote::default() };
    let one = BootstrapConfig { prompts_per_round: 1, ..config() };
    run(fresh.path(), &one, &failing, None).unwrap_err();
    assert!(run(fresh.path(), &config(), &Rote::default(), None).unwrap());
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
