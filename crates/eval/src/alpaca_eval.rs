//! AlpacaEval's win rate, from annotations.
//!
//! - Layout: `annotations.json`, an array of `{instruction, output_1, output_2, dataset, preference}`: 1 if the first
//!   output is better (that of the model compared with), 2 if the second is, 0 or 1.5 for a tie, or any
//!   number between; null if the judge gave none.
//! - Win rate: the mean of preference - 1 as a percentage, a tie as half; annotations without a preference
//!   are left out. Standard error: the sample's deviation over the root of its size.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::folder::json;
use crate::{Error, Result};

/// What a judge prefers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Annotation {
    /// What was asked.
    pub instruction: String,
    /// Where the instruction is from.
    #[serde(default)]
    pub dataset: String,
    /// From 1, the first output, to 2, the second; 0 is a tie too.
    pub preference: Option<f64>,
}

/// A model's wins against another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WinRate {
    /// In percent.
    pub win_rate: f64,
    /// Of the win rate, in percent.
    pub standard_error: f64,
    /// Preferences above 1.5.
    pub wins: usize,
    /// Preferences below.
    pub losses: usize,
    /// Neither.
    pub draws: usize,
    /// Annotations without a preference.
    pub without: usize,
}

/// Reads annotations.
///
/// # Errors
/// If the file cannot be read, is malformed, or holds a preference that is none.
pub fn read_annotations(path: &Path) -> Result<Vec<Annotation>> {
    let annotations: Vec<Annotation> = json(path)?;
    let wrong = |(place, annotation): (usize, &Annotation)| {
        let preference = annotation.preference?;
        let is_known = preference == 0.0 || (1.0..=2.0).contains(&preference);
        (!is_known).then_some((place, preference))
    };
    match annotations.iter().enumerate().find_map(wrong) {
        Some((place, preference)) => Err(Error::malformed(
            path.display(),
            format!("preference {place} is {preference}, wanted 0, null or from 1 to 2"),
        )),
        None => Ok(annotations),
    }
}

/// The win rate of the second model. `None` without preferences.
pub fn win_rate<'a>(annotations: impl IntoIterator<Item = &'a Annotation>) -> Option<WinRate> {
    let (mut shares, mut without) = (Vec::new(), 0);
    for annotation in annotations {
        match annotation.preference {
            Some(preference) => shares.push(if preference == 0.0 { 0.5 } else { preference - 1.0 }),
            None => without += 1,
        }
    }
    let n = shares.len() as f64;
    if shares.is_empty() {
        return None;
    }
    let mean = shares.iter().sum::<f64>() / n;
    let squares: f64 = shares.iter().map(|share| (share - mean).powi(2)).sum();
    // Of one annotation alone there is no deviation.
    let deviation = if n > 1.0 { (squares / (n - 1.0)).sqrt() } else { 0.0 };
    let count = |is: fn(f64) -> bool| shares.iter().filter(|share| is(**share)).count();
    Some(WinRate {
        win_rate: 100.0 * mean,
        standard_error: 100.0 * deviation / n.sqrt(),
        wins: count(|share| share > 0.5),
        losses: count(|share| share < 0.5),
        draws: count(|share| share == 0.5),
        without,
    })
}

/// The win rate on each of the sets that the instructions are from.
pub fn win_rates_by_dataset(annotations: &[Annotation]) -> BTreeMap<&str, WinRate> {
    let mut by: BTreeMap<&str, Vec<&Annotation>> = BTreeMap::new();
    for annotation in annotations {
        by.entry(&annotation.dataset).or_default().push(annotation);
    }
    by.into_iter().filter_map(|(name, of)| Some((name, win_rate(of)?))).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn ties_count_half_and_nulls_not_at_all() {
        let lines = r#"[{"instruction": "a", "output_1": "x", "dataset": "d", "preference": 2},
            {"instruction": "b", "dataset": "d", "preference": 0},
            {"instruction": "c", "dataset": "e", "preference": 1.5},
            {"instruction": "d", "dataset": "e", "preference": 1},
            {"instruction": "e", "dataset": "e", "preference": null}]"#;
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), lines).unwrap();
        let annotations = read_annotations(file.path()).unwrap();
        let found = win_rate(&annotations).unwrap();
        assert_eq!((found.wins, found.losses, found.draws, found.without), (1, 1, 2, 1));
        assert_eq!(found.win_rate, 50.0);
        // Deviations 0.5, 0, 0, 0.5: the root of 0.5 / 3, over the root of 4.
        assert_eq!(found.standard_error, 100.0 * (0.5f64 / 3.0).sqrt() / 2.0);
        let by = win_rates_by_dataset(&annotations);
        assert_eq!([by["d"].win_rate, by["e"].win_rate], [75.0, 25.0]);
        fs::write(file.path(), lines.replace("\"preference\": 2}", "\"preference\": 3}")).unwrap();
        let error = read_annotations(file.path()).unwrap_err().to_string();
        assert!(error.ends_with("preference 0 is 3, wanted 0, null or from 1 to 2"), "{error}");
        assert_eq!(win_rate(&[]), None);
    }
}
