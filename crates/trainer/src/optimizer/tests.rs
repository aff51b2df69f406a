//! The optimizer beside PyTorch's, and its state saved and loaded.

use albacore_kernels::storage;
use albacore_model::save;
use candle_core::{Device, Tensor};

use super::*;

fn parameter(name: &str, shape: &[usize], value: f32) -> Parameter {
    let value = Tensor::full(value, shape, &Device::Cpu).unwrap();
    Parameter::single(name, value.contiguous().unwrap())
}

fn with_gradient(parameter: &Parameter, gradient: f32) {
    parameter.clear_gradient();
    let fill = |sum: &Tensor, _: std::ops::Range<usize>, _: bool| {
        storage::write(sum, |sum| {
            sum.fill(gradient);
            Ok(())
        })
    };
    parameter.accumulate(fill).unwrap();
}

fn first(tensor: &Tensor) -> f32 {
    storage::read(tensor).unwrap()[0]
}

/// Writes the moments as a checkpoint does.
fn save(optimizer: &Optimizer, path: &Path) {
    let entry = |(name, buffer)| save::Entry::tensor(name, buffer, albacore_model::Dtype::F32);
    let entries: Vec<_> = optimizer.tensors().into_iter().map(entry).collect();
    save::write_safetensors(&mut File::create(path).unwrap(), path, &entries).unwrap();
}

/// The bytes of the moments, by name.
fn kept(optimizer: &Optimizer) -> Vec<(String, Vec<u8>)> {
    let bytes = |numbers: StateNumbers<'_>| match numbers {
        StateNumbers::F32(numbers) => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        StateNumbers::Codes(codes) => codes.to_vec(),
    };
    let tensors = optimizer.tensors().into_iter();
    tensors.map(|(name, buffer)| (name, buffer.read(bytes).unwrap())).collect()
}

/// ```python
/// import torch
/// w = torch.nn.Parameter(torch.tensor([1.0]))
/// optimizer = torch.optim.AdamW([w], lr=0.1, weight_decay=0.5)
/// for g in (3.0, -1.0, 0.5):
///     w.grad = torch.tensor([g])
///     torch.nn.utils.clip_grad_norm_([w], 1.0)
///     optimizer.step()
///     print(w.item())
/// ```
#[test]
fn updates_are_those_of_pytorch() {
    let matrix = parameter("matrix", &[1, 1], 1.0);
    let config = OptimConfig { weight_decay: 0.5, ..Default::default() };
    let mut optimizer = Optimizer::new(config, &[&matrix]).unwrap();
    for (gradient, wanted) in [(3.0, 0.85), (-1.0, 0.812_763_15), (0.5, 0.754_652_44)] {
        with_gradient(&matrix, gradient);
        let norm = optimizer.update(&[&matrix], 0.1).unwrap().get().unwrap();
        assert_eq!(norm, f64::from(gradient.abs()));
        let found = first(matrix.value());
        assert!((found - wanted).abs() <= 1e-7, "found {found}, wanted {wanted}");
    }
}

#[test]
fn vectors_do_not_decay_and_matrices_do() {
    let (matrix, vector) = (parameter("matrix", &[2, 2], 1.0), parameter("vector", &[2], 1.0));
    let both = [&matrix, &vector];
    let config = OptimConfig { weight_decay: 0.5, ..Default::default() };
    let mut optimizer = Optimizer::new(config, &both).unwrap();
    both.iter().for_each(|parameter| with_gradient(parameter, 0.0));
    optimizer.update(&both, 0.1).unwrap();
    assert_eq!((first(matrix.value()), first(vector.value())), (0.95, 1.0));
}

#[test]
fn the_norm_is_that_of_trained_tensors_together_and_frozen_ones_have_no_moments() {
    let mut frozen = parameter("frozen", &[2, 2], 1.0);
    let (matrix, vector) = (parameter("matrix", &[2, 2], 1.0), parameter("vector", &[9], 1.0));
    with_gradient(&frozen, 100.0);
    frozen.set_trainable(|_| false);
    with_gradient(&matrix, 2.0);
    with_gradient(&vector, 1.0);
    let all = [&frozen, &matrix, &vector];
    let mut optimizer = Optimizer::new(OptimConfig::default(), &all).unwrap();
    assert_eq!(optimizer.update(&all, 0.1).unwrap().get().unwrap(), 5.0); // √(4 · 2² + 9 · 1²)
    assert_eq!(first(frozen.value()), 1.0);
    let names = optimizer.tensors().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names, ["m.matrix", "v.matrix", "m.vector", "v.vector"]);
}

#[test]
fn moments_come_back_by_name_and_a_missing_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.safetensors");
    let matrix = parameter("matrix", &[2, 3], 1.0);
    let mut optimizer = Optimizer::new(OptimConfig::default(), &[&matrix]).unwrap();
    with_gradient(&matrix, 2.0);
    optimizer.update(&[&matrix], 0.1).unwrap();
    save(&optimizer, &path);

    let mut loaded = Optimizer::new(OptimConfig::default(), &[&matrix]).unwrap();
    loaded.load(&path, 1).unwrap();
    assert_eq!(loaded.step, 1);
    assert_eq!(kept(&loaded), kept(&optimizer));
    let other = parameter("other", &[2, 3], 1.0);
    let mut other = Optimizer::new(OptimConfig::default(), &[&other]).unwrap();
    let error = other.load(&path, 1).unwrap_err();
    let text = error.to_string();
    assert!(text.ends_with("has no `m.other`: its tensor was not trained"), "{text}");
    let wanted = format!("`--set model.path={} --set run.name=NAME`", folder.path().display());
    assert!(error.hint().unwrap().ends_with(&wanted), "{error:?}");
    let wide = parameter("matrix", &[3, 2], 1.0);
    let error =
        Optimizer::new(OptimConfig::default(), &[&wide]).unwrap().load(&path, 1).unwrap_err();
    let wanted = "`m.matrix` is F32 [2, 3], wanted F32 [3, 2]";
    assert!(error.to_string().ends_with(wanted), "{error}");
}

#[test]
fn moments_in_8_bits_come_back_to_the_byte_and_those_of_another_kind_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.safetensors");
    let parameters = [parameter("matrix", &[65, 64], 1.0), parameter("vector", &[5000], 1.0)];
    let parameters = parameters.each_ref();
    let new =
        |state| Optimizer::new(OptimConfig { state, ..Default::default() }, &parameters).unwrap();
    let mut optimizer = new(StateConfig::Int8);
    parameters.iter().for_each(|parameter| with_gradient(parameter, 2.0));
    optimizer.update(&parameters, 0.1).unwrap();
    save(&optimizer, &path);
    let bytes = std::fs::read(&path).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<_> = stored
        .iter()
        .map(|(name, view)| format!("{name} {:?} {:?}", view.dtype(), view.shape()))
        .collect();
    names.sort();
    let wanted = [
        "m.matrix U8 [65, 64]",
        "m.vector F32 [5000]",
        "m_scale.matrix F32 [17]",
        "v.matrix U8 [65, 64]",
        "v.vector F32 [5000]",
        "v_scale.matrix F32 [17]",
    ];
    assert_eq!(names, wanted);

    let mut loaded = new(StateConfig::Int8);
    assert_ne!(kept(&loaded), kept(&optimizer));
    loaded.load(&path, 1).unwrap();
    assert_eq!(kept(&loaded), kept(&optimizer));
    let error = new(StateConfig::F32).load(&path, 1).unwrap_err();
    let wanted = "`m.matrix` is U8 [65, 64], wanted F32 [65, 64]: it was saved with \
                  `optim.state = \"int8\"`";
    assert!(error.to_string().ends_with(wanted), "{error}");
    save(&new(StateConfig::F32), &path);
    let error = new(StateConfig::Int8).load(&path, 1).unwrap_err();
    let wanted = "`m.matrix` is F32 [65, 64], wanted U8 [65, 64]: it was saved with \
                  `optim.state = \"f32\"`";
    assert!(error.to_string().ends_with(wanted), "{error}");
    assert!(error.hint().unwrap().starts_with("start a new run from it"));
}

#[test]
fn memory_of_the_host_that_is_not_there_is_counted_and_the_remedy_is_named() {
    let source = kernels::Error::Pinned { bytes: 1000, message: "OUT_OF_MEMORY".into() };
    let error = Error::Offload { needed: 5000, source };
    assert_eq!(
        error.to_string(),
        "cannot offload the optimizer's state, 5000 bytes of page-locked memory in all: cannot \
         lock 1000 bytes of the host's memory for the GPU: OUT_OF_MEMORY"
    );
    assert!(error.hint().unwrap().contains("`optim.state = \"int8\"`"));
    assert!(!error.is_out_of_memory(), "smaller batches do not help");
}

#[test]
fn all_problems_are_found_at_once() {
    let config = OptimConfig {
        learning_rate: -1.0,
        betas: [0.9, 1.0],
        epsilon: 0.0,
        weight_decay: f64::NAN,
        ..Default::default()
    };
    assert_eq!(
        config.validate(),
        [
            "`optim.learning_rate` is -1, wanted a number above 0",
            "`optim.epsilon` is 0, wanted a number above 0",
            "`optim.betas` is [0.9, 1.0], wanted two numbers from 0 to below 1",
            "`optim.weight_decay` is NaN, wanted 0 or more",
        ]
    );
    assert!(OptimConfig::default().validate().is_empty());
}

#[test]
fn a_key_of_the_other_rule_is_refused() {
    let adafactor = OptimConfig { kind: OptimKind::Adafactor, ..Default::default() };
    assert!(adafactor.validate().is_empty());
    let config = OptimConfig {
        betas: [0.9, 0.95],
        state: StateConfig::Int8,
        warmup_init: true,
        ..adafactor
    };
    let problems = config.validate();
    let told: Vec<_> = problems.iter().filter_map(|problem| problem.lines().next()).collect();
    assert_eq!(
        told,
        [
            "`optim.betas` is set, wanted only with `optim.kind = \"adamw\"`",
            "`optim.state` is set, wanted only with `optim.kind = \"adamw\"`",
            "`optim.warmup_init` is true, wanted only with `optim.relative_step`",
        ]
    );
    let config = OptimConfig { clip_threshold: 2.0, ..Default::default() };
    let told = "`optim.clip_threshold` is set, wanted only with `optim.kind = \"adafactor\"`";
    assert!(config.validate()[0].starts_with(told));
}
