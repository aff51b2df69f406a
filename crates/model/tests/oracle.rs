//! Our LLaMA's last logits against `candle-transformers`' on the same weights: no Python involved.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;

use albacore_model::{Llama, Packed};
use candle_core::{DType, Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama;

#[test]
fn the_last_logits_equal_those_of_candle_transformers() {
    // Plain, LLaMA 3 scaling, and as many key/value heads as query heads.
    for variant in ["tied", "llama3", "mha"] {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden/llama_tiny")
            .join(variant);
        let ids = (0..29u32).map(|token| (token * 37 + 11) % 128).collect::<Vec<_>>();

        let json = std::fs::read_to_string(folder.join("config.json")).unwrap();
        let config = serde_json::from_str::<llama::LlamaConfig>(&json).unwrap().into_config(false);
        let weights =
            candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu);
        let weights = VarBuilder::from_tensors(weights.unwrap(), DType::F32, &Device::Cpu);
        let oracle = llama::Llama::load(weights, &config).unwrap();
        let mut cache = llama::Cache::new(false, DType::F32, &config, &Device::Cpu).unwrap();
        let input = Tensor::new(ids.as_slice(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let wanted = oracle.forward(&input, 0, &mut cache).unwrap().i(0).unwrap();
        let wanted = wanted.to_vec1::<f32>().unwrap();

        let model = Llama::load(&folder, &Device::Cpu).unwrap();
        let (tokens, last) = (ids.len() as u32, ids.len() as u32 - 1);
        let packed =
            Packed::new(model.config(), ids, vec![0, tokens], vec![last], vec![0]).unwrap();
        let found = model.logits(&packed).unwrap().i(0).unwrap().to_vec1::<f32>().unwrap();
        let error = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        // DESIGN's contract for logits: f32 sums in another order.
        assert!(error < 1e-4, "{variant}: {error:e}");
    }
}
