//! What `config.json` says about a LLaMA.

use std::path::Path;

use albacore_kernels::Heads;
use serde_json::{Map, Value, json};

use crate::reader::Reader;
use crate::rope::Rope;
use crate::{Dtype, Error, Result};

/// Shape of a LLaMA, under the names of its `config.json`.
///
/// [`Self::to_json`] gives the file back with everything that it held, the keys that training has
/// no use for included.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    /// `V`: tokens in the vocabulary.
    pub vocab_size: usize,
    /// `C`: channels of the residual stream.
    pub hidden_size: usize,
    /// `F`: channels inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Transformer blocks.
    pub num_hidden_layers: usize,
    /// `H`: heads of q.
    pub num_attention_heads: usize,
    /// `G`: heads of k and of v.
    pub num_key_value_heads: usize,
    /// `D`: channels of a head; `hidden_size / num_attention_heads` unless given.
    pub head_dim: usize,
    /// Added to the mean square inside RMS norms.
    pub rms_norm_eps: f64,
    /// Rotary base and its scaling.
    pub rope: Rope,
    /// Longest sequence the model was made for, in tokens.
    pub max_position_embeddings: usize,
    /// Whether the output matrix is the embedding.
    pub tie_word_embeddings: bool,
    /// Whether `q_proj`, `k_proj`, `v_proj` and `o_proj` have a bias.
    pub attention_bias: bool,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// First token of a text, where the configuration names one.
    pub bos_token_id: Option<u32>,
    /// The tokens that end a text; none, one or several.
    pub eos_token_ids: Vec<u32>,
    /// Type that the weights were stored in, where the configuration names it.
    pub dtype: Option<Dtype>,
    /// The object that was read: what stands there and is not named above is written back.
    pub original: Map<String, Value>,
}

impl LlamaConfig {
    /// Reads `config.json` in a Hugging Face folder.
    ///
    /// # Errors
    /// If it is missing, is not JSON, or describes a model that this crate cannot run; all reasons
    /// are given at once.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        Self::from_json(read(&path)?, &format!("`{}`", path.display()))
    }

    /// Takes a parsed `config.json`; `from` says in errors where it comes from.
    ///
    /// # Errors
    /// If it describes a model that this crate cannot run; all reasons are given at once.
    pub fn from_json(original: Map<String, Value>, from: &str) -> Result<Self> {
        let mut reader = Reader::new(&original);
        let mistral = check_architecture(&mut reader);
        check_unsupported(&mut reader, mistral);
        let num_attention_heads = reader.count("num_attention_heads", None);
        let hidden_size = reader.count("hidden_size", None);
        let key_value = if mistral { 8 } else { num_attention_heads };
        let mut config = Self {
            vocab_size: reader.count("vocab_size", None),
            hidden_size,
            intermediate_size: reader.count("intermediate_size", None),
            num_hidden_layers: reader.count("num_hidden_layers", None),
            num_attention_heads,
            num_key_value_heads: reader.count("num_key_value_heads", Some(key_value)),
            head_dim: reader.count("head_dim", Some(0)),
            rms_norm_eps: reader.positive("rms_norm_eps", Some(1e-6)),
            rope: Rope::read(&mut reader),
            max_position_embeddings: reader.count("max_position_embeddings", Some(2048)),
            tie_word_embeddings: reader.flag("tie_word_embeddings", false),
            attention_bias: reader.flag("attention_bias", false),
            initializer_range: reader.positive("initializer_range", Some(0.02)),
            bos_token_id: reader.ids("bos_token_id").first().copied(),
            eos_token_ids: reader.ids("eos_token_id"),
            dtype: ["dtype", "torch_dtype"]
                .iter()
                .find_map(|key| Dtype::from_torch_name(original.get(*key)?.as_str()?)),
            original: Map::new(),
        };
        let derived = config.derived_head_dim();
        if config.head_dim == 0 {
            if derived == 0 || !hidden_size.is_multiple_of(num_attention_heads.max(1)) {
                reader.problem(format!(
                    "`hidden_size` is {hidden_size}, wanted a multiple of `num_attention_heads`, {num_attention_heads}"
                ));
            }
            config.head_dim = derived;
        }
        let mut problems = reader.problems;
        if problems.is_empty() {
            problems = config.problems();
        }
        if !problems.is_empty() {
            return Err(Error::Config { from: from.into(), problems });
        }
        Ok(Self { original, ..config })
    }

    /// Everything in which the sizes contradict one another.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let (heads, groups) = (self.num_attention_heads, self.num_key_value_heads);
        if !heads.is_multiple_of(groups) {
            problems.push(format!(
                "`num_attention_heads` is {heads}, wanted a multiple of `num_key_value_heads`, {groups}"
            ));
        }
        if !self.head_dim.is_multiple_of(2) || self.head_dim == 0 {
            problems.push(format!(
                "the width of a head is {}, wanted an even number: rotary embedding turns pairs",
                self.head_dim
            ));
        }
        let ids = self.bos_token_id.iter().map(|id| ("bos_token_id", *id));
        let ids = ids.chain(self.eos_token_ids.iter().map(|id| ("eos_token_id", *id)));
        for (key, id) in ids.filter(|(_, id)| *id as usize >= self.vocab_size) {
            problems.push(format!(
                "`{key}` is {id}, wanted less than `vocab_size`, {}",
                self.vocab_size
            ));
        }
        problems
    }

    /// Layout of the attention heads.
    pub fn heads(&self) -> Heads {
        Heads {
            query: self.num_attention_heads,
            key_value: self.num_key_value_heads,
            width: self.head_dim,
        }
    }

    /// The `config.json` of this model with weights stored as `dtype`.
    ///
    /// A key that was read and not changed stays as it was; a key that was absent is only added
    /// where its value is not the one that its absence means.
    pub fn to_json(&self, dtype: Dtype) -> Map<String, Value> {
        let mut json = self.original.clone();
        if !json.contains_key("architectures") && !json.contains_key("model_type") {
            json.insert("architectures".into(), json!(["LlamaForCausalLM"]));
            json.insert("model_type".into(), json!("llama"));
        }
        // What a key's absence means is found by reading an empty object's defaults.
        let read = Self::from_json(self.original.clone(), "").ok();
        let mut set = |key: &str, value: Value, unchanged: bool| {
            if !unchanged {
                json.insert(key.into(), value);
            }
        };
        macro_rules! keep {
            ($($field:ident),*) => {$(
                let unchanged = read.as_ref().is_some_and(|read| read.$field == self.$field);
                set(stringify!($field), json!(self.$field), unchanged);
            )*};
        }
        keep!(vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads);
        keep!(num_key_value_heads, head_dim, rms_norm_eps, max_position_embeddings, bos_token_id);
        keep!(tie_word_embeddings, attention_bias, initializer_range);
        let eos = match self.eos_token_ids.as_slice() {
            [] => Value::Null,
            [id] => json!(id),
            ids => json!(ids),
        };
        let same_eos = |read: &Self| read.eos_token_ids == self.eos_token_ids;
        set("eos_token_id", eos, read.as_ref().is_some_and(same_eos));
        if read.is_none_or(|read| read.rope != self.rope) {
            json.remove("rope_parameters");
            json.insert("rope_theta".into(), json!(self.rope.theta));
            json.insert("rope_scaling".into(), self.rope.scaling.to_json());
        }
        // transformers 5 writes `dtype`, and everyone still reads `torch_dtype`.
        let key = if json.contains_key("dtype") { "dtype" } else { "torch_dtype" };
        json.insert(key.into(), json!(dtype.torch_name()));
        json
    }

    fn derived_head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads.max(1)
    }
}

impl Default for LlamaConfig {
    /// A tiny LLaMA, a start for tests and for models of one's own.
    fn default() -> Self {
        Self {
            vocab_size: 256,
            hidden_size: 64,
            intermediate_size: 192,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 16,
            rms_norm_eps: 1e-5,
            rope: Rope::default(),
            max_position_embeddings: 2048,
            tie_word_embeddings: true,
            attention_bias: false,
            initializer_range: 0.02,
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            dtype: None,
            original: Map::new(),
        }
    }
}

/// The object in a `config.json`.
pub(crate) fn read(path: &Path) -> Result<Map<String, Value>> {
    let text = std::fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&text).map_err(|source| Error::Json { path: path.into(), source })
}

/// Refuses other architectures; returns whether it is Mistral's, which without a sliding window
/// is the same computation.
fn check_architecture(reader: &mut Reader<'_>) -> bool {
    let named = match reader.json.get("architectures") {
        Some(Value::Array(names)) => names.first().cloned().unwrap_or(Value::Null),
        _ => Value::Null,
    };
    let model_type = reader.json.get("model_type").cloned().unwrap_or(Value::Null);
    match (named.as_str(), model_type.as_str()) {
        (Some("LlamaForCausalLM"), _) | (None, Some("llama")) => false,
        (Some("MistralForCausalLM"), _) | (None, Some("mistral")) => true,
        (Some(name), _) => {
            reader.problem(format!(
                "its architecture is `{name}`, wanted `LlamaForCausalLM`, `MistralForCausalLM` or \
                 `T5ForConditionalGeneration`"
            ));
            false
        }
        (None, kind) => {
            reader.problem(format!(
                "it has no `architectures` and its `model_type` is `{}`, wanted `llama`, `mistral` or \
                 `t5`",
                kind.unwrap_or("absent")
            ));
            false
        }
    }
}

/// Refuses what would change the computation.
fn check_unsupported(reader: &mut Reader<'_>, mistral: bool) {
    let activation = reader.json.get("hidden_act").and_then(Value::as_str).unwrap_or("silu");
    if activation != "silu" && activation != "swish" {
        reader.problem(format!("`hidden_act` is `{activation}`, wanted `silu`"));
    }
    if reader.flag("mlp_bias", false) {
        reader.problem("`mlp_bias` is true, wanted feed-forward layers without bias".into());
    }
    if reader.json.get("quantization_config").is_some_and(|value| !value.is_null()) {
        reader.problem(
            "its weights are quantised (`quantization_config`), wanted f32, f16 or bf16".into(),
        );
    }
    if mistral {
        let trained = reader.count("max_position_embeddings", Some(131_072));
        let window = match reader.json.get("sliding_window") {
            Some(Value::Null) => None,
            Some(value) => value.as_u64(),
            None => Some(4096), // transformers' default
        };
        if let Some(window) = window.filter(|window| (*window as usize) < trained) {
            reader.problem(format!(
                "`sliding_window` is {window}, wanted null: attention sees everything"
            ));
        }
    }
}

#[cfg(test)]
mod tests;
