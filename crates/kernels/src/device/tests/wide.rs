//! A residual stream in f32 beside a model in bf16: norms that read it, an embedding that begins it.

use candle_core::{Device, Tensor};

use super::rows::{SIZES, matrix, plus};
use super::{assert_twin, exact};
use crate::Parameter;
use crate::device::rows::{self, Rows};
use crate::emulator::Emulator;
use crate::launch::Compute;
use crate::support::passes;

const F32: Compute = Compute::F32;
const BF16: Compute = Compute::Bf16;

#[test]
fn emulated_norms_of_a_wide_stream_are_their_twins() {
    for (rows, columns) in SIZES {
        let Some(gpu) = Emulator::new() else { return };
        // The stream and what is added to it have all digits of f32.
        let [x, base] = [1, 3].map(|seed| exact(rows * columns, seed, F32));
        let gradient = exact(rows * columns, 2, BF16);
        let weight = exact(columns, 4, BF16);
        let vector = Tensor::from_slice(&weight, columns, &Device::Cpu).unwrap();
        let parameter = Parameter::single("weight", vector);
        let wanted = passes(&[matrix(&x, columns)], &[&parameter], &gradient, |tape, leaves| {
            crate::rms_norm(tape, &leaves[0], &parameter, 1e-5)
        });
        let shape = Rows { rows, columns, compute: BF16 };
        let (out, inverse_rms) = (gpu.room(rows * columns, BF16), gpu.room(rows, F32));
        let [at, added] = [&x, &base].map(|numbers| gpu.numbers(numbers, F32));
        let [gradient, weight] = [&gradient, &weight].map(|numbers| gpu.numbers(numbers, BF16));
        let (sum, d_weight) = (gpu.room(rows * columns, F32), gpu.room(columns, F32));
        rows::rms_norm_forward(&gpu, shape, F32, [out, inverse_rms, at, weight], 1e-5).unwrap();
        for (sum, accumulate) in [(sum, false), (added, true)] {
            let places = [sum, gradient, at, weight, inverse_rms];
            rows::rms_norm_backward(&gpu, shape, F32, places, accumulate).unwrap();
        }
        let places = [d_weight, gradient, at, inverse_rms];
        rows::rms_norm_weight_gradient(&gpu, shape, F32, places, false).unwrap();
        let memory = gpu.run();
        let what = |part: &str| format!("rms_norm wide {part} {rows}x{columns}");
        assert_twin(&what("forward"), &memory.numbers(out, BF16), &wanted.output, BF16);
        if columns > 1 {
            // Nothing is rounded to bf16 on the way back: the twins differ as in f32.
            let d_x = &wanted.gradients[0];
            assert_twin(&what("backward"), &memory.numbers(sum, F32), d_x, F32);
            let added = memory.numbers(added, F32);
            assert_twin(&what("backward, added"), &added, &plus(&base, d_x), F32);
        }
        let d_weight = memory.numbers(d_weight, F32);
        assert_twin(&what("weight gradient"), &d_weight, &wanted.gradients[1], F32);
    }
}

#[test]
fn emulated_embeddings_begin_a_wide_stream_without_rounding() {
    for (positions, columns) in SIZES {
        let Some(gpu) = Emulator::new() else { return };
        let table = exact(7 * columns, 1, BF16);
        let indices: Vec<u32> = (0..positions as u32).map(|position| position * 5 % 6).collect();
        let shape = Rows { rows: positions, columns, compute: BF16 };
        let out = gpu.room(positions * columns, F32);
        let at = gpu.numbers(&table, BF16);
        rows::gather(&gpu, shape, F32, [out, at, gpu.words(&indices)]).unwrap();
        let row = |&index: &u32| &table[index as usize * columns..][..columns];
        let wanted: Vec<f32> = indices.iter().flat_map(row).copied().collect();
        assert_eq!(gpu.run().numbers(out, F32), wanted);
    }
}
