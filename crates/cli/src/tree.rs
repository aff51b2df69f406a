//! A TOML document that remembers where everything in it was written, and `--set` on top of it.

use toml::de::{DeTable, DeValue};

/// Where a key or a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file, from 1.
    File {
        /// Line.
        line: usize,
        /// Column, in characters.
        column: usize,
    },
    /// In the `--set` of this index.
    Set(usize),
    /// In `--seed`.
    Seed,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Where the value starts; of a table, where its header does.
    pub place: Place,
    /// The value.
    pub node: Node,
}

/// A value.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Node {
    Table(Vec<Entry>),
    Array(Vec<Tree>),
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Date(String),
    /// What [`Tree::remove`] leaves in a list, so that the others keep their index.
    Removed,
}

/// A key of a table, with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key is written.
    pub place: Place,
    /// The value.
    pub value: Tree,
}

/// One step of the way from the root to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into a table.
    Key(String),
    /// Into an array.
    Index(usize),
}

/// The way from the root to a value: `data.sources[1].path`.
pub fn spell(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text += key,
            Step::Key(key) => text += &format!(".{key}"),
            Step::Index(index) => text += &format!("[{index}]"),
        }
    }
    text
}

impl Tree {
    /// Reads a document, or says all that is wrong with its syntax.
    ///
    /// # Errors
    /// Each problem with its place.
    pub fn parse(text: &str) -> Result<Self, Vec<(Place, String)>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            let start = Place::File { line: 1, column: 1 };
            return Ok(Self::of_table(table.get_ref(), start, &|at| place(text, at)));
        }
        let locate = |error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            (place(text, at), error.message().replace('\n', ", "))
        };
        Err(errors.into_iter().map(locate).collect())
    }

    /// Reads one value as it is typed in `--set`: TOML, or else a plain string.
    fn parse_value(text: &str, place: Place) -> Self {
        let document = format!("value = {text}");
        match DeTable::parse(&document) {
            Ok(table) if table.get_ref().len() == 1 => {
                let (_, value) = table.get_ref().iter().next().expect("one key was counted");
                Self::of_value(value.get_ref(), place, &|_| place)
            }
            _ => Self { place, node: Node::String(text.into()) },
        }
    }

    fn of_table(table: &DeTable<'_>, place: Place, locate: &dyn Fn(usize) -> Place) -> Self {
        let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| Entry {
            key: AsRef::<str>::as_ref(key.get_ref()).to_owned(),
            place: locate(key.span().start),
            value: Self::of_value(value.get_ref(), locate(value.span().start), locate),
        };
        Self { place, node: Node::Table(table.iter().map(entry).collect()) }
    }

    fn of_value(value: &DeValue<'_>, place: Place, locate: &dyn Fn(usize) -> Place) -> Self {
        let node = match value {
            DeValue::Table(table) => return Self::of_table(table, place, locate),
            DeValue::Array(items) => {
                let item = |item: &toml::Spanned<DeValue<'_>>| {
                    Self::of_value(item.get_ref(), locate(item.span().start), locate)
                };
                Node::Array(items.iter().map(item).collect())
            }
            DeValue::String(text) => Node::String(text.to_string()),
            // A number that does not fit is kept as it is written: the wrong type, with its text.
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .map_or_else(|_| Node::String(integer.as_str().into()), Node::Integer),
            DeValue::Float(float) => float
                .as_str()
                .parse()
                .map_or_else(|_| Node::String(float.as_str().into()), Node::Float),
            DeValue::Boolean(boolean) => Node::Boolean(*boolean),
            DeValue::Datetime(date) => Node::Date(date.to_string()),
        };
        Self { place, node }
    }

    /// What stands at the end of a key such as `data.sources[0].path`, if anything does.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let mut parts = key.split(['.', '[']).map(|part| part.strip_suffix(']').unwrap_or(part));
        parts.try_fold(self, |tree, part| match &tree.node {
            Node::Table(entries) => Some(&entries.iter().find(|entry| entry.key == part)?.value),
            Node::Array(items) => items.get(part.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// The value as a string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.node {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    /// Applies `KEY=VALUE`; its place becomes that of the value.
    ///
    /// # Errors
    /// If there is no `=`, or the key leads through something that is no table.
    pub fn set(&mut self, assignment: &str, place: Place) -> Result<(), String> {
        let (key, value) = assignment
            .split_once('=')
            .ok_or_else(|| format!("`{assignment}` has no `=`, wanted KEY=VALUE"))?;
        let (key, value) = (key.trim(), value.trim());
        // Either says how long to train: the last one said counts.
        match key {
            "train.steps" => self.remove(&[Step::Key("train".into()), Step::Key("epochs".into())]),
            "train.epochs" => self.remove(&[Step::Key("train".into()), Step::Key("steps".into())]),
            _ => {}
        }
        let target = key.split('.').try_fold(self, |tree, part| tree.enter(part, place));
        *target.ok_or_else(|| format!("`{key}` leads through something that is no table"))? =
            Self::parse_value(value, place);
        Ok(())
    }

    /// The value under `part`, made if the table does not have it.
    fn enter(&mut self, part: &str, place: Place) -> Option<&mut Self> {
        match &mut self.node {
            Node::Table(entries) => {
                let known = entries.iter().position(|entry| entry.key == part);
                let index = known.unwrap_or_else(|| {
                    let value = Self { place, node: Node::Table(Vec::new()) };
                    entries.push(Entry { key: part.into(), place, value });
                    entries.len() - 1
                });
                entries[index].place = place;
                Some(&mut entries[index].value)
            }
            Node::Array(items) => items.get_mut(part.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// Takes out what stands at the end of `path`, if anything does.
    pub fn remove(&mut self, path: &[Step]) {
        match (&mut self.node, path) {
            (Node::Table(entries), [Step::Key(key)]) => entries.retain(|entry| &entry.key != key),
            (Node::Array(items), [Step::Index(index)]) if *index < items.len() => {
                items[*index].node = Node::Removed;
            }
            (Node::Table(entries), [Step::Key(key), rest @ ..]) => {
                if let Some(entry) = entries.iter_mut().find(|entry| &entry.key == key) {
                    entry.value.remove(rest);
                }
            }
            (Node::Array(items), [Step::Index(index), rest @ ..]) => {
                if let Some(item) = items.get_mut(*index) {
                    item.remove(rest);
                }
            }
            _ => {}
        }
    }
}

/// The line and column of a byte.
fn place(text: &str, byte: usize) -> Place {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place::File {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Tree {
        Tree::parse(text).unwrap()
    }

    #[test]
    fn a_value_knows_its_line_and_column() {
        let tree = tree("[run]\nname = \"é\"\n[train]\n  steps = 0x10\n");
        assert_eq!(tree.get("train.steps").unwrap().place, Place::File { line: 4, column: 11 });
        assert!(matches!(tree.get("train.steps").unwrap().node, Node::Integer(16)));
    }

    #[test]
    fn every_syntax_error_is_found_at_its_line() {
        let errors = Tree::parse("[run\ndir = \"a\"\n[train]\nsteps = = 1\n").unwrap_err();
        let lines: Vec<_> = errors.iter().map(|(place, _)| *place).collect();
        assert!(matches!(lines[0], Place::File { line: 1, .. }), "{errors:?}");
        assert!(lines.iter().any(|place| matches!(place, Place::File { line: 4, .. })));
    }

    #[test]
    fn set_takes_toml_and_plain_words() {
        let mut tree = tree("[train]\nepochs = 3\n[[data.sources]]\npath = \"a\"\n");
        for (index, set) in [
            "train.steps=10",
            "run.dir=runs/a",
            "optim.betas = [0.9, 0.99]",
            "data.sources.0.path=b",
        ]
        .iter()
        .enumerate()
        {
            tree.set(set, Place::Set(index)).unwrap();
        }
        assert!(matches!(tree.get("train.steps").unwrap().node, Node::Integer(10)));
        assert!(tree.get("train.epochs").is_none(), "set steps replace epochs");
        assert_eq!(tree.get("run.dir").unwrap().as_str(), Some("runs/a"));
        assert!(
            matches!(&tree.get("optim.betas").unwrap().node, Node::Array(items) if items.len() == 2)
        );
        assert_eq!(tree.get("data.sources.0.path").unwrap().as_str(), Some("b"));
        assert!(tree.set("train.steps.x=1", Place::Set(0)).is_err());
        assert!(tree.set("train.steps", Place::Set(0)).is_err());
    }

    #[test]
    fn a_set_value_cannot_smuggle_in_a_second_key() {
        let mut tree = tree("");
        tree.set("a=1\nb = 2", Place::Set(0)).unwrap();
        assert!(tree.get("b").is_none());
        assert_eq!(tree.get("a").unwrap().as_str(), Some("1\nb = 2"));
    }

    #[test]
    fn any_text_parses_or_says_where_it_does_not() {
        let places = |text: &str| {
            let errors = Tree::parse(text).map_or_else(|errors| errors, |_| Vec::new());
            errors.into_iter().map(|(place, _)| place).collect::<Vec<_>>()
        };
        for text in ["", "a = 99999999999999999999", "\u{feff}a = 1"] {
            assert_eq!(places(text), [], "{text:?}");
        }
        let wrong =
            [("=", 1, 1), ("a = 1\n[[", 2, 3), ("a = \"é\\q\"", 1, 8), ("a.b = 1\na = 2", 2, 1)];
        for (text, line, column) in wrong {
            assert_eq!(places(text).first(), Some(&Place::File { line, column }), "{text:?}");
        }
    }
}
