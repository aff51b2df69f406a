//! An item: what a record of a task says, by the names that templates have for it.

use serde_json::Value;

use crate::Defect;
use crate::format::{Names, Object, kind};

/// What a record says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Item {
    /// Text by name. The one named `answer` is what is learned.
    pub(crate) fields: Vec<(String, String)>,
    /// What the answer is one of, if it is to be chosen.
    pub(crate) options: Vec<String>,
    /// What was said so far, if it is a dialog; the answer comes next.
    pub(crate) turns: Vec<String>,
}

impl Item {
    /// The text of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, text)| text.as_str())
    }

    /// Sets the text of a field.
    pub(crate) fn set(&mut self, name: &str, text: impl Into<String>) {
        self.fields.push((name.to_owned(), text.into()));
    }

    /// Reads an object: its fields that are text, numbers or truth values; the list `options`, or those of
    /// the source; and the list `turns`, the last of which is the answer if there is no `answer`. An
    /// answer that is a number is the place, from 0, of one of the options.
    pub(crate) fn of(object: Object, names: Names<'_>, options: &[String]) -> Result<Self, Defect> {
        let mut item = Self { options: options.to_vec(), ..Self::default() };
        let name_of = |key: &str, ours: &str| key == names.of(ours);
        let mut answer = None;
        for (key, value) in object {
            if name_of(&key, "options") {
                item.options = texts(&key, value)?;
            } else if name_of(&key, "turns") {
                item.turns = texts(&key, value)?;
            } else if name_of(&key, "answer") {
                answer = Some((key, value));
            } else if let Some(text) = text(&value) {
                let ours = names.0.iter().find(|(_, theirs)| **theirs == key);
                item.fields.push((ours.map_or(key, |(ours, _)| ours.clone()), text));
            }
        }
        item.answer(answer)?;
        Ok(item)
    }

    fn answer(&mut self, found: Option<(String, Value)>) -> Result<(), Defect> {
        let (key, text) = match found {
            Some((key, Value::Number(number))) if !self.options.is_empty() => {
                let place = number.as_u64().and_then(|place| self.options.get(place as usize));
                let option = place.ok_or_else(|| self.none_of(&key, &number.to_string()))?;
                (key, option.clone())
            }
            Some((key, value)) => match text(&value) {
                Some(text) => (key, text),
                None => {
                    return Err(Defect::Type {
                        what: format!("`{key}`"),
                        found: kind(&value),
                        wanted: "text",
                    });
                }
            },
            None if !self.turns.is_empty() => {
                let last = self.turns.pop().unwrap_or_default();
                ("turns".to_owned(), last)
            }
            // The templates may have no place for one.
            None => return Ok(()),
        };
        self.check(&key, &text)?;
        self.set("answer", text);
        Ok(())
    }

    /// Refuses an answer that is blank, or none of the options.
    pub(crate) fn check(&self, key: &str, text: &str) -> Result<(), Defect> {
        if text.trim().is_empty() {
            let found = if text.is_empty() { "is `\"\"`" } else { "holds only whitespace" };
            return Err(Defect::EmptyAnswer { field: key.to_owned(), found });
        }
        let is_option = |option: &String| option.trim() == text.trim();
        match self.options.is_empty() || self.options.iter().any(is_option) {
            true => Ok(()),
            false => Err(self.none_of(key, text)),
        }
    }

    fn none_of(&self, field: &str, found: &str) -> Defect {
        let (field, found) = (field.to_owned(), found.to_owned());
        Defect::NoOption { field, found, options: self.options.clone().into() }
    }
}

/// What can be put into a pattern.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A list of texts, or of objects whose text stands under `content`, `value` or `text`.
fn texts(key: &str, value: Value) -> Result<Vec<String>, Defect> {
    let wrong =
        |what: String, value: &Value, wanted| Defect::Type { what, found: kind(value), wanted };
    let Value::Array(list) = value else {
        return Err(wrong(format!("`{key}`"), &value, "a list of texts"));
    };
    let texts = list.into_iter().map(|item| {
        let inside = ["content", "value", "text"].iter().find_map(|name| item.get(name));
        let found = text(inside.unwrap_or(&item));
        found.ok_or_else(|| wrong(format!("an item of `{key}`"), &item, "text"))
    });
    texts.collect()
}
