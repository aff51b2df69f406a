//! The runner with models that answer by rule.

use std::cell::RefCell;

use albacore_data::{Effort, FinishReason, OnReply, Usage};

use super::*;
use crate::tiny::Adding;

/// Doubles the number of a prompt; fails where it is told to, and remembers what it was asked.
#[derive(Default)]
struct Doubling {
    /// Numbers that have no answer.
    fails_on: Vec<usize>,
    /// Whether it then answers nothing more.
    is_fatal: bool,
    /// How much random answers differ.
    wanders: bool,
    /// Tenths of its random answers that do not come, where it loses some.
    loses: Option<u64>,
    /// Numbers whose answers are cut off.
    runs_on: Vec<usize>,
    asked: RefCell<Vec<CompletionRequest>>,
}

impl Doubling {
    fn reply(&self, request: &CompletionRequest) -> Result<Completion, NoCompletion> {
        let Prompt::Text(text) = &request.prompt else { panic!("{request:?}") };
        let number: usize = text.rsplit(' ').nth(1).unwrap().parse().unwrap();
        if self.fails_on.contains(&number) {
            let fatal = self.is_fatal;
            return Err(NoCompletion { message: "no".into(), hint: None, fatal, refused: false });
        }
        if self.loses.is_some_and(|tenths| request.seed % 10 < tenths) {
            return Err(NoCompletion {
                message: "lost".into(),
                hint: None,
                fatal: false,
                refused: false,
            });
        }
        // Four of five samples are right.
        let wrong = usize::from(self.wanders && request.seed.is_multiple_of(5));
        let text = format!(" {}\n", 2 * number + wrong);
        let (usage, effort) = (Usage::default(), Effort::default());
        let finish_reason = match self.runs_on.contains(&number) {
            true => FinishReason::Length,
            false => FinishReason::Stop,
        };
        Ok(Completion { text, finish_reason, logprobs: None, usage, effort })
    }
}

impl LanguageModel for Doubling {
    fn name(&self) -> &str {
        "doubling"
    }

    fn complete(
        &self,
        requests: &mut dyn Iterator<Item = CompletionRequest>,
        on_reply: &mut OnReply<'_>,
    ) {
        for (number, request) in requests.enumerate() {
            self.asked.borrow_mut().push(request.clone());
            let reply = self.reply(&request);
            let ends = reply.as_ref().is_err_and(|none| none.fatal);
            if on_reply(number, reply).is_break() || ends {
                return;
            }
        }
    }
}

/// A word is a token.
struct Words(Option<usize>);

impl Ruler for Words {
    fn tokens(&self, prompt: &str) -> usize {
        prompt.split(' ').count()
    }

    fn context(&self) -> Option<usize> {
        self.0
    }

    fn cut(&self, prompt: &str, tokens: usize) -> Option<String> {
        Some(prompt.split(' ').take(tokens).collect::<Vec<_>>().join(" "))
    }
}

fn asking<'a>(model: &'a Doubling, ruler: &'a Words, stop: &'a dyn Fn() -> bool) -> Asking<'a> {
    let progress = &|_, _| ();
    Asking {
        model,
        ruler,
        samples: 1,
        temperature: 0.7,
        max_new_tokens: None,
        chat: false,
        lmentry_cut: LmentryCut::Never,
        seed: 3,
        stop,
        progress,
    }
}

fn journal(folder: &tempfile::TempDir) -> Journal {
    Journal::open(folder.path().join("requests.jsonl")).unwrap()
}

const GO_ON: &dyn Fn() -> bool = &|| false;

#[test]
fn every_example_is_answered_extracted_and_scored() {
    let (task, model, folder) =
        (Adding::new(12), Doubling::default(), tempfile::tempdir().unwrap());
    let asking = asking(&model, &Words(None), GO_ON);
    let outcome = ask(&task, &[1, 11, 4], &asking, &mut journal(&folder)).unwrap().unwrap();
    assert_eq!(outcome.answered.iter().map(|one| one.example).collect::<Vec<_>>(), [1, 11, 4]);
    let last = &outcome.answered[2];
    assert_eq!(last.prompt, "Add. 5 + 5 = 10. 7 + 7 = 14. 4 + 4 =");
    assert_eq!((last.raw[0].as_str(), last.extracted.as_str()), (" 8\n", "8"));
    assert_eq!(last.scores["accuracy"], 1.0);
    // The longest question is asked first.
    let Prompt::Text(first) = &model.asked.borrow()[0].prompt else { panic!() };
    assert!(first.ends_with("11 + 11 ="), "{first}");
}

#[test]
fn exemplars_that_do_not_fit_are_dropped_from_the_end_and_counted() {
    let (mut task, model) = (Adding::new(2), Doubling::default());
    let fitted = |task: &Adding, context, most| {
        let ruler = Words(context);
        let asking = Asking { max_new_tokens: most, ..asking(&model, &ruler, GO_ON) };
        let fitter = Fitter::new(&ruler, task.most_prompt_tokens(), room(task, &[1], &asking));
        let Fitted { text, dropped, is_cut } = fitter.fit(&task.examples[1].question);
        (text, dropped, is_cut)
    };
    let whole = "Add. 5 + 5 = 10. 7 + 7 = 14. 1 + 1 =";
    assert_eq!(fitted(&task, Some(23), None), (whole.into(), 0, false));
    // 15 words and 8 for an answer.
    assert_eq!(fitted(&task, Some(22), None), ("Add. 5 + 5 = 10. 1 + 1 =".into(), 1, false));
    assert_eq!(fitted(&task, Some(22), Some(2)), (whole.into(), 0, false));
    // What has no room at all is asked as it is: the model says so.
    assert_eq!(fitted(&task, Some(4), None), ("Add. 1 + 1 =".into(), 2, false));
    task.most_prompt_tokens = Some(3);
    assert_eq!(fitted(&task, None, None), ("Add. 1 +".into(), 2, true));
}

#[test]
fn what_has_no_answer_is_set_aside_and_asked_again_by_the_next_run() {
    let (task, folder) = (Adding::new(4), tempfile::tempdir().unwrap());
    let mut model = Doubling { fails_on: vec![2], ..Doubling::default() };
    let all = [0, 1, 2, 3];
    let first = ask(&task, &all, &asking(&model, &Words(None), GO_ON), &mut journal(&folder))
        .unwrap()
        .unwrap();
    let prompt = "Add. 5 + 5 = 10. 7 + 7 = 14. 2 + 2 =".to_owned();
    let unanswered = Unanswered { prompt, why: "no".to_owned() };
    assert_eq!(first.unanswered, BTreeMap::from([(2, unanswered)]));
    assert_eq!(first.scores().keys().copied().collect::<Vec<_>>(), [0, 1, 3]);
    model.fails_on.clear();
    model.asked.borrow_mut().clear();
    let second = ask(&task, &all, &asking(&model, &Words(None), GO_ON), &mut journal(&folder))
        .unwrap()
        .unwrap();
    assert_eq!((second.unanswered.len(), second.answered.len()), (0, 4));
    assert_eq!(model.asked.borrow().len(), 1);
}

#[test]
fn of_several_samples_half_are_enough() {
    let (mut task, folder) = (Adding::new(2), tempfile::tempdir().unwrap());
    task.reasons = true;
    let model = Doubling { wanders: true, loses: Some(2), ..Doubling::default() };
    let ruler = Words(None);
    let asking = Asking { samples: 40, ..asking(&model, &ruler, GO_ON) };
    let outcome = ask(&task, &[0, 1], &asking, &mut journal(&folder)).unwrap().unwrap();
    assert_eq!((outcome.answered.len(), outcome.unanswered.len()), (2, 0));
    assert!(outcome.answered.iter().all(|one| (20..40).contains(&one.raw.len())));
    // And fewer are not.
    let model = Doubling { wanders: true, loses: Some(9), ..Doubling::default() };
    let asking = Asking { model: &model, seed: 4, ..asking };
    let outcome = ask(&task, &[0, 1], &asking, &mut journal(&folder)).unwrap().unwrap();
    assert_eq!((outcome.answered.len(), outcome.unanswered.len()), (0, 2));
}

#[test]
fn a_model_that_writes_on_and_on_is_told_by_its_answers() {
    let task = Adding::new(3);
    let unstopped = |runs_on, lmentry_cut| {
        let model = Doubling { runs_on, ..Doubling::default() };
        let asking = Asking { lmentry_cut, ..asking(&model, &Words(None), GO_ON) };
        // A journal of its own: the answers are others'.
        let folder = tempfile::tempdir().unwrap();
        let journal = &mut journal(&folder);
        ask(&task, &[0, 1, 2], &asking, journal).unwrap().unwrap().unstopped
    };
    assert!(unstopped(vec![0, 2], LmentryCut::Auto) && !unstopped(vec![1], LmentryCut::Auto));
    assert!(!unstopped(vec![0, 1, 2], LmentryCut::Never) && unstopped(vec![], LmentryCut::Always));
}

#[test]
fn options_have_no_blank_behind_a_chat_template() {
    let (mut task, model) = (Adding::new(1), Doubling::default());
    task.examples[0].question.options = vec![" A".into(), " B".into()];
    let options = |chat| {
        let asking = Asking { chat, ..asking(&model, &Words(None), GO_ON) };
        request(&task, 0, 0, 1, "?", &asking).1.decoding.options
    };
    assert_eq!(
        (options(false), options(true)),
        (vec![" A".into(), " B".into()], vec!["A".to_owned(), "B".into()])
    );
}

#[test]
fn a_run_that_was_stopped_goes_on_at_the_last_answer() {
    let (task, model, folder) = (Adding::new(9), Doubling::default(), tempfile::tempdir().unwrap());
    let all: Vec<_> = (0..9).collect();
    let asked = Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) == 3;
    let stopped = ask(&task, &all, &asking(&model, &Words(None), &stop), &mut journal(&folder));
    assert!(stopped.unwrap().is_none());
    assert_eq!(model.asked.take().len(), 4);
    let whole = ask(&task, &all, &asking(&model, &Words(None), GO_ON), &mut journal(&folder));
    assert_eq!(whole.unwrap().unwrap().answered.len(), 9);
    assert_eq!(model.asked.borrow().len(), 5);
}

#[test]
fn a_model_that_can_answer_nothing_more_ends_the_run() {
    let (task, folder) = (Adding::new(4), tempfile::tempdir().unwrap());
    let model = Doubling { fails_on: vec![2], is_fatal: true, ..Doubling::default() };
    let failed =
        ask(&task, &[0, 1, 2, 3], &asking(&model, &Words(None), GO_ON), &mut journal(&folder));
    assert_eq!(failed.unwrap_err().to_string(), "`doubling` answers no more: no");
}

#[test]
fn of_several_answers_the_majority_counts_where_a_suite_reasons() {
    let (mut task, folder) = (Adding::new(8), tempfile::tempdir().unwrap());
    let model = Doubling { wanders: true, ..Doubling::default() };
    let ruler = Words(None);
    let asking = Asking { samples: 15, ..asking(&model, &ruler, GO_ON) };
    let all: Vec<_> = (0..8).collect();
    // One that does not reason is asked once.
    let once = ask(&task, &all, &asking, &mut journal(&folder)).unwrap().unwrap();
    assert!(once.answered.iter().all(|one| one.raw.len() == 1));
    assert!(model.asked.take().iter().all(|request| request.decoding.temperature == 0.0));
    task.reasons = true;
    let voted = ask(&task, &all, &asking, &mut journal(&folder)).unwrap().unwrap();
    assert!(voted.answered.iter().all(|one| one.raw.len() == 15 && one.scores["accuracy"] == 1.0));
    // Some of the answers were wrong.
    let differ = |one: &Answered| one.raw.iter().any(|raw| *raw != one.raw[0]);
    assert!(voted.answered.iter().any(differ));
    let seeds: std::collections::HashSet<_> =
        model.asked.borrow().iter().map(|request| request.seed).collect();
    assert_eq!(seeds.len(), 8 * 15);
}
