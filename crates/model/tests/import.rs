//! A GGUF becomes a Hugging Face folder.

#![allow(clippy::unwrap_used)]

mod fixture;

use std::path::Path;

use albacore_model::{Dtype, Error, Gguf, Imported, Llama, LlamaConfig, RopeScaling, import};
use candle_core::Device;
use fixture::{Builder, Value, llama, numbers};
use safetensors::SafeTensors;

/// Imports into `folder/out`, writing one tokenizer file.
fn run(folder: &Path, file: &Builder, dtype: Dtype) -> Result<Imported, Error> {
    let gguf = Gguf::open(&file.write(folder))?;
    import(&gguf, &folder.join("out"), dtype, |out| {
        std::fs::write(out.join("tokenizer.json"), "{}").unwrap();
        Ok(())
    })
}

fn refused(file: &Builder) -> Error {
    let folder = tempfile::tempdir().unwrap();
    let error = run(folder.path(), file, Dtype::F32).unwrap_err();
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "only the GGUF itself is there: {error}");
    error
}

#[test]
fn every_tensor_gets_its_name_and_row_order_back() {
    let folder = tempfile::tempdir().unwrap();
    let imported = run(folder.path(), &llama(), Dtype::F32).unwrap();
    assert_eq!((imported.tensors, imported.dtype), (20, Dtype::F32));
    assert_eq!(imported.stored_as["F32"], 20);
    let out = folder.path().join("out");
    let bytes = std::fs::read(out.join("model.safetensors")).unwrap();
    assert_eq!(imported.bytes, bytes.len() as u64);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let count =
        |tensor: &safetensors::tensor::TensorView<'_>| tensor.shape().iter().product::<usize>();
    let mut parameters = 0;
    for (name, tensor) in file.tensors() {
        let wanted = numbers(&name, count(&tensor));
        let wanted: Vec<u8> = wanted.iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(tensor.data(), wanted, "{name}");
        parameters += count(&tensor);
    }
    assert_eq!(imported.parameters, parameters);
    // The folder is a model, and the tokenizer's files came with it.
    Llama::load(&out, &Device::Cpu).unwrap();
    assert!(out.join("tokenizer.json").exists());
}

#[test]
fn the_configuration_says_what_the_metadata_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = llama()
        .key("tokenizer.ggml.bos_token_id", Value::U32(4))
        .key("tokenizer.ggml.eot_token_id", Value::U32(3));
    run(folder.path(), &file, Dtype::Bf16).unwrap();
    let out = folder.path().join("out");
    let config = LlamaConfig::load(&out).unwrap();
    assert_eq!((config.hidden_size, config.head_dim, config.vocab_size), (8, 4, 6));
    assert_eq!((config.num_attention_heads, config.num_key_value_heads), (2, 1));
    assert_eq!((config.rms_norm_eps, config.max_position_embeddings), (1e-5, 128));
    assert!(config.tie_word_embeddings && !config.attention_bias);
    assert_eq!(config.bos_token_id, Some(4));
    assert_eq!(config.eos_token_ids, [5, 3], "of a text, then of a turn");
    assert_eq!(config.dtype, Some(Dtype::Bf16));
    let generation = std::fs::read_to_string(out.join("generation_config.json")).unwrap();
    let generation: serde_json::Value = serde_json::from_str(&generation).unwrap();
    assert_eq!(generation, serde_json::json!({ "bos_token_id": 4, "eos_token_id": [5, 3] }));
}

#[test]
fn an_output_matrix_of_its_own_and_biases_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = llama().floats("output.weight", &[6, 8], &numbers("lm_head.weight", 48));
    for layer in 0..2 {
        for (name, rows) in [("attn_q", 8), ("attn_k", 4), ("attn_v", 4), ("attn_output", 8)] {
            file = file.floats(&format!("blk.{layer}.{name}.bias"), &[rows], &vec![0.5; rows]);
        }
    }
    let imported = run(folder.path(), &file, Dtype::F32).unwrap();
    assert!(!imported.config.tie_word_embeddings && imported.config.attention_bias);
    assert_eq!(imported.tensors, 20 + 1 + 8);
    Llama::load(&folder.path().join("out"), &Device::Cpu).unwrap();
}

#[test]
fn frequency_factors_that_no_configuration_gives_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let same = llama().floats("rope_freqs.weight", &[2], &[1.0, 1.0]);
    let imported = run(folder.path(), &same, Dtype::F32).unwrap();
    assert_eq!(imported.config.rope.scaling, RopeScaling::Default);
    let unknown = llama().floats("rope_freqs.weight", &[2], &[3.0, 7.0]);
    assert!(
        refused(&unknown).to_string().contains("`rope_freqs.weight` is not what LLaMA 3's scaling")
    );
}

#[test]
fn linear_scaling_is_kept_and_others_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let linear = llama()
        .key("llama.rope.scaling.type", Value::Text("linear"))
        .key("llama.rope.scaling.factor", Value::F32(4.0));
    let imported = run(folder.path(), &linear, Dtype::F32).unwrap();
    assert_eq!(imported.config.rope.scaling, RopeScaling::Linear { factor: 4.0 });
    let yarn = llama().key("llama.rope.scaling.type", Value::Text("yarn"));
    assert!(refused(&yarn).to_string().contains("rope scaling is `yarn`"));
}

#[test]
fn what_is_no_llama_is_refused_with_the_reason() {
    let other = Builder::default().key("general.architecture", Value::Text("qwen2"));
    assert!(refused(&other).to_string().contains("architecture is `qwen2`, wanted `llama`"));
    assert!(refused(&other).hint().unwrap().contains("architecture `llama` are imported"));
    let experts = llama().key("llama.expert_count", Value::U32(8));
    assert!(refused(&experts).to_string().contains("8 experts"));
    let part = llama().key("split.count", Value::U32(3));
    assert!(refused(&part).to_string().contains("one of 3 parts"));
    let partial = llama().key("llama.rope.dimension_count", Value::U32(2));
    let message = refused(&partial).to_string();
    assert!(
        message.contains("`llama.rope.dimension_count` is 2, wanted the width of a head, 4"),
        "{message}"
    );
}

#[test]
fn all_tensors_that_do_not_fit_are_named_at_once() {
    let file = llama()
        .without("blk.1.attn_v.weight")
        .without("output_norm.weight")
        .floats("output_norm.weight", &[4], &[0.0; 4])
        .floats("blk.0.extra.weight", &[1], &[0.0]);
    let message = refused(&file).to_string();
    assert!(message.contains("`blk.1.attn_v.weight` is missing, wanted shape [4, 8]"), "{message}");
    assert!(message.contains("`output_norm.weight` has shape [4], wanted [8]"), "{message}");
    assert!(message.contains("`blk.0.extra.weight` of shape [1] has no place"), "{message}");
}

#[test]
fn a_folder_that_holds_something_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    run(folder.path(), &llama(), Dtype::F32).unwrap(); // an empty one is taken
    let error = run(folder.path(), &llama(), Dtype::F32).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_failing_tokenizer_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let gguf = Gguf::open(&llama().write(folder.path())).unwrap();
    let failed = import(&gguf, &folder.path().join("out"), Dtype::F32, |_| {
        Err(Error::TokenId { id: 1, vocabulary: 1 })
    });
    assert!(matches!(failed, Err(Error::TokenId { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
