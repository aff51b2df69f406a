//! The `[objective]` table: the reference describes every kind, and mistakes in one are told by key.

use std::collections::BTreeMap;

use super::Config;
use super::load::{Settings, keys};
use crate::decode::decode;
use crate::diagnose::Origin;
use crate::tree::Tree;
use albacore_trainer::{Kto, ObjectiveConfig};

fn read(text: &str) -> ObjectiveConfig {
    let (config, mismatches) = decode::<Config>(&Tree::parse(text).unwrap());
    assert!(mismatches.is_empty(), "{text}: {mismatches:?}");
    config.unwrap().objective
}

/// The values of a block of the reference that are commented out.
fn values(block: &str) -> Vec<&str> {
    let is_value = |line: &&str| {
        let key = line.split_once(" = ").map(|(key, _)| key);
        key.is_some_and(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    block.lines().map(|line| line.trim_start_matches("# ")).filter(is_value).collect()
}

/// What the reference says of each kind, as a table of its own.
fn described() -> BTreeMap<String, String> {
    let start = Config::REFERENCE.find("[objective]").unwrap();
    let end = Config::REFERENCE.find("[optim]").unwrap();
    let table = |block: &str| {
        let values = values(block);
        let kind = values[0].strip_prefix("kind = ").unwrap().trim_matches('"').to_owned();
        (kind, format!("[objective]\n{}\n", values.join("\n")))
    };
    let blocks = Config::REFERENCE[start..end].split("\n\n").skip(1);
    blocks.filter(|block| !block.is_empty()).map(table).collect()
}

#[test]
fn the_reference_holds_the_defaults_of_every_kind() {
    let described = described();
    assert_eq!(described.len(), 12, "{described:?}");
    for (kind, text) in described {
        // This key alone has no default.
        let text = text.replace("threshold = 0.5\n", "");
        assert_eq!(read(&text), read(&format!("objective.kind = \"{kind}\"")), "{kind}");
    }
}

#[test]
fn the_reference_names_every_key_of_every_kind() {
    let known = keys(Config::REFERENCE);
    for (kind, text) in described() {
        let objective = match read(&text) {
            ObjectiveConfig::Kto(kto) => ObjectiveConfig::Kto(Kto { threshold: Some(0.5), ..kto }),
            other => other,
        };
        let table = serde_json::to_value(objective).unwrap();
        for key in table.as_object().unwrap().keys() {
            assert!(known.contains(&format!("objective.{key}")), "{kind}: {key}");
            assert!(text.contains(&format!("\n{key} = ")), "{kind}: {key}");
        }
    }
}

#[test]
fn every_kind_is_saved_with_the_run_and_read_back() {
    for (_, text) in described() {
        let config = Config { objective: read(&text), ..Config::default() };
        assert_eq!(read(&config.to_toml()), config.objective);
    }
}

#[test]
fn mistakes_are_told_by_their_key_and_place() {
    let problems = |text: &str| {
        let origin = Origin { file: "mine.toml".into(), sets: Vec::new() };
        let (_, mismatches) = decode::<Config>(&Tree::parse(text).unwrap());
        let told =
            mismatches.iter().map(|mismatch| origin.explain(mismatch, &keys(Config::REFERENCE)));
        told.map(|problem| problem.refusal.message).collect::<Vec<_>>()
    };
    let text = "[objective]\nkind = \"tuna\"\nmargin = \"wide\"\nties = \"keep\"\nmargn = 1\n";
    let told = problems(text);
    let starts = [
        "mine.toml:3:10: `objective.margin` is the string `wide`, wanted a number",
        "mine.toml:4:8: `objective.ties` is `keep`, wanted one of `file_order`, `leave_out`",
        "mine.toml:5:1: unknown key `objective.margn`",
    ];
    assert_eq!(told.len(), starts.len(), "{told:#?}");
    for start in starts {
        assert!(told.iter().any(|told| told.starts_with(start)), "{start} in {told:#?}");
    }
    let told = problems("[objective]\nkind = \"dop\"\n");
    assert!(told[0].starts_with("mine.toml:2:8: `objective.kind` is `dop`, wanted"), "{told:?}");
    assert_eq!(told.len(), 1, "{told:?}");
}
