//! For each word, the texts that have it among their rarest.

use super::store::Query;
use super::{least, lengths};

/// A text in the list of one of its words.
#[derive(Clone, Copy, Debug)]
struct Posting {
    /// The text's signature in 64 bits.
    signature: u64,
    text: u32,
    /// Words of the text.
    length: u16,
    /// Words from this one on, rarest first.
    left: u16,
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
    lists: Vec<Vec<Posting>>,
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
            let posting = Posting { signature, text, length: length as u16, left: left as u16 };
            self.lists[token as usize].push(posting);
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
            let texts = self.lists.iter().flatten().map(|posting| posting.text);
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
            if let Some(list) = self.lists.get(token as usize) {
                scan.run(list, &wanted[..end], candidates);
            }
        }
    }
}

/// One list being read.
struct Scan {
    signature: u64,
    shortest: usize,
    from: u32,
}

impl Scan {
    fn run(&self, list: &[Posting], wanted: &[Wanted], candidates: &mut Vec<u32>) {
        // Lists grow in the order of the texts.
        let start = if self.from == 0 { 0 } else { list.partition_point(|p| p.text < self.from) };
        let list = &list[start..];
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("popcnt") {
            // SAFETY: the processor has the instruction.
            return unsafe { self.run_popcnt(list, wanted, candidates) };
        }
        self.read(list, wanted, candidates);
    }

    /// Without the instruction, counting bits takes a dozen others.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "popcnt")]
    fn run_popcnt(&self, list: &[Posting], wanted: &[Wanted], candidates: &mut Vec<u32>) {
        self.read(list, wanted, candidates);
    }

    #[inline(always)]
    fn read(&self, list: &[Posting], wanted: &[Wanted], candidates: &mut Vec<u32>) {
        for posting in list {
            let length = usize::from(posting.length).wrapping_sub(self.shortest);
            if let Some(wanted) = wanted.get(length)
                && posting.left >= wanted.least
                && (posting.signature ^ self.signature).count_ones() <= wanted.apart.into()
            {
                candidates.push(posting.text);
            }
        }
    }
}
