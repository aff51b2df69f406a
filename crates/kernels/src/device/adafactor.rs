//! Twin of Adafactor: all tensors in six launches.

use crate::launch::{Address, Argument, Gpu, Launch, arguments, blocks};
use crate::{AdafactorStep, Result};

/// Rows, and columns, of the numbers that a block works on: `SIDE` of adafactor.cu.
const SIDE: usize = 256;

/// Words of what is found of a tensor: `Found` of adafactor.cu.
const FOUND: usize = 4;

/// One tensor that Adafactor updates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Updated {
    /// f32 weights; without them `weights` is all there is, and is rounded by chance.
    pub(crate) master: Option<Address>,
    /// bf16 weights, if the model computes with them.
    pub(crate) weights: Option<Address>,
    pub(crate) gradient: Address,
    /// The mean step, if one is kept.
    pub(crate) first: Option<Address>,
    pub(crate) second: Second,
    pub(crate) weight_decay: f32,
}

/// The mean squared gradient.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Second {
    /// Of each row of a matrix, and of each column.
    Factored { rows: (Address, usize), columns: (Address, usize) },
    /// Of each number.
    Full(Address, usize),
}

impl Second {
    /// Rows and columns in which its tensor is worked on.
    fn sides(self) -> [usize; 2] {
        match self {
            Self::Factored { rows, columns } => [rows.1, columns.1],
            Self::Full(_, count) => [count.div_ceil(SIDE), SIDE],
        }
    }

    fn count(self) -> usize {
        match self {
            Self::Factored { rows, columns } => rows.1 * columns.1,
            Self::Full(_, count) => count,
        }
    }
}

/// The numbers of each kind in scratch memory, and the table that says where a tensor's are.
struct Plan {
    /// `Tensor` of adafactor.cu, each; the two addresses in scratch are counted in numbers from the first sum.
    table: Vec<[u64; 13]>,
    tiles: u32,
    lines: u32,
    /// Numbers of all row sums and column sums.
    sums: usize,
}

/// Where the table keeps the addresses of a tensor's row sums and column sums.
const SUMS: std::ops::Range<usize> = 6..8;

impl Plan {
    fn new(tensors: &[Updated]) -> Self {
        let mut plan = Self { table: Vec::new(), tiles: 0, lines: 0, sums: 0 };
        for (number, tensor) in tensors.iter().enumerate().filter(|(_, it)| it.second.count() > 0) {
            let [rows, width] = tensor.second.sides();
            let [down, across] = [rows, width].map(|side| blocks(side, SIDE));
            let at = |address: Option<Address>| address.map_or(0, |at| at.0);
            let (second, columns) = match tensor.second {
                Second::Factored { rows, columns } => (rows.0, Some(columns.0)),
                Second::Full(second, _) => (second, None),
            };
            let is_factored = columns.is_some();
            let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
            plan.table.push([
                at(tensor.master),
                at(tensor.weights),
                tensor.gradient.0,
                at(tensor.first),
                second.0,
                at(columns),
                plan.sums as u64,
                (plan.sums + across as usize * rows) as u64,
                tensor.second.count() as u64,
                rows as u64,
                width as u64,
                pair(plan.tiles, plan.lines),
                pair(tensor.weight_decay.to_bits(), number as u32),
            ]);
            plan.tiles += down * across;
            if is_factored {
                plan.sums += across as usize * rows + down as usize * width;
                plan.lines += down + across;
            }
        }
        plan
    }

    /// The table's words, for sums that lie at `sums`.
    fn words(&self, sums: Address) -> Vec<u32> {
        let rows = self.table.iter().flat_map(|row| {
            let mut row = *row;
            row[SUMS].iter_mut().for_each(|at| *at = sums.after(*at as usize, 4).0);
            row
        });
        rows.flat_map(|word| [word as u32, (word >> 32) as u32]).collect()
    }
}

/// Updates all tensors by gradients that are multiplied by `norm[1]`, unless that is 0. The step's own
/// gradient scale and weight decay are not used; `seed` says how weights are rounded by chance.
pub(crate) fn adafactor(
    gpu: &impl Gpu,
    tensors: &[Updated],
    norm: Address,
    step: &AdafactorStep,
    seed: u32,
) -> Result<()> {
    let plan = Plan::new(tensors);
    if plan.table.is_empty() {
        return Ok(());
    }
    let (tiles, lines, count) = (plan.tiles as usize, plan.lines as usize, plan.table.len());
    // What is found of tensors first: it is read 16 bytes at a time.
    let scratch = gpu.allocate(4 * (FOUND * count + 2 * tiles + lines + plan.sums))?;
    let found = gpu.address(&scratch);
    let of_weights = found.after(FOUND * count, 4);
    let of_steps = of_weights.after(tiles, 4);
    let of_rows = of_steps.after(tiles, 4);
    let table = gpu.upload(&plan.words(of_rows.after(lines, 4)))?;
    let (table, all) = (gpu.address(&table), count as u32);

    let [kept, fresh] = step.mixing();
    let sizes = step.scale_parameter;
    let [epsilon, least] = [step.epsilons.0, step.epsilons.1].map(|epsilon| epsilon as f32);
    let launch = |kernel: &str, blocks: u32, arguments: Vec<Argument>| {
        gpu.launch(Launch {
            file: "adafactor",
            kernel: kernel.to_owned(),
            grid: [blocks, 1],
            threads: 256,
            shared: 0,
            arguments,
        })
    };
    let arguments = arguments![of_weights, of_steps, table, all, norm, kept, fresh, epsilon, sizes];
    launch("adafactor_squares", plan.tiles, arguments)?;
    if plan.lines > 0 {
        let arguments = arguments![of_rows, table, all, norm, kept, fresh, epsilon];
        launch("adafactor_means", plan.lines, arguments)?;
        launch("adafactor_middle", all, arguments![found, of_rows, table, norm])?;
        let arguments = arguments![of_steps, found, table, all, norm];
        launch("adafactor_lengths", plan.tiles, arguments)?;
    }
    let (rate, threshold) = (step.learning_rate as f32, step.clip_threshold as f32);
    let arguments =
        arguments![found, of_weights, of_steps, table, norm, rate, least, threshold, sizes];
    launch("adafactor_rates", all, arguments)?;
    let (kept, fresh) = (step.momentum as f32, (1.0 - step.momentum) as f32);
    let arguments = arguments![found, table, all, norm, kept, fresh, seed];
    launch("adafactor", plan.tiles, arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_without_numbers_are_left_out_and_the_others_follow_one_another() {
        let tensor = |second| Updated {
            master: Some(Address(256)),
            weights: None,
            gradient: Address(512),
            first: None,
            second,
            weight_decay: 0.0,
        };
        let at = Address(1024);
        let full = |count| tensor(Second::Full(at, count));
        let matrix = tensor(Second::Factored { rows: (at, 300), columns: (at, 257) });
        let plan = Plan::new(&[full(0), matrix, full(257), full(0), matrix]);
        let begins: Vec<_> =
            plan.table.iter().map(|row| (row[11] as u32, row[11] >> 32, row[12] >> 32)).collect();
        assert_eq!(begins, [(0, 0, 1), (4, 4, 2), (5, 4, 4)]);
        assert_eq!((plan.tiles, plan.lines, plan.sums), (9, 8, 2 * (2 * 300 + 2 * 257)));
        assert_eq!(plan.words(Address(0)).len(), 3 * 26);
        assert!(Plan::new(&[full(0)]).table.is_empty());
    }
}
