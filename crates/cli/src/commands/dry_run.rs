//! `albacore train --dry-run`: what would happen.

use albacore_data::{Packing, Plan};
use albacore_model::LlamaConfig;
use albacore_trainer::{Checkpoint, Precision, RecomputeConfig, TrainConfig};
use serde_json::json;

use crate::commands::prepare;
use crate::config::Config;
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
    let batches = Plan::new(packing, 0, &dataset.lengths()).len();
    let place = Place::of(&config.train, on_gpu);
    let memory = memory(shape, &config.train, packing.tokens_per_batch, place);
    let step = resumed.map_or(0, |checkpoint| checkpoint.state.step);
    let finished = step >= steps;
    if terminal.json {
        let line = json!({
            "model": folder, "parameters": parameters(shape), "run": config.run.folder(),
            "resume": resumed.map(|checkpoint| &checkpoint.folder), "step": step,
            "finished": finished, "report": dataset.report, "batches": batches, "steps": steps,
            "memory_bytes": memory, "config": config,
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
    let TrainConfig { batches_per_step, freeze, train_only, .. } = &config.train;
    // Without frozen tensors there are fewer gradients and moments.
    let about = if freeze.is_empty() && train_only.is_empty() { "about" } else { "less than" };
    Ok(terminal.print(&format!(
        "model      {}, {} parameters\nrun        {}, {start}\n{}steps      {}, each of {batches_per_step} x at most {} tokens\n\
         memory     {about} {} at its peak\n\nThe config as it takes effect:\n\n{}",
        folder.display(),
        count(parameters(shape)),
        config.run.folder().display(),
        prepare::table(&dataset.report, batches, packing.tokens_per_batch),
        count(steps as usize),
        count(packing.tokens_per_batch),
        size(memory),
        config.to_toml(),
    ))?)
}

/// Numbers in a model of this shape.
fn parameters(shape: &LlamaConfig) -> usize {
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

impl Place {
    fn of(train: &TrainConfig, on_gpu: bool) -> Self {
        match (on_gpu, train.precision) {
            (false, _) => Self::Cpu,
            (true, Some(Precision::F32)) => Self::Gpu(4),
            (true, _) => Self::Gpu(2),
        }
    }
}

/// Peak memory in bytes, estimated: weights, two moments, and the most that a step holds at once. On
/// a GPU without what the driver and its libraries take for themselves.
///
/// Backward writes the gradient of a layer while it frees what the layer has kept, so with one batch
/// a step the most is held where backward begins or where it ends. Of several batches, the second
/// runs forward while the gradients of the first are there.
fn memory(shape: &LlamaConfig, train: &TrainConfig, tokens: usize, place: Place) -> u64 {
    let LlamaConfig { hidden_size: c, intermediate_size: f, head_dim: d, .. } = *shape;
    let (heads, groups) = (shape.num_attention_heads, shape.num_key_value_heads);
    let layers = shape.num_hidden_layers;
    // Floats a layer keeps of a token: both residuals, q|k|v, the attention's output, gate|up; ...
    let kept = 2 * c + (heads + 2 * groups) * d + heads * d + heads + 2 * f;
    // ... and both norms' and the activation's output besides, if it is not to compute them again.
    let all = kept + 2 * c + f;
    // Bytes of an activation, of a weight with what the optimizer keeps of it, and of a logit with its
    // gradient, which on a GPU has a place of its own if it is bf16.
    let (number, weight, logit, rows) = match place {
        Place::Cpu => (4, 12, 4, albacore_kernels::LOGIT_ROWS),
        Place::Gpu(number) => {
            let (weight, logit) = if number == 4 { (12, 4) } else { (14, 6) };
            (number, weight, logit, albacore_kernels::gpu_logit_rows(shape.vocab_size))
        }
    };
    let activations = number
        * tokens
        * match train.recompute {
            RecomputeConfig::None => layers * all,
            RecomputeConfig::Selective => layers * kept,
            // Nothing but its input, and all of the layer that is computed again.
            RecomputeConfig::Block => layers * c + kept,
        };
    // The backward pass of one layer holds about as many gradients as it can keep.
    let layer = number * tokens * all;
    let logits = logit * rows.min(tokens) * shape.vocab_size;
    let parameters = parameters(shape);
    let step = match train.batches_per_step {
        // The head's gradient is written first, and then those of the layers.
        1 => (activations + logits + 4 * shape.vocab_size * c + layer)
            .max(4 * parameters + 2 * layer),
        _ => 4 * parameters + activations + logits + layer,
    };
    (weight * parameters + step) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SmolLM2-135M, one batch of 1024 tokens a step, all of them learned: the most memory that the
    /// process held, in MiB, on Linux.
    #[test]
    fn the_memory_of_smollm2_is_foretold() {
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 49152,
            "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
            "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192,
            "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 1e5,
            "tie_word_embeddings": true,
        });
        let serde_json::Value::Object(config) = config else { unreachable!() };
        let shape = LlamaConfig::from_json(config, "here").unwrap();
        assert_eq!(parameters(&shape), 134_515_008);
        let measured = [
            (RecomputeConfig::None, 2794.0),
            (RecomputeConfig::Selective, 2525.0),
            (RecomputeConfig::Block, 2156.0),
        ];
        for (recompute, measured) in measured {
            let train = |batches_per_step| TrainConfig {
                recompute,
                batches_per_step,
                ..TrainConfig::default()
            };
            let estimate = memory(&shape, &train(1), 1024, Place::Cpu) as f64 / f64::from(1 << 20);
            // Left out are the program itself, the tokenizer and the data.
            let off = estimate / measured - 1.0;
            assert!(off.abs() < 0.1, "{recompute:?}: {estimate:.0} for {measured} MiB");
            let of = |train, place| memory(&shape, &train, 1024, place);
            assert!(of(train(2), Place::Cpu) > of(train(1), Place::Cpu));
            // On a GPU the weights weigh more in bf16, which has masters, and the activations less.
            let [single, half] = [4, 2].map(|bytes| of(train(1), Place::Gpu(bytes)));
            let weights = (2 * parameters(&shape)) as u64;
            assert!(half < single + weights && single + weights < 2 * half, "{single} {half}");
        }
        assert_eq!(Place::of(&TrainConfig::default(), true), Place::Gpu(2));
    }
}
