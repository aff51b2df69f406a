//! Whole runs of sampling and of ranking with models that answer by rote.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use albacore_data::candidates::{CandidateSet, Response};
use albacore_data::rank::{
    self, Group, Judge, JudgePrompts, Judged, Judgement, Outcome, RankConfig, RankKind,
};
use albacore_data::sample::{self, Asked, SampleConfig, Sampled};
use albacore_data::{
    Completion, CompletionRequest, Effort, Error, FinishReason, LanguageModel, OnReply, Origin,
    Prompt, Random, TokenLogprob, Usage,
};

/// Answers as a function says; three at a time, the last first: no one may rely on their order.
struct Rote<'f> {
    asked: Cell<u64>,
    answer: &'f dyn Fn(&CompletionRequest) -> String,
}

impl<'f> Rote<'f> {
    fn new(answer: &'f dyn Fn(&CompletionRequest) -> String) -> Self {
        Self { asked: Cell::new(0), answer }
    }
}

impl LanguageModel for Rote<'_> {
    fn name(&self) -> &str {
        "rote"
    }

    fn complete(
        &self,
        requests: &mut dyn Iterator<Item = CompletionRequest>,
        on_reply: &mut OnReply<'_>,
    ) {
        let mut number = 0;
        loop {
            let some = requests.take(3).collect::<Vec<_>>();
            if some.is_empty() {
                return;
            }
            for (at, request) in some.iter().enumerate().rev() {
                self.asked.set(self.asked.get() + 1);
                let text = (self.answer)(request);
                let tokens = text.split_inclusive(' ').map(|token| TokenLogprob {
                    token: token.to_owned(),
                    logprob: -(token.len() as f64),
                });
                let logprobs = request.logprobs.then(|| tokens.collect());
                let finish_reason = FinishReason::Stop;
                let usage = Usage { prompt_tokens: 7, completion_tokens: 3 };
                let effort = Effort::default();
                let reply = Completion { text, finish_reason, logprobs, usage, effort };
                if on_reply(number + at, Ok(reply)).is_break() {
                    return;
                }
            }
            number += some.len();
        }
    }
}

fn text(request: &CompletionRequest) -> String {
    match &request.prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Messages(messages) => messages.last().unwrap().content.clone(),
    }
}

/// Words that follow from the seed; the hotter the more different. One prompt always has the same answer,
/// and one has none.
fn words(request: &CompletionRequest) -> String {
    let (prompt, heat) = (text(request), request.decoding.temperature);
    let mut random = Random::new(request.seed, "words", 0);
    match prompt.as_str() {
        "echo" => return "always the same".into(),
        "nothing" => return " \n".into(),
        _ => {}
    }
    let rare = if heat > 1.05 { 500 } else { 4 };
    let words = (0..6).map(|place| match random.below(10) {
        0..3 => format!("w{}", random.below(rare)),
        _ if heat > 1.05 => format!("h{}", random.below(rare)),
        _ => format!("p{place}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn prompts() -> Vec<Asked> {
    let asked = |id: String, prompt: &str| Asked {
        id,
        prompt: prompt.into(),
        original: Some("p0 p1".into()),
        origin: Origin::new("a.jsonl", 1),
    };
    let mut prompts: Vec<_> = (0..20).map(|number| asked(format!("id/{number}"), "say")).collect();
    prompts.push(asked("same".into(), "echo"));
    prompts.push(asked("none".into(), "nothing"));
    prompts
}

/// Runs to the end or to the stop; what came of it if that was the end.
fn sampled(
    folder: &Path,
    config: &SampleConfig,
    model: &Rote<'_>,
    stop_after: Option<u64>,
) -> Result<Option<Sampled>, Error> {
    let run = sample::Run {
        folder,
        config,
        seed: 5,
        prompts: &prompts(),
        model,
        stop: &|| stop_after.is_some_and(|after| model.asked.get() >= after),
        progress: &|_| {},
    };
    Ok(match run.run()? {
        sample::Ended::Complete(sampled, _) => Some(*sampled),
        sample::Ended::Stopped => None,
    })
}

fn sets(folder: &Path) -> BTreeMap<String, CandidateSet> {
    let text = fs::read_to_string(folder.join("candidates.jsonl")).unwrap();
    let sets = text.lines().map(|line| serde_json::from_str::<CandidateSet>(line).unwrap());
    sets.map(|set| (set.id.clone(), set)).collect()
}

#[test]
fn sets_that_are_alike_are_asked_again_hotter_under_their_own_ids() {
    let folder = tempfile::tempdir().unwrap();
    let heats = std::cell::RefCell::new(BTreeMap::<(String, u64), u64>::new());
    let answer = |request: &CompletionRequest| {
        let heat = (request.decoding.temperature * 10.0).round() as u64;
        *heats.borrow_mut().entry((text(request), heat)).or_default() += 1;
        words(request)
    };
    let rote = Rote::new(&answer);
    let config = SampleConfig::default();
    let found = sampled(folder.path(), &config, &rote, None).unwrap().unwrap();
    let sets = sets(folder.path());
    assert_eq!((found.prompts, sets.len()), (22, 22));
    // The echo is the same in all three rounds; who says nothing has no answer in any.
    let heats = heats.borrow();
    for prompt in ["echo", "nothing"] {
        let asked = [10, 11, 12].map(|heat| heats[&(prompt.to_owned(), heat)]);
        assert_eq!(asked, [4, 4, 4], "{prompt}");
    }
    assert_eq!(heats[&("say".to_owned(), 10)], 80);
    let again = heats[&("say".to_owned(), 11)];
    assert!((4..80).contains(&again), "only those that failed are asked again: {again}");
    assert_eq!(found.accepted, [20 - again as usize / 4, again as usize / 4, 0]);
    assert_eq!((found.not_diverse, found.incomplete, found.with_duplicates), (2, 1, 1));
    assert_eq!((found.responses, found.requests), (21 * 4, rote.asked.get()));
    assert!(found.rouge > 0.0 && found.rouge < 0.8 && found.without_logprobs == 0, "{found:?}");
    for (id, set) in &sets {
        let accepted = set.responses.len() == 4 && set.rouge < Some(0.8);
        assert_eq!(set.accepted, Some(accepted), "{id}");
        assert_eq!(
            (set.prompt == "say", set.original.as_deref()),
            (id.starts_with("id/"), Some("p0 p1"))
        );
    }
    // The log-probability of a token is its length, less than 0.
    let response = &sets["same"].responses[0];
    let wanted = Response {
        logprob: Some(-15.0),
        mean_logprob: Some(-5.0),
        tokens: Some(3),
        finish_reason: Some(FinishReason::Stop),
        ..Response::new("always the same", "rote")
    };
    assert_eq!(*response, wanted);
    assert!(sets["none"].responses.is_empty());
}

#[test]
fn after_the_last_round_the_most_diverse_set_is_kept() {
    // Round 0 has two answers alike and two apart, round 1 all alike: the first is kept.
    let answer = |request: &CompletionRequest| {
        if request.decoding.temperature > 1.05 {
            return "all alike here".to_owned();
        }
        let number = Random::new(request.seed, "number", 0).below(1000);
        if number < 600 { "one two three".to_owned() } else { format!("x{number}") }
    };
    let folder = tempfile::tempdir().unwrap();
    let config =
        SampleConfig { rounds: 2, novelty: 0.01, limit: Some(20), ..SampleConfig::default() };
    let found = sampled(folder.path(), &config, &Rote::new(&answer), None).unwrap().unwrap();
    let sets = sets(folder.path());
    assert_eq!(sets.len(), 20);
    let alike =
        |set: &CandidateSet| set.responses.iter().all(|one| one.text == set.responses[0].text);
    let mixed: Vec<_> =
        sets.values().filter(|set| !alike(set) && set.accepted == Some(false)).collect();
    assert!(mixed.len() > 3 && mixed.iter().all(|set| set.round == Some(0)), "{mixed:?}");
    assert_eq!(found.accepted[1], 0);
}

#[test]
fn a_sampling_that_was_stopped_anywhere_ends_as_one_that_was_not_and_asks_nothing_twice() {
    let config = SampleConfig { keep_truncated: false, ..SampleConfig::default() };
    let whole = tempfile::tempdir().unwrap();
    let rote = Rote::new(&words);
    sampled(whole.path(), &config, &rote, None).unwrap().unwrap();
    let outputs = |folder: &Path| {
        ["candidates.jsonl", "summary.json"].map(|name| fs::read(folder.join(name)).unwrap())
    };
    let folder = tempfile::tempdir().unwrap();
    let (mut asked, mut parts) = (0, 0);
    loop {
        let rote = Rote::new(&words);
        let ended = sampled(folder.path(), &config, &rote, Some(5 + parts % 4)).unwrap();
        asked += rote.asked.get();
        parts += 1;
        if ended.is_some() {
            break;
        }
        assert!(!folder.path().join("candidates.jsonl").exists());
        assert!(parts < 500, "the run does not come to its end");
    }
    assert!(parts > 10 && outputs(folder.path()) == outputs(whole.path()));
    assert_eq!(asked, rote.asked.get());
    // What was answered is judged anew without a question; another heat would be another run.
    let rote = Rote::new(&words);
    let loose = SampleConfig { novelty: 1.1, rounds: 1, ..config.clone() };
    let found = sampled(folder.path(), &loose, &rote, None).unwrap().unwrap();
    assert_eq!((rote.asked.get(), found.accepted[0]), (0, 21));
    let hotter = SampleConfig { temperature: 1.5, ..config };
    let error = sampled(folder.path(), &hotter, &rote, None).unwrap_err().to_string();
    assert!(error.contains("`decoding.temperature` was 1.0, is 1.5"), "{error}");
}

fn group(id: &str, texts: &[&str]) -> Result<Group, rank::Unranked> {
    let candidates = texts.iter().map(|text| Response::new(*text, "m")).collect();
    Ok(Group { id: id.into(), prompt: format!("Task {id}"), candidates, original: None })
}

/// Where each response of a question stands, by its text.
fn shown(question: &str) -> BTreeMap<String, usize> {
    let blocks = question.split("###Response ").skip(1).filter_map(|block| {
        let (number, text) = block.split_once(":\n")?;
        Some((text.split("\n\n").next()?.to_owned(), number.parse().ok()?))
    });
    blocks.collect()
}

/// Ranks by the alphabet, its own answer `m` among the others; finds `copy` the same as `alpha`.
fn by_alphabet(request: &CompletionRequest) -> String {
    let question = text(request);
    let mut places = shown(&question);
    let own = places.len();
    if question.starts_with("Task mute") {
        return "I cannot choose.".into();
    }
    if question.starts_with("Task moody") && request.seed.is_multiple_of(2) {
        return "rank: [0]".into();
    }
    places.insert("m".into(), own);
    let copy = places.remove("copy");
    let duplicates = match (places.get("alpha"), copy) {
        (Some(one), Some(two)) => format!("[[{one}, {two}]]"),
        _ => "none".into(),
    };
    let ranks: Vec<_> = places.values().map(ToString::to_string).collect();
    let ranks = ranks.join(", ");
    format!(
        "###Response {own}:\nm\n\nof rank: [7]\n###End\nduplicates: {duplicates}\nRank: [{ranks}]"
    )
}

fn groups() -> Vec<Result<Group, rank::Unranked>> {
    let moody = (0..12).map(|number| group(&format!("moody{number}"), &["c", "a", "b"]));
    [
        group("plain", &["z", "alpha", "n"]),
        group("copied", &["copy", "z", "alpha"]),
        group("mute", &["a", "b"]),
    ]
    .into_iter()
    .chain(moody)
    .collect()
}

fn judged(
    folder: &Path,
    config: &RankConfig,
    model: &Rote<'_>,
    stop_after: Option<u64>,
) -> Result<Option<Outcome>, Error> {
    let judge = Judge {
        folder,
        config,
        seed: 3,
        prompts: &JudgePrompts::load(None)?,
        model,
        chats: true,
        stop: &|| stop_after.is_some_and(|after| model.asked.get() >= after),
        progress: &|_| {},
    };
    match judge.run(groups())? {
        Judged::Stopped => Ok(None),
        Judged::Complete(groups, counts, took) => {
            let outcome = Outcome::new(groups, config.original, counts, &took, None)?;
            rank::write(folder, &outcome)?;
            Ok(Some(outcome))
        }
    }
}

fn contextual() -> RankConfig {
    RankConfig { kind: RankKind::Contextual, ..RankConfig::default() }
}

#[test]
fn a_judge_s_order_is_mapped_back_whatever_place_an_answer_was_shown_at() {
    let folder = tempfile::tempdir().unwrap();
    let rote = Rote::new(&by_alphabet);
    let outcome = judged(folder.path(), &contextual(), &rote, None).unwrap().unwrap();
    let record = |id: &str| outcome.ranked.iter().find(|record| record.id == id).unwrap();
    // Its own answer is `m`, and more: it is kept as it was written.
    let own = "m\n\nof rank: [7]";
    assert_eq!(record("plain").output, ["alpha", own, "n", "z"]);
    assert_eq!(record("plain").score, [3.0, 2.0, 1.0, 0.0]);
    assert_eq!(record("plain").source, ["m", "judge", "m", "m"]);
    assert_eq!(record("copied").output, ["alpha", own, "z"]);
    let moody = outcome.ranked.iter().filter(|record| record.id.starts_with("moody"));
    assert!(
        moody.clone().count() > 3
            && moody.clone().all(|record| record.output == ["a", "b", "c", own])
    );
    // Half of the moody are asked again, and a quarter is set aside, as is who says nothing.
    let summary = &outcome.summary;
    assert!(summary.counts.asked_again > 3, "{summary:?}");
    assert_eq!(summary.ranked + outcome.unranked.len(), 15);
    assert_eq!(summary.counts.duplicates_of_the_judge, 1);
    let mute = outcome.unranked.iter().find(|why| why.id == "mute").unwrap();
    assert_eq!(mute.reply.as_deref(), Some("I cannot choose."));
    assert_eq!(mute.detail.as_deref(), Some("there is no `rank:`"));
    assert_eq!(rote.asked.get(), 15 + summary.counts.asked_again as u64);
    // Every question is kept with its reply, and an answer is shown now here, now there.
    let judgements = fs::read_to_string(folder.path().join("judgements.jsonl")).unwrap();
    let judgements =
        judgements.lines().map(|line| serde_json::from_str::<Judgement>(line).unwrap());
    let judgements: Vec<_> = judgements.collect();
    assert_eq!(judgements.len() as u64, rote.asked.get());
    // What the judge was told to begin its own answer with is how it begins.
    assert!(judgements[0].question.contains(&judgements[0].reply[.."###Response 3:".len()]));
    let first_places: BTreeSet<usize> =
        judgements.iter().map(|judgement| judgement.shown[0]).collect();
    assert_eq!(first_places.len(), 3);
    let journal = fs::read_to_string(folder.path().join("requests.jsonl")).unwrap();
    assert_eq!(journal.lines().count() as u64, rote.asked.get());
    // Without its own answer, and in the order of the file.
    let config = RankConfig { keep_reference: false, shuffle: false, ..contextual() };
    let folder = tempfile::tempdir().unwrap();
    let outcome = judged(folder.path(), &config, &rote, None).unwrap().unwrap();
    let plain = outcome.ranked.iter().find(|record| record.id == "plain").unwrap();
    assert_eq!(
        (plain.output.as_slice(), plain.score.as_slice()),
        (["alpha", "n", "z"].map(String::from).as_slice(), [2.0, 1.0, 0.0].as_slice())
    );
}

#[test]
fn a_judging_that_was_stopped_anywhere_ends_as_one_that_was_not_and_asks_nothing_twice() {
    let outputs = |folder: &Path| {
        ["ranked.jsonl", "unranked.jsonl", "judgements.jsonl", "summary.json"]
            .map(|name| fs::read(folder.join(name)).unwrap())
    };
    let whole = tempfile::tempdir().unwrap();
    let rote = Rote::new(&by_alphabet);
    judged(whole.path(), &contextual(), &rote, None).unwrap().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (mut asked, mut parts) = (0, 0);
    loop {
        let rote = Rote::new(&by_alphabet);
        let ended = judged(folder.path(), &contextual(), &rote, Some(1 + parts % 3)).unwrap();
        asked += rote.asked.get();
        parts += 1;
        if ended.is_some() {
            break;
        }
        assert!(parts < 100, "the run does not come to its end");
    }
    assert!(parts > 5 && outputs(folder.path()) == outputs(whole.path()));
    assert_eq!(asked, rote.asked.get());
    let other = RankConfig { shuffle: false, ..contextual() };
    let error = judged(folder.path(), &other, &rote, None).unwrap_err().to_string();
    assert!(error.contains("`shuffle` was true, is false"), "{error}");
}
