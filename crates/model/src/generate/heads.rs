//! Keys and values of prompts' heads, kept for prompts that begin alike.

use std::collections::VecDeque;

use albacore_kernels::CachedHead;

/// Heads are cut to whole blocks: prompts that begin alike and then go on with the same few words by
/// chance have the very same head, and attend to it together.
const BLOCK: usize = 16;

/// The fewest tokens that are worth a head of their own.
pub(super) const FEWEST: usize = 32;

/// Prompts whose tokens are remembered. The next one that begins as they do makes a head.
const RECENT: usize = 64;

/// Heads that prompts have shared, and tokens of prompts that might.
#[derive(Default)]
pub(super) struct Heads {
    /// Most tokens kept.
    budget: usize,
    /// The one used last stands last.
    kept: Vec<Head>,
    recent: VecDeque<Vec<u32>>,
}

/// The keys and values of the first tokens of some prompts, in every layer.
pub(super) struct Head {
    ids: Vec<u32>,
    pub(super) layers: Vec<CachedHead>,
}

impl Heads {
    pub(super) fn new(budget: usize) -> Self {
        Self { budget, ..Self::default() }
    }

    /// The head that spares `prompt` most tokens, and how many.
    pub(super) fn find(&mut self, prompt: &[u32]) -> Option<(&Head, usize)> {
        let spared = self.kept.iter().map(|head| shared(&head.ids, prompt)).enumerate();
        let (place, tokens) = spared.max_by_key(|&(_, tokens)| tokens)?;
        if tokens < FEWEST {
            return None;
        }
        let found = self.kept.remove(place);
        self.kept.push(found);
        self.kept.last().map(|head| (head, tokens))
    }

    /// How many tokens a prompt shares with one of those that were begun lately.
    pub(super) fn seen(&self, prompt: &[u32]) -> usize {
        let all = self.recent.iter().map(|other| shared(other, prompt));
        self.fits(all.max().unwrap_or(0))
    }

    /// So many tokens, if a head of them is kept at all.
    pub(super) fn fits(&self, tokens: usize) -> usize {
        if tokens <= self.budget { tokens } else { self.budget / BLOCK * BLOCK }
    }

    pub(super) fn remember(&mut self, prompt: &[u32]) {
        if self.budget == 0 {
            return;
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(prompt.to_vec());
    }

    /// Keeps a head, and lets those go that were not used for longest where there are too many.
    pub(super) fn keep(&mut self, ids: Vec<u32>, layers: Vec<CachedHead>) {
        self.kept.push(Head { ids, layers });
        while self.kept.iter().map(|head| head.ids.len()).sum::<usize>() > self.budget {
            self.kept.remove(0);
        }
    }
}

/// How many tokens `prompt` can take over from `other`, in whole blocks: not its last one, for what
/// follows that is asked for.
pub(super) fn shared(other: &[u32], prompt: &[u32]) -> usize {
    let alike = other.iter().zip(prompt).take_while(|(left, right)| left == right).count();
    alike.min(prompt.len() - 1) / BLOCK * BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(head: u32, tokens: u32, tail: u32) -> Vec<u32> {
        (0..tokens).map(|token| 1000 * head + token).chain([9_000 + tail]).collect()
    }

    #[test]
    fn a_prompt_shares_whole_blocks_and_never_its_last_token() {
        assert_eq!(shared(&prompt(1, 50, 0), &prompt(1, 50, 1)), 48);
        assert_eq!(shared(&prompt(1, 47, 0), &prompt(1, 50, 1)), 32);
        let same = prompt(1, 31, 0);
        assert_eq!((same.len(), shared(&same, &same)), (32, 16));
        assert_eq!(shared(&[], &same), 0);
    }

    #[test]
    fn the_longest_head_is_found_and_the_one_unused_for_longest_goes_first() {
        let mut heads = Heads::new(200);
        heads.keep(prompt(1, 64, 0)[..64].to_vec(), Vec::new());
        heads.keep(prompt(2, 64, 0)[..64].to_vec(), Vec::new());
        heads.keep(prompt(2, 48, 0)[..48].to_vec(), Vec::new());
        let tokens =
            |heads: &mut Heads, prompt: &[u32]| heads.find(prompt).map(|(_, tokens)| tokens);
        assert_eq!(tokens(&mut heads, &prompt(2, 70, 1)), Some(64));
        assert_eq!(tokens(&mut heads, &prompt(1, 40, 1)), Some(32));
        assert_eq!(tokens(&mut heads, &prompt(1, 20, 1)), None);
        // 176 + 64 tokens are too many: the one of 48 goes, which nobody has used.
        heads.keep(prompt(3, 64, 0)[..64].to_vec(), Vec::new());
        let left = heads.kept.iter().map(|head| head.ids[0]).collect::<Vec<_>>();
        assert_eq!(left, [2000, 1000, 3000]);
        heads.keep(prompt(4, 64, 0)[..64].to_vec(), Vec::new());
        assert_eq!(tokens(&mut heads, &prompt(2, 70, 1)), None);
        assert_eq!(tokens(&mut heads, &prompt(1, 70, 1)), Some(64));
    }

    #[test]
    fn what_was_seen_is_forgotten_after_a_while_and_bounded_by_what_is_kept() {
        let mut heads = Heads::new(100);
        heads.remember(&prompt(1, 60, 0));
        heads.remember(&prompt(2, 160, 0));
        assert_eq!(heads.seen(&prompt(1, 70, 1)), 48);
        assert_eq!(heads.seen(&prompt(2, 160, 1)), 96);
        (0..RECENT as u32 - 1).for_each(|other| heads.remember(&[other]));
        assert_eq!((heads.seen(&prompt(1, 70, 1)), heads.seen(&prompt(2, 160, 1))), (0, 96));
        let mut none = Heads::new(0);
        none.remember(&prompt(1, 60, 0));
        assert_eq!(none.seen(&prompt(1, 70, 1)), 0);
    }
}
