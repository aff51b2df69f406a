//! Attention's kernels against its definition in f64: every width, both directions, shared prompts.

use super::{BOTH, assert_twin, exact};
use crate::device::attention::{Call, Streams};
use crate::device::tiles::{Stretch, Tiles, alone, key_tiles, query_tiles};
use crate::emulator::Emulator;
use crate::engine::Mirror;
use crate::launch::Compute;
use crate::{Heads, Sequences};

/// The specification, in f64: each query sees the keys that `sees` allows.
pub(super) struct Reference<'r> {
    pub(super) heads: Heads,
    pub(super) scale: f64,
    pub(super) tokens: usize,
    pub(super) sees: &'r dyn Fn(usize, usize) -> bool,
    /// What is added to the score of a query and a key, in a head.
    pub(super) bias: &'r dyn Fn(usize, usize, usize) -> f64,
}

/// What the specification says.
pub(super) struct Wanted {
    pub(super) out: Vec<f32>,
    /// `(H, T)`.
    pub(super) log_sums: Vec<f32>,
    pub(super) d_qkv: Vec<f32>,
    /// Query, key and head of each score, and its gradient before the scale.
    pub(super) d_scores: Vec<([usize; 3], f64)>,
}

impl Reference<'_> {
    /// Both passes, from the `gradient` of the output.
    pub(super) fn passes(&self, qkv: &[f32], gradient: &[f32]) -> Wanted {
        let (heads, tokens) = (self.heads, self.tokens);
        let channels = heads.channels();
        let mut out = vec![0f64; tokens * heads.output_channels()];
        let mut log_sums = vec![0f64; heads.query * tokens];
        let mut d_qkv = vec![0f64; tokens * channels];
        let mut d_scores = Vec::new();
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        for (head, query) in
            (0..heads.query).flat_map(|head| (0..tokens).map(move |query| (head, query)))
        {
            let key_head = head / heads.group();
            let row = |token: usize, range: std::ops::Range<usize>| {
                &qkv[token * channels + range.start..token * channels + range.end]
            };
            let q = row(query, heads.q(head));
            let keys: Vec<usize> = (0..tokens).filter(|&key| (self.sees)(query, key)).collect();
            let scores: Vec<f64> = keys
                .iter()
                .map(|&key| {
                    self.scale * dot(q, row(key, heads.k(key_head))) + (self.bias)(query, key, head)
                })
                .collect();
            let log_sum = scores.iter().map(|score| score.exp()).sum::<f64>().ln();
            log_sums[head * tokens + query] = log_sum;
            let d_out = &gradient[query * heads.output_channels()..][heads.q(head)];
            let slopes: Vec<f64> =
                keys.iter().map(|&key| dot(d_out, row(key, heads.v(key_head)))).collect();
            let weights: Vec<f64> = scores.iter().map(|score| (score - log_sum).exp()).collect();
            let delta: f64 =
                weights.iter().zip(&slopes).map(|(weight, slope)| weight * slope).sum();
            for ((&key, weight), slope) in keys.iter().zip(&weights).zip(&slopes) {
                let d_score = weight * (slope - delta);
                d_scores.push(([query, key, head], d_score));
                let d_score = self.scale * d_score;
                for channel in 0..heads.width {
                    let at = |token: usize, range: std::ops::Range<usize>| {
                        token * channels + range.start + channel
                    };
                    let (k, v) = (at(key, heads.k(key_head)), at(key, heads.v(key_head)));
                    out[query * heads.output_channels() + head * heads.width + channel] +=
                        weight * f64::from(qkv[v]);
                    d_qkv[v] += weight * f64::from(d_out[channel]);
                    d_qkv[k] += d_score * f64::from(q[channel]);
                    d_qkv[at(query, heads.q(head))] += d_score * f64::from(qkv[k]);
                }
            }
        }
        let [out, log_sums, d_qkv] =
            [out, log_sums, d_qkv].map(|numbers| numbers.into_iter().map(|x| x as f32).collect());
        Wanted { out, log_sums, d_qkv, d_scores }
    }
}

/// The tiles of queries and those of keys.
pub(super) fn tiles(gpu: &Emulator, stretches: &[Stretch], causal: bool) -> [Tiles; 2] {
    let send = |words: Vec<u32>| (gpu.words(&words), words.len());
    let queries = Tiles::of_queries(send(query_tiles(stretches, causal)));
    [queries, Tiles::of_keys(send(key_tiles(stretches, causal)))]
}

fn prove(what: &str, call: &Call, stretches: &[Stretch], sees: &dyn Fn(usize, usize) -> bool) {
    let Some(gpu) = Emulator::new() else { return };
    let Call { heads, tokens, compute, .. } = *call;
    let qkv = exact(tokens * heads.channels(), 1, compute);
    let gradient = exact(tokens * heads.output_channels(), 2, compute);
    let reference =
        Reference { heads, scale: f64::from(call.scale), tokens, sees, bias: &|_, _, _| 0.0 };
    let Wanted { out: wanted, log_sums, d_qkv, .. } = reference.passes(&qkv, &gradient);
    let [at_qkv, at_gradient] = [&qkv, &gradient].map(|numbers| gpu.numbers(numbers, compute));
    let out = gpu.room(wanted.len(), compute);
    let sums = gpu.room(log_sums.len(), Compute::F32);
    let d = gpu.room(qkv.len(), compute);
    let tiles = tiles(&gpu, stretches, call.causal);
    let streams = [d, at_qkv].map(|at| Streams::packed(heads, compute, at));
    call.forward(&gpu, tiles[0], [out, sums], streams[1]).unwrap();
    call.backward(&gpu, tiles, streams, [out, at_gradient, sums], false, None).unwrap();
    let memory = gpu.run();
    let what = format!("attention {what} {}/{}x{}", heads.query, heads.key_value, heads.width);
    let check = |part: &str, found: Vec<f32>, wanted: &[f32], compute| {
        assert_twin(&format!("{what} {part}"), &found, wanted, compute);
    };
    check("forward", memory.numbers(out, compute), &wanted, compute);
    check("log-sums", memory.numbers(sums, Compute::F32), &log_sums, compute);
    check("backward", memory.numbers(d, compute), &d_qkv, compute);
}

pub(super) fn heads(query: usize, key_value: usize, width: usize) -> Heads {
    Heads { query, key_value, width }
}

#[test]
fn emulated_causal_attention_is_its_definition_at_every_width() {
    for compute in BOTH {
        for width in [8, 64, 80, 96, 128, 256] {
            let stretches = alone(&[0, 1, 67]);
            let call = Call {
                heads: heads(2, 1, width),
                tokens: 67,
                scale: 0.2,
                causal: true,
                compute,
                bias: None,
                dropout: None,
            };
            let sees = |query: usize, key: usize| key <= query && (query == 0) == (key == 0);
            prove("causal", &call, &stretches, &sees);
        }
    }
}

#[test]
fn emulated_bidirectional_attention_is_its_definition() {
    for compute in BOTH {
        let stretches = alone(&[0, 66, 70]);
        let call = Call {
            heads: heads(3, 3, 64),
            tokens: 70,
            scale: 0.2,
            causal: false,
            compute,
            bias: None,
            dropout: None,
        };
        prove("bidirectional", &call, &stretches, &|query, key| (query < 66) == (key < 66));
    }
}

#[test]
fn emulated_responses_that_share_a_prompt_see_it_and_not_each_other() {
    for compute in BOTH {
        let is_response = [false, true, true, false, true];
        let starts = vec![0, 66, 80, 83, 85, 90];
        let stretches = Sequences::with_responses(starts, &is_response).unwrap().stretches();
        let call = Call {
            heads: heads(4, 2, 64),
            tokens: 90,
            scale: 0.2,
            causal: true,
            compute,
            bias: None,
            dropout: None,
        };
        let sees = |query: usize, key: usize| {
            let of_query =
                stretches.iter().find(|stretch| stretch.rows.contains(&(query as u32))).unwrap();
            let key_here = key as u32;
            key <= query
                && (of_query.rows.contains(&key_here) || of_query.prompt.contains(&key_here))
        };
        prove("shared prompt", &call, &stretches, &sees);
    }
}

/// Accumulating adds to what is there.
#[test]
fn emulated_attention_adds_its_gradient_where_there_is_one() {
    let Some(gpu) = Emulator::new() else { return };
    let stretches = alone(&[0, 5]);
    let compute = Compute::F32;
    let call = Call {
        heads: heads(1, 1, 8),
        tokens: 5,
        scale: 0.3,
        causal: true,
        compute,
        bias: None,
        dropout: None,
    };
    let tiles = tiles(&gpu, &stretches, true);
    let (qkv, gradient) = (exact(5 * 24, 1, compute), exact(5 * 8, 2, compute));
    let [at_qkv, at_gradient] = [&qkv, &gradient].map(|numbers| gpu.numbers(numbers, compute));
    let (out, sums) = (gpu.room(40, compute), gpu.room(5, compute));
    let (fresh, added) = (gpu.room(120, compute), gpu.numbers(&[2.0; 120], compute));
    let streams = |at| Streams::packed(call.heads, compute, at);
    let (from, given) = (streams(at_qkv), [out, at_gradient, sums]);
    call.forward(&gpu, tiles[0], [out, sums], from).unwrap();
    call.backward(&gpu, tiles, [streams(fresh), from], given, false, None).unwrap();
    call.backward(&gpu, tiles, [streams(added), from], given, true, None).unwrap();
    let memory = gpu.run();
    let wanted: Vec<f32> = memory.numbers(fresh, compute).iter().map(|x| x + 2.0).collect();
    assert_twin("attention, added", &memory.numbers(added, compute), &wanted, compute);
}

#[test]
fn emulated_lists_are_sent_once_and_again_only_for_a_copy_of_their_own() {
    let Some(gpu) = Emulator::new() else { return };
    let words = || query_tiles(&alone(&[0, 5, 140]), true);
    let mirror: Mirror<usize> = Mirror::default();
    let first = mirror.of_words(&gpu, words).unwrap();
    let second = mirror.of_words(&gpu, || panic!("the words are there")).unwrap();
    assert_eq!(first, second);
    assert_eq!(Tiles::of_queries(first).count, 4);
    assert_ne!(mirror.clone().of_words(&gpu, words).unwrap().0, first.0);
}
