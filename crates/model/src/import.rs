//! A GGUF file becomes a Hugging Face folder: names, row order and configuration.
//!
//! This crate never sees text, so the caller writes the tokenizer's files:
//!
//! ```text
//!  Gguf ─metadata─► config.json, generation_config.json ┐
//!    ├────tensors─► model.safetensors                   ├─► OUT (renamed into place when complete)
//!    └──tokenizer.*─► caller ─► tokenizer.json, …       ┘
//! ```

mod metadata;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Map;

use crate::save::{self, Entry, SHARD_BYTES};
use crate::{Dtype, Error, Gguf, LlamaConfig, Misfit, Result, Staging};
use metadata::{ROPE_FACTORS, read_config};

/// What an import wrote.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The model's configuration.
    pub config: LlamaConfig,
    /// Number of tensors.
    pub tensors: usize,
    /// Numbers in them.
    pub parameters: usize,
    /// How they are stored now.
    pub dtype: Dtype,
    /// How they were stored: tensors of each type.
    pub stored_as: BTreeMap<&'static str, usize>,
    /// Bytes of the files of weights.
    pub bytes: u64,
}

/// Turns `gguf` into the Hugging Face folder `out`, its weights stored as `dtype`.
///
/// Everything is checked first, then `tokenizer(folder)` writes the tokenizer's files into the folder
/// that is being made, then the weights are written, and at last the folder gets its name: it is
/// complete or it does not exist.
///
/// # Errors
/// If `out` exists and is not an empty folder; if the file holds another architecture than LLaMA,
/// or tensors that do not fit its metadata (all of them named); if writing or `tokenizer` fails.
pub fn import<E: From<Error>>(
    gguf: &Gguf,
    out: &Path,
    dtype: Dtype,
    tokenizer: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<Imported, E> {
    let mut config = read_config(gguf)?;
    let tensors = plan(&config);
    check(gguf, &tensors)?;
    config.dtype = Some(dtype);
    config.original = config.to_json(dtype);

    let staging = Staging::new(out)?;
    save::write_json(&staging.path().join("config.json"), &config.original)?;
    let generation = ["bos_token_id", "eos_token_id", "pad_token_id"]
        .into_iter()
        .filter_map(|key| Some((key, config.original.get(key).filter(|id| !id.is_null())?)));
    let generation: Map<_, _> = generation.map(|(key, id)| (key.into(), id.clone())).collect();
    save::write_json(&staging.path().join("generation_config.json"), &generation)?;
    tokenizer(staging.path())?;
    let entries = tensors.iter().map(|tensor| {
        Entry::computed(&tensor.name, tensor.shape.clone(), dtype, || tensor.numbers(gguf))
    });
    let bytes = save::write_weights(staging.path(), entries.collect(), SHARD_BYTES)?;
    staging.finish()?;

    let mut stored_as = BTreeMap::new();
    for tensor in &tensors {
        *stored_as.entry(gguf.tensors()[&tensor.source].stored_as()).or_default() += 1;
    }
    let parameters = tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
    Ok(Imported { config, tensors: tensors.len(), parameters, dtype, stored_as, bytes })
}

/// A tensor under both names.
struct Mapped {
    /// Its name in the GGUF.
    source: String,
    /// Its name in a Hugging Face checkpoint.
    name: String,
    shape: Vec<usize>,
    /// The heads of q and k, whose rows llama.cpp stores in another order.
    heads: Option<usize>,
}

impl Mapped {
    fn numbers(&self, gguf: &Gguf) -> Result<Vec<f32>> {
        let numbers = gguf.dequantize(&self.source)?;
        Ok(match self.heads {
            Some(heads) => unpermute(&numbers, self.shape[0], heads),
            None => numbers,
        })
    }
}

/// Puts the rows of each head back in order: llama.cpp rotates neighbouring channels, 0 with 1,
/// Hugging Face channel `i` with `i + D/2`.
fn unpermute(numbers: &[f32], rows: usize, heads: usize) -> Vec<f32> {
    let columns = numbers.len() / rows;
    let (width, half) = (rows / heads, rows / heads / 2);
    let mut ordered = Vec::with_capacity(numbers.len());
    for head in 0..heads {
        for channel in 0..width {
            let (second, pair) = (channel / half, channel % half);
            let row = head * width + 2 * pair + second;
            ordered.extend_from_slice(&numbers[row * columns..][..columns]);
        }
    }
    ordered
}

/// Every tensor that a model of this configuration has.
fn plan(config: &LlamaConfig) -> Vec<Mapped> {
    let (hidden, vocabulary) = (config.hidden_size, config.vocab_size);
    let feed_forward = config.intermediate_size;
    let (query_heads, key_heads) = (config.num_attention_heads, config.num_key_value_heads);
    let (query, key) = (query_heads * config.head_dim, key_heads * config.head_dim);
    let mut tensors = Vec::new();
    let mut add = |source: String, name: String, shape: &[usize], heads: Option<usize>| {
        tensors.push(Mapped { source, name, shape: shape.to_vec(), heads });
    };
    add(
        "token_embd.weight".into(),
        "model.embed_tokens.weight".into(),
        &[vocabulary, hidden],
        None,
    );
    for layer in 0..config.num_hidden_layers {
        let mut add = |source: &str, name: &str, shape: &[usize], heads| {
            let (source, name) =
                (format!("blk.{layer}.{source}"), format!("model.layers.{layer}.{name}"));
            add(source, name, shape, heads);
        };
        let attention = [
            ("attn_q", "self_attn.q_proj", [query, hidden], Some(query_heads)),
            ("attn_k", "self_attn.k_proj", [key, hidden], Some(key_heads)),
            ("attn_v", "self_attn.v_proj", [key, hidden], None),
            ("attn_output", "self_attn.o_proj", [hidden, query], None),
        ];
        for (source, name, shape, heads) in attention {
            add(&format!("{source}.weight"), &format!("{name}.weight"), &shape, heads);
            if config.attention_bias {
                add(&format!("{source}.bias"), &format!("{name}.bias"), &shape[..1], heads);
            }
        }
        add("ffn_gate.weight", "mlp.gate_proj.weight", &[feed_forward, hidden], None);
        add("ffn_up.weight", "mlp.up_proj.weight", &[feed_forward, hidden], None);
        add("ffn_down.weight", "mlp.down_proj.weight", &[hidden, feed_forward], None);
        add("attn_norm.weight", "input_layernorm.weight", &[hidden], None);
        add("ffn_norm.weight", "post_attention_layernorm.weight", &[hidden], None);
    }
    add("output_norm.weight".into(), "model.norm.weight".into(), &[hidden], None);
    if !config.tie_word_embeddings {
        add("output.weight".into(), "lm_head.weight".into(), &[vocabulary, hidden], None);
    }
    tensors
}

/// Names every tensor that is missing, misshapen or left over.
fn check(gguf: &Gguf, wanted: &[Mapped]) -> Result<()> {
    let mut unused: BTreeMap<_, _> = gguf.tensors().iter().collect();
    unused.remove(&ROPE_FACTORS.to_owned()); // they went into the configuration
    let mut misfits = Vec::new();
    for Mapped { source, shape, .. } in wanted {
        let (name, wanted) = (source.clone(), shape.clone());
        match unused.remove(source) {
            None => misfits.push(Misfit::Missing { name, wanted }),
            Some(tensor) if tensor.shape != wanted => {
                misfits.push(Misfit::Shape { name, found: tensor.shape.clone(), wanted });
            }
            Some(_) => {}
        }
    }
    misfits.extend(unused.into_iter().map(|(name, tensor)| Misfit::Unexpected {
        name: name.clone(),
        found: tensor.shape.clone(),
    }));
    match misfits.is_empty() {
        true => Ok(()),
        false => Err(Error::Misfits { from: gguf.path().into(), misfits }),
    }
}
