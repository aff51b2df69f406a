//! The ids of words that were seen before: most words of a text are, and to look one up takes a hundredth of
//! the time that it takes to encode it.
//!
//! ```text
//!  text ─added tokens─► stretches ─Cuts─► parts ─► seen before? its ids : encoded, and kept if there is room
//! ```

use aho_corasick::{AhoCorasick, MatchKind};

use crate::tokenizer::cuts::Cuts;
use crate::tokenizer::seen::{Place, Seen};

/// Encodes texts word by word.
pub(super) struct Words {
    cuts: Cuts,
    /// Tokens that are looked for before anything else, and the id of each that stands for itself wherever it
    /// is found.
    added: Option<AhoCorasick>,
    ids: Vec<Option<u32>>,
    seen: Seen<Box<[u32]>>,
}

impl Words {
    /// For a tokenizer whose texts may be cut.
    pub(super) fn of(tokenizer: &tokenizers::Tokenizer) -> Option<Self> {
        let cuts = Cuts::of(tokenizer)?;
        let (mut texts, mut ids) = (Vec::new(), Vec::new());
        for (id, token) in tokenizer.get_added_tokens_decoder() {
            if token.normalized && tokenizer.get_normalizer().is_some() {
                return None;
            }
            let plain = !(token.normalized || token.single_word || token.lstrip || token.rstrip);
            texts.push(token.content);
            ids.push((plain && !cuts.first_alone()).then_some(id));
        }
        let mut builder = AhoCorasick::builder();
        builder.match_kind(MatchKind::LeftmostLongest);
        let added = if texts.is_empty() { None } else { Some(builder.build(&texts).ok()?) };
        Some(Self { cuts, added, ids, seen: Seen::new() })
    }

    /// The ids of a text, nothing added.
    pub(super) fn encode(
        &self,
        tokenizer: &tokenizers::Tokenizer,
        text: &str,
    ) -> tokenizers::Result<Vec<u32>> {
        // English has about four characters a token.
        let mut ids = Vec::with_capacity(text.len() / 3 + 1);
        let mut from = 0;
        for found in self.added.iter().flat_map(|added| added.find_iter(text)) {
            let Some(id) = self.ids[found.pattern()] else {
                return Ok(tokenizer.encode_fast(text, false)?.get_ids().to_vec());
            };
            self.encode_stretch(tokenizer, &text[from..found.start()], &mut ids)?;
            ids.push(id);
            from = found.end();
        }
        self.encode_stretch(tokenizer, &text[from..], &mut ids)?;
        Ok(ids)
    }

    fn encode_stretch(
        &self,
        tokenizer: &tokenizers::Tokenizer,
        text: &str,
        ids: &mut Vec<u32>,
    ) -> tokenizers::Result<()> {
        let mut start = 0;
        while start < text.len() {
            let end = self.cuts.end(text.as_bytes(), start);
            let part = &text[start..end];
            let part = if start == 0 { part } else { self.cuts.inner_part(part) };
            start = end;
            match self.seen.place(part) {
                Place::Known(known) => ids.extend_from_slice(known),
                place => {
                    let encoding = tokenizer.encode_fast(part, false)?;
                    ids.extend_from_slice(encoding.get_ids());
                    if let Place::Free(free) = place {
                        free.put(part, encoding.get_ids().into());
                    }
                }
            }
        }
        Ok(())
    }
}
