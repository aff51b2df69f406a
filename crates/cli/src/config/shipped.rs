//! Every config that is shipped is understood by the command that its first line names.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Bootstrap, Config, Rank, Recipe, Sample, Settings};
use crate::decode::decode;
use crate::tree::Tree;

fn configs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|file| file.extension() == Some("toml".as_ref()));
    files.chain(folders.iter().flat_map(|folder| configs(folder))).collect()
}

fn understood<S: Settings>(text: &str, file: &Path) {
    let (config, mismatches) = decode::<S>(&Tree::parse(text).unwrap());
    assert!(mismatches.is_empty(), "{}: {mismatches:?}", file.display());
    let mut config = config.unwrap();
    config.run().name = "named by its file".into();
    assert!(config.validate().is_empty(), "{}: {:?}", file.display(), config.validate());
}

#[test]
fn every_config_that_is_shipped_is_understood_by_its_command() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let files = configs(&root.join("configs"));
    assert!(files.len() >= 16, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let first = text.lines().next().unwrap();
        let mut words = first.trim_start_matches("# ").split(' ');
        if words.next() != Some("albacore") {
            understood::<Config>(&text, &file);
            continue;
        }
        match words.next().unwrap() {
            "train" => understood::<Config>(&text, &file),
            "bootstrap" => understood::<Bootstrap>(&text, &file),
            "sample" => understood::<Sample>(&text, &file),
            "rank" => understood::<Rank>(&text, &file),
            "tuna" => understood::<Recipe>(&text, &file),
            other => panic!("{}: {other}", file.display()),
        }
        let named = file.strip_prefix(&root).unwrap().display().to_string();
        assert!(first.ends_with(&named), "{named}: {first}");
    }
}
