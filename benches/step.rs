//! Where the time of a training step goes, on a LLaMA of SmolLM2-135M's shape with random weights.
//!
//!     cargo bench --bench step -- [--sequences 4] [--length 256] [--steps 5] [--threads 2] [--recompute selective]
//!
//! Prints, beside each step, the rate of a 1024³ matrix product measured just before it: a machine
//! whose speed changes from minute to minute is seen to do so.

use std::time::Instant;

use albacore_kernels::matmul::{Matrix, MatrixMut, product};
use albacore_kernels::{AdamWStep, Recompute, Tape, adamw, squared_norm};
use albacore_model::{Llama, LlamaConfig, Packed, Rope};
use candle_core::{DType, Device, Tensor};

fn main() {
    albacore_kernels::keep_freed_memory();
    let threads = option("threads", 2);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the first pool");
    let (sequences, length) = (option("sequences", 4), option("length", 256));
    let recompute = match text("recompute", "selective").as_str() {
        "none" => Recompute::None,
        "block" => Recompute::Block,
        _ => Recompute::Selective,
    };
    let config = smollm2();
    let model = Llama::random(config, 0, &Device::Cpu).expect("fits in memory");
    let zeros = |model: &Llama| {
        let zeros = |value: &Tensor| Tensor::zeros(value.shape(), DType::F32, &Device::Cpu);
        let all = model.parameters().into_iter().map(|parameter| zeros(parameter.value()));
        all.collect::<Result<Vec<_>, _>>().expect("fits in memory")
    };
    let (first, second) = (zeros(&model), zeros(&model));
    let tokens = sequences * length;
    println!("{tokens} tokens a step, {threads} threads, recompute {recompute:?}");
    println!(
        "{:>6} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "GF/s", "forward", "backward", "norm", "adamw", "tok/s"
    );
    for step in 0..option("steps", 5) as u64 {
        let probe = gemm_rate();
        let batch = batch(model.config(), sequences, length, step as u32);
        let start = Instant::now();
        let count = batch.supervised();
        let seed = vec![-1.0 / count as f32; count];
        let mut tape = Tape::recording(recompute);
        let logprobs = model.logprobs(&mut tape, &batch, Some(seed.clone())).expect("forward");
        let forward = start.elapsed();
        let seed = Tensor::from_vec(seed, count, &Device::Cpu).expect("a vector");
        tape.backward(&logprobs, seed).expect("backward");
        let backward = start.elapsed();
        let mut norm = 0.0;
        for parameter in model.parameters() {
            for part in parameter.parts() {
                let gradient = parameter.part_gradient(part).expect("a view");
                norm += squared_norm(&gradient.expect("all are trained")).expect("on the CPU");
            }
        }
        let normed = start.elapsed();
        let update = AdamWStep {
            step: step + 1,
            learning_rate: 1e-5,
            betas: (0.9, 0.999),
            epsilon: 1e-8,
            weight_decay: 0.0,
            gradient_scale: (1.0 / norm.sqrt()).min(1.0) as f32,
        };
        for (parameter, moments) in model.parameters().iter().zip(first.iter().zip(&second)) {
            parameter
                .accumulate(|gradient, _, _| {
                    adamw(parameter.value(), gradient, moments.0, moments.1, &update)
                })
                .expect("one shape");
            parameter.clear_gradient();
        }
        let all = start.elapsed();
        println!(
            "{probe:6.0} {:8.3} {:8.3} {:8.3} {:8.3} {:8.1}",
            forward.as_secs_f64(),
            (backward - forward).as_secs_f64(),
            (normed - backward).as_secs_f64(),
            (all - normed).as_secs_f64(),
            tokens as f64 / all.as_secs_f64()
        );
    }
    println!("peak memory {} MiB", peak_mib());
}

fn smollm2() -> LlamaConfig {
    LlamaConfig {
        vocab_size: 49_152,
        hidden_size: 576,
        intermediate_size: 1536,
        num_hidden_layers: 30,
        num_attention_heads: 9,
        num_key_value_heads: 3,
        head_dim: 64,
        rope: Rope { theta: 1e5, ..Rope::default() },
        ..LlamaConfig::default()
    }
}

/// Ids in no particular order; every token but the first of a sequence is supervised.
fn batch(config: &LlamaConfig, sequences: usize, length: usize, seed: u32) -> Packed {
    let tokens = (sequences * length) as u32;
    let id = |token: u32| (token.wrapping_mul(2_654_435_761) ^ seed) % config.vocab_size as u32;
    let ids = (0..tokens).map(id).collect::<Vec<_>>();
    let starts = (0..=sequences).map(|sequence| (sequence * length) as u32).collect();
    let rows = (0..tokens).filter(|row| (row + 1) % length as u32 != 0).collect::<Vec<_>>();
    let targets = rows.iter().map(|&row| ids[row as usize + 1]).collect();
    Packed::new(config, ids, starts, rows, targets).expect("a valid batch")
}

/// GFLOP/s of a 1024³ product.
fn gemm_rate() -> f64 {
    const SIDE: usize = 1024;
    let (a, b) = (vec![1.0; SIDE * SIDE], vec![1.0; SIDE * SIDE]);
    let mut out = vec![0.0; SIDE * SIDE];
    let rate = |_| {
        let start = Instant::now();
        let (a, b) = (Matrix::new(&a, SIDE, SIDE), Matrix::new(&b, SIDE, SIDE));
        product(MatrixMut::new(&mut out, SIDE, SIDE), a, b, 1.0, false);
        2.0 * (SIDE as f64).powi(3) / start.elapsed().as_secs_f64() / 1e9
    };
    (0..3).map(rate).fold(0.0, f64::max)
}

/// Peak resident memory of this process, by the kernel's count.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn text(name: &str, default: &str) -> String {
    let flag = format!("--{name}");
    let mut arguments = std::env::args().skip_while(|argument| *argument != flag);
    arguments.nth(1).unwrap_or_else(|| default.to_owned())
}

fn option(name: &str, default: usize) -> usize {
    text(name, &default.to_string()).parse().expect("a whole number")
}
