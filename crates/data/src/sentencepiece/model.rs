//! `spiece.model`: a protocol buffer (`sentencepiece_model.proto`), of which this much is read.

use prost::Message;

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Kind {
    /// One that texts are made of.
    Normal = 1,
    /// What stands for characters without a piece.
    Unknown = 2,
    /// A mark such as `</s>`, which no text spells.
    Control = 3,
    /// One that a user has defined: never divided.
    Defined = 4,
    /// One that is not used.
    Unused = 5,
    /// A byte, for characters without a piece.
    Byte = 6,
}

/// One piece of the vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: Kind,
}

/// How text is normalised.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rules {
    /// A double array of what is replaced, and by what.
    pub(super) charsmap: Vec<u8>,
    pub(super) add_dummy_prefix: bool,
    pub(super) remove_extra_whitespaces: bool,
}

/// What this file needs of a model.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Model {
    pub(super) pieces: Vec<Piece>,
    pub(super) normalizer: Rules,
}

impl Model {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let stored = Stored::decode(bytes).map_err(|error| error.to_string())?;
        let trainer = stored.trainer.unwrap_or_default();
        if trainer.model_type.is_some_and(|kind| kind != 1) {
            return Err("it is no unigram model, wanted a T5's".to_owned());
        }
        let rules = stored.normalizer.unwrap_or_default();
        if rules.escape_whitespaces == Some(false) {
            return Err("it leaves spaces as they are, wanted a T5's".to_owned());
        }
        let pieces = stored.pieces.into_iter().map(|piece| {
            let kind = piece.kind.unwrap_or(Kind::Normal as i32);
            let kind =
                Kind::try_from(kind).map_err(|_| format!("it has a piece of kind {kind}"))?;
            let (text, score) = (piece.piece.unwrap_or_default(), piece.score.unwrap_or(0.0));
            Ok(Piece { text, score, kind })
        });
        let pieces = pieces.collect::<Result<Vec<_>, String>>()?;
        let normalizer = Rules {
            charsmap: rules.charsmap.unwrap_or_default(),
            add_dummy_prefix: rules.add_dummy_prefix.unwrap_or(true),
            remove_extra_whitespaces: rules.remove_extra_whitespaces.unwrap_or(true),
        };
        Ok(Self { pieces, normalizer })
    }

    /// The highest score of an ordinary piece.
    pub(super) fn highest(&self) -> f32 {
        let normal = self.pieces.iter().filter(|piece| piece.kind == Kind::Normal);
        normal.map(|piece| piece.score).fold(f32::NEG_INFINITY, f32::max)
    }
}

#[derive(prost::Message)]
struct Stored {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<StoredPiece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<StoredTrainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<StoredRules>,
}

#[derive(prost::Message)]
struct StoredPiece {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

#[derive(prost::Message)]
struct StoredTrainer {
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
}

#[derive(prost::Message)]
struct StoredRules {
    #[prost(bytes = "vec", optional, tag = "2")]
    charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    escape_whitespaces: Option<bool>,
}
