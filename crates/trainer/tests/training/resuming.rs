//! A run that was stopped and resumed is one that never stopped.

use std::fs;

use albacore_trainer::{
    End, Error, OptimConfig, OptimKind, Options, Resume, ScheduleConfig, ScheduleKind, State,
};
use serde_json::Value;

use crate::support::{Tiny, Told, wide_model};

/// Two passes and a bit over three batches, at a rate that falls.
fn falling() -> Tiny {
    let mut tiny = Tiny::default();
    tiny.options.schedule.kind = ScheduleKind::Cosine;
    tiny.options.schedule.warmup_steps = 2;
    tiny.options.optim.weight_decay = 0.1;
    tiny.options.evaluate_every = 2;
    tiny
}

#[test]
fn stopping_anywhere_and_resuming_gives_the_same_bytes() {
    let never = falling();
    never.run().unwrap();
    let wanted = never.bytes(8);
    for stops in [vec![1], vec![3], vec![2, 5, 6], vec![7]] {
        let mut stopped = falling();
        for stop in &stops {
            stopped.stop_after = Some(*stop);
            assert_eq!(stopped.run().unwrap().end, End::Stopped);
        }
        stopped.stop_after = None;
        assert_eq!(stopped.run().unwrap().end, End::Finished);
        assert!(stopped.bytes(8) == wanted, "stopped after {stops:?}");
        let without_measure = |tiny: &Tiny| {
            let mut lines = tiny.lines();
            // The tests' evaluator counts from one in each process.
            lines.iter_mut().for_each(|line| drop(line["held_out_loss"].take()));
            lines
        };
        assert_eq!(without_measure(&stopped), without_measure(&never));
    }
}

#[test]
fn a_run_that_was_killed_repeats_the_steps_after_its_checkpoint() {
    let mut killed = falling();
    killed.options.checkpoint.every = 3;
    killed.run().unwrap();
    let (wanted, lines) = (killed.bytes(8), killed.lines());
    // As if the process had died in step 8: checkpoint 6 is the newest.
    fs::remove_dir_all(killed.checkpoint(8)).unwrap();
    killed.told.take();
    killed.run().unwrap();
    assert_eq!(killed.losses().len(), 2);
    assert!(killed.bytes(8) == wanted);
    assert_eq!(killed.lines().len(), lines.len());
    assert_eq!(killed.lines()[7]["loss"], lines[7]["loss"]);
}

#[test]
fn a_path_winds_the_run_back_and_sets_later_checkpoints_aside() {
    let mut tiny = falling();
    tiny.options.checkpoint.every = 2;
    tiny.run().unwrap();
    let wanted = tiny.bytes(8);
    let lines = fs::read(tiny.folder.path().join("metrics.jsonl")).unwrap();
    tiny.resume = Resume::From(tiny.checkpoint(4));
    tiny.told.take();
    tiny.run().unwrap();
    let aside = tiny.folder.path().join("previous-1");
    let started = Told::Started { step: 4, steps: 8, set_aside: Some(aside.clone()) };
    assert_eq!(tiny.told.borrow()[0], started);
    assert!(aside.join("checkpoints/step-000006").is_dir());
    assert!(fs::read(aside.join("metrics.jsonl")).unwrap() == lines, "they keep their lines");
    assert!(tiny.bytes(8) == wanted);
    assert_eq!(tiny.lines().len(), 8);
}

#[test]
fn a_run_can_go_on_from_a_checkpoint_of_another() {
    let mut one = falling();
    one.options.checkpoint.every = 4;
    one.run().unwrap();
    let mut other = falling();
    other.resume = Resume::From(one.checkpoint(4));
    other.options.checkpoint.every = 4;
    other.run().unwrap();
    assert!(other.bytes(8) == one.bytes(8));
    assert_eq!(other.lines().len(), 4);
    assert_eq!(one.checkpoints().len(), 2, "it is only read");
}

#[test]
fn starting_afresh_sets_the_old_course_aside() {
    let mut tiny = falling();
    tiny.run().unwrap();
    let wanted = tiny.bytes(8);
    tiny.resume = Resume::Never;
    tiny.stop_after = Some(1);
    tiny.run().unwrap();
    assert_eq!(tiny.checkpoints(), ["step-000001"]);
    assert_eq!(tiny.lines().len(), 1);
    let aside = tiny.folder.path().join("previous-1");
    assert_eq!(fs::read_to_string(aside.join("metrics.jsonl")).unwrap().lines().count(), 8);
    let weights = aside.join("checkpoints/step-000008/model.safetensors");
    assert!(fs::read(weights).unwrap() == wanted.0);
}

#[test]
fn a_change_that_alters_the_training_is_refused_unless_accepted() {
    let mut tiny = Tiny { stop_after: Some(3), ..Default::default() };
    tiny.run().unwrap();
    tiny.stop_after = None;
    tiny.options.optim.learning_rate = 1e-3;
    tiny.options.checkpoint.every = 5;
    let error = tiny.run().unwrap_err();
    let text = error.to_string();
    let wanted = "`optim.learning_rate` was `0.01`, is now `0.001`: the updates would be others";
    assert!(text.ends_with(wanted), "{text}");
    assert!(!text.contains("checkpoint.every"));
    assert!(error.hint().unwrap().contains("--accept-changes"));
    assert_eq!(tiny.checkpoints(), ["step-000003"], "nothing was touched");

    tiny.options.accept_changes = true;
    assert_eq!(tiny.run().unwrap().end, End::Finished);
    // The next checkpoint holds the new configuration.
    tiny.options.accept_changes = false;
    assert_eq!(tiny.run().unwrap().end, End::AlreadyFinished);
}

#[test]
fn a_finished_run_can_be_made_longer_where_the_rate_does_not_depend_on_its_length() {
    let longer = |kind| {
        let mut tiny = Tiny::default();
        tiny.options.schedule.kind = kind;
        tiny.run().unwrap();
        tiny.options.train.steps = Some(10);
        (tiny.run(), tiny)
    };
    let (outcome, constant) = longer(ScheduleKind::Constant);
    assert_eq!(outcome.unwrap().step, 10);
    let mut ten = Tiny::default();
    ten.options.train.steps = Some(10);
    ten.run().unwrap();
    assert!(constant.bytes(10) == ten.bytes(10));

    let (outcome, _) = longer(ScheduleKind::Linear);
    let error = outcome.unwrap_err();
    let wanted = "`train.steps` was `8`, is now `10`: the learning rate falls towards the end";
    assert!(
        matches!(error, Error::Changed { .. }) && error.to_string().contains(wanted),
        "{error}"
    );
}

#[test]
fn a_pass_that_has_become_shorter_is_over() {
    let mut tiny = Tiny { stop_after: Some(2), ..Default::default() };
    tiny.run().unwrap();
    tiny.stop_after = None;
    tiny.options.accept_changes = true;
    // Two batches of the three were taken; now there is one.
    tiny.examples.truncate(2);
    assert_eq!(tiny.run().unwrap().end, End::Finished);
    let lines = tiny.lines();
    assert_eq!(lines.len(), 8);
    assert!(lines.iter().all(|line| line["loss"].is_f64() && line["tokens"] != 0), "{lines:?}");
    assert_eq!(lines[2]["epoch"], 2.0);
}

#[test]
fn a_key_that_is_newer_than_the_checkpoint_changes_nothing() {
    let tiny = Tiny { stop_after: Some(2), ..Default::default() };
    tiny.run().unwrap();
    let text = fs::read(tiny.checkpoint(2).join("state.json")).unwrap();
    let mut saved = serde_json::from_slice::<Value>(&text).unwrap();
    assert!(saved["config"]["optim"].as_object_mut().unwrap().remove("weight_decay").is_some());
    let saved = serde_json::from_value::<State>(saved).unwrap();
    let fingerprint = "of the data";
    let mut options = tiny.options();
    let keys = |options: &Options| {
        let found = options.differences(&saved, 8, fingerprint).into_iter();
        found.map(|found| found.key).collect::<Vec<_>>()
    };
    assert_eq!(keys(&options), [""; 0]);
    options.defaults = Value::Null;
    assert_eq!(keys(&options), ["optim.weight_decay"]);
}

/// Factored and whole second moments, and the mean step.
#[test]
fn adafactor_goes_on_to_the_bit() {
    let tiny = |relative_step| {
        let mut tiny = Tiny { model: wide_model, ..Tiny::default() };
        let learning_rate = if relative_step { OptimConfig::default().learning_rate } else { 1e-2 };
        tiny.options.optim = OptimConfig {
            kind: OptimKind::Adafactor,
            learning_rate,
            relative_step,
            momentum: if relative_step { 0.0 } else { 0.9 },
            min_dim_size_to_factor: 64,
            ..OptimConfig::default()
        };
        if relative_step {
            tiny.options.schedule = ScheduleConfig::default();
        }
        tiny
    };
    for relative_step in [false, true] {
        let never = tiny(relative_step);
        never.run().unwrap();
        let losses = never.losses();
        assert!(losses[7] < losses[0], "{losses:?}");
        let names: Vec<_> = never.tensors(8, "optimizer.safetensors").into_keys().collect();
        let has = |start: &str| names.iter().any(|name| name.starts_with(start));
        assert!(has("v_row.") && has("v_col.") && has("v.") && has("m.") != relative_step);
        let mut stopped = tiny(relative_step);
        for stop in [1, 5] {
            stopped.stop_after = Some(stop);
            assert_eq!(stopped.run().unwrap().end, End::Stopped);
        }
        stopped.stop_after = None;
        stopped.run().unwrap();
        assert!(stopped.bytes(8) == never.bytes(8), "{relative_step}");
    }
}

#[test]
fn another_rule_is_refused_on_resume() {
    let mut tiny = Tiny { stop_after: Some(2), ..Tiny::default() };
    tiny.run().unwrap();
    tiny.options.optim.kind = OptimKind::Adafactor;
    let error = tiny.run().unwrap_err().to_string();
    assert!(error.contains("`optim.kind` was `\"adamw\"`, is now `\"adafactor\"`"), "{error}");
    // Insisted on, the file says so: it has other numbers.
    tiny.options.accept_changes = true;
    tiny.options.optim.min_dim_size_to_factor = 1;
    let error = tiny.run().unwrap_err().to_string();
    assert!(error.contains("it was saved with another `optim.kind`"), "{error}");
}
