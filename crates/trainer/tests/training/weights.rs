//! Which weights are trained.

use albacore_trainer::Error;

use crate::support::{Tiny, model};

#[test]
fn frozen_tensors_keep_their_bytes_and_have_no_moments() {
    let mut tiny = Tiny::default();
    // One of the three that lie in one matrix, and a whole layer.
    tiny.options.train.freeze =
        vec!["model.layers.0.self_attn.k_proj.weight".into(), "model.layers.1.*".into()];
    tiny.run().unwrap();
    let frozen = |name: &str| name.contains("layers.1.") || name.contains("0.self_attn.k_proj");
    let (before, after) = (model(), tiny.tensors(8, "model.safetensors"));
    for parameter in before.parameters() {
        for part in parameter.parts() {
            let value = parameter.part_value(part).unwrap().flatten_all().unwrap();
            let same = value.to_vec1::<f32>().unwrap() == after[&part.name];
            assert_eq!(same, frozen(&part.name), "{}", part.name);
        }
    }
    let moments = tiny.tensors(8, "optimizer.safetensors");
    assert_eq!(moments.len(), 2 * after.keys().filter(|name| !frozen(name)).count());
    assert!(moments.keys().all(|name| !frozen(name)));
}

#[test]
fn train_only_freezes_the_rest() {
    let mut tiny = Tiny::default();
    tiny.options.train.train_only = vec!["*norm*".into()];
    tiny.options.train.freeze = vec!["model.norm.weight".into()];
    tiny.run().unwrap();
    let moments = tiny.tensors(8, "optimizer.safetensors");
    assert_eq!(moments.len(), 2 * 4, "{:?}", moments.keys());
    let losses = tiny.losses();
    assert!(losses[7] < losses[0]);
}

#[test]
fn every_tensor_learns() {
    let tiny = Tiny::default();
    tiny.run().unwrap();
    let moments = tiny.tensors(8, "optimizer.safetensors");
    for (name, moment) in moments {
        assert!(moment.iter().any(|&number| number != 0.0), "{name}");
    }
}

#[test]
fn a_pattern_that_fits_nothing_and_one_that_leaves_nothing_are_refused() {
    let refused = |freeze: &[&str]| {
        let mut tiny = Tiny::default();
        tiny.options.train.freeze = freeze.iter().map(|&pattern| pattern.to_owned()).collect();
        match tiny.run().unwrap_err() {
            Error::Config { problems } => problems,
            error => panic!("{error}"),
        }
    };
    let problems = refused(&["layers.0.*", "*.bias"]);
    assert_eq!(problems.len(), 2);
    let wanted = "`train.freeze` has `layers.0.*`, which fits no tensor of the model\nhint: its \
                  tensors have names like `model.layers.";
    assert!(problems[0].starts_with(wanted), "{}", problems[0]);
    assert_eq!(refused(&["*"]), ["`train.freeze` leaves no tensor to train, wanted one or more"]);
}

#[test]
fn a_tensor_that_was_frozen_has_no_moments_to_go_on_from_and_the_remedy_is_named() {
    let mut tiny = Tiny { stop_after: Some(2), ..Default::default() };
    tiny.options.train.freeze = vec!["model.norm.weight".into()];
    tiny.run().unwrap();
    tiny.stop_after = None;
    tiny.options.train.freeze.clear();
    let error = tiny.run().unwrap_err().to_string();
    assert!(
        error.ends_with("`[\"model.norm.weight\"]`, is now `[]`: other weights would be trained"),
        "{error}"
    );

    tiny.options.accept_changes = true;
    let error = tiny.run().unwrap_err();
    assert!(error.to_string().contains("has no `m.model.norm.weight`"), "{error}");
    let remedy = format!("`--set model.path={} --set run.name=NAME`", tiny.checkpoint(2).display());
    assert!(error.hint().unwrap().contains(&remedy), "{error:?}");
}
