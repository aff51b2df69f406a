//! SentencePiece's unigram tokenizer (Kudo, 2018, "Subword regularization"), exactly: folders of T5 often
//! hold `spiece.model` alone.
//!
//! ```text
//!  spiece.model ─Model::read─► pieces, charsmap ─► Normalizer ─► Unigram: the likeliest pieces ─► ids
//! ```
//!
//! What differs from `tokenizers` in the last one of ten thousand lines: characters are replaced by the
//! longest rule that fits, wherever it ends, and sums of scores are rounded as SentencePiece rounds
//! them, which decides between pieces that are as likely.

mod model;
mod normalizer;
#[cfg(test)]
mod tests;
mod unigram;

use serde_json::{Value, json};

use model::{Kind, Model};
use normalizer::Normalizer;
use unigram::Unigram;

/// Stands for a space inside of pieces: U+2581.
const SPACE: &str = "▁";
/// What a character without a piece costs beyond the least likely piece.
const UNKNOWN_PENALTY: f32 = 10.0;
/// Sentinel tokens behind the pieces, unless the configuration says how many.
const EXTRA: u64 = 100;

/// A tokenizer as `spiece.model` holds it, with T5's sentinels behind its pieces.
#[derive(Debug)]
pub(crate) struct SentencePiece {
    normalizer: Normalizer,
    unigram: Unigram,
    /// How many sentinels there are, the last of which has the first id behind the pieces.
    extra: u32,
}

impl SentencePiece {
    /// Reads `spiece.model`; `config` is what `tokenizer_config.json` says. Returns a `tokenizer.json` for
    /// the same vocabulary besides.
    ///
    /// # Errors
    /// What is wrong with the file, or what of it is not known here.
    pub(crate) fn read(bytes: &[u8], config: &Value) -> Result<(Self, Vec<u8>), String> {
        let model = Model::read(bytes)?;
        let extra = config.get("extra_ids").and_then(Value::as_u64).unwrap_or(EXTRA);
        let extra = extra.min(1 << 16) as u32;
        let unknown = model.pieces.iter().position(|piece| piece.kind == Kind::Unknown);
        let unknown = unknown.ok_or("it has no piece for what is unknown")? as u32;
        let (mut spelled, mut lowest) = (Vec::new(), f32::INFINITY);
        for (id, piece) in model.pieces.iter().enumerate() {
            match piece.kind {
                Kind::Normal | Kind::Defined => spelled.push((piece.text.as_str(), id as u32)),
                Kind::Unknown | Kind::Control | Kind::Unused => {}
                Kind::Byte => return Err("it falls back to bytes, wanted a T5's".to_owned()),
            }
            if piece.kind == Kind::Normal {
                lowest = lowest.min(piece.score);
            }
        }
        let json = tokenizer_json(&model, unknown, extra);
        // What the user defined is preferred to all that it could be made of.
        let scores = model.pieces.iter().map(|piece| match piece.kind {
            Kind::Defined => piece.text.chars().count() as f32 * model.highest() - 0.1,
            _ => piece.score,
        });
        let unknown = (lowest - UNKNOWN_PENALTY, unknown);
        let unigram = Unigram::new(spelled.into_iter(), scores.collect(), unknown);
        let normalizer = Normalizer::new(model.normalizer)?;
        Ok((Self { normalizer, unigram, extra }, json))
    }

    /// The ids of a text; a sentinel that it spells becomes its id.
    pub(crate) fn encode(&self, text: &str) -> Vec<u32> {
        let (mut ids, mut rest) = (Vec::new(), text);
        while let Some((before, id, after)) = self.next_sentinel(rest) {
            self.unigram.encode(&self.normalizer.normalize(before), &mut ids);
            ids.push(id);
            rest = after;
        }
        self.unigram.encode(&self.normalizer.normalize(rest), &mut ids);
        ids
    }

    /// The first sentinel of a text, and what stands around it.
    fn next_sentinel<'t>(&self, text: &'t str) -> Option<(&'t str, u32, &'t str)> {
        const MARK: &str = "<extra_id_";
        for (at, _) in text.match_indices(MARK) {
            let inside = &text[at + MARK.len()..];
            let (number, after) = inside.split_once('>')?;
            let canonical = !number.starts_with('0') || number == "0";
            let number =
                number.parse().ok().filter(|number: &u32| canonical && *number < self.extra);
            if let Some(number) = number {
                let id = self.unigram.len() as u32 + self.extra - 1 - number;
                return Some((&text[..at], id, after));
            }
        }
        None
    }
}

/// What decodes ids and knows the special tokens.
fn tokenizer_json(model: &Model, unknown: u32, extra: u32) -> Vec<u8> {
    let mut vocabulary: Vec<_> =
        model.pieces.iter().map(|piece| json!([piece.text, piece.score])).collect();
    let mut added = Vec::new();
    let mut add = |id: usize, token: &str| {
        added.push(json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }));
    };
    for (id, piece) in model.pieces.iter().enumerate() {
        if matches!(piece.kind, Kind::Control | Kind::Unknown) {
            add(id, &piece.text);
        }
    }
    for place in 0..extra {
        let token = format!("<extra_id_{}>", extra - 1 - place);
        add(vocabulary.len(), &token);
        vocabulary.push(json!([token, 0.0]));
    }
    let spaces = json!({
        "type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": true,
    });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": spaces, "post_processor": null, "decoder": spaces,
        "model": { "type": "Unigram", "unk_id": unknown, "vocab": vocabulary, "byte_fallback": false },
    });
    serde_json::to_vec(&tokenizer).expect("a value is JSON")
}
