//! A GGUF's metadata as the `config.json` of a LLaMA.

use serde_json::{Value, json};

use crate::{Error, Gguf, LlamaConfig, Metadata, Result, RopeScaling};

/// The tensor in which llama.cpp keeps LLaMA 3's frequency scaling.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// What the metadata says, as a `config.json`.
pub(super) fn read_config(gguf: &Gguf) -> Result<LlamaConfig> {
    let metadata = gguf.metadata();
    let architecture = metadata.text("general.architecture")?.unwrap_or("none");
    if architecture != "llama" {
        return Err(gguf.problem(format!("its architecture is `{architecture}`, wanted `llama`")));
    }
    let width = head_width(metadata)?;
    let theta = metadata.number("llama.rope.freq_base")?.unwrap_or(10_000.0);
    let mut problems = refusals(metadata, width)?;
    let scaling = read_scaling(gguf, theta, width.unwrap_or_default(), &mut problems)?;
    let Value::Object(json) = shape(gguf, width, theta, &scaling)? else {
        unreachable!("it is written as an object")
    };
    let from = format!("the metadata of `{}`", gguf.path().display());
    match LlamaConfig::from_json(json, &from) {
        Ok(config) if problems.is_empty() => Ok(config),
        Ok(_) => Err(Error::Config { from, problems }),
        Err(Error::Config { problems: more, .. }) => {
            problems.extend(more);
            Err(Error::Config { from, problems })
        }
        Err(other) => Err(other),
    }
}

fn count(metadata: &Metadata, key: &str) -> Result<Option<usize>> {
    metadata.count(&format!("llama.{key}"))
}

/// Channels of a head, where the metadata tells.
fn head_width(metadata: &Metadata) -> Result<Option<usize>> {
    let hidden = count(metadata, "embedding_length")?;
    let heads = count(metadata, "attention.head_count")?;
    let derived = hidden.zip(heads).map(|(hidden, heads)| hidden / heads.max(1));
    Ok(count(metadata, "attention.key_length")?.or(derived))
}

/// What the metadata says that would change the computation.
fn refusals(metadata: &Metadata, width: Option<usize>) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    if let Some(parts) = metadata.count("split.count")?.filter(|parts| *parts > 1) {
        problems
            .push(format!("it is one of {parts} parts, wanted a whole model (merge them first)"));
    }
    if let Some(experts) = count(metadata, "expert_count")?.filter(|experts| *experts > 0) {
        problems.push(format!("it has {experts} experts, wanted a dense model"));
    }
    for key in ["attention.value_length", "rope.dimension_count"] {
        if let Some(found) = count(metadata, key)?.filter(|found| Some(*found) != width) {
            let width = width.unwrap_or_default();
            problems.push(format!("`llama.{key}` is {found}, wanted the width of a head, {width}"));
        }
    }
    Ok(problems)
}

/// The model's shape, under the names of a `config.json`.
fn shape(gguf: &Gguf, width: Option<usize>, theta: f64, scaling: &RopeScaling) -> Result<Value> {
    let (metadata, tensors) = (gguf.metadata(), gguf.tensors());
    let count = |key: &str| count(metadata, key);
    let heads = count("attention.head_count")?;
    let embedding = tensors.get("token_embd.weight");
    let vocabulary = embedding.and_then(|tensor| tensor.shape.first().copied());
    let ids = SpecialIds::read(metadata)?;
    Ok(json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": count("embedding_length")?,
        "intermediate_size": count("feed_forward_length")?,
        "num_hidden_layers": count("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": count("attention.head_count_kv")?.or(heads),
        "head_dim": width,
        "hidden_act": "silu",
        "max_position_embeddings": count("context_length")?,
        "rms_norm_eps": metadata.number("llama.attention.layer_norm_rms_epsilon")?,
        "rope_theta": theta,
        "rope_scaling": scaling.to_json(),
        "tie_word_embeddings": !tensors.contains_key("output.weight"),
        "attention_bias": tensors.contains_key("blk.0.attn_q.bias"),
        "mlp_bias": false,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "use_cache": true,
        "bos_token_id": ids.bos,
        "eos_token_id": ids.eos_json(),
        "pad_token_id": ids.pad,
    }))
}

/// The tokens that begin, end and fill texts.
struct SpecialIds {
    bos: Option<u32>,
    eos: Vec<u32>,
    pad: Option<u32>,
}

impl SpecialIds {
    fn read(metadata: &Metadata) -> Result<Self> {
        let id = |name: &str| metadata.id(&format!("tokenizer.ggml.{name}_token_id"));
        // SentencePiece vocabularies that do not say have LLaMA's.
        let sentencepiece = metadata.text("tokenizer.ggml.model")? == Some("llama");
        let usual = |id| sentencepiece.then_some(id);
        let bos = id("bos")?.or(usual(1));
        // The end of a text, then of a turn, then of a message: generation ends at each.
        let mut eos = Vec::new();
        for id in [id("eos")?.or(usual(2)), id("eot")?, id("eom")?].into_iter().flatten() {
            if !eos.contains(&id) {
                eos.push(id);
            }
        }
        Ok(Self { bos, eos, pad: id("padding")? })
    }

    fn eos_json(&self) -> Value {
        match self.eos.as_slice() {
            [] => Value::Null,
            [id] => json!(id),
            ids => json!(ids),
        }
    }
}

fn read_scaling(
    gguf: &Gguf,
    theta: f64,
    width: usize,
    problems: &mut Vec<String>,
) -> Result<RopeScaling> {
    let metadata = gguf.metadata();
    let kind = metadata.text("llama.rope.scaling.type")?;
    let old = metadata.number("llama.rope.scale_linear")?;
    let factor = metadata.number("llama.rope.scaling.factor")?.or(old).unwrap_or(1.0);
    let linear = match kind.unwrap_or(if factor == 1.0 { "none" } else { "linear" }) {
        "linear" if factor != 1.0 => RopeScaling::Linear { factor },
        "none" | "linear" => RopeScaling::Default,
        other => {
            problems.push(format!("its rope scaling is `{other}`, wanted `none` or `linear`"));
            RopeScaling::Default
        }
    };
    if !gguf.tensors().contains_key(ROPE_FACTORS) {
        return Ok(linear);
    }
    let factors = gguf.dequantize(ROPE_FACTORS)?;
    let recovered = RopeScaling::from_factors(&factors, theta, width);
    if recovered.is_none() || linear != RopeScaling::Default {
        problems.push(format!(
            "tensor `{ROPE_FACTORS}` is not what LLaMA 3's scaling gives for any known context length"
        ));
    }
    Ok(recovered.unwrap_or(linear))
}
