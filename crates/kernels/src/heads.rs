//! How attention heads lie in a row of the packed q, k and v projections.

use std::ops::Range;

/// Counts and width of attention heads: one row of `qkv` holds `query` heads of q, then `key_value`
/// heads of k, then as many of v, each `width` channels wide.
///
/// ```
/// let heads = albacore_kernels::Heads { query: 9, key_value: 3, width: 64 };
/// assert_eq!(heads.channels(), (9 + 2 * 3) * 64);
/// assert_eq!(heads.k(0).start, 9 * 64);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// `H`: heads of q, and of the output.
    pub query: usize,
    /// `G`: heads of k and of v; a divisor of `H`. Query heads in a row share one of them.
    pub key_value: usize,
    /// `D`: channels of a head.
    pub width: usize,
}

impl Heads {
    /// Channels of one row of `qkv`: `(H + 2G) D`.
    pub fn channels(self) -> usize {
        (self.query + 2 * self.key_value) * self.width
    }

    /// Channels of one row of the output: `H D`.
    pub fn output_channels(self) -> usize {
        self.query * self.width
    }

    /// Query heads that share one key/value head: `H / G`.
    pub fn group(self) -> usize {
        self.query / self.key_value
    }

    /// Channels of query head `head` in a row of `qkv`, and in a row of the output.
    pub fn q(self, head: usize) -> Range<usize> {
        head * self.width..(head + 1) * self.width
    }

    /// Channels of key head `head` in a row of `qkv`.
    pub fn k(self, head: usize) -> Range<usize> {
        self.q(self.query + head)
    }

    /// Channels of value head `head` in a row of `qkv`.
    pub fn v(self, head: usize) -> Range<usize> {
        self.q(self.query + self.key_value + head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heads_cover_a_row_once_and_in_order() {
        let heads = Heads { query: 6, key_value: 2, width: 5 };
        let q = (0..heads.query).map(|head| heads.q(head));
        let k = (0..heads.key_value).map(|head| heads.k(head));
        let v = (0..heads.key_value).map(|head| heads.v(head));
        let channels: Vec<usize> = q.chain(k).chain(v).flatten().collect();
        assert_eq!(channels, (0..heads.channels()).collect::<Vec<_>>());
        assert_eq!(heads.group(), 3);
    }
}
