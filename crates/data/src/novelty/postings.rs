//! For each word, the texts that have it among their rarest.

use super::store::Query;
use super::{least, lengths};

/// A text in the list of one of its words.
#[derive(Clone, Copy, Debug)]
struct Posting {
    /// The text's signature in 64 bits.
    signature: u64,
    text: u32,
    /// Words from this one on, rarest first.
    left: u16,
}

/// The texts of one length in the list of a word. Lists grow in the order of the texts.
#[derive(Debug)]
struct List {
    length: u16,
    postings: Vec<Posting>,
}

/// What a query asks of a text of one length.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    /// The least common subsequence above the threshold.
    least: u16,
    /// Words that may be on one side only.
    apart: u16,
}

/// The lists of all words.
#[derive(Debug, Default)]
pub(crate) struct Postings {
    /// For each word, its lists by ascending length.
    lists: Vec<Vec<List>>,
    /// Texts too long for a posting: they are candidates always.
    giants: Vec<u32>,
}

/// Lengths and sums of two of them fit 16 bits.
const GIANT: usize = u16::MAX as usize / 2;

impl Postings {
    /// Adds a text: to the lists of those words that can be the first one shared.
    pub(crate) fn post(&mut self, query: &Query, text: u32, threshold: f64) {
        let length = query.tokens.len();
        if length > GIANT {
            return self.giants.push(text);
        }
        let Some((shortest, _)) = lengths(length, length, threshold) else { return };
        // The shortest text that can be like this one asks for the least.
        let Some(least) = least(length, shortest, threshold) else { return };
        let signature = query.signature.folded();
        for &(place, token) in &query.rarest {
            let left = length - place as usize;
            if left < least {
                break;
            }
            if self.lists.len() <= token as usize {
                self.lists.resize_with(token as usize + 1, Vec::new);
            }
            let lists = &mut self.lists[token as usize];
            let length = length as u16;
            let place = lists.binary_search_by_key(&length, |list| list.length);
            let place = place.unwrap_or_else(|place| {
                lists.insert(place, List { length, postings: Vec::new() });
                place
            });
            lists[place].postings.push(Posting { signature, text, left: left as u16 });
        }
    }

    /// Adds to `candidates` the texts from `from` on that may be like the query, some of them twice.
    pub(crate) fn candidates(
        &self,
        query: &Query,
        from: u32,
        longest: usize,
        threshold: f64,
        candidates: &mut Vec<u32>,
    ) {
        let length = query.tokens.len();
        if length > GIANT {
            // As rare as it is slow: every text there is.
            let postings = self.lists.iter().flatten().flat_map(|list| &list.postings);
            let texts = postings.map(|posting| posting.text);
            return candidates
                .extend(texts.chain(self.giants.iter().copied()).filter(|text| *text >= from));
        }
        candidates.extend(self.giants.iter().copied().filter(|text| *text >= from));
        let Some((shortest, longest)) = lengths(length, longest.min(GIANT), threshold) else {
            return;
        };
        let wanted: Vec<_> = (shortest..=longest)
            .map_while(|other| least(length, other, threshold).map(|least| (other, least)))
            .map(|(other, least)| Wanted {
                least: least as u16,
                apart: (length + other - 2 * least) as u16,
            })
            .collect();
        let Some(first) = wanted.first() else { return };
        let scan = Scan { signature: query.signature.folded(), shortest, from };
        for &(place, token) in &query.rarest {
            let left = length - place as usize;
            if left < first.least.into() {
                break;
            }
            // The further on, the shorter must a text be that shares no word before.
            let end = wanted.partition_point(|wanted| usize::from(wanted.least) <= left);
            if let Some(lists) = self.lists.get(token as usize) {
                scan.run(lists, &wanted[..end], candidates);
            }
        }
    }
}

/// The lists of one word being read.
struct Scan {
    signature: u64,
    shortest: usize,
    from: u32,
}

impl Scan {
    /// `wanted` is for the shortest length and those after it.
    fn run(&self, lists: &[List], wanted: &[Wanted], candidates: &mut Vec<u32>) {
        let first = lists.partition_point(|list| usize::from(list.length) < self.shortest);
        for List { length, postings } in &lists[first..] {
            let Some(wanted) = wanted.get(usize::from(*length) - self.shortest) else { break };
            let start = match self.from {
                0 => 0,
                from => postings.partition_point(|posting| posting.text < from),
            };
            for posting in &postings[start..] {
                let apart = (posting.signature ^ self.signature).count_ones();
                // One branch for both, seldom taken: most pairs fail one or the other.
                if (posting.left >= wanted.least) & (apart <= wanted.apart.into()) {
                    candidates.push(posting.text);
                }
            }
        }
    }
}
