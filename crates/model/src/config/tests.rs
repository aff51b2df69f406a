//! Configurations that are understood, and what is said of those that are not.

use super::*;
use crate::RopeScaling;

fn object(json: Value) -> Map<String, Value> {
    json.as_object().unwrap().clone()
}

/// The `config.json` of a small LLaMA 3, with a key that training has no use for.
fn small() -> Map<String, Value> {
    object(json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "pretraining_tp": 1,
        "vocab_size": 100,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64
        },
        "max_position_embeddings": 512,
        "bos_token_id": 1,
        "eos_token_id": [2, 3],
        "torch_dtype": "bfloat16",
        "transformers_version": "4.44.0"
    }))
}

fn with(changes: Value) -> Result<LlamaConfig> {
    let mut json = small();
    json.extend(object(changes));
    LlamaConfig::from_json(json, "`config.json`")
}

fn problems(changes: Value) -> String {
    with(changes).unwrap_err().to_string()
}

#[test]
fn a_configuration_is_read_with_the_defaults_of_transformers() {
    let config = with(json!({})).unwrap();
    assert_eq!((config.vocab_size, config.hidden_size, config.intermediate_size), (100, 32, 48));
    assert_eq!((config.num_hidden_layers, config.head_dim), (3, 8));
    assert_eq!((config.num_attention_heads, config.num_key_value_heads), (4, 2));
    assert_eq!((config.bos_token_id, config.eos_token_ids.as_slice()), (Some(1), &[2, 3][..]));
    assert_eq!((config.rope.theta, config.dtype), (500_000.0, Some(Dtype::Bf16)));
    assert!(matches!(config.rope.scaling, RopeScaling::Llama3 { factor: 8.0, .. }));
    assert!(!config.tie_word_embeddings && !config.attention_bias);
    assert_eq!(config.initializer_range, 0.02);
    let config =
        with(json!({ "num_key_value_heads": null, "head_dim": 16, "eos_token_id": 2 })).unwrap();
    assert_eq!((config.num_key_value_heads, config.head_dim), (4, 16));
    assert_eq!(config.eos_token_ids, [2]);
    let config = with(json!({ "bos_token_id": -1, "eos_token_id": null })).unwrap();
    assert_eq!((config.bos_token_id, config.eos_token_ids), (None, vec![]));
}

#[test]
fn what_was_read_is_written_back() {
    let config = with(json!({})).unwrap();
    assert_eq!(config.to_json(Dtype::Bf16), small(), "key for key, in order");
    let mut wanted = small();
    wanted.insert("torch_dtype".into(), json!("float32"));
    assert_eq!(config.to_json(Dtype::F32), wanted);
    // A file of transformers 5 keeps its newer keys.
    let newer = json!({ "dtype": "bfloat16", "rope_parameters": { "rope_theta": 1e4, "rope_type": "default" } });
    let mut json = small();
    for key in ["rope_theta", "rope_scaling", "torch_dtype"] {
        json.remove(key);
    }
    json.extend(object(newer));
    let config = LlamaConfig::from_json(json.clone(), "").unwrap();
    assert_eq!(config.rope, Rope::default());
    assert_eq!(config.to_json(Dtype::Bf16), json);
}

#[test]
fn what_was_changed_is_written() {
    let mut config = with(json!({})).unwrap();
    config.num_hidden_layers = 1;
    config.rope = Rope { theta: 1e4, scaling: RopeScaling::Linear { factor: 2.0 } };
    config.eos_token_ids = vec![9];
    let json = config.to_json(Dtype::Bf16);
    assert_eq!((&json["num_hidden_layers"], &json["eos_token_id"]), (&json!(1), &json!(9)));
    assert_eq!(json["rope_scaling"], json!({ "rope_type": "linear", "factor": 2.0 }));
    let again = LlamaConfig::from_json(json, "").unwrap();
    assert_eq!(
        LlamaConfig { original: Map::new(), ..again },
        LlamaConfig { original: Map::new(), ..config }
    );
}

#[test]
fn a_configuration_of_ones_own_round_trips() {
    let config = LlamaConfig { bos_token_id: Some(4), ..LlamaConfig::default() };
    let json = config.to_json(Dtype::F32);
    assert_eq!(json["architectures"], json!(["LlamaForCausalLM"]));
    let again = LlamaConfig::from_json(json, "").unwrap();
    let expected =
        LlamaConfig { dtype: Some(Dtype::F32), original: again.original.clone(), ..config };
    assert_eq!(again, expected);
}

#[test]
fn every_problem_is_reported_at_once() {
    let message = problems(json!({
        "vocab_size": "many", "hidden_size": 0, "num_hidden_layers": null, "hidden_act": "gelu",
        "mlp_bias": true, "quantization_config": { "bits": 4 }, "rms_norm_eps": -1,
        "rope_scaling": { "rope_type": "yarn", "factor": 4.0 }, "eos_token_id": "</s>",
        "tie_word_embeddings": "yes",
    }));
    for wanted in [
        "`config.json` describes a model that cannot be used:",
        "`vocab_size` is `\"many\"`, wanted a whole number from 1 to 16777216",
        "`hidden_size` is `0`, wanted a whole number",
        "`num_hidden_layers` is missing, wanted a whole number from 1 to 10000",
        "`hidden_act` is `gelu`, wanted `silu`",
        "`mlp_bias` is true",
        "its weights are quantised",
        "`rms_norm_eps` is `-1`, wanted a number above 0",
        "`rope_scaling.rope_type` is `yarn`, wanted `default`, `linear`, `dynamic` or `llama3`",
        "`eos_token_id` is `\"</s>\"`, wanted a token id",
        "`tie_word_embeddings` is `\"yes\"`, wanted true or false",
    ] {
        assert!(message.contains(wanted), "{wanted:?} in {message}");
    }
}

#[test]
fn sizes_that_contradict_one_another_are_refused() {
    assert!(
        problems(json!({ "num_key_value_heads": 3 }))
            .contains("wanted a multiple of `num_key_value_heads`, 3")
    );
    assert!(
        problems(json!({ "hidden_size": 33 }))
            .contains("wanted a multiple of `num_attention_heads`, 4")
    );
    assert!(problems(json!({ "head_dim": 7 })).contains("the width of a head is 7"));
    assert!(
        problems(json!({ "eos_token_id": 100 }))
            .contains("`eos_token_id` is 100, wanted less than `vocab_size`")
    );
    let llama3 = json!({ "rope_scaling": { "rope_type": "llama3", "factor": 8.0 } });
    assert!(problems(llama3).contains("`rope_scaling.low_freq_factor` is missing"));
    assert!(
        problems(json!({ "hidden_size": 1u64 << 60 })).contains("wanted a whole number from 1")
    );
}

#[test]
fn frequencies_that_make_no_sense_are_refused_wherever_they_stand() {
    for theta in [0, -1] {
        let message = problems(json!({ "rope_theta": theta }));
        let wanted = format!("`rope_theta` is `{theta}`, wanted a number above 0");
        assert!(message.contains(&wanted), "{message}");
    }
    let message = problems(json!({ "original_max_position_embeddings": 0 }));
    assert!(message.contains("`original_max_position_embeddings` is `0`, wanted"), "{message}");
    let message = problems(json!({ "rope_scaling": { "rope_type": 3 } }));
    assert!(message.contains("`rope_scaling.rope_type` is `3`, wanted `default`"), "{message}");
}

#[test]
fn a_scaling_may_be_named_by_its_older_key_beside_a_null() {
    let scaling = json!({ "rope_type": null, "type": "linear", "factor": 2.0 });
    let config = with(json!({ "rope_scaling": scaling })).unwrap();
    assert_eq!(config.rope.scaling, RopeScaling::Linear { factor: 2.0 });
    let config = with(json!({ "rope_scaling": { "rope_type": null } })).unwrap();
    assert_eq!(config.rope.scaling, RopeScaling::Default);
}

#[test]
fn mistral_without_a_window_is_the_same_model() {
    let mistral = |window: Value| {
        with(json!({
            "architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": window,
        }))
    };
    mistral(Value::Null).unwrap();
    mistral(json!(512)).unwrap();
    let error = mistral(json!(256)).unwrap_err().to_string();
    assert!(error.contains("`sliding_window` is 256, wanted null"), "{error}");
}

#[test]
fn another_architecture_is_named() {
    let message = problems(json!({ "architectures": ["Qwen2ForCausalLM"] }));
    assert!(
        message.contains("its architecture is `Qwen2ForCausalLM`, wanted `LlamaForCausalLM`"),
        "{message}"
    );
    let message = problems(json!({ "architectures": null, "model_type": "gpt2" }));
    assert!(
        message.contains("its `model_type` is `gpt2`, wanted `llama`, `mistral` or `t5`"),
        "{message}"
    );
}

#[test]
fn a_missing_or_malformed_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let message = || LlamaConfig::load(folder.path()).unwrap_err().to_string();
    assert!(message().starts_with("cannot read `"), "{}", message());
    for text in ["{", "[]", "{\"vocab_size\": 1"] {
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        assert!(message().contains("config.json` is not valid"), "{}", message());
    }
}
