//! What a config says of a mixture: the weights of sources, and the groups that they stand in.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The value of `weight`: how much of a mixture a source or a group is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weight {
    /// So many parts, beside those of its neighbours.
    Parts(f64),
    /// `"proportional"`: as many parts as it has examples, at most its cap.
    Proportional,
}

impl Serialize for Weight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Parts(parts) => serializer.serialize_f64(*parts),
            Self::Proportional => serializer.serialize_str("proportional"),
        }
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PartsOrWord;

        impl Visitor<'_> for PartsOrWord {
            type Value = Weight;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number (`0.4`) or `\"proportional\"`")
            }

            fn visit_i64<E>(self, parts: i64) -> Result<Weight, E> {
                Ok(Weight::Parts(parts as f64))
            }

            fn visit_u64<E>(self, parts: u64) -> Result<Weight, E> {
                Ok(Weight::Parts(parts as f64))
            }

            fn visit_f64<E>(self, parts: f64) -> Result<Weight, E> {
                Ok(Weight::Parts(parts))
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Weight, E> {
                match word {
                    "proportional" => Ok(Weight::Proportional),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }
        }

        deserializer.deserialize_any(PartsOrWord)
    }
}

/// A group of sources that are weighed against each other, and then together against its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupConfig {
    /// Its part of the group around it, or of the whole: a number, or `"proportional"`; default: what
    /// its members add up to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
    /// The cap of every source in it that has none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<usize>,
    /// The temperature of its sources; default: that of the group around it, or `data.temperature`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The group that it stands in; default: none, it is a part of the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}
