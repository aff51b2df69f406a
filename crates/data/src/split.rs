//! Which examples are held out from training.

use std::collections::HashMap;
use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::random::{Random, shuffled};
use crate::{Encoded, Error, Result};

/// The value of `data.held_out`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeldOut {
    /// So many examples.
    Count(usize),
    /// This part of them, rounded to the nearest count, at least one.
    Share(f64),
}

impl HeldOut {
    /// How many of `len` examples these are.
    pub fn of(self, len: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Share(share) if share > 0.0 => ((len as f64 * share).round() as usize).max(1),
            Self::Share(_) => 0,
        }
    }
}

impl Serialize for HeldOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u64(*count as u64),
            Self::Share(share) => serializer.serialize_f64(*share),
        }
    }
}

impl<'de> Deserialize<'de> for HeldOut {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountOrShare;

        impl Visitor<'_> for CountOrShare {
            type Value = HeldOut;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count (`100`) or a share (`0.05`)")
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<HeldOut, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Signed(count), &self);
                usize::try_from(count).map(HeldOut::Count).map_err(wrong)
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<HeldOut, E> {
                Ok(HeldOut::Count(count as usize))
            }

            fn visit_f64<E>(self, share: f64) -> Result<HeldOut, E> {
                Ok(HeldOut::Share(share))
            }
        }

        deserializer.deserialize_any(CountOrShare)
    }
}

/// Chooses exactly `count` examples at random; returns for each example whether it is held out.
///
/// Examples with the same prompt stay on one side, so that the held-out loss measures no answer to a
/// prompt that was trained on: whole groups are taken in random order, those that are too large for
/// what is left are passed over. Only if this does not reach `count` is a group divided, at random.
///
/// # Errors
/// If nothing would be left to train on.
pub(crate) fn hold_out(examples: &[&Encoded], count: usize, seed: u64) -> Result<Vec<bool>> {
    let mut held_out = vec![false; examples.len()];
    if count == 0 {
        return Ok(held_out);
    }
    if count >= examples.len() {
        return Err(Error::HeldOut { wanted: count, found: examples.len() });
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut group_of = HashMap::new();
    for (index, example) in examples.iter().enumerate() {
        let group = *group_of.entry(example.prompt()).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(index);
    }
    let order = shuffled(groups.len(), Random::new(seed, "held out", 0));
    let mut left = count;
    for group in order.iter().map(|group| &groups[*group as usize]) {
        if group.len() <= left {
            left -= group.len();
            group.iter().for_each(|index| held_out[*index] = true);
        }
    }
    // Every group that was passed over is larger than what is left: one of them is enough.
    let mut groups = order.iter().map(|group| &groups[*group as usize]);
    if let Some(group) = groups.find(|group| !held_out[group[0]]) {
        let chosen = shuffled(group.len(), Random::new(seed, "held out of a group", 0));
        chosen[..left].iter().for_each(|index| held_out[group[*index as usize]] = true);
    }
    Ok(held_out)
}
