//! Crates are floors, and a floor knows only the floors below.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Which of our crates each of our crates may use.
const ALLOWED: [(&str, &[&str]); 6] = [
    ("albacore-kernels", &[]),
    ("albacore-data", &[]),
    ("albacore-model", &["albacore-kernels"]),
    ("albacore-trainer", &["albacore-data", "albacore-kernels", "albacore-model"]),
    ("albacore-eval", &["albacore-data", "albacore-kernels", "albacore-model"]),
    (
        "albacore",
        &[
            "albacore-data",
            "albacore-eval",
            "albacore-kernels",
            "albacore-model",
            "albacore-trainer",
        ],
    ),
];

/// Crates that only some floors may use: what they stand for belongs there alone.
const RESERVED: [(&str, &[&str]); 8] = [
    ("anyhow", &["albacore"]),
    ("clap", &["albacore"]),
    ("indicatif", &["albacore"]),
    ("maud", &["albacore"]),
    ("parquet", &["albacore-data"]),
    ("tokenizers", &["albacore-data"]),
    ("minijinja", &["albacore-data"]),
    ("gemm", &["albacore-kernels"]),
];

/// The normal and build dependencies of every crate of the workspace.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--no-deps",
            "--offline",
            "--manifest-path",
            manifest,
        ])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let names = |package: &Value| {
        let used = list(&package["dependencies"]).into_iter().filter(|d| d["kind"] != "dev");
        used.map(|dependency| text(&dependency["name"])).collect()
    };
    list(&metadata["packages"])
        .iter()
        .map(|package| (text(&package["name"]), names(package)))
        .collect()
}

#[test]
fn a_floor_knows_only_the_floors_below() {
    let dependencies = dependencies();
    let allowed: BTreeMap<_, BTreeSet<_>> =
        ALLOWED.iter().map(|(name, below)| (*name, below.iter().copied().collect())).collect();
    for (name, used) in &dependencies {
        let below = allowed.get(name.as_str());
        let below = below.unwrap_or_else(|| panic!("`{name}` has no floor: add it to this test"));
        for other in used.iter().filter(|other| allowed.contains_key(other.as_str())) {
            assert!(
                below.contains(other.as_str()),
                "`{name}` imports `{other}`, which is not below it"
            );
        }
    }
    assert_eq!(dependencies.len(), allowed.len(), "a crate of this test is gone");
}

#[test]
fn text_tensors_and_printing_stay_on_their_floors() {
    let dependencies = dependencies();
    for (name, used) in &dependencies {
        for (reserved, owners) in RESERVED {
            let may = owners.contains(&name.as_str()) || !used.contains(reserved);
            assert!(may, "`{name}` uses `{reserved}`, which is for {owners:?} alone");
        }
    }
    let data = &dependencies["albacore-data"];
    let tensors = ["candle-core", "candle-nn", "candle-transformers", "safetensors"];
    assert!(tensors.iter().all(|name| !data.contains(*name)), "`data` never sees a tensor");
}
