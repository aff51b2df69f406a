//! A tiny model for tests.

use std::fs;

use albacore_model::{Llama, LlamaConfig, Model};
use candle_core::Device;

/// Two layers, random weights, ten tokens, a head of its own.
pub(crate) fn model() -> Model {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"{
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 10,
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 64, "tie_word_embeddings": false, "hidden_act": "silu",
        "rope_theta": 10000.0, "initializer_range": 0.2
    }"#;
    fs::write(folder.path().join("config.json"), config).unwrap();
    let config = LlamaConfig::load(folder.path()).unwrap();
    Llama::random(config, 7, &Device::Cpu).unwrap().into()
}
