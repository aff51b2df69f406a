//! Trainings that rank: groups make up steps, a reference is asked once, held-out groups are measured.

use albacore_data::Packing;
use albacore_trainer::{Dpo, Tuna};

use crate::support::{Tiny, Told, examples, groups};

/// Eight groups of different sizes, four to a step.
fn ranking() -> Tiny {
    let mut tiny = Tiny {
        examples: groups(&[
            (5, &[3, 2]),
            (4, &[2, 4, 3]),
            (6, &[3, 3]),
            (3, &[1, 5, 2, 2]),
            (7, &[4, 2]),
            (2, &[6, 1]),
            (5, &[2, 2, 2]),
            (4, &[3, 5]),
        ]),
        objective: Box::new(Tuna::default()),
        packing: Packing::alone(3, 30, true),
        ..Default::default()
    };
    tiny.options.train.groups_per_step = Some(4);
    tiny.options.checkpoint.every = 1;
    tiny.options.measures_held_out = true;
    tiny
}

fn dpo() -> Tiny {
    Tiny { objective: Box::new(Dpo::default()), ..ranking() }
}

/// How often the reference was asked.
fn referred(tiny: &Tiny) -> usize {
    tiny.told.borrow().iter().filter(|told| matches!(told, Told::Referring { .. })).count()
}

#[test]
fn a_step_of_groups_does_not_depend_on_how_they_are_spread_over_batches() {
    let [alone, together] = [1, 100].map(|tokens| {
        let tiny = Tiny { packing: Packing::alone(3, tokens, true), ..ranking() };
        tiny.run().unwrap();
        tiny
    });
    assert_same(&alone.lines(), &together.lines());
}

#[test]
fn sharing_prompts_changes_the_time_of_a_step_alone() {
    let [shared, copied] = [true, false].map(|share_prompts| {
        let mut tiny = dpo();
        tiny.options.train.share_prompts = share_prompts;
        tiny.run().unwrap();
        tiny
    });
    assert_same(&shared.lines(), &copied.lines());
}

fn assert_same(one: &[serde_json::Value], other: &[serde_json::Value]) {
    assert_eq!(one.len(), 8);
    for (step, (one, other)) in one.iter().zip(other).enumerate() {
        for key in ["loss", "ranking_accuracy", "margin", "grad_norm"] {
            let [one, other] = [one, other].map(|line| line[key].as_f64().unwrap());
            // Sums of f32 in another order; Adam makes a whole step of a gradient of nearly nothing.
            let tolerance = if step == 0 { 1e-5 } else { 1e-3 };
            assert!(
                (one - other).abs() <= tolerance * (1.0 + other.abs()),
                "{key}: {one}, {other}"
            );
        }
        assert_eq!(one["tokens"], other["tokens"]);
    }
}

#[test]
fn the_ranking_is_learned() {
    let mut tiny = ranking();
    tiny.options.train.steps = Some(60);
    tiny.options.checkpoint.every = 0;
    tiny.run().unwrap();
    let lines = tiny.lines();
    let accuracy = |line: &serde_json::Value| line["ranking_accuracy"].as_f64().unwrap();
    assert!(accuracy(&lines[0]) < 0.8, "{}", lines[0]);
    assert!(accuracy(&lines[59]) > 0.85, "{}", lines[59]);
    assert_eq!(lines[59]["ranking_accuracy_top1"], 1.0);
    assert!(tiny.losses()[59] < tiny.losses()[0]);
}

#[test]
fn a_reference_is_asked_once_and_a_resumed_run_has_the_bytes_of_one_that_never_stopped() {
    let whole = dpo();
    whole.run().unwrap();
    // Nothing has been learned yet: each pair is even.
    assert!((whole.losses()[0] - 2f64.ln()).abs() < 1e-6, "{}", whole.losses()[0]);
    assert!(whole.losses()[7] < 0.6);
    let stopped = Tiny { stop_after: Some(3), ..dpo() };
    stopped.run().unwrap();
    let before = referred(&stopped);
    assert!(before > 0);
    let resumed = Tiny { stop_after: None, ..stopped };
    resumed.run().unwrap();
    assert_eq!(referred(&resumed), before);
    assert_eq!(resumed.losses()[3..], whole.losses()[3..]);
    assert!(resumed.bytes(8) == whole.bytes(8));
}

#[test]
fn a_run_that_is_begun_again_finds_what_the_reference_said() {
    let tiny = Tiny { resume: albacore_trainer::Resume::Never, ..dpo() };
    tiny.run().unwrap();
    let (before, losses) = (referred(&tiny), tiny.losses());
    tiny.run().unwrap();
    assert_eq!(referred(&tiny), before);
    assert_eq!(tiny.losses()[8..], losses);
    // Other weights are another reference.
    let other = Tiny { model: crate::support::wide_model, ..tiny };
    other.run().unwrap();
    assert!(referred(&other) > before);
}

#[test]
fn a_checkpoint_whose_reference_is_of_other_data_is_refused() {
    let mut tiny = Tiny { stop_after: Some(2), ..dpo() };
    tiny.run().unwrap();
    tiny.examples.pop();
    tiny.options.accept_changes = true;
    let error = tiny.run().unwrap_err();
    assert!(
        error.to_string().contains("wanted the log-probabilities that the starting"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("--resume never"));
}

#[test]
fn held_out_groups_are_measured_by_the_same_terms() {
    let mut tiny = Tiny { held_out: groups(&[(4, &[2, 3]), (3, &[3, 1, 2])]), ..dpo() };
    tiny.options.train.steps = Some(2);
    tiny.run().unwrap();
    let told = tiny.told.borrow();
    let mut evaluated = told.iter().filter_map(|told| match told {
        Told::Evaluated { step, values } => Some((*step, values)),
        _ => None,
    });
    let (step, before) = evaluated.next().unwrap();
    let value = |name: &str| before.iter().find(|(known, _)| known == name).unwrap().1;
    assert_eq!(step, 0);
    assert!((value("held_out_loss") - 2f64.ln()).abs() < 1e-6, "{before:?}");
    // The reference keeps its sums in f32.
    assert!(value("held_out_kl").abs() < 1e-6, "{before:?}");
    assert!((0.0..=1.0).contains(&value("held_out_ranking_accuracy")));
    let line = &tiny.lines()[1];
    assert!(line["held_out_kl"].as_f64().unwrap() != 0.0, "{line}");
}

#[test]
fn data_that_an_objective_cannot_learn_from_are_refused_before_anything_is_written() {
    let plain = Tiny { examples: examples(&[5, 6]), ..ranking() };
    let ranked = Tiny { objective: Box::new(albacore_trainer::Sft::default()), ..ranking() };
    let wanted = [
        (
            plain,
            "ranks several answers to a prompt, and the data has one to each",
            "`format = \"tuna\"`",
        ),
        (ranked, "learns every answer alike, and data.jsonl:1 has 2 answers", "`kind = \"tuna\"`"),
    ];
    for (tiny, message, hint) in wanted {
        let error = tiny.run().unwrap_err().to_string();
        assert!(error.contains(message) && error.contains(hint), "{error}");
        assert!(!tiny.folder.path().join("metrics.jsonl").exists());
    }
}

#[test]
fn an_answer_without_a_rival_may_stand_beside_groups() {
    let mut tiny = ranking();
    tiny.examples.extend(examples(&[6, 8]));
    tiny.run().unwrap();
    assert!(tiny.losses().iter().all(|loss| loss.is_finite()));
}

#[test]
fn steps_are_measured_in_groups_or_in_batches() {
    let mut tiny = ranking();
    tiny.options.train.batches_per_step = 2;
    let error = tiny.run().unwrap_err().to_string();
    assert!(error.contains("`train.groups_per_step` are both set, wanted one"), "{error}");
    tiny.options.train.groups_per_step = Some(0);
    assert!(tiny.run().unwrap_err().to_string().contains("`train.groups_per_step` is 0"));
}
