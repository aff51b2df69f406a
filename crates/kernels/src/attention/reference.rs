//! The specification, in plain loops.

use crate::{Heads, Sequences};

/// Output `(T, H D)`, one score after the other in f64. `bias(distance, head)` is what is added to the
/// score of a key that lies `distance` behind its query.
pub(super) fn forward(
    qkv: &[f64],
    heads: Heads,
    sequences: &Sequences,
    scale: f64,
    causal: bool,
    bias: &dyn Fn(i64, usize) -> f64,
) -> Vec<f64> {
    let at = |token: usize, channels: std::ops::Range<usize>| {
        &qkv[token * heads.channels()..(token + 1) * heads.channels()][channels]
    };
    let mut out = Vec::new();
    for (index, sequence) in sequences.iter().enumerate() {
        for token in sequence.clone() {
            let own = sequence.start..if causal { token + 1 } else { sequence.end };
            let visible = sequences.prompt(index).unwrap_or(0..0).chain(own);
            for head in 0..heads.query {
                let group = head / heads.group();
                let score = |key| {
                    let (q, k) = (at(token, heads.q(head)), at(key, heads.k(group)));
                    let added = bias(key as i64 - token as i64, head);
                    scale * q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() + added
                };
                let scores = visible.clone().map(score).collect::<Vec<_>>();
                let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights = scores.iter().map(|score| (score - highest).exp());
                let weights = weights.collect::<Vec<_>>();
                let total = weights.iter().sum::<f64>();
                out.extend((0..heads.width).map(|channel| {
                    let values = visible.clone().map(|key| at(key, heads.v(group))[channel]);
                    weights.iter().zip(values).map(|(w, v)| w * v).sum::<f64>() / total
                }));
            }
        }
    }
    out
}
