//! Tensors that fit, in one file or several, and what is said of those that do not.

use std::collections::HashMap;

use half::{bf16, f16};
use safetensors::Dtype as Kind;
use safetensors::tensor::TensorView;

use super::*;

/// A tensor of a test file.
struct Stored {
    name: &'static str,
    shape: Vec<usize>,
    dtype: Kind,
    bytes: Vec<u8>,
}

fn stored(name: &'static str, shape: &[usize], dtype: Kind, numbers: &[f32]) -> Stored {
    let bytes = numbers.iter().flat_map(|number| match dtype {
        Kind::F32 => number.to_le_bytes().to_vec(),
        Kind::F16 => f16::from_f32(*number).to_le_bytes().to_vec(),
        Kind::BF16 => bf16::from_f32(*number).to_le_bytes().to_vec(),
        _ => vec![*number as u8],
    });
    Stored { name, shape: shape.to_vec(), dtype, bytes: bytes.collect() }
}

fn write(path: &Path, tensors: &[Stored]) {
    let views = tensors.iter().map(|tensor| {
        (tensor.name, TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None::<HashMap<_, _>>, path).unwrap();
}

fn folder(tensors: &[Stored]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("model.safetensors"), tensors);
    folder
}

fn ask(weights: &mut Weights, parts: &[(&str, usize)], columns: Option<usize>) -> Parameter {
    let parts: Vec<_> = parts.iter().map(|(name, rows)| (name.to_string(), *rows)).collect();
    weights.parameter(&parts, columns, &Device::Cpu).unwrap()
}

fn numbers(parameter: &Parameter) -> Vec<f32> {
    storage::read(parameter.value()).unwrap().to_vec()
}

#[test]
fn tensors_of_all_types_are_stacked_into_one_parameter() {
    let folder = folder(&[
        stored("q", &[2, 2], Kind::F32, &[1.0, -2.0, 0.1, 1e-30]),
        stored("k", &[1, 2], Kind::F16, &[0.1, 65504.0]),
        stored("v", &[1, 2], Kind::BF16, &[0.1, -1e30]),
        stored("norm", &[3], Kind::BF16, &[1.0, 2.0, 3.0]),
        stored("layers.0.rotary_emb.inv_freq", &[1], Kind::F32, &[1.0]),
    ]);
    let mut weights = Weights::open(folder.path()).unwrap();
    assert_eq!(weights.shape("q"), Some(&[2, 2][..]));
    let stacked = ask(&mut weights, &[("q", 2), ("k", 1), ("v", 1)], Some(2));
    let norm = ask(&mut weights, &[("norm", 3)], None);
    weights.finish().unwrap();
    let half = f16::from_f32(0.1).to_f32();
    let brain = |number| bf16::from_f32(number).to_f32();
    assert_eq!(numbers(&stacked), [1.0, -2.0, 0.1, 1e-30, half, 65504.0, brain(0.1), brain(-1e30)]);
    assert_eq!(numbers(&norm), [1.0, 2.0, 3.0]);
}

#[test]
fn tensors_larger_than_one_task_are_whole() {
    let count = 2 * CHUNK + 77;
    let many: Vec<f32> = (0..count).map(|index| (index % 251) as f32).collect();
    for dtype in [Kind::F32, Kind::F16, Kind::BF16] {
        let folder = folder(&[stored("x", &[count], dtype, &many)]);
        let mut weights = Weights::open(folder.path()).unwrap();
        let parameter = ask(&mut weights, &[("x", count)], None);
        weights.finish().unwrap();
        assert!(numbers(&parameter) == many, "{dtype:?}");
    }
}

#[test]
fn everything_that_does_not_fit_is_named_at_once_and_nothing_is_allocated_for_it() {
    let folder = folder(&[
        stored("up", &[2, 2], Kind::F32, &[0.0; 4]),
        stored("ids", &[2], Kind::U8, &[0.0; 2]),
        stored("other", &[1], Kind::F32, &[0.0]),
    ]);
    let mut weights = Weights::open(folder.path()).unwrap();
    for (name, rows, columns) in [
        ("up", 1 << 24, Some(1 << 24)),
        ("down", 2, Some(2)),
        ("long", 1 << 48, None),
        ("ids", 2, None),
    ] {
        let asked = ask(&mut weights, &[(name, rows)], columns);
        assert_eq!(asked.value().elem_count(), 0, "{name}");
    }
    let error = weights.finish().unwrap_err();
    let message = error.to_string();
    for wanted in [
        "tensor `up` has shape [2, 2], wanted [16777216, 16777216]",
        "tensor `down` is missing, wanted shape [2, 2]",
        "tensor `long` is missing, wanted shape [281474976710656]",
        "tensor `ids` is stored as `U8`, wanted `F32`, `F16` or `BF16`",
        "tensor `other` of shape [1] has no place in the model",
    ] {
        assert!(message.contains(wanted), "{wanted:?} in {message}");
    }
    assert!(error.hint().is_some());
}

#[test]
fn a_missing_output_matrix_brings_the_advice_to_tie_it() {
    let folder = folder(&[stored("x", &[1], Kind::F32, &[0.0])]);
    let mut weights = Weights::open(folder.path()).unwrap();
    ask(&mut weights, &[("x", 1)], None);
    ask(&mut weights, &[("lm_head.weight", 4)], Some(2));
    let hint = weights.finish().unwrap_err().hint().unwrap();
    assert!(hint.contains("\"tie_word_embeddings\": true"), "{hint}");
}

#[test]
fn an_output_matrix_that_is_not_wanted_can_be_forgotten() {
    let folder = folder(&[stored("lm_head.weight", &[1], Kind::F32, &[0.0])]);
    let mut weights = Weights::open(folder.path()).unwrap();
    weights.forget("lm_head.weight");
    weights.finish().unwrap();
}

#[test]
fn shards_are_read_with_and_without_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let shard = |index| format!("model-0000{index}-of-00002.safetensors");
    write(&folder.path().join(shard(1)), &[stored("a", &[1], Kind::F32, &[1.0])]);
    write(&folder.path().join(shard(2)), &[stored("b", &[1], Kind::F32, &[2.0])]);
    // Not weights: a checkpoint's optimizer state beside them.
    write(&folder.path().join("optimizer.safetensors"), &[stored("c", &[1], Kind::F32, &[3.0])]);
    let index_path = folder.path().join("model.safetensors.index.json");
    let index = format!(r#"{{"weight_map": {{"a": "{}", "b": "{}"}}}}"#, shard(1), shard(2));
    for with_index in [false, true] {
        if with_index {
            std::fs::write(&index_path, &index).unwrap();
        }
        let mut weights = Weights::open(folder.path()).unwrap();
        assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b"]);
        let stacked = ask(&mut weights, &[("a", 1), ("b", 1)], None);
        weights.finish().unwrap();
        assert_eq!(numbers(&stacked), [1.0, 2.0]);
    }
    let message = |index: &str| {
        std::fs::write(&index_path, index).unwrap();
        Weights::open(folder.path()).unwrap_err().to_string()
    };
    let absent = message(r#"{"weight_map": {"a": "gone.safetensors"}}"#);
    assert!(absent.contains("it names `gone.safetensors`, which is not there"), "{absent}");
    let outside = message(r#"{"weight_map": {"a": "../secret.safetensors"}}"#);
    assert!(outside.contains("wanted a file in the same folder"), "{outside}");
    assert!(message("{}").contains("index.json` is not valid: missing field `weight_map`"));
    std::fs::remove_file(&index_path).unwrap();
    write(&folder.path().join(shard(2)), &[stored("a", &[1], Kind::F32, &[1.0])]);
    let twice = Weights::open(folder.path()).unwrap_err().to_string();
    assert!(twice.contains("tensor `a` is in"), "{twice}");
}

#[test]
fn a_folder_without_safetensors_says_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let error = || Weights::open(folder.path()).unwrap_err();
    assert!(error().to_string().contains("found no weights at all"), "{}", error());
    std::fs::write(folder.path().join("pytorch_model.bin"), b"x").unwrap();
    assert!(error().to_string().ends_with("found `pytorch_model.bin`"), "{}", error());
    assert!(error().hint().unwrap().contains("save_pretrained"));
    let nowhere = Weights::open(&folder.path().join("nowhere")).unwrap_err().to_string();
    assert!(nowhere.starts_with("cannot read `"), "{nowhere}");
}
