//! Twins of the optimizer's side of a step: the gradient's norm, clipping, AdamW.

use crate::Result;
use crate::adamw::Factors;
use crate::launch::{Address, Gpu, Launch, arguments, blocks};

/// Squares that a block sums: `SQUARES_A_BLOCK` of reduce.cu.
const SQUARES_A_BLOCK: usize = 1 << 16;

/// Numbers that a block updates: `CHUNK` of adamw.cu.
const CHUNK: usize = 8192;

/// Writes the norm of all gradients together to `norm[0]`, and to `norm[1]` the factor that clips it
/// to `max_norm`: 1 if it is not larger, or 0 if it is not finite. Nothing is read back.
pub(crate) fn clip(
    gpu: &impl Gpu,
    norm: Address,
    gradients: &[(Address, usize)],
    max_norm: Option<f32>,
) -> Result<()> {
    let lines = gradients.iter().map(|&(_, count)| blocks(count, SQUARES_A_BLOCK) as usize);
    let total: usize = lines.clone().sum();
    let partial = gpu.allocate(total * 4)?;
    let mut at = gpu.address(&partial);
    let launch = |kernel: &str, blocks: u32, arguments| Launch {
        file: "reduce",
        kernel: kernel.to_owned(),
        grid: [blocks, 1],
        threads: 256,
        shared: 0,
        arguments,
    };
    for (&(gradient, count), lines) in gradients.iter().zip(lines) {
        gpu.launch(launch("squares", lines as u32, arguments![at, gradient, count as u64]))?;
        at = at.after(lines, 4);
    }
    let all = gpu.address(&partial);
    let arguments = arguments![norm, all, total as u64, max_norm.unwrap_or(0.0)];
    gpu.launch(launch("finish_norm", 1, arguments))
}

/// One tensor that AdamW updates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Updated {
    /// f32 weights; without them `weights` is all there is, and is rounded by chance.
    pub(crate) master: Option<Address>,
    /// bf16 weights, if the model computes with them.
    pub(crate) weights: Option<Address>,
    pub(crate) gradient: Address,
    pub(crate) first: Address,
    pub(crate) second: Address,
    pub(crate) count: usize,
    pub(crate) weight_decay: f32,
}

/// The table of tensors as the kernel reads it, `Tensor` of adamw.cu, and the blocks they need.
pub(crate) fn table(tensors: &[Updated]) -> (Vec<u32>, u32) {
    let (mut words, mut block) = (Vec::new(), 0);
    for tensor in tensors {
        let addresses = [
            tensor.master.map_or(0, |at| at.0),
            tensor.weights.map_or(0, |at| at.0),
            tensor.gradient.0,
            tensor.first.0,
            tensor.second.0,
            tensor.count as u64,
        ];
        words.extend(addresses.into_iter().flat_map(|word| [word as u32, (word >> 32) as u32]));
        words.extend([block, tensor.weight_decay.to_bits()]);
        block += blocks(tensor.count, CHUNK);
    }
    (words, block)
}

/// Updates all tensors of a table in one launch, unless `norm[1]` is 0.
pub(crate) fn adamw(
    gpu: &impl Gpu,
    (table, tensors, blocks): (Address, usize, u32),
    norm: Address,
    learning_rate: f64,
    factors: &Factors,
    seed: u32,
) -> Result<()> {
    gpu.launch(Launch {
        file: "adamw",
        kernel: "adamw".to_owned(),
        grid: [blocks, 1],
        threads: 256,
        shared: 0,
        arguments: arguments![
            table,
            tensors as u32,
            norm,
            learning_rate as f32,
            factors.first_rate,
            factors.second_kept,
            factors.second_rate,
            factors.second_correction,
            factors.epsilon,
            factors.step_size,
            seed,
        ],
    })
}
