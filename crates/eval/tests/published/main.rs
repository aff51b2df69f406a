//! Scores against published outputs and their published numbers.
//!
//! They need the benchmarks' own files, which are not part of the project: `ALBACORE_EVAL_DATA` names a
//! folder of them. Without it these tests say so and pass.

mod judging;
mod lmentry;
mod rouge;
mod tydiqa;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

/// The folder of the benchmarks' files.
fn data() -> Option<PathBuf> {
    let data = std::env::var_os("ALBACORE_EVAL_DATA").map(PathBuf::from);
    if data.is_none() {
        eprintln!("skipped: ALBACORE_EVAL_DATA does not name a folder of benchmarks");
    }
    data
}

/// The lines of a file, packed or not.
fn lines(path: &Path) -> impl Iterator<Item = String> + use<> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file: Box<dyn Read> = match path.extension().is_some_and(|ending| ending == "gz") {
        true => Box::new(GzDecoder::new(file)),
        false => Box::new(file),
    };
    BufReader::new(file).lines().map(|line| line.expect("a line of text"))
}
