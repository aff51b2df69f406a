//! `albacore train --dry-run`: what would happen.

use albacore_data::{Packing, Plan};
use albacore_model::{FeedForward, LlamaConfig, ModelConfig, T5Config};
use albacore_trainer::{
    Checkpoint, OptimConfig, OptimKind, Precision, RecomputeConfig, TrainConfig,
};
use serde_json::json;

use crate::commands::prepare;
use crate::config::{Config, Settings};
use crate::failure::Result;
use crate::prepared::Prepared;
use crate::progress::{count, size};
use crate::terminal::Terminal;

/// Prints what a run of `steps` steps would do that goes on from `resumed`.
///
/// # Errors
/// If stdout cannot be written.
pub fn show(
    config: &Config,
    prepared: &Prepared,
    packing: Packing,
    steps: u64,
    resumed: Option<&Checkpoint>,
    on_gpu: bool,
    terminal: &Terminal,
) -> Result<()> {
    let Prepared { folder, shape, dataset, .. } = prepared;
    let packing = Packing { examples_per_step: config.train.groups_per_step, ..packing };
    let batches = Plan::new(packing, 0, &dataset.lengths()).len();
    let place = Place::of(&config.train, on_gpu);
    let memory = memory(shape, &config.train, &config.optim, packing.tokens_per_batch, place);
    let offloaded = if config.optim.offload { state(shape, &config.optim) } else { 0 };
    let step = resumed.map_or(0, |checkpoint| checkpoint.state.step);
    let finished = step >= steps;
    if terminal.json {
        let line = json!({
            "model": folder, "parameters": parameters(shape), "run": config.run.folder(),
            "resume": resumed.map(|checkpoint| &checkpoint.folder), "step": step,
            "finished": finished, "report": dataset.report, "batches": batches, "steps": steps,
            "memory_bytes": memory, "offloaded_bytes": offloaded, "config": config,
        });
        return Ok(terminal.print(&line.to_string())?);
    }
    let start = match resumed {
        Some(_) if finished => format!("has finished already: {step} steps"),
        Some(checkpoint) => {
            format!("goes on from `{}`, step {step} of {steps}", checkpoint.folder.display())
        }
        None => "starts afresh".into(),
    };
    let TrainConfig { batches_per_step, groups_per_step, freeze, train_only, .. } = &config.train;
    let each = match groups_per_step {
        Some(groups) => format!("{groups} groups, in batches of"),
        None => format!("{batches_per_step} x"),
    };
    // Without frozen tensors there are fewer gradients and moments.
    let about = if freeze.is_empty() && train_only.is_empty() { "about" } else { "less than" };
    let beside = match offloaded {
        0 => String::new(),
        bytes => format!(", and {} of the host's, page-locked", size(bytes)),
    };
    Ok(terminal.print(&format!(
        "model      {}, {} parameters\nrun        {}, {start}\n{}steps      {}, each of {each} at most {} tokens\n\
         memory     {about} {} at its peak{beside}\n\nThe config as it takes effect:\n\n{}",
        folder.display(),
        count(parameters(shape)),
        config.run.folder().display(),
        prepare::text(dataset, batches, packing.tokens_per_batch),
        count(steps as usize),
        count(packing.tokens_per_batch),
        size(memory),
        config.to_toml(),
    ))?)
}

/// Numbers in a model of this shape.
fn parameters(shape: &ModelConfig) -> usize {
    match shape {
        ModelConfig::Llama(shape) => parameters_of_llama(shape),
        ModelConfig::T5(shape) => shape.parameters(),
    }
}

fn parameters_of_llama(shape: &LlamaConfig) -> usize {
    let LlamaConfig { hidden_size: c, intermediate_size: f, head_dim: d, .. } = *shape;
    let (heads, groups) = (shape.num_attention_heads, shape.num_key_value_heads);
    let biases = if shape.attention_bias { (heads + 2 * groups) * d + c } else { 0 };
    let layer = c * (heads + 2 * groups) * d + heads * d * c + biases + 3 * c * f + 2 * c;
    let heads = if shape.tie_word_embeddings { 1 } else { 2 };
    shape.num_hidden_layers * layer + heads * shape.vocab_size * c + c
}

/// Where a run computes, and with which numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Cpu,
    /// With as many bytes for each number of an activation.
    Gpu(usize),
}

/// Bytes of the optimizer's state, if all weights are trained.
fn state(shape: &ModelConfig, optim: &OptimConfig) -> u64 {
    if optim.kind == OptimKind::Adamw {
        // Vectors, which are in f32 always, and few, are taken for parts of one matrix with the rest.
        return optim.state_bytes(&[parameters(shape), 1]);
    }
    let matrices = matrices(shape);
    let numbers: usize = matrices.iter().map(|(count, dims)| count * dims[0] * dims[1]).sum();
    let of_vectors = optim.state_bytes(&[parameters(shape) - numbers]);
    let of_each = matrices.iter().map(|(count, dims)| *count as u64 * optim.state_bytes(dims));
    of_vectors + of_each.sum::<u64>()
}

/// The matrices of a model: so many of so many rows and columns.
fn matrices(shape: &ModelConfig) -> Vec<(usize, [usize; 2])> {
    match shape {
        ModelConfig::Llama(shape) => {
            let LlamaConfig { hidden_size: c, intermediate_size: f, head_dim: d, .. } = *shape;
            let (heads, groups) = (shape.num_attention_heads, shape.num_key_value_heads);
            let (layers, tables) =
                (shape.num_hidden_layers, if shape.tie_word_embeddings { 1 } else { 2 });
            vec![
                (tables, [shape.vocab_size, c]),
                (layers, [heads * d, c]),
                (2 * layers, [groups * d, c]),
                (layers, [c, heads * d]),
                (2 * layers, [f, c]),
                (layers, [c, f]),
            ]
        }
        ModelConfig::T5(shape) => {
            let T5Config { d_model: c, d_ff: f, num_heads, d_kv, .. } = *shape;
            let (heads, layers) = (num_heads * d_kv, shape.num_layers + shape.num_decoder_layers);
            let attentions = layers + shape.num_decoder_layers;
            let gates = if shape.feed_forward == FeedForward::Relu { 1 } else { 2 };
            vec![
                (if shape.tied { 1 } else { 2 }, [shape.vocab_size, c]),
                (2, [shape.relative_attention_num_buckets, num_heads]),
                (3 * attentions, [heads, c]),
                (attentions, [c, heads]),
                (gates * layers, [f, c]),
                (layers, [c, f]),
            ]
        }
    }
}

/// Bytes that an update by Adafactor takes on a GPU while the gradients are there: a sum of each row and of
/// each column of every 256 by 256 numbers of a matrix.
fn scratch(shape: &ModelConfig, optim: &OptimConfig, place: Place) -> usize {
    const SIDE: usize = 256;
    if place == Place::Cpu || optim.kind == OptimKind::Adamw {
        return 0;
    }
    let sums =
        |[rows, columns]: [usize; 2]| columns.div_ceil(SIDE) * rows + rows.div_ceil(SIDE) * columns;
    4 * matrices(shape).iter().map(|(count, dims)| count * sums(*dims)).sum::<usize>()
}

/// What a model's layers hold of a token, in floats.
struct Layers {
    c: usize,
    layers: usize,
    /// What a layer keeps always: its residuals, q|k|v, attention's log-sums, gate|up; ...
    kept: usize,
    /// ... and attention's, the norms' and the activation's output besides, if it is not to compute them
    /// again.
    all: usize,
    /// Attention's output.
    mixed: usize,
    /// Residuals, of `c` each among those kept, that are f32 whatever the rest is.
    wide: usize,
}

impl Layers {
    fn of(shape: &ModelConfig) -> Self {
        match shape {
            ModelConfig::Llama(shape) => {
                let LlamaConfig { hidden_size: c, intermediate_size: f, head_dim: d, .. } = *shape;
                let (heads, groups) = (shape.num_attention_heads, shape.num_key_value_heads);
                let kept = 2 * c + (heads + 2 * groups) * d + heads + 2 * f;
                let (layers, mixed) = (shape.num_hidden_layers, heads * d);
                Self { c, layers, kept, all: kept + mixed + 2 * c + f, mixed, wide: 0 }
            }
            // As if all tokens went through the decoder, whose layers hold more.
            ModelConfig::T5(shape) => {
                let T5Config { d_model: c, d_ff: f, num_heads: heads, d_kv: d, .. } = *shape;
                let mixed = heads * d;
                let kept = 3 * c + 6 * mixed + 2 * heads + 2 * f;
                let layers = shape.num_layers.max(shape.num_decoder_layers);
                let all = kept + 2 * mixed + 3 * c + f;
                Self { c, layers, kept, all, mixed: 2 * mixed, wide: 3 }
            }
        }
    }
}

impl Place {
    fn of(train: &TrainConfig, on_gpu: bool) -> Self {
        match (on_gpu, train.precision) {
            (false, _) => Self::Cpu,
            (true, Some(Precision::F32)) => Self::Gpu(4),
            (true, _) => Self::Gpu(2),
        }
    }
}

/// Peak memory in bytes, estimated: weights, two moments (unless they are offloaded), and the most that
/// a step holds at once. On a GPU without what the driver and its libraries take for themselves.
///
/// Backward writes the gradient of a layer while it frees what the layer has kept, so with one batch
/// a step the most is held where backward begins or where it ends. Of several batches, the second
/// runs forward while the gradients of the first are there.
fn memory(
    shape: &ModelConfig,
    train: &TrainConfig,
    optim: &OptimConfig,
    tokens: usize,
    place: Place,
) -> u64 {
    let Layers { c, layers, kept, all, mixed, wide } = Layers::of(shape);
    let vocabulary = shape.vocab_size();
    // Bytes of an activation, of a weight with its master, and of a logit with its gradient, which on a
    // GPU has a place of its own if it is bf16.
    let (number, weight, logit, rows) = match place {
        Place::Cpu => (4, 4, 4, albacore_kernels::LOGIT_ROWS),
        Place::Gpu(number) => {
            let (weight, logit) = match (number, train.master_weights) {
                (4, _) => (4, 4),
                (_, true) => (6, 6),
                (_, false) => (2, 6),
            };
            (number, weight, logit, albacore_kernels::gpu_logit_rows(vocabulary))
        }
    };
    let activations = number
        * tokens
        * match train.recompute {
            RecomputeConfig::None => layers * all,
            RecomputeConfig::Selective => layers * kept,
            // Nothing but its input, and all of the layer that is computed again.
            RecomputeConfig::Block => layers * c + kept + mixed,
        };
    let residuals = match train.recompute {
        RecomputeConfig::Block => layers * wide.min(1) + wide,
        _ => layers * wide,
    };
    let activations = activations + (4 - number) * tokens * residuals * c;
    // The backward pass of one layer holds about as many gradients as it can keep.
    let layer = number * tokens * all;
    let logits = logit * rows.min(tokens) * vocabulary;
    let parameters = parameters(shape);
    let step = match train.batches_per_step {
        // The head's gradient is written first, and then those of the layers.
        1 => (activations + logits + 4 * vocabulary * c + layer).max(4 * parameters + 2 * layer),
        _ => 4 * parameters + activations + logits + layer,
    };
    let step = step.max(4 * parameters + scratch(shape, optim, place));
    let state = if optim.offload { 0 } else { state(shape, optim) };
    (weight * parameters + step) as u64 + state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smollm2() -> ModelConfig {
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 49152,
            "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
            "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192,
            "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 1e5,
            "tie_word_embeddings": true,
        });
        let serde_json::Value::Object(config) = config else { unreachable!() };
        LlamaConfig::from_json(config, "here").unwrap().into()
    }

    /// SmolLM2-135M, one batch of 1024 tokens a step, all of them learned: the most memory that the
    /// process held, in MiB, on Linux.
    #[test]
    fn the_memory_of_smollm2_is_foretold() {
        let (shape, optim) = (smollm2(), OptimConfig::default());
        assert_eq!(parameters(&shape), 134_515_008);
        let measured = [
            (RecomputeConfig::None, 2794.0),
            (RecomputeConfig::Selective, 2454.0),
            (RecomputeConfig::Block, 2156.0),
        ];
        for (recompute, measured) in measured {
            let train = |batches_per_step| TrainConfig {
                recompute,
                batches_per_step,
                ..TrainConfig::default()
            };
            let estimate =
                memory(&shape, &train(1), &optim, 1024, Place::Cpu) as f64 / f64::from(1 << 20);
            // Left out are the program itself, the tokenizer and the data.
            let off = estimate / measured - 1.0;
            assert!(off.abs() < 0.1, "{recompute:?}: {estimate:.0} for {measured} MiB");
            let of = |train, place| memory(&shape, &train, &optim, 1024, place);
            assert!(of(train(2), Place::Cpu) > of(train(1), Place::Cpu));
            // On a GPU the weights weigh more in bf16, which has masters, and the activations less.
            let [single, half] = [4, 2].map(|bytes| of(train(1), Place::Gpu(bytes)));
            let weights = (2 * parameters(&shape)) as u64;
            assert!(half < single + weights && single + weights < 2 * half, "{single} {half}");
        }
        assert_eq!(Place::of(&TrainConfig::default(), true), Place::Gpu(2));
    }

    /// What each key is worth, in bytes for each weight.
    #[test]
    fn the_memory_of_a_gpu_counts_how_the_state_and_the_weights_are_kept() {
        use albacore_trainer::StateConfig::{F32, Int8};
        let shape = smollm2();
        let of = |number, state, offload, master_weights| {
            let train = TrainConfig { master_weights, ..TrainConfig::default() };
            let optim = OptimConfig { state, offload, ..OptimConfig::default() };
            memory(&shape, &train, &optim, 1024, Place::Gpu(number)) as f64
        };
        let all = of(2, F32, false, true);
        for (state, offload, master_weights, saved) in [
            (Int8, false, true, 6.0 - 8.0 / 256.0),
            (F32, true, true, 8.0),
            (Int8, true, true, 8.0),
            (F32, false, false, 4.0),
            (Int8, false, false, 10.0 - 8.0 / 256.0),
            (F32, true, false, 12.0),
        ] {
            let found = (all - of(2, state, offload, master_weights)) / 134_515_008.0;
            assert!((found - saved).abs() < 1e-6, "{state:?} {offload} {master_weights}: {found}");
        }
        // In f32 there are no masters to leave out.
        assert_eq!(of(4, F32, false, true), of(4, F32, false, false));
        // The host holds what the GPU does not.
        let optim = |state| OptimConfig { state, ..OptimConfig::default() };
        assert_eq!(state(&shape, &optim(F32)), 8 * 134_515_008);
        let bytes = state(&shape, &optim(Int8)) as f64 / 134_515_008.0;
        assert!((bytes - 2.0 - 8.0 / 256.0).abs() < 1e-6, "{bytes}");
    }

    /// Factored, a matrix has a number for each row and each column; one with a short side has all of them.
    #[test]
    fn the_state_of_an_optimizer_is_that_of_every_tensor() {
        use albacore_model::{Llama, Model, T5};
        use candle_core::Device::Cpu;
        let ModelConfig::Llama(shape) = smollm2() else { unreachable!() };
        let (vocab_size, num_hidden_layers, intermediate_size) = (40, 2, 300);
        let llama = LlamaConfig { vocab_size, num_hidden_layers, intermediate_size, ..shape };
        let (num_layers, num_decoder_layers) = (2, 3);
        let t5 = T5Config { vocab_size, num_layers, num_decoder_layers, ..T5Config::default() };
        let relu = T5Config { feed_forward: FeedForward::Relu, tied: !t5.tied, ..t5.clone() };
        let models: [Model; 3] = [
            Llama::random(llama, 1, &Cpu).unwrap().into(),
            T5::random(t5, 1, &Cpu).unwrap().into(),
            T5::random(relu, 1, &Cpu).unwrap().into(),
        ];
        let adafactor = OptimConfig { kind: OptimKind::Adafactor, ..OptimConfig::default() };
        let momentum = OptimConfig { momentum: 0.9, ..adafactor.clone() };
        let full = OptimConfig { min_dim_size_to_factor: 1 << 20, ..adafactor.clone() };
        for model in &models {
            let shape = model.config();
            for optim in [&adafactor, &momentum, &full, &OptimConfig::default()] {
                let parameters = model.parameters().into_iter();
                let of_parts = parameters.flat_map(|parameter| {
                    let values = parameter.parts().iter().map(|it| parameter.part_value(it));
                    values.map(|value| optim.state_bytes(value.unwrap().dims()))
                });
                assert_eq!(state(&shape, optim), of_parts.sum::<u64>());
            }
            assert!(state(&shape, &adafactor) > 0);
        }
        let scratch = |place| scratch(&smollm2(), &adafactor, place);
        // Two sums for each 256 numbers, and somewhat more where a side is no multiple of 256.
        let about = 8.0 * 134_515_008.0 / 256.0;
        let found = scratch(Place::Gpu(2)) as f64 / about;
        assert!((1.0..1.2).contains(&found) && scratch(Place::Cpu) == 0, "{found}");
    }

    /// Of what a token takes on a GPU in bf16, the three residuals of a layer take two bytes more each.
    #[test]
    fn the_residuals_of_a_t5_are_foretold_in_f32_beside_bf16() {
        let shape = T5Config { num_layers: 5, num_decoder_layers: 7, ..T5Config::default() };
        let wide = 3 * 7 * shape.d_model as u64;
        let shape = ModelConfig::from(shape);
        let train = TrainConfig { batches_per_step: 2, ..TrainConfig::default() };
        let of = |number, tokens| {
            memory(&shape, &train, &OptimConfig::default(), tokens, Place::Gpu(number))
        };
        let a_token = |number| (of(number, 20_000) - of(number, 10_000)) / 10_000;
        assert_eq!(a_token(2), a_token(4) / 2 + 2 * wide);
    }
}
