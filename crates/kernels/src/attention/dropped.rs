//! Dropout of attention's weights, after the softmax: which are dropped follows from head, query and key.

use super::QUERIES;
use crate::dropout::Mask;
use crate::simd::wide;

/// What is dropped of the weights of one head, for queries and keys in packed rows.
#[derive(Clone, Copy)]
pub(crate) struct Dropped {
    pub(crate) mask: Mask,
    pub(crate) head: usize,
    /// The row of the first query.
    pub(crate) query: usize,
    /// The row of the key that is counted as 0.
    pub(crate) key: usize,
}

impl Dropped {
    /// Drops of weights, or of their gradients, of keys (rows) from number `first_key` on and queries
    /// (lanes).
    pub(super) fn apply(self, lanes: &mut [[f32; QUERIES]], first_key: usize) {
        let Self { mask, head, query, key } = self;
        // 4 million rows, and as many heads as fit beside them.
        let place = ((head as u64) << 44) + ((query as u64) << 22) + (key + first_key) as u64;
        wide!(|| {
            for (key, lanes) in lanes.iter_mut().enumerate() {
                for (lane, number) in lanes.iter_mut().enumerate() {
                    *number *= mask.factor(place + ((lane as u64) << 22) + key as u64);
                }
            }
        });
    }
}
