//! What each block of the attention kernels works on: tiles of queries, and tiles of keys.
//!
//! Sequences are packed end to end. A group may store its prompt once: the prompt is a sequence, and
//! the responses that follow it each see the prompt, themselves, and not each other.

use std::ops::Range;

use crate::launch::Address;

/// Rows of the tile that a block keeps: `ROWS` of attention.cu.
pub(crate) const ROWS: u32 = 64;

/// A stretch of packed rows that attends to itself, and to the rows of `prompt` before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) rows: Range<u32>,
    /// Empty if it shares no prompt.
    pub(crate) prompt: Range<u32>,
}

/// A list of tiles in the memory of a GPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tiles {
    pub(crate) at: Address,
    pub(crate) count: usize,
}

impl Tiles {
    /// Where the words of [`query_tiles`] are, and how many.
    pub(crate) fn of_queries((at, words): (Address, usize)) -> Self {
        Self { at, count: words / 5 }
    }

    /// Where the words of [`key_tiles`] are, and how many.
    pub(crate) fn of_keys((at, words): (Address, usize)) -> Self {
        Self { at, count: words / 4 }
    }
}

/// The rows of each stretch, ordinary sequences: no prompt is shared.
#[cfg(test)]
pub(crate) fn alone(starts: &[u32]) -> Vec<Stretch> {
    starts.windows(2).map(|pair| Stretch { rows: pair[0]..pair[1], prompt: 0..0 }).collect()
}

/// Tiles of at most [`ROWS`] queries, as five words each: first query; start and end of its stretch;
/// start and end of the prompt. Those with the most keys come first, so that no block is left to
/// work alone at the end.
pub(crate) fn query_tiles(stretches: &[Stretch], causal: bool) -> Vec<u32> {
    let mut tiles = Vec::new();
    for Stretch { rows, prompt } in stretches {
        for first in rows.clone().step_by(ROWS as usize) {
            let seen = if causal { (first + ROWS).min(rows.end) } else { rows.end };
            let keys = seen - rows.start + prompt.len() as u32;
            tiles.push((keys, [first, rows.start, rows.end, prompt.start, prompt.end]));
        }
    }
    longest_first(tiles)
}

/// Tiles of at most [`ROWS`] keys, as four words each: first key and end of its stretch; first and
/// end of the queries that may see them.
pub(crate) fn key_tiles(stretches: &[Stretch], causal: bool) -> Vec<u32> {
    let mut tiles = Vec::new();
    for (index, Stretch { rows, .. }) in stretches.iter().enumerate() {
        // The responses that share this stretch as their prompt follow it, one after another.
        let sharing = stretches[index + 1..].iter().take_while(|next| next.prompt == *rows);
        let end = sharing.last().map_or(rows.end, |last| last.rows.end);
        for first in rows.clone().step_by(ROWS as usize) {
            let queries = if causal { first..end } else { rows.start..end };
            tiles.push((queries.len() as u32, [first, rows.end, queries.start, queries.end]));
        }
    }
    longest_first(tiles)
}

/// Rows of targets, and the rows of the source that they see.
type Crossed = (Range<usize>, Range<usize>);

/// As [`query_tiles`], in cross-attention: no keys of their own (their stretch starts where it ends), and
/// for a prompt the source.
pub(crate) fn crossing_query_tiles(stretches: &[Crossed]) -> Vec<u32> {
    let mut tiles = Vec::new();
    for (queries, keys) in stretches {
        let [end, source_start, source_end] = [queries.end, keys.start, keys.end].map(word);
        for first in (word(queries.start)..end).step_by(ROWS as usize) {
            tiles.push((source_end - source_start, [first, end, end, source_start, source_end]));
        }
    }
    longest_first(tiles)
}

/// As [`key_tiles`], of all `sources` rows: those that no target sees have no queries, and a gradient all
/// the same.
pub(crate) fn crossing_key_tiles(stretches: &[Crossed], sources: usize) -> Vec<u32> {
    let (mut tiles, mut next) = (Vec::new(), 0);
    let mut of_rows = |keys: Range<u32>, queries: Range<u32>| {
        for first in keys.clone().step_by(ROWS as usize) {
            tiles
                .push((queries.end - queries.start, [first, keys.end, queries.start, queries.end]));
        }
    };
    for (queries, keys) in stretches {
        of_rows(next..word(keys.start), 0..0);
        of_rows(word(keys.start)..word(keys.end), word(queries.start)..word(queries.end));
        next = word(keys.end);
    }
    of_rows(next..word(sources), 0..0);
    longest_first(tiles)
}

/// Sequences count their rows in 32 bits.
fn word(row: usize) -> u32 {
    u32::try_from(row).expect("rows of packed sequences fit 32 bits")
}

/// The words of the tiles, those with the most work first; equals stay in order.
fn longest_first<const N: usize>(mut tiles: Vec<(u32, [u32; N])>) -> Vec<u32> {
    tiles.sort_by_key(|&(work, _)| std::cmp::Reverse(work));
    tiles.into_iter().flat_map(|(_, words)| words).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Groups of a prompt and responses that share it; a group of one is an ordinary sequence.
    fn groups() -> impl Strategy<Value = Vec<Stretch>> {
        let group = (1u32..200, prop::collection::vec(1u32..150, 0..4));
        prop::collection::vec(group, 1..5).prop_map(|groups| {
            let (mut stretches, mut at) = (Vec::new(), 0);
            for (prompt, responses) in groups {
                let prompt = at..at + prompt;
                at = prompt.end;
                stretches.push(Stretch { rows: prompt.clone(), prompt: 0..0 });
                for response in responses {
                    stretches.push(Stretch { rows: at..at + response, prompt: prompt.clone() });
                    at += response;
                }
            }
            stretches
        })
    }

    /// The specification: whether `query` sees `key`.
    fn sees(stretches: &[Stretch], query: u32, key: u32, causal: bool) -> bool {
        let of_query = stretches.iter().find(|stretch| stretch.rows.contains(&query)).unwrap();
        let known = of_query.rows.contains(&key) || of_query.prompt.contains(&key);
        known && (!causal || key <= query)
    }

    proptest! {
        #[test]
        fn a_query_tile_reaches_exactly_the_keys_that_its_queries_see(
            stretches in groups(), causal in any::<bool>()
        ) {
            let tokens = stretches.last().unwrap().rows.end;
            let mut covered = vec![0; tokens as usize];
            for tile in query_tiles(&stretches, causal).chunks(5) {
                let [first, start, end, prompt_start, prompt_end] = tile.try_into().unwrap();
                for query in first..(first + ROWS).min(end) {
                    covered[query as usize] += 1;
                    for key in 0..tokens {
                        let reached = (start..end).contains(&key)
                            || (prompt_start..prompt_end).contains(&key);
                        let seen = reached && (!causal || key <= query);
                        prop_assert_eq!(seen, sees(&stretches, query, key, causal));
                    }
                }
            }
            prop_assert!(covered.iter().all(|&count| count == 1));
        }

        #[test]
        fn a_causal_key_tile_reaches_exactly_the_queries_that_see_its_keys(stretches in groups()) {
            let tokens = stretches.last().unwrap().rows.end;
            let mut covered = vec![0; tokens as usize];
            for tile in key_tiles(&stretches, true).chunks(4) {
                let [first, end, query_start, query_end] = tile.try_into().unwrap();
                for key in first..(first + ROWS).min(end) {
                    covered[key as usize] += 1;
                    for query in 0..tokens {
                        let seen = (query_start..query_end).contains(&query) && key <= query;
                        prop_assert_eq!(seen, sees(&stretches, query, key, true));
                    }
                }
            }
            prop_assert!(covered.iter().all(|&count| count == 1));
        }
    }

    #[test]
    fn crossing_tiles_hold_each_row_once_and_who_sees_it() {
        // Sources of 70, 3, 5 and 1 rows; the second and the last have no target.
        let stretches = [(0..65, 0..70), (65..70, 73..78)];
        let queries = crossing_query_tiles(&stretches);
        let wanted = [[0, 65, 65, 0, 70], [64, 65, 65, 0, 70], [65, 70, 70, 73, 78]];
        assert_eq!(queries, wanted.concat());
        let keys = crossing_key_tiles(&stretches, 79);
        let wanted =
            [[0, 70, 0, 65], [64, 70, 0, 65], [73, 78, 65, 70], [70, 73, 0, 0], [78, 79, 0, 0]];
        assert_eq!(keys, wanted.concat());
    }

    #[test]
    fn tiles_with_the_most_work_come_first() {
        let tiles = query_tiles(&alone(&[0, 10, 140]), true);
        let firsts: Vec<u32> = tiles.chunks(5).map(|tile| tile[0]).collect();
        assert_eq!(firsts, [138, 74, 10, 0]);
    }
}
