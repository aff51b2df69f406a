//! Twins of the optimizer's side of a step: the gradient's norm, clipping, AdamW.

use crate::Result;
use crate::adamw::Factors;
use crate::dynamic_map::{SIGNED, UNSIGNED};
use crate::launch::{Address, Gpu, Launch, arguments, blocks};

/// Squares that a block sums: `SQUARES_A_BLOCK` of reduce.cu.
const SQUARES_A_BLOCK: usize = 1 << 16;

/// Numbers that a block updates: `CHUNK` of adamw.cu.
const CHUNK: usize = 8192;

/// Words of both maps of codes.
const MAPS: usize = 4 * 256;

/// Bytes of a tensor in the table.
const TENSOR: usize = 80;

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
    /// The moments: f32, or codes.
    pub(crate) first: Address,
    pub(crate) second: Address,
    /// Where the moments are codes: the scales of the first and of the second.
    pub(crate) scales: Option<[Address; 2]>,
    pub(crate) count: usize,
    pub(crate) weight_decay: f32,
}

/// What the kernels read, and how they are launched.
pub(crate) struct Table {
    /// The maps of codes, `Maps` of adamw.cu, and then the tensors, `Tensor` there: those whose moments
    /// are f32 before those whose moments are codes.
    pub(crate) words: Vec<u32>,
    /// Tensors of each kind.
    tensors: [usize; 2],
    /// The blocks that they need.
    blocks: [u32; 2],
}

/// The table of all tensors.
pub(crate) fn table(tensors: &[Updated]) -> Table {
    let maps = [&*SIGNED, &*UNSIGNED].into_iter();
    let maps = maps.flat_map(|map| map.shares.into_iter().chain(map.midpoints));
    let mut table =
        Table { words: maps.map(f32::to_bits).collect(), tensors: [0; 2], blocks: [0; 2] };
    debug_assert_eq!(table.words.len(), MAPS);
    for kind in [0, 1] {
        for (number, tensor) in tensors.iter().enumerate() {
            if usize::from(tensor.scales.is_some()) != kind {
                continue;
            }
            let scales = tensor.scales.unwrap_or([Address(0); 2]);
            let addresses = [
                tensor.master.map_or(0, |at| at.0),
                tensor.weights.map_or(0, |at| at.0),
                tensor.gradient.0,
                tensor.first.0,
                tensor.second.0,
                scales[0].0,
                scales[1].0,
                tensor.count as u64,
            ];
            let halves = addresses.into_iter().flat_map(|word| [word as u32, (word >> 32) as u32]);
            table.words.extend(halves);
            let decay = tensor.weight_decay.to_bits();
            table.words.extend([table.blocks[kind], decay, number as u32, 0]);
            table.tensors[kind] += 1;
            table.blocks[kind] += blocks(tensor.count, CHUNK);
        }
    }
    table
}

/// Updates all tensors of a table that lies at `at`, unless `norm[1]` is 0. `seed` says how weights are
/// rounded by chance.
pub(crate) fn adamw(
    gpu: &impl Gpu,
    (table, at): (&Table, Address),
    norm: Address,
    learning_rate: f64,
    factors: &Factors,
    seed: u32,
) -> Result<()> {
    let rule = arguments![
        learning_rate as f32,
        factors.first_rate,
        factors.second_kept,
        factors.second_rate,
        factors.second_correction,
        factors.epsilon,
        factors.step_size,
        seed,
    ];
    let [wide, narrow] = table.tensors;
    let tensors = at.after(MAPS, 4);
    let kinds = [
        ("adamw", arguments![tensors, wide as u32, norm]),
        ("adamw_int8", arguments![tensors.after(wide, TENSOR), narrow as u32, norm, at]),
    ];
    for ((kernel, arguments), blocks) in kinds.into_iter().zip(table.blocks) {
        if blocks == 0 {
            continue;
        }
        gpu.launch(Launch {
            file: "adamw",
            kernel: kernel.to_owned(),
            grid: [blocks, 1],
            threads: 256,
            shared: 0,
            arguments: [arguments, rule.clone()].concat(),
        })?;
    }
    Ok(())
}
