//! `albacore train --dry-run`: what would happen.

use albacore_data::{Packing, Plan};
use albacore_model::LlamaConfig;
use albacore_trainer::{Found, Options, RecomputeConfig, TrainingData};
use serde_json::json;

use crate::commands::prepare;
use crate::config::Config;
use crate::failure::{Outcome, Result};
use crate::prepared::Prepared;
use crate::progress::{count, size};
use crate::terminal::Terminal;

/// Prints what a run would do.
///
/// # Errors
/// If stdout cannot be written.
pub fn show(
    config: &Config,
    prepared: &Prepared,
    options: &Options,
    data: TrainingData<'_>,
    found: &Found,
    terminal: &Terminal,
) -> Result {
    let Prepared { folder, shape, dataset, .. } = prepared;
    let steps = options.steps_over(data);
    let packing: Packing = data.packing;
    let batches = Plan::new(packing, 0, &dataset.lengths()).len();
    let memory = memory(shape, config);
    let from = found.checkpoint.as_ref().map(|checkpoint| &checkpoint.folder);
    if terminal.json {
        let line = json!({
            "model": folder, "parameters": parameters(shape), "run": config.run.folder(),
            "resume": from, "report": dataset.report, "batches": batches, "steps": steps,
            "memory_bytes": memory, "config": config,
        });
        terminal.print(&line.to_string())?;
        return Ok(Outcome::Done);
    }
    let start = match from {
        Some(checkpoint) => format!("goes on from `{}`", checkpoint.display()),
        None => "starts afresh".into(),
    };
    terminal.print(&format!(
        "model      {}, {} parameters\nrun        {}, {start}\n{}steps      {}, each of {} x at most {} tokens\n\
         memory     about {} at its peak\n\nThe config as it takes effect:\n\n{}",
        folder.display(),
        count(parameters(shape)),
        config.run.folder().display(),
        prepare::table(&dataset.report, batches, packing.tokens_per_batch),
        count(steps as usize),
        config.train.batches_per_step,
        count(packing.tokens_per_batch),
        size(memory),
        config.to_toml(),
    ))?;
    Ok(Outcome::Done)
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

/// Peak memory in bytes, estimated: weights, gradients and two moments, and what the tape keeps of
/// one batch.
fn memory(shape: &LlamaConfig, config: &Config) -> u64 {
    let LlamaConfig { hidden_size: c, intermediate_size: f, head_dim: d, .. } = *shape;
    let (heads, groups) = (shape.num_attention_heads, shape.num_key_value_heads);
    let tokens = config.data.tokens_per_batch;
    // Floats a layer keeps of a token: both residuals, q|k|v, the attention's output, gate|up; ...
    let kept = 2 * c + (heads + 2 * groups) * d + heads * d + heads + 2 * f;
    let layers = match config.train.recompute {
        // ... both norms' and the activation's output besides ...
        RecomputeConfig::None => shape.num_hidden_layers * (kept + 2 * c + f),
        RecomputeConfig::Selective => shape.num_hidden_layers * kept,
        // ... or nothing but its input, and all of the layer that is computed again.
        RecomputeConfig::Block => shape.num_hidden_layers * c + kept,
    };
    // The backward pass of one layer holds about as many gradients as it keeps.
    let activations = tokens * (layers + kept + 2 * c + f);
    // The head: one chunk of logits.
    let head = albacore_kernels::LOGIT_ROWS.min(tokens) * shape.vocab_size;
    4 * (4 * parameters(shape) + activations + head) as u64
}
