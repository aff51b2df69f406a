//! What is written is read back, whatever it is made of.

use std::io;

use safetensors::SafeTensors;

use super::*;
use crate::Weights;

fn tensor(numbers: &[f32]) -> Tensor {
    Tensor::new(numbers, &Device::Cpu).unwrap()
}

fn written(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let total = write_safetensors(&mut bytes, Path::new("x"), entries).unwrap();
    assert_eq!(total, bytes.len() as u64);
    bytes
}

#[test]
fn what_is_written_is_read_back() {
    let numbers = [0.1f32, -0.0, f32::MIN_POSITIVE / 2.0, f32::INFINITY, 3.0, -1e30];
    let matrix = tensor(&numbers).reshape((2, 3)).unwrap();
    let computed = || Ok(vec![7.0, 8.0]);
    let bytes = written(&[
        Entry::tensor("matrix", matrix, Dtype::F32),
        Entry::computed("computed", vec![2], Dtype::F32, computed),
    ]);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let matrix = file.tensor("matrix").unwrap();
    assert_eq!(matrix.shape(), [2, 3]);
    let wanted: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    assert_eq!(matrix.data(), wanted);
    assert_eq!(file.tensor("computed").unwrap().data(), [7f32, 8.0].map(f32::to_le_bytes).concat());
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
}

#[test]
fn rounding_goes_to_nearest_and_ties_to_even() {
    // 1 + 2^-8 and 1 + 3 * 2^-8 lie halfway between neighbouring bfloat16 numbers.
    let halfway = [1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, 1.0 + 1.01 / 256.0];
    let bytes = written(&[Entry::tensor("x", tensor(&halfway), Dtype::Bf16)]);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let data = file.tensor("x").unwrap().data().to_vec();
    let found: Vec<f32> =
        data.chunks(2).map(|pair| bf16::from_le_bytes([pair[0], pair[1]]).to_f32()).collect();
    assert_eq!(found, [1.0, 1.0 + 4.0 / 256.0, 1.0 + 2.0 / 256.0]);
    let bytes = written(&[Entry::tensor("x", tensor(&[1.0 + 1.0 / 2048.0]), Dtype::F16)]);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("x").unwrap().data(), f16::from_f32(1.0).to_le_bytes());
}

/// What a run without master weights saves and goes on from.
#[test]
fn weights_that_are_bf16_alone_come_back_to_the_bit() {
    let numbers = [0.1f32, -0.0, 1e-40, 3e38, -7.3, 1.0 + 1.0 / 256.0];
    let placed = |numbers: &[f32]| {
        let value = tensor(numbers).reshape((2, 3)).unwrap();
        let mut parameter = Parameter::single("weight", value);
        parameter.place(&Device::Cpu, DType::BF16, false).unwrap();
        parameter
    };
    let bits = |parameter: &Parameter| {
        let values = parameter.value().flatten_all().unwrap().to_vec1::<bf16>().unwrap();
        values.into_iter().map(bf16::to_bits).collect::<Vec<_>>()
    };
    let trained = placed(&numbers);
    let bytes = written(&entries([&trained], Dtype::F32).unwrap());
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let saved = file.tensor("weight").unwrap();
    assert_eq!((saved.dtype(), saved.shape()), (safetensors::Dtype::F32, &[2, 3][..]));
    let saved = saved.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
    assert_eq!(bits(&placed(&saved.collect::<Vec<_>>())), bits(&trained));
}

#[test]
fn wider_numbers_come_first_so_that_all_are_aligned() {
    let bytes = written(&[
        Entry::tensor("narrow", tensor(&[1.0]), Dtype::Bf16),
        Entry::tensor("wide", tensor(&[2.0]), Dtype::F32),
    ]);
    let (length, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!((8 + length) % 8, 0);
    assert_eq!(metadata.info("wide").unwrap().data_offsets, (0, 4));
    assert_eq!(metadata.info("narrow").unwrap().data_offsets, (4, 6));
}

#[test]
fn a_model_too_large_for_one_file_gets_shards_and_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let entries = || {
        let names = ["a", "b", "c", "d"].into_iter().zip([2, 1, 1, 9]);
        names
            .map(|(name, count)| Entry::tensor(name, tensor(&vec![1.0; count]), Dtype::F32))
            .collect()
    };
    write_weights(folder.path(), entries(), 12).unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let shard = |index| format!("model-0000{index}-of-00003.safetensors");
    assert_eq!(names, [&shard(1), &shard(2), &shard(3), "model.safetensors.index.json"]);
    let index =
        std::fs::read_to_string(folder.path().join("model.safetensors.index.json")).unwrap();
    let index: Value = serde_json::from_str(&index).unwrap();
    assert_eq!(index["metadata"]["total_size"], 52);
    let (first, second, third) = (shard(1), shard(2), shard(3));
    assert_eq!(index["weight_map"], json!({ "a": first, "b": first, "c": second, "d": third }));
    let weights = Weights::open(folder.path()).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    // One file needs neither a number nor an index.
    let shards = plan_shards(entries(), SHARD_BYTES);
    assert_eq!(shards[0].file_name, "model.safetensors");
    assert!(shard_index(&shards).is_none());
}

#[test]
fn parameters_are_written_part_by_part() {
    let value = Tensor::new(&[[1f32, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::Cpu).unwrap();
    let parameter = Parameter::new(value, [("q".to_owned(), 1), ("k".to_owned(), 2)]);
    let bytes = written(&entries([&parameter], Dtype::F32).unwrap());
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("k").unwrap().shape(), [2, 2]);
    assert_eq!(
        file.tensor("k").unwrap().data(),
        [3f32, 4.0, 5.0, 6.0].map(f32::to_le_bytes).concat()
    );
}

#[test]
fn a_full_disk_is_reported_with_the_file() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let entries = [Entry::tensor("x", tensor(&[0.0; 100]), Dtype::F32)];
    for room in [0, 20, 300] {
        let error =
            write_safetensors(&mut Full(room), Path::new("run/model.safetensors"), &entries);
        let message = error.unwrap_err().to_string();
        assert!(message.starts_with("cannot write `run/model.safetensors`: "), "{message}");
    }
}
