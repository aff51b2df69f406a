//! What `config.json` says about a T5: v1.0, v1.1 (LM-adapted and Flan too), mT5, ByT5, and UL2.

use std::path::Path;

use albacore_kernels::{Buckets, Heads};
use serde_json::{Map, Value, json};

use crate::reader::Reader;
use crate::{Dtype, Error, Result, Weights};

/// What the feed-forward layers do between their two products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedForward {
    /// `relu`: T5 v1.0.
    Relu,
    /// `gated-gelu`: v1.1 and what came of it.
    GatedGelu,
    /// `gated-silu`: UL2.
    GatedSilu,
}

impl FeedForward {
    /// The tensors of the first product.
    pub(crate) fn inputs(self) -> &'static [&'static str] {
        match self {
            Self::Relu => &["wi"],
            Self::GatedGelu | Self::GatedSilu => &["wi_0", "wi_1"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::GatedGelu => "gated-gelu",
            Self::GatedSilu => "gated-silu",
        }
    }
}

/// Shape of a T5, under the names of its `config.json`.
///
/// [`Self::to_json`] gives the file back with everything that it held.
#[derive(Clone, Debug, PartialEq)]
pub struct T5Config {
    /// `V`: rows of the embedding, often more than the tokenizer has tokens.
    pub vocab_size: usize,
    /// `C`: channels of the residual stream.
    pub d_model: usize,
    /// `D`: channels of a head. `H D` need not be `C`.
    pub d_kv: usize,
    /// `F`: channels inside the feed-forward layers.
    pub d_ff: usize,
    /// Blocks of the encoder.
    pub num_layers: usize,
    /// Blocks of the decoder.
    pub num_decoder_layers: usize,
    /// `H`: heads.
    pub num_heads: usize,
    /// `B`: buckets of the relative position bias.
    pub relative_attention_num_buckets: usize,
    /// The distance from which on all share the last bucket.
    pub relative_attention_max_distance: usize,
    /// The share of numbers that dropout drops in training.
    pub dropout_rate: f64,
    /// Added to the mean square inside RMS norms.
    pub layer_norm_epsilon: f64,
    /// Factor of the standard deviations of fresh weights.
    pub initializer_factor: f64,
    /// What the feed-forward layers compute.
    pub feed_forward: FeedForward,
    /// Whether the output matrix is the embedding: unless `lm_head.weight` is stored.
    pub tied: bool,
    /// Whether what the output matrix takes is scaled by `d_model^-0.5`.
    pub scaled: bool,
    /// The token that stands before a target.
    pub decoder_start_token_id: u32,
    /// The tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// The object that was read: what stands there and is not named above is written back.
    pub original: Map<String, Value>,
}

impl T5Config {
    /// Whether a `config.json` means to be a T5.
    pub(crate) fn is_meant(json: &Map<String, Value>) -> bool {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let named = text(json.get("architectures").and_then(|names| names.get(0)));
        let kind = text(json.get("model_type"));
        named.or(kind).is_some_and(|name| {
            let name = name.to_ascii_lowercase();
            ["t5", "mt5", "umt5"].iter().any(|prefix| name.starts_with(prefix))
        })
    }

    /// Reads `config.json` in a Hugging Face folder, and whether the head has a matrix of its own.
    ///
    /// # Errors
    /// If it is missing, is not JSON, or describes a model that this crate cannot run; all reasons
    /// are given at once.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let mut config =
            Self::from_json(crate::config::read(&path)?, &format!("`{}`", path.display()))?;
        // What is wrong with the weights is told by whoever loads them.
        if let Ok(weights) = Weights::open(folder) {
            config.tied = weights.shape("lm_head.weight").is_none();
        }
        Ok(config)
    }

    /// Takes a parsed `config.json`; `from` says in errors where it comes from. Without weights to look
    /// at, the head is taken to be untied where `tie_word_embeddings` is false.
    ///
    /// # Errors
    /// If it describes a model that this crate cannot run; all reasons are given at once.
    pub fn from_json(original: Map<String, Value>, from: &str) -> Result<Self> {
        let reader = &mut Reader::new(&original);
        check_architecture(reader);
        let feed_forward = feed_forward(reader);
        let num_layers = reader.count("num_layers", Some(6));
        let untied = !reader.flag("tie_word_embeddings", true);
        let pad = reader.ids("pad_token_id").first().copied().unwrap_or(0);
        let start = reader.ids("decoder_start_token_id").first().copied();
        let mut config = Self {
            vocab_size: reader.count("vocab_size", Some(32_128)),
            d_model: reader.count("d_model", Some(512)),
            d_kv: reader.count("d_kv", Some(64)),
            d_ff: reader.count("d_ff", Some(2048)),
            num_layers,
            num_decoder_layers: reader.count("num_decoder_layers", Some(num_layers)),
            num_heads: reader.count("num_heads", Some(8)),
            relative_attention_num_buckets: reader
                .count("relative_attention_num_buckets", Some(32)),
            relative_attention_max_distance: reader
                .count("relative_attention_max_distance", Some(128)),
            dropout_rate: reader.number("dropout_rate", 0.1),
            layer_norm_epsilon: reader.positive("layer_norm_epsilon", Some(1e-6)),
            initializer_factor: reader.positive("initializer_factor", Some(1.0)),
            feed_forward,
            tied: !untied,
            scaled: reader.flag("scale_decoder_outputs", !untied),
            decoder_start_token_id: start.unwrap_or(pad),
            eos_token_ids: reader.ids("eos_token_id"),
            original: Map::new(),
        };
        if config.eos_token_ids.is_empty() && !original.contains_key("eos_token_id") {
            config.eos_token_ids = vec![1];
        }
        let problems = match std::mem::take(&mut reader.problems) {
            problems if problems.is_empty() => config.problems(),
            problems => problems,
        };
        if !problems.is_empty() {
            return Err(Error::Config { from: from.into(), problems });
        }
        Ok(Self { original, ..config })
    }

    /// Everything in which the sizes contradict one another.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let (count, most) =
            (self.relative_attention_num_buckets, self.relative_attention_max_distance);
        for both_ways in [true, false] {
            if let Err(error) = Buckets::t5(count, most, both_ways) {
                problems.push(format!(
                    "`relative_attention_num_buckets` and `relative_attention_max_distance` do not go \
                     together: {error}"
                ));
                break;
            }
        }
        if !(0.0..1.0).contains(&self.dropout_rate) {
            problems.push(format!(
                "`dropout_rate` is {}, wanted a number from 0 to less than 1",
                self.dropout_rate
            ));
        }
        let ids = [("decoder_start_token_id", self.decoder_start_token_id)].into_iter();
        let ids = ids.chain(self.eos_token_ids.iter().map(|id| ("eos_token_id", *id)));
        for (key, id) in ids.filter(|(_, id)| *id as usize >= self.vocab_size) {
            problems.push(format!(
                "`{key}` is {id}, wanted less than `vocab_size`, {}",
                self.vocab_size
            ));
        }
        problems
    }

    /// Layout of the attention heads: none share keys.
    pub fn heads(&self) -> Heads {
        Heads { query: self.num_heads, key_value: self.num_heads, width: self.d_kv }
    }

    /// Numbers in a model of this shape.
    pub fn parameters(&self) -> usize {
        let Self { d_model: c, d_ff: f, .. } = *self;
        let attention = 4 * c * self.num_heads * self.d_kv + c;
        let feed_forward = (self.feed_forward.inputs().len() + 1) * c * f + c;
        let bias = self.relative_attention_num_buckets * self.num_heads;
        let heads = if self.tied { 1 } else { 2 };
        self.num_layers * (attention + feed_forward)
            + self.num_decoder_layers * (2 * attention + feed_forward)
            + 2 * (bias + c)
            + heads * self.vocab_size * c
    }

    /// The `config.json` of this model with weights stored as `dtype`.
    pub fn to_json(&self, dtype: Dtype) -> Map<String, Value> {
        let mut json = self.original.clone();
        let absent = |key: &str| !self.original.contains_key(key);
        if absent("architectures") {
            json.insert("architectures".into(), json!(["T5ForConditionalGeneration"]));
        }
        if absent("model_type") {
            json.insert("model_type".into(), json!("t5"));
        }
        let start = self.decoder_start_token_id;
        let sizes = [
            ("vocab_size", json!(self.vocab_size)),
            ("d_model", json!(self.d_model)),
            ("d_kv", json!(self.d_kv)),
            ("d_ff", json!(self.d_ff)),
            ("num_layers", json!(self.num_layers)),
            ("num_decoder_layers", json!(self.num_decoder_layers)),
            ("num_heads", json!(self.num_heads)),
            ("feed_forward_proj", json!(self.feed_forward.name())),
            ("is_encoder_decoder", json!(true)),
            // Without it `generate` of transformers does not know how to begin.
            ("decoder_start_token_id", json!(start)),
        ];
        for (key, value) in sizes.into_iter().filter(|(key, _)| absent(key)) {
            json.insert(key.into(), value);
        }
        // Readers old and new see by it whether the head's input is scaled.
        if absent("tie_word_embeddings") && absent("scale_decoder_outputs") {
            json.insert("tie_word_embeddings".into(), json!(self.scaled));
        }
        let key = if json.contains_key("dtype") { "dtype" } else { "torch_dtype" };
        json.insert(key.into(), json!(dtype.torch_name()));
        json
    }
}

impl Default for T5Config {
    /// A tiny T5 v1.1, a start for tests and for models of one's own.
    fn default() -> Self {
        Self {
            vocab_size: 256,
            d_model: 64,
            d_kv: 16,
            d_ff: 128,
            num_layers: 2,
            num_decoder_layers: 2,
            num_heads: 4,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            dropout_rate: 0.0,
            layer_norm_epsilon: 1e-6,
            initializer_factor: 1.0,
            feed_forward: FeedForward::GatedGelu,
            tied: false,
            scaled: false,
            decoder_start_token_id: 0,
            eos_token_ids: vec![1],
            original: Map::new(),
        }
    }
}

/// Refuses what is no encoder-decoder of this kind.
fn check_architecture(reader: &mut Reader<'_>) {
    const WANTED: [&str; 2] = ["T5ForConditionalGeneration", "MT5ForConditionalGeneration"];
    let names = reader.json.get("architectures").and_then(Value::as_array);
    let named = names.and_then(|names| names.first()?.as_str());
    let kind = reader.json.get("model_type").and_then(Value::as_str);
    match (named, kind) {
        (Some(name), _) if name.contains("Encoder") => reader.problem(format!(
            "it is an encoder alone (`{name}`), wanted encoder and decoder: `{}`",
            WANTED[0]
        )),
        (Some(name), _) if !WANTED.contains(&name) => reader.problem(format!(
            "its architecture is `{name}`, wanted `{}` or `{}`",
            WANTED[0], WANTED[1]
        )),
        (None, Some(kind)) if !["t5", "mt5"].contains(&kind) => {
            reader.problem(format!("its `model_type` is `{kind}`, wanted `t5` or `mt5`"));
        }
        _ => {}
    }
    if !reader.flag("is_encoder_decoder", true) || reader.flag("is_decoder", false) {
        reader.problem(
            "`is_encoder_decoder` is false, or `is_decoder` true: one half of a model, wanted encoder \
             and decoder"
                .into(),
        );
    }
    if reader.json.get("quantization_config").is_some_and(|value| !value.is_null()) {
        reader.problem(
            "its weights are quantised (`quantization_config`), wanted f32, f16 or bf16".into(),
        );
    }
}

fn feed_forward(reader: &mut Reader<'_>) -> FeedForward {
    let all = [FeedForward::Relu, FeedForward::GatedGelu, FeedForward::GatedSilu];
    let named = reader
        .json
        .get("feed_forward_proj")
        .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let Some(named) = named else { return FeedForward::Relu };
    all.into_iter().find(|one| one.name() == named).unwrap_or_else(|| {
        let wanted = all.map(|one| format!("`{}`", one.name())).join(", ");
        reader.problem(format!("`feed_forward_proj` is `{named}`, wanted one of {wanted}"));
        FeedForward::Relu
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value) -> Result<T5Config> {
        T5Config::from_json(json.as_object().unwrap().clone(), "the test")
    }

    #[test]
    fn the_scale_follows_its_own_key_and_else_whether_embeddings_are_tied() {
        let scaled = |json: Value| read(json).unwrap().scaled;
        assert!(scaled(json!({"model_type": "t5"})));
        assert!(scaled(json!({"model_type": "t5", "tie_word_embeddings": true})));
        assert!(!scaled(json!({"model_type": "t5", "tie_word_embeddings": false})));
        let both = json!({
            "model_type": "mt5", "tie_word_embeddings": true, "scale_decoder_outputs": false
        });
        assert!(!scaled(both));
    }

    #[test]
    fn what_is_absent_is_as_transformers_has_it_and_what_was_read_is_written_back() {
        let config = read(json!({"model_type": "t5", "of_my_own": 1})).unwrap();
        assert_eq!((config.d_model, config.d_kv, config.num_heads), (512, 64, 8));
        assert_eq!(config.feed_forward, FeedForward::Relu);
        assert_eq!((config.decoder_start_token_id, config.eos_token_ids.as_slice()), (0, &[1][..]));
        let written = config.to_json(Dtype::F32);
        assert_eq!(
            (&written["of_my_own"], &written["tie_word_embeddings"]),
            (&json!(1), &json!(true))
        );
        let again = T5Config::from_json(written, "the test").unwrap();
        assert_eq!(
            T5Config { original: Map::new(), ..again },
            T5Config { original: Map::new(), ..config }
        );
    }

    #[test]
    fn half_a_model_and_unknown_activations_are_refused_all_at_once() {
        let message = |json| read(json).unwrap_err().to_string();
        let encoder = message(json!({
            "architectures": ["T5EncoderModel"], "feed_forward_proj": "gated-tanh", "d_kv": 0
        }));
        for part in ["an encoder alone (`T5EncoderModel`)", "`gated-tanh`", "`d_kv` is `0`"] {
            assert!(encoder.contains(part), "{encoder}");
        }
        let decoder = message(json!({"model_type": "t5", "is_encoder_decoder": false}));
        assert!(decoder.contains("one half of a model, wanted encoder and decoder"), "{decoder}");
        let umt5 = message(json!({"model_type": "umt5"}));
        assert!(umt5.contains("its `model_type` is `umt5`, wanted `t5` or `mt5`"), "{umt5}");
        let buckets = message(json!({"model_type": "t5", "relative_attention_num_buckets": 2}));
        assert!(buckets.contains("found 2 buckets up to distance 128"), "{buckets}");
        let start = message(json!({"model_type": "t5", "decoder_start_token_id": 40_000}));
        assert!(start.contains("`decoder_start_token_id` is 40000"), "{start}");
    }
}
