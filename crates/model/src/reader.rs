//! Reading the values of a JSON object, and noting everything wrong with them at once.

use serde_json::{Map, Value};

/// Largest size that is believed, so that products of sizes cannot overflow.
const LARGEST: usize = 1 << 24;
/// Most blocks that are believed.
const MOST_LAYERS: usize = 10_000;

/// Reads the values of a JSON object and notes everything wrong with them.
pub(crate) struct Reader<'j> {
    pub(crate) json: &'j Map<String, Value>,
    /// Prefix of the keys in problems.
    prefix: String,
    pub(crate) problems: Vec<String>,
}

impl<'j> Reader<'j> {
    /// A reader of the whole file.
    pub(crate) fn new(json: &'j Map<String, Value>) -> Self {
        Self { json, prefix: String::new(), problems: Vec::new() }
    }

    /// A reader of an object that stands under `key`.
    pub(crate) fn within(json: &'j Map<String, Value>, key: &str) -> Self {
        Self { json, prefix: format!("{key}."), problems: Vec::new() }
    }

    /// Takes over the problems of an inner reader.
    pub(crate) fn absorb(&mut self, inner: Reader<'_>) {
        self.problems.extend(inner.problems);
    }

    /// Notes a problem.
    pub(crate) fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    fn wanted(&mut self, key: &str, wanted: &str) {
        let key = format!("{}{key}", self.prefix);
        match self.json.get(key.rsplit('.').next().unwrap_or(&key)) {
            None | Some(Value::Null) => {
                self.problem(format!("`{key}` is missing, wanted {wanted}"))
            }
            Some(value) => {
                let mut found = value.to_string();
                if found.chars().count() > 60 {
                    found = found.chars().take(60).chain("…".chars()).collect();
                }
                self.problem(format!("`{key}` is `{found}`, wanted {wanted}"));
            }
        }
    }

    /// The value under `key`, where there is one and it is not null.
    pub(crate) fn present(&self, key: &str) -> Option<&'j Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    /// The object under `key`, or `None` where there is none.
    pub(crate) fn object(&mut self, key: &str) -> Option<&'j Map<String, Value>> {
        let value = self.present(key)?;
        if value.as_object().is_none() {
            self.wanted(key, "an object");
        }
        value.as_object()
    }

    /// A whole number of at least 1; a default of 0 stands for "derived".
    pub(crate) fn count(&mut self, key: &str, default: Option<usize>) -> usize {
        let most = if key == "num_hidden_layers" { MOST_LAYERS } else { LARGEST };
        match (self.present(key), default) {
            (None, Some(default)) => default,
            (value, _) => match value.and_then(Value::as_u64) {
                Some(count) if (1..=most as u64).contains(&count) => count as usize,
                _ => {
                    self.wanted(key, &format!("a whole number from 1 to {most}"));
                    1
                }
            },
        }
    }

    /// Any number.
    pub(crate) fn number(&mut self, key: &str, default: f64) -> f64 {
        let Some(value) = self.present(key) else { return default };
        value.as_f64().unwrap_or_else(|| {
            self.wanted(key, "a number");
            default
        })
    }

    /// A number above 0.
    pub(crate) fn positive(&mut self, key: &str, default: Option<f64>) -> f64 {
        match (self.present(key), default) {
            (None, Some(default)) => default,
            (value, _) => match value.and_then(Value::as_f64) {
                Some(number) if number > 0.0 && number.is_finite() => number,
                _ => {
                    self.wanted(key, "a number above 0");
                    1.0
                }
            },
        }
    }

    /// True or false.
    pub(crate) fn flag(&mut self, key: &str, default: bool) -> bool {
        let Some(value) = self.present(key) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.wanted(key, "true or false");
            default
        })
    }

    /// One token id or a list of them; negative ones, which some files use for "none", are left out.
    pub(crate) fn ids(&mut self, key: &str) -> Vec<u32> {
        let Some(value) = self.present(key) else { return Vec::new() };
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        if values.iter().any(|value| value.as_i64().is_none_or(|id| id > i64::from(u32::MAX))) {
            self.wanted(key, "a token id or a list of them");
        }
        values.iter().filter_map(|value| u32::try_from(value.as_u64()?).ok()).collect()
    }
}
