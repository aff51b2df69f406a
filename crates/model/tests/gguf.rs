//! Reading GGUF files, sound and unsound.

#![allow(clippy::unwrap_used)]

mod fixture;

use std::path::Path;

use albacore_model::Gguf;
use fixture::{Builder, Value};
use safetensors::SafeTensors;

fn open(file: &Builder) -> albacore_model::Result<Gguf> {
    let folder = tempfile::tempdir().unwrap();
    Gguf::open(&file.write(folder.path()))
}

#[test]
fn every_storage_type_is_restored_to_the_bits_that_gguf_py_gives() {
    // scripts/golden_gguf.py: `gguf.dequantize(random bytes, type)`
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let gguf = Gguf::open(&folder.join("blocks.gguf")).unwrap();
    let golden = std::fs::read(folder.join("blocks.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&golden).unwrap();
    assert_eq!(gguf.tensors().len(), 13);
    for (name, tensor) in gguf.tensors() {
        assert_eq!(tensor.stored_as(), name);
        let restored = gguf.dequantize(name).unwrap();
        let bytes: Vec<u8> = restored.iter().flat_map(|number| number.to_le_bytes()).collect();
        assert!(bytes == golden.tensor(name).unwrap().data(), "{name}");
    }
}

#[test]
fn keys_of_every_type_are_read() {
    let file = Builder::default()
        .key("u8", Value::Raw(0, &[200]))
        .key("i8", Value::Raw(1, &[0xff]))
        .key("i16", Value::Raw(3, &(-300i16).to_le_bytes()))
        .key("u64", Value::Raw(10, &7u64.to_le_bytes()))
        .key("i64", Value::Raw(11, &(-7i64).to_le_bytes()))
        .key("f64", Value::Raw(12, &0.25f64.to_le_bytes()))
        .key("f32", Value::F32(1e-5))
        .key("flag", Value::Flag(true))
        .key("text", Value::Text("smollm\0"))
        .key("texts", Value::Texts(&["a", "", "ü"]))
        .key("floats", Value::Floats(&[0.5, -1.5]))
        .key("bytes", Value::Raw(9, &[0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 3]));
    let gguf = open(&file).unwrap();
    let metadata = gguf.metadata();
    assert_eq!(metadata.count("u8").unwrap(), Some(200));
    assert_eq!(metadata.number("i8").unwrap(), Some(-1.0));
    assert_eq!(metadata.number("i16").unwrap(), Some(-300.0));
    assert_eq!(metadata.id("u64").unwrap(), Some(7));
    assert_eq!(metadata.number("i64").unwrap(), Some(-7.0));
    assert_eq!(metadata.number("f64").unwrap(), Some(0.25));
    assert_eq!(
        metadata.number("f32").unwrap(),
        Some(1e-5),
        "as it is written, not as it is rounded"
    );
    assert_eq!(metadata.flag("flag").unwrap(), Some(true));
    assert_eq!(metadata.text("text").unwrap(), Some("smollm"));
    assert_eq!(metadata.texts("texts").unwrap().unwrap(), ["a", "", "ü"]);
    assert_eq!(metadata.numbers("floats").unwrap().unwrap(), [0.5, -1.5]);
    assert_eq!(metadata.count("bytes").unwrap(), Some(3), "the same for every block");
    assert_eq!(metadata.text("absent").unwrap(), None);
    let wrong = metadata.count("texts").unwrap_err().to_string();
    assert!(wrong.ends_with("`texts` is `array of 3 Text`, wanted a whole number"), "{wrong}");
    assert!(metadata.count("i64").is_err() && metadata.count("f32").is_err());
}

#[test]
fn dimensions_are_given_outermost_first() {
    let file = Builder::default().floats("x", &[2, 3], &[1., 2., 3., 4., 5., 6.]);
    let gguf = open(&file).unwrap();
    assert_eq!(gguf.tensors()["x"].shape, [2, 3]);
    assert_eq!(gguf.dequantize("x").unwrap(), [1., 2., 3., 4., 5., 6.]);
    assert!(gguf.dequantize("y").is_err());
}

#[test]
fn a_file_that_is_not_read_says_what_was_found_and_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let error = Gguf::open(&path).unwrap_err();
        assert!(error.to_string().contains("model.gguf"), "{error}");
        (error.to_string(), error.hint().unwrap())
    };
    let message = |bytes: &[u8]| refused(bytes).0;
    let whole = Builder::default().floats("x", &[8], &[0.0; 8]);
    let mut other = whole.bytes();
    other[0] = b'X';
    assert!(message(&other).contains("begins with `XGUF`, wanted `GGUF`"));
    assert!(refused(&other).1.contains("only GGUF files are imported"));
    other = whole.bytes();
    for (version, problem, remedy) in [
        ([0, 0, 0, 3], "is big-endian", "gguf-convert-endian"),
        ([1, 0, 0, 0], "version 1, wanted 2 or 3", "convert the original model again"),
        ([4, 0, 0, 0], "version 4, wanted 2 or 3", "newer than this program"),
    ] {
        other[4..8].copy_from_slice(&version);
        let (message, hint) = refused(&other);
        assert!(message.contains(problem) && hint.contains(remedy), "{message}\n{hint}");
    }
    assert!(message(b"").contains("needs 4 more bytes, the file has 0"));
    let strange = Builder::default().tensor("x", &[256], 23, &[0; 136]);
    assert!(
        message(&strange.bytes()).contains("tensor `x` is stored as `IQ4_XS`, wanted one of F32")
    );
    assert!(refused(&strange.bytes()).1.contains("llama-quantize"));
    let strange = Builder::default().tensor("x", &[256], 77, &[0; 136]);
    assert!(message(&strange.bytes()).contains("stored as `type 77`"));
    let odd = Builder::default().tensor("x", &[4, 16], 8, &[0; 68]);
    assert!(message(&odd.bytes()).contains("rows of 16, wanted a multiple of 32"));
    let twice = Builder::default().floats("x", &[1], &[0.0]).floats("x", &[1], &[0.0]);
    assert!(message(&twice.bytes()).contains("tensor `x` stands there twice"));
    let twice = Builder::default().key("k", Value::U32(1)).key("k", Value::U32(1));
    assert!(message(&twice.bytes()).contains("key `k` stands there twice"));
    for (value, found) in [(Value::U32(3), "3"), (Value::Text("wide"), "wide")] {
        let odd = whole.clone().key("general.alignment", value);
        let wanted = format!("`general.alignment` is `{found}`, wanted a power of two");
        assert!(message(&odd.bytes()).contains(&wanted), "{}", message(&odd.bytes()));
    }
    let short = Builder::default().tensor("x", &[100], 0, &[0; 16]);
    assert!(message(&short.bytes()).contains("tensor `x` needs 400 bytes"));
    let empty = Builder::default().tensor("x", &[0, 4], 0, &[]);
    assert!(message(&empty.bytes()).contains("shape [0, 4]"));
    let nested = [9u8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0].repeat(20);
    let deep = Builder::default().key("k", Value::Raw(9, &nested));
    assert!(message(&deep.bytes()).contains("nested deeper than 8"));
}
