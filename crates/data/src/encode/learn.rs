//! Which tokens are learned.

use std::fmt;

use serde::de::{self, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The value of `data.learn`: which tokens the model is trained to predict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Learn {
    /// `"answers"`: everything that the assistant says, each time up to its end-of-turn token; not
    /// the newline that many chat templates write behind it, which nobody generates.
    #[default]
    Answers,
    /// `"last"`: the last thing that the assistant says.
    Last,
    /// `"all"`: every token.
    All,
    /// `"role:NAME"`: the messages of one role. In a record of prompt and answer, the prompt is the
    /// `user`'s and the answer the `assistant`'s.
    Role(String),
}

impl fmt::Display for Learn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answers => f.write_str("answers"),
            Self::Last => f.write_str("last"),
            Self::All => f.write_str("all"),
            Self::Role(role) => write!(f, "role:{role}"),
        }
    }
}

impl Serialize for Learn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Learn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match (text.as_str(), text.strip_prefix("role:")) {
            ("answers", _) => Ok(Self::Answers),
            ("last", _) => Ok(Self::Last),
            ("all", _) => Ok(Self::All),
            (_, Some(role)) if !role.is_empty() => Ok(Self::Role(role.to_owned())),
            _ => Err(de::Error::invalid_value(
                Unexpected::Str(&text),
                &"`answers`, `last`, `all` or `role:NAME`",
            )),
        }
    }
}

impl Learn {
    /// Whether what this role says is learned, in every turn or in its last one.
    pub(crate) fn wants(&self, role: &str) -> bool {
        match self {
            Self::Answers | Self::Last => role == "assistant",
            Self::All => true,
            Self::Role(wanted) => role == wanted,
        }
    }
}
