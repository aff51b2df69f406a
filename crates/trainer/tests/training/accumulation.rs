//! How the examples are spread over batches does not matter.

use albacore_data::Packing;
use albacore_trainer::{Counts, Groups, Loss, Objective, RecomputeConfig, Term};

use crate::support::{Tiny, examples};

/// The second sequence of each pair is pushed below the first by 1: the mean over pairs of
/// `max(0, 1 - (a - b))`, with `a` and `b` the log-probabilities of the two. Its gradient is known
/// only after the forward pass.
struct Pairwise;

impl Objective for Pairwise {
    fn count(&self, groups: &Groups) -> Counts {
        Counts(vec![groups.sequences().len() as u64 / 2])
    }

    fn loss(&self, logp: &[f32], groups: &Groups, step: &Counts) -> Loss {
        let pairs = step.0[0] as f64;
        let (mut sum, mut gradient) = (0.0, vec![0.0; groups.targets()]);
        let sequences = groups.sequences().collect::<Vec<_>>();
        for pair in sequences.chunks_exact(2) {
            let [a, b] = [&pair[0], &pair[1]].map(|tokens| {
                logp[tokens.clone()].iter().map(|&logp| f64::from(logp)).sum::<f64>()
            });
            let short = 1.0 - (a - b);
            if short > 0.0 {
                sum += short;
                gradient[pair[0].clone()].fill((-1.0 / pairs) as f32);
                gradient[pair[1].clone()].fill((1.0 / pairs) as f32);
            }
        }
        let term = |name, sum, count| Term { name, sum, count };
        let terms = vec![term("loss", sum, pairs), term("loss_ranking", sum, pairs)];
        Loss { terms, gradient }
    }
}

/// Eight examples of 8 tokens in file order, `per_batch` to a batch, all eight to a step.
fn eight(per_batch: usize) -> Tiny {
    let mut tiny = Tiny { packing: Packing::alone(0, 8 * per_batch, false), ..Default::default() };
    tiny.examples = examples(&[8, 8, 8, 8, 8, 8, 8, 8]);
    tiny.options.train.batches_per_step = 8 / per_batch;
    tiny.options.train.steps = Some(4);
    tiny.options.checkpoint.every = 1;
    tiny
}

/// Runs both, and compares the gradient of the first step, by the moments that it leaves, and all
/// losses. Sums of f32 in another order differ in the last places. Where a gradient is nearly nothing
/// Adam makes a whole step of that, so what follows is compared more loosely.
fn assert_same(one: &Tiny, other: &Tiny) {
    let losses = [one, other].map(|tiny| {
        tiny.run().unwrap();
        tiny.losses()
    });
    let mut tolerance = 1e-6;
    for (one, other) in losses[0].iter().zip(&losses[1]) {
        assert!((one - other).abs() <= tolerance * (1.0 + other), "{losses:?}");
        tolerance = 1e-3;
    }
    let moments = |tiny: &Tiny| tiny.tensors(1, "optimizer.safetensors");
    for ((name, one), other) in moments(one).iter().zip(moments(other).values()) {
        let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
        let apart = norm(&mut one.iter().zip(other).map(|(a, b)| a - b));
        assert!(apart <= 1e-5 * norm(&mut other.iter().copied()), "{name} is {apart} apart");
    }
}

#[test]
fn four_batches_of_two_equal_one_of_eight() {
    assert_same(&eight(2), &eight(8));
}

#[test]
fn batches_with_different_numbers_of_tokens_weigh_by_their_tokens() {
    let uneven = |batches_per_step, tokens_per_batch| {
        let mut tiny = eight(8);
        tiny.examples = examples(&[16, 3, 3, 3, 3]);
        tiny.packing.tokens_per_batch = tokens_per_batch;
        tiny.options.train.batches_per_step = batches_per_step;
        tiny
    };
    assert_same(&uneven(2, 16), &uneven(1, 64));
}

#[test]
fn an_objective_that_needs_the_forward_pass_trains_and_accumulates_as_well() {
    let pairwise = |per_batch| Tiny { objective: Box::new(Pairwise), ..eight(per_batch) };
    let (two, eight) = (pairwise(2), pairwise(8));
    assert_same(&two, &eight);
    let losses = eight.losses();
    assert!(losses[3] < losses[0], "{losses:?}");
    assert_eq!(eight.lines()[0]["loss_ranking"], eight.lines()[0]["loss"]);
}

#[test]
fn recomputation_changes_no_bit() {
    let recompute = |recompute| {
        let mut tiny = eight(4);
        tiny.options.train.recompute = recompute;
        tiny.run().unwrap();
        tiny.bytes(4)
    };
    let wanted = recompute(RecomputeConfig::None);
    assert!(wanted == recompute(RecomputeConfig::Selective));
    assert!(wanted == recompute(RecomputeConfig::Block));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let tiny = eight(4);
            tiny.run().unwrap();
            tiny.bytes(4)
        })
    };
    let wanted = with(1);
    assert!(wanted == with(2) && wanted == with(3));
}

#[test]
fn one_batch_can_be_overfitted() {
    let mut tiny = eight(8);
    tiny.options.train.steps = Some(150);
    tiny.options.checkpoint.every = 0;
    tiny.run().unwrap();
    let losses = tiny.losses();
    assert!(losses[0] > 3.0 && losses[149] < 0.05, "{} {}", losses[0], losses[149]);
}

#[test]
fn an_epoch_ends_with_a_smaller_step_and_every_example_is_seen_once() {
    let mut tiny = Tiny { packing: Packing::alone(5, 8, true), ..Default::default() };
    tiny.examples = examples(&[8, 8, 8, 8, 8]);
    tiny.options.train.steps = None;
    tiny.options.train.epochs = Some(1.5);
    tiny.options.train.batches_per_step = 2;
    tiny.run().unwrap();
    let numbers =
        |key: &str| tiny.lines().iter().map(|line| line[key].as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!(numbers("tokens"), [16.0, 16.0, 8.0, 16.0, 16.0]);
    assert_eq!(numbers("supervised_tokens"), [8.0, 8.0, 4.0, 8.0, 8.0]);
    assert_eq!(numbers("epoch"), [0.4, 0.8, 1.0, 1.4, 1.8]);
}
