//! Every ranking objective against PyTorch: its loss, and its gradient by each token.
//!
//! The numbers are in `tests/golden/objectives.json`; `scripts/golden_objectives.py` made them, with TRL's
//! own code where TRL has the loss.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use albacore_trainer::{Groups, ObjectiveConfig};
use serde::Deserialize;
use serde_json::Value as Json;

/// PyTorch computed in f64, and so do the objectives, which round their gradient to f32: by 6e-8 of
/// slopes of at most 6. TRL's ORPO computes in f32, in a few tens of operations.
const TOLERANCE: f64 = 1e-6;

#[derive(Deserialize)]
struct Goldens {
    data: std::collections::BTreeMap<String, Data>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Data {
    target_starts: Vec<u32>,
    group_starts: Vec<u32>,
    scores: Vec<f32>,
    reference: Vec<f32>,
    logp: Vec<f32>,
}

#[derive(Deserialize)]
struct Case {
    objective: Json,
    data: String,
    loss: f64,
    gradient: Vec<f64>,
}

#[test]
fn losses_and_gradients_are_those_of_pytorch_and_trl() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/objectives.json");
    let goldens: Goldens = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut kinds = BTreeSet::new();
    for Case { objective: config, data, loss, gradient } in &goldens.cases {
        kinds.insert(config["kind"].as_str().unwrap());
        let objective = serde_json::from_value::<ObjectiveConfig>(config.clone()).unwrap().build();
        let Data { target_starts, group_starts, scores, reference, logp } = &goldens.data[data];
        let reference = if objective.needs_reference() { reference.as_slice() } else { &[] };
        let groups = Groups { target_starts, group_starts, scores, reference };
        let found = objective.loss(logp, &groups, &objective.count(&groups));
        let error = (found.terms[0].mean() - loss).abs() / (1.0 + loss.abs());
        assert!(error < TOLERANCE, "{config} on {data}: {:?}, wanted {loss}", found.terms[0]);
        assert_eq!(found.gradient.len(), gradient.len());
        for (token, (found, wanted)) in found.gradient.iter().zip(gradient).enumerate() {
            let error = (f64::from(*found) - wanted).abs();
            assert!(error < TOLERANCE, "{config} on {data}, {token}: {found}, wanted {wanted}");
        }
    }
    assert_eq!(kinds.len(), 11, "{kinds:?}");
}
