//! From a [`Tree`] to the crates' typed structs, finding every mistake on the way.
//!
//! serde stops at the first mistake. Here that mistake is noted, what caused it is taken out of the
//! tree, and decoding starts over, until nothing is left to complain of.

use std::fmt::Display;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};

use crate::tree::{Entry, Node, Place, Step, Tree, spell};

/// What does not fit, and where.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// What it is.
    pub kind: Kind,
    /// From the root to the value; built up from its end while the error travels to the root.
    pub path: Vec<Step>,
    /// Where it is written.
    pub place: Option<Place>,
}

/// What does not fit.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A key that no struct has.
    UnknownKey { key: String, known: &'static [&'static str] },
    /// A word that is none of the choices.
    UnknownChoice { found: String, known: &'static [&'static str] },
    /// A value of the wrong type or out of range.
    Wrong { found: String, wanted: String },
    /// A key that must be there.
    Missing { key: &'static str },
    /// Whatever else a struct's own code says.
    Other(String),
}

impl Mismatch {
    fn new(kind: Kind) -> Self {
        Self { kind, path: Vec::new(), place: None }
    }

    /// Adds the step that led here, and the place if none closer to the mistake is known.
    fn under(mut self, step: Step, place: Place) -> Self {
        self.path.insert(0, step);
        self.place.get_or_insert(place);
        self
    }
}

/// Decodes a struct; also returns all that does not fit. The struct is missing if what does not fit
/// has no default.
pub fn decode<T: DeserializeOwned>(tree: &Tree) -> (Option<T>, Vec<Mismatch>) {
    let (mut tree, mut mismatches) = (tree.clone(), Vec::<Mismatch>::new());
    loop {
        let mut mismatch = match T::deserialize(&tree) {
            Ok(value) => return (Some(value), mismatches),
            Err(mismatch) => mismatch,
        };
        let mut cause = mismatch.path.clone();
        match &mismatch.kind {
            Kind::UnknownKey { key, .. } => {
                // An enum's own table reports its keys from outside: find the key by its name.
                let missing_step = cause.last() != Some(&Step::Key(key.clone()));
                if missing_step {
                    if let Some(Node::Table(entries)) =
                        tree.get(&spell(&cause)).map(|table| &table.node)
                    {
                        let written = entries.iter().find(|entry| entry.key == *key);
                        mismatch.place = written.map(|entry| entry.place).or(mismatch.place);
                    }
                    cause.push(Step::Key(key.clone()));
                    mismatch.path.clone_from(&cause);
                }
            }
            Kind::Missing { key } => {
                // Not missing: taken out above, because its value does not fit.
                let full: Vec<Step> =
                    cause.iter().cloned().chain([Step::Key((*key).into())]).collect();
                if mismatches.iter().any(|known| known.path == full) {
                    tree.remove(&cause);
                    if cause.is_empty() {
                        return (None, mismatches);
                    }
                    continue;
                }
            }
            _ => {
                if let Some((key, place)) = culprit::<T>(&tree, &mismatch) {
                    cause.push(Step::Key(key));
                    mismatch = Mismatch { path: cause.clone(), place: Some(place), ..mismatch };
                }
            }
        }
        mismatches.push(mismatch);
        if cause.is_empty() {
            return (None, mismatches);
        }
        tree.remove(&cause);
    }
}

/// The key of a table without which its mistake would be another, or none, and where its value is.
///
/// serde copies the table of an enum that is told by its `kind` before it reads it: what does not fit
/// has lost its key.
fn culprit<T: DeserializeOwned>(tree: &Tree, mismatch: &Mismatch) -> Option<(String, Place)> {
    let Node::Table(entries) = &tree.get(&spell(&mismatch.path))?.node else { return None };
    let told = |other: &Mismatch| {
        (&other.path, other.to_string()) == (&mismatch.path, mismatch.to_string())
    };
    let guilty = |entry: &&Entry| {
        let mut rest = tree.clone();
        rest.remove(&[&mismatch.path[..], &[Step::Key(entry.key.clone())]].concat());
        !T::deserialize(&rest).is_err_and(|other| told(&other))
    };
    // Without its `kind` every mistake is another one.
    let (kind, others): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.key == "kind");
    let found = others.into_iter().chain(kind).find(guilty)?;
    Some((found.key.clone(), found.value.place))
}

impl de::Error for Mismatch {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(Kind::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::new(Kind::Wrong { found: name(found), wanted: plain(&wanted.to_string()) })
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::invalid_type(found, wanted)
    }

    fn invalid_length(found: usize, wanted: &dyn Expected) -> Self {
        let found = format!("a list of {found}");
        Self::new(Kind::Wrong { found, wanted: plain(&wanted.to_string()) })
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownChoice { found: found.into(), known })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownKey { key: key.into(), known })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Kind::Missing { key })
    }
}

impl Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl std::error::Error for Mismatch {}

/// What was found, in words.
fn name(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(text) => format!("the string `{text}`"),
        Unexpected::Signed(number) => format!("`{number}`"),
        Unexpected::Unsigned(number) => format!("`{number}`"),
        Unexpected::Float(number) => format!("`{number:?}`"),
        Unexpected::Bool(boolean) => format!("`{boolean}`"),
        Unexpected::Map | Unexpected::StructVariant => "a table".into(),
        Unexpected::Seq => "a list".into(),
        other => other.to_string(),
    }
}

/// What was wanted, in words: serde says it in those of Rust.
fn plain(wanted: &str) -> String {
    match wanted {
        "u64" | "u32" | "u16" | "usize" => "a whole number, 0 or more".into(),
        "i64" | "i32" | "isize" => "a whole number".into(),
        "f64" | "f32" => "a number".into(),
        "a boolean" => "`true` or `false`".into(),
        "a nonzero u64" | "a nonzero u32" | "a nonzero usize" => {
            "a whole number, at least 1".into()
        }
        other if other.starts_with("struct ") => "a table".into(),
        other => other.replace("a sequence", "a list").replace("a map", "a table"),
    }
}

impl<'de> de::Deserializer<'de> for &'de Tree {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.node {
            Node::Table(entries) => {
                visitor.visit_map(Entries { rest: entries.iter(), value: None })
            }
            Node::Array(items) => visitor.visit_seq(Items { rest: items.iter().enumerate() }),
            Node::String(text) | Node::Date(text) => visitor.visit_borrowed_str(text),
            Node::Integer(number) => visitor.visit_i64(*number),
            Node::Float(number) => visitor.visit_f64(*number),
            Node::Boolean(boolean) => visitor.visit_bool(*boolean),
            Node::Removed => visitor.visit_unit(),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match &self.node {
            Node::String(text) => visitor.visit_enum(word(text)),
            Node::Table(entries) => {
                let entries = Entries { rest: entries.iter(), value: None };
                visitor.visit_enum(MapAccessDeserializer::new(entries))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

fn word(text: &str) -> StrDeserializer<'_, Mismatch> {
    text.into_deserializer()
}

struct Entries<'de> {
    rest: std::slice::Iter<'de, Entry>,
    value: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Mismatch> {
        self.value = self.rest.next();
        let Some(entry) = self.value else { return Ok(None) };
        let key = seed.deserialize(word(&entry.key));
        key.map(Some).map_err(|error| error.under(Step::Key(entry.key.clone()), entry.place))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        let entry = self.value.take().expect("serde asks for a key before its value");
        let place = if matches!(entry.value.node, Node::Table(_) | Node::Array(_)) {
            entry.place
        } else {
            entry.value.place
        };
        let value = seed.deserialize(&entry.value);
        value.map_err(|error| error.under(Step::Key(entry.key.clone()), place))
    }
}

struct Items<'de> {
    rest: std::iter::Enumerate<std::slice::Iter<'de, Tree>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Mismatch;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Mismatch> {
        let mut left = self.rest.by_ref().filter(|(_, item)| !matches!(item.node, Node::Removed));
        let Some((index, item)) = left.next() else { return Ok(None) };
        let element = seed.deserialize(item);
        element.map(Some).map_err(|error| error.under(Step::Index(index), item.place))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Whole {
        train: Train,
        sources: Vec<Source>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Train {
        steps: Option<u64>,
        rate: f64,
        mode: Mode,
        pair: Option<(f64, f64)>,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Mode {
        #[default]
        Plain,
        OtherWay,
        Sized {
            size: u32,
        },
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Source {
        path: String,
        #[serde(default)]
        weight: f64,
    }

    fn mistakes(text: &str) -> Vec<String> {
        let (_, mismatches) = decode::<Whole>(&Tree::parse(text).unwrap());
        mismatches
            .iter()
            .map(|m| format!("{} {:?} {:?}", spell(&m.path), m.place, m.kind))
            .collect()
    }

    #[test]
    fn what_fits_is_decoded() {
        let text = "[train]\nsteps = 3\nrate = 1\nmode = \"other_way\"\npair = [0.9, 1]\n[[sources]]\npath = \"a\"\n";
        let (whole, mismatches) = decode::<Whole>(&Tree::parse(text).unwrap());
        let whole = whole.unwrap();
        assert!(mismatches.is_empty());
        assert_eq!((whole.train.steps, whole.train.rate), (Some(3), 1.0));
        assert_eq!((whole.train.mode, whole.train.pair), (Mode::OtherWay, Some((0.9, 1.0))));
        assert_eq!((whole.sources[0].path.as_str(), whole.sources[0].weight), ("a", 0.0));
        let (whole, _) = decode::<Whole>(&Tree::parse("train.mode.sized.size = 4").unwrap());
        assert_eq!(whole.unwrap().train.mode, Mode::Sized { size: 4 });
    }

    #[test]
    fn every_mistake_is_found_in_one_pass() {
        let text = "[train]\nstep = 3\nsteps = \"ten\"\nrate = true\nmode = \"othr\"\npair = [1]\n\
            [[sources]]\nweight = 1\n[[sources]]\npath = 3\n[trian]\n";
        let mistakes = mistakes(text);
        let starts = [
            "train.step ",
            "train.steps ",
            "train.rate ",
            "train.mode ",
            "train.pair ",
            "sources[0] ",
            "sources[1].path ",
            "trian ",
        ];
        assert_eq!(mistakes.len(), starts.len(), "{mistakes:#?}");
        for start in starts {
            assert!(mistakes.iter().any(|m| m.starts_with(start)), "{start} in {mistakes:#?}");
        }
    }

    #[test]
    fn a_required_key_of_the_wrong_type_is_not_also_missing() {
        let mistakes = mistakes("[[sources]]\npath = 3\n");
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].contains("line: 2, column: 8"), "{mistakes:?}");
    }

    #[test]
    fn a_negative_number_is_out_of_range() {
        let mistakes = mistakes("train.steps = -1\n");
        assert!(mistakes[0].contains("a whole number, 0 or more"), "{mistakes:?}");
    }
}
