//! How a run ends: done, asked to stop, or with numbers that are not finite.

use albacore_kernels::storage;
use albacore_model::Model;
use albacore_trainer::{
    Counts, End, Error, Groups, Loss, Objective, Options, Precision, Resume, Sft,
};

use crate::support::{Tiny, Told, model};

#[test]
fn a_run_evaluates_logs_and_saves_when_due() {
    let mut tiny = Tiny::default();
    tiny.options.evaluate_every = 3;
    tiny.options.checkpoint.every = 4;
    let outcome = tiny.run().unwrap();
    assert_eq!((outcome.end, outcome.step), (End::Finished, 8));
    assert_eq!(outcome.checkpoint, tiny.checkpoint(8));
    assert_eq!(outcome.before, [("held_out_loss".to_owned(), 1.0)]);
    assert_eq!(outcome.after, [("held_out_loss".to_owned(), 103.0)]);
    assert_eq!(tiny.checkpoints(), ["step-000004", "step-000008"]);

    let lines = tiny.lines();
    let steps = lines.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(steps, [1, 2, 3, 4, 5, 6, 7, 8]);
    let held_out = lines.iter().map(|line| line["held_out_loss"].as_f64()).collect::<Vec<_>>();
    let none = None;
    assert_eq!(held_out, [none, none, Some(2.0), none, none, Some(3.0), none, Some(103.0)]);
    let told = tiny.told.borrow();
    assert_eq!(told[0], Told::Started { step: 0, steps: 8, set_aside: None });
    let saved = told.iter().filter_map(|told| match told {
        Told::Saved(saved) => Some((saved.step, saved.folder.clone())),
        _ => None,
    });
    let wanted = [(4, tiny.checkpoint(4)), (8, tiny.checkpoint(8))];
    assert_eq!(saved.collect::<Vec<_>>(), wanted);
}

#[test]
fn an_evaluation_that_is_stopped_is_made_up_for_and_no_byte_tells_of_it() {
    let whole = Tiny { options: evaluating(), ..Tiny::default() };
    whole.run().unwrap();
    // Before the first step, between two, after the last; so many evaluations were made before.
    for (stopped_at, counted) in [(0, 0.0), (3, 1.0), (8, 3.0)] {
        let stopped = Tiny {
            options: evaluating(),
            evaluation_stopped_at: Some(stopped_at),
            ..Tiny::default()
        };
        let outcome = stopped.run().unwrap();
        assert_eq!((outcome.end, outcome.step), (End::Stopped, stopped_at));
        assert_eq!(stopped.lines()[..], whole.lines()[..stopped_at.saturating_sub(1) as usize]);
        // Stopped there once more, it stands where it stood.
        assert_eq!(stopped.run().unwrap().step, stopped_at);
        let gone_on = Tiny { evaluation_stopped_at: None, counted, ..stopped };
        let outcome = gone_on.run().unwrap();
        assert_eq!((outcome.end, outcome.after.len()), (End::Finished, 1), "{stopped_at}");
        assert_eq!(gone_on.lines(), whole.lines(), "{stopped_at}");
        assert!(gone_on.bytes(8) == whole.bytes(8), "{stopped_at}");
        assert_eq!(gone_on.run().unwrap().end, End::AlreadyFinished);
        assert!(!gone_on.folder.path().join("unmeasured.json").exists());
        assert!(!gone_on.folder.path().join("previous-1").exists(), "{stopped_at}");
    }
}

#[test]
fn a_step_whose_evaluation_fails_is_saved_and_measured_once_the_run_goes_on() {
    let whole = Tiny { options: evaluating(), ..Tiny::default() };
    whole.run().unwrap();
    // Between two steps, and after the last; so many evaluations were made before.
    for (fails_at, counted) in [(3, 1.0), (8, 3.0)] {
        let options = evaluating();
        let failed = Tiny { options, evaluation_fails_at: Some(fails_at), ..Tiny::default() };
        let told = |tiny: &Tiny| tiny.run().unwrap_err().to_string();
        let wanted = format!("the evaluation after step {fails_at} failed: no answer");
        assert_eq!(told(&failed), wanted);
        assert_eq!(failed.checkpoints(), [format!("step-{fails_at:06}")]);
        assert_eq!(failed.lines()[..], whole.lines()[..fails_at as usize - 1]);
        // If it fails again, the run stands where it stood.
        assert_eq!(told(&failed), wanted);
        let gone_on = Tiny { evaluation_fails_at: None, counted, ..failed };
        assert_eq!(gone_on.run().unwrap().end, End::Finished);
        assert_eq!(gone_on.lines(), whole.lines(), "{fails_at}");
        assert!(gone_on.bytes(8) == whole.bytes(8), "{fails_at}");
    }
}

#[test]
fn a_step_whose_line_cannot_be_kept_for_its_evaluation_is_logged_without_and_saved() {
    for stopped in [true, false] {
        let [stopped_at, fails_at] = [stopped, !stopped].map(|it| it.then_some(3));
        let tiny = Tiny {
            options: evaluating(),
            evaluation_stopped_at: stopped_at,
            evaluation_fails_at: fails_at,
            ..Tiny::default()
        };
        let path = tiny.folder.path().join("unmeasured.json.partial");
        std::fs::create_dir(path).unwrap();
        let error = tiny.run().unwrap_err();
        let cannot =
            |text: &str| text.starts_with("cannot write") && text.contains("unmeasured.json");
        match stopped {
            true => assert!(cannot(&error.to_string()), "{error}"),
            false => {
                assert!(matches!(error, Error::Evaluation { step: 3, .. }), "{error}");
                assert!(tiny.warnings().iter().any(|warning| cannot(warning)));
            }
        }
        assert_eq!(tiny.checkpoints(), ["step-000003"]);
        let lines = tiny.lines();
        assert_eq!((lines.len(), lines[2].get("held_out_loss")), (3, None));
        let gone_on = Tiny { evaluation_stopped_at: None, evaluation_fails_at: None, ..tiny };
        assert_eq!(gone_on.run().unwrap().end, End::Finished);
        assert_eq!(gone_on.lines().len(), 8);
    }
}

fn evaluating() -> Options {
    Options { evaluate_every: 3, ..Tiny::default().options }
}

/// What a GPU run does (here on the CPU): a step is logged while the next one runs.
#[test]
fn numbers_that_are_read_one_step_late_are_the_same_numbers() {
    let mut at_once = Tiny::default();
    at_once.options.evaluate_every = 3;
    at_once.options.checkpoint.every = 4;
    at_once.options.train.precision = Some(Precision::F32);
    at_once.run().unwrap();
    let options = Options { gpu: Some(candle_core::Device::Cpu), ..at_once.options.clone() };
    let mut late = Tiny { options, ..Default::default() };
    late.run().unwrap();
    assert_eq!(late.lines(), at_once.lines());
    assert!(late.bytes(4) == at_once.bytes(4) && late.bytes(8) == at_once.bytes(8));
    // After step 2 the run has told of one: of the second when it is asked to stop.
    late = Tiny { stop_after: Some(1), ..late };
    late.resume = Resume::Never;
    assert_eq!(late.run().unwrap().step, 2);
    assert_eq!(late.lines()[..], at_once.lines()[..2]);
}

#[test]
fn a_step_that_is_found_not_finite_late_is_named_and_nothing_after_it_is_saved() {
    let mut late = Tiny { objective: Box::new(Exploding(0.into())), ..Default::default() };
    late.options.gpu = Some(candle_core::Device::Cpu);
    late.options.train.precision = Some(Precision::F32);
    late.options.checkpoint.every = 2;
    let error = late.run().unwrap_err().to_string();
    assert!(error.starts_with("step 3: the norm of the gradient is "), "{error}");
    assert_eq!((late.checkpoints(), late.lines().len()), (vec!["step-000002".to_owned()], 2));
}

#[test]
fn a_checkpoint_is_a_model_folder_with_the_weights_of_its_step() {
    let tiny = Tiny::default();
    tiny.run().unwrap();
    let loaded = Model::load(&tiny.checkpoint(8), &candle_core::Device::Cpu).unwrap();
    assert_eq!(loaded.parameters().len(), model().parameters().len());
    let names = std::fs::read_dir(tiny.checkpoint(8)).unwrap();
    let mut names =
        names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
    names.sort();
    assert_eq!(
        names,
        [
            "config.json",
            "manifest.json",
            "model.safetensors",
            "optimizer.safetensors",
            "state.json"
        ]
    );
}

#[test]
fn a_run_that_is_asked_to_stop_finishes_its_step_and_saves() {
    let mut tiny = Tiny { stop_after: Some(3), ..Default::default() };
    let outcome = tiny.run().unwrap();
    assert_eq!((outcome.end, outcome.step), (End::Stopped, 3));
    assert_eq!(tiny.checkpoints(), ["step-000003"]);
    tiny.stop_after = None;
    assert_eq!(tiny.run().unwrap().end, End::Finished);
    assert_eq!(tiny.lines().len(), 8);
    let outcome = tiny.run().unwrap();
    assert_eq!((outcome.end, outcome.step), (End::AlreadyFinished, 8));
    assert_eq!(outcome.checkpoint, tiny.checkpoint(8));
    assert_eq!(outcome.before, [("held_out_loss".to_owned(), 1.0)]);
}

#[test]
fn only_the_newest_checkpoints_are_kept() {
    let mut tiny = Tiny::default();
    tiny.options.checkpoint.every = 1;
    tiny.options.checkpoint.keep_last = 2;
    tiny.options.checkpoint.keep_every = 3;
    tiny.run().unwrap();
    assert_eq!(tiny.checkpoints(), ["step-000003", "step-000006", "step-000007", "step-000008"]);
}

#[test]
fn a_loss_that_is_not_finite_names_its_examples_and_leaves_the_last_checkpoint() {
    // Of all examples, only that of line 4 has token 33; it is in the second batch.
    let prepare = |model: &Model| {
        let row = model.parameters()[0].value().narrow(0, 33, 1).unwrap();
        let fill = |row: &mut [f32]| {
            row.fill(f32::INFINITY);
            Ok(())
        };
        storage::write(&row, fill).unwrap();
    };
    let mut tiny = Tiny { prepare, ..Default::default() };
    tiny.packing.shuffle = false;
    tiny.options.checkpoint.every = 1;
    let error = tiny.run().unwrap_err();
    assert_eq!(
        error.to_string(),
        "step 2: the loss is NaN, computed from data.jsonl:3, data.jsonl:4"
    );
    assert!(error.hint().unwrap().contains("nothing of this step was saved"));
    assert_eq!(tiny.checkpoints(), ["step-000001"]);
}

/// Its loss is finite, its gradient is not from the third step on.
struct Exploding(std::sync::atomic::AtomicU64);

impl Objective for Exploding {
    fn count(&self, groups: &Groups) -> Counts {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Sft::default().count(groups)
    }

    fn loss(&self, logp: &[f32], groups: &Groups, step: &Counts) -> Loss {
        let mut loss = Sft::default().loss(logp, groups, step);
        if self.0.load(std::sync::atomic::Ordering::Relaxed) >= 3 {
            loss.gradient.fill(f32::MAX);
        }
        loss
    }
}

#[test]
fn a_gradient_that_is_not_finite_is_not_applied() {
    let exploding = || Tiny { objective: Box::new(Exploding(0.into())), ..Default::default() };
    let mut tiny = exploding();
    tiny.options.checkpoint.every = 1;
    let error = tiny.run().unwrap_err();
    let wanted = "step 3: the norm of the gradient is ";
    assert!(error.to_string().starts_with(wanted), "{error}");
    assert!(error.to_string().contains("data.jsonl:"), "{error}");
    assert_eq!(tiny.checkpoints(), ["step-000001", "step-000002"]);
    assert_eq!(tiny.lines().len(), 2);

    // The two good steps are those of a run that stops after them.
    let mut two = exploding();
    two.stop_after = Some(2);
    two.run().unwrap();
    assert!(two.bytes(2) == tiny.bytes(2));
}

#[test]
fn a_run_folder_in_use_is_refused() {
    let tiny = Tiny::default();
    let held = albacore_trainer::RunFolder::take(tiny.folder.path()).unwrap();
    let error = tiny.run().unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    drop(held);
    tiny.run().unwrap();
}
