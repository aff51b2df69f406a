//! Files that were cut, altered or made to harm: an error, never a panic, never more memory than a
//! small multiple of the file.

#![allow(clippy::unwrap_used)]

mod fixture;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use albacore_kernels::storage;
use albacore_model::{Dtype, Gguf, Llama, Weights, import};
use candle_core::Device;
use fixture::llama;
use proptest::prelude::*;
use safetensors::tensor::TensorView;

/// Notes the largest block of memory that was ever asked for.
struct Watch;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Watch {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watch = Watch;

/// No block in these tests is larger: buffers of threads and writers, not lengths that files claim.
const ENOUGH: usize = 8 << 20;

fn check_memory() {
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest < ENOUGH, "{largest} bytes were asked for at once");
}

/// Reads everything of a GGUF.
fn read_gguf(folder: &Path, bytes: &[u8]) -> Option<Gguf> {
    let path = folder.join("model.gguf");
    // A new file: some file systems wait for the disk when an old one is written over.
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, bytes).unwrap();
    let gguf = Gguf::open(&path).ok();
    if let Some(gguf) = &gguf {
        let metadata = gguf.metadata();
        for key in metadata.keys() {
            let _ = (metadata.text(key), metadata.number(key), metadata.count(key));
            let _ = (metadata.texts(key), metadata.numbers(key));
        }
        for name in gguf.tensors().keys() {
            gguf.dequantize(name).unwrap();
        }
    }
    check_memory();
    gguf
}

/// Whether a GGUF can be imported.
fn import_gguf(folder: &Path, bytes: &[u8]) -> bool {
    let out = folder.join("out");
    let done = read_gguf(folder, bytes).is_some_and(|gguf| {
        import(&gguf, &out, Dtype::F32, |_| Ok::<_, albacore_model::Error>(())).is_ok()
    });
    let _ = std::fs::remove_dir_all(out);
    check_memory();
    done
}

/// Reads the two tensors of a folder of weights, whatever else is there; their numbers.
fn read_safetensors(folder: &Path, bytes: &[u8]) -> albacore_model::Result<Vec<f32>> {
    std::fs::write(folder.join("model.safetensors"), bytes).unwrap();
    let read = || {
        let mut weights = Weights::open(folder)?;
        let matrix = weights.parameter(&[("a".to_owned(), 2)], Some(3), &Device::Cpu)?;
        let vector = weights.parameter(&[("b".to_owned(), 6)], None, &Device::Cpu)?;
        weights.finish()?;
        let numbers = [matrix, vector].map(|one| storage::read(one.value()).unwrap().to_vec());
        Ok(numbers.concat())
    };
    let numbers = read();
    check_memory();
    numbers
}

fn numbers() -> Vec<f32> {
    (0..12).map(|number| number as f32).collect()
}

fn safetensors_file() -> Vec<u8> {
    let bytes = numbers().into_iter().flat_map(f32::to_le_bytes).collect::<Vec<_>>();
    let parts = [("a", vec![2, 3], &bytes[..24]), ("b", vec![6], &bytes[24..])];
    let tensors = parts.map(|(name, shape, bytes)| {
        (name, TensorView::new(safetensors::Dtype::F32, shape, bytes).unwrap())
    });
    safetensors::serialize(tensors, None).unwrap()
}

#[test]
fn a_gguf_cut_anywhere_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let whole = llama().bytes();
    assert!(import_gguf(folder.path(), &whole));
    for len in 0..whole.len() {
        assert!(
            !import_gguf(folder.path(), &whole[..len]),
            "cut to {len} of {} bytes",
            whole.len()
        );
    }
}

#[test]
fn lengths_that_a_gguf_only_claims_are_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let whole = llama().bytes();
    let header = 2500.min(whole.len() - 8);
    for claim in [u64::MAX, 1 << 62, 1 << 40, 1 << 32, u64::from(u32::MAX)] {
        for at in (0..header).step_by(3) {
            let mut altered = whole.clone();
            altered[at..at + 8].copy_from_slice(&claim.to_le_bytes());
            read_gguf(folder.path(), &altered);
        }
    }
}

#[test]
fn a_safetensors_file_cut_anywhere_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let whole = safetensors_file();
    assert_eq!(read_safetensors(folder.path(), &whole).unwrap(), numbers());
    for len in 0..whole.len() {
        let error = read_safetensors(folder.path(), &whole[..len]).unwrap_err();
        assert!(error.to_string().contains("model.safetensors` is damaged"), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn a_safetensors_header_that_lies_about_its_length_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for claim in [0, 1, 1 << 20, 1 << 40, 1 << 63, u64::MAX - 7, u64::MAX] {
        let mut altered = safetensors_file();
        altered[..8].copy_from_slice(&claim.to_le_bytes());
        read_safetensors(folder.path(), &altered).unwrap_err();
    }
    let huge = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#;
    let header = [&(huge.len() as u64).to_le_bytes(), huge.as_bytes(), &[0; 8]].concat();
    read_safetensors(folder.path(), &header).unwrap_err();
}

#[test]
fn a_configuration_that_claims_more_than_the_weights_hold_allocates_nothing_for_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.safetensors"), safetensors_file()).unwrap();
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": 1 << 24, "hidden_size": 1 << 24,
        "intermediate_size": 1 << 24, "num_hidden_layers": 3, "num_attention_heads": 1 << 24,
        "head_dim": 1 << 24, "attention_bias": true, "tie_word_embeddings": false,
    });
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let message = Llama::load(folder.path(), &Device::Cpu).unwrap_err().to_string();
    check_memory();
    assert!(message.contains("tensor `model.norm.weight` is missing"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_bytes_in_a_gguf_do_no_harm(changes in prop::collection::vec((0usize..2500, any::<u8>()), 1..6)) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = llama().bytes();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        import_gguf(folder.path(), &bytes);
    }

    #[test]
    fn random_bytes_in_a_safetensors_file_do_no_harm(changes in prop::collection::vec((0usize..160, any::<u8>()), 1..6)) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = safetensors_file();
        let len = bytes.len();
        for (at, byte) in changes {
            bytes[at % len] = byte;
        }
        let _ = read_safetensors(folder.path(), &bytes);
    }
}
