//! What judges have made of answers: `judged.json` and `rated.json` of a run folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use albacore_eval::{Agreement, Contested, JudgeAgreement, JudgeConfig, Ratings};
use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::failure::Result;

/// The totals of answers that were compared two by two.
pub const JUDGED: &str = "judged.json";
/// The counts of answers that were rated.
pub const RATED: &str = "rated.json";

/// What was judged, and how: from this the numbers follow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The version of the binary.
    pub version: String,
    /// The files of answers.
    pub answers: Vec<PathBuf>,
    /// The questions, where the answers did not tell them.
    pub questions: Option<PathBuf>,
    /// The suite whose answers counted.
    pub suite: Option<String>,
    /// How many of each category, or of each model.
    pub limit: Option<u64>,
    /// How judges were asked.
    pub judge: JudgeConfig,
    /// Start of the random numbers.
    pub seed: u64,
    /// Judges that were not asked all, and why: nothing is told of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unfinished: BTreeMap<String, String>,
}

/// What two judges have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Between<T> {
    /// One judge.
    pub one: String,
    /// The other.
    pub other: String,
    /// How far they agree.
    pub agreement: T,
}

/// Answers that were compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// What was judged.
    pub asked: Asked,
    /// Every two models, judge by judge.
    pub contests: Vec<Contested>,
    /// Every two judges.
    pub agreements: Vec<Between<JudgeAgreement>>,
}

/// Answers that were rated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RatedAnswers {
    /// What was rated.
    pub asked: Asked,
    /// Every model, judge by judge.
    pub ratings: Vec<Ratings>,
    /// Every two judges.
    pub agreements: Vec<Between<Agreement>>,
}

/// Every two of some judges, with what `agreement` says of the two at these places.
pub fn between<T>(judges: &[String], agreement: impl Fn(usize, usize) -> T) -> Vec<Between<T>> {
    let places = (0..judges.len()).flat_map(|other| (0..other).map(move |one| (one, other)));
    let between = |(one, other): (usize, usize)| Between {
        agreement: agreement(one, other),
        one: judges[one].clone(),
        other: judges[other].clone(),
    };
    places.map(between).collect()
}

/// Writes the numbers; what was there stays until all of it is written.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, numbers: &impl Serialize) -> Result<()> {
    replace(path, &(serde_json::to_string_pretty(numbers)? + "\n"))
}

/// Writes a value a line, all of them or none.
///
/// # Errors
/// If the file cannot be written.
pub fn write_lines(path: &Path, lines: impl Iterator<Item = serde_json::Value>) -> Result<()> {
    replace(path, &lines.map(|line| format!("{line}\n")).collect::<String>())
}

/// What a file is called until all of it is there.
pub fn partial(path: &Path) -> PathBuf {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    partial.into()
}

fn replace(path: &Path, text: &str) -> Result<()> {
    let partial = partial(path);
    let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, path));
    Ok(written.with_context(|| format!("cannot write `{}`", path.display()))?)
}
