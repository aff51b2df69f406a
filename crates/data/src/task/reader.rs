//! Readers: what a file of public tasks looks like, and what its records say.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::format::{Names, Object};
use crate::read::{message, object};
use crate::task::item::Item;
use crate::task::shards::{Raw, Shard};
use crate::{Defect, Error, Format, Random, Result};

/// How the records of a task are read.
#[derive(Clone, Debug)]
pub(crate) enum Reader {
    /// JSON objects with the fields of the family.
    Objects,
    /// Instances of a Super-NaturalInstructions task.
    SuperNi(Box<SuperNi>),
    /// Lines of question, answer and rationale.
    Cot,
    /// Rows of a question, four options and the letter of the right one; with the subject.
    Mmlu(String),
    /// Items of `input` and `target`.
    Bbh,
}

/// What all instances of a Super-NaturalInstructions task share.
#[derive(Clone, Debug, Default)]
pub(crate) struct SuperNi {
    /// What is to be done.
    pub(crate) definition: String,
    /// Examples, with explanations.
    pub(crate) positives: Vec<Positive>,
}

/// An example of a Super-NaturalInstructions task.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Positive {
    pub(crate) input: String,
    #[serde(deserialize_with = "first")]
    pub(crate) output: String,
    #[serde(default)]
    pub(crate) explanation: String,
}

/// A file as a task: its reader, its records, and the categories that it names.
pub(crate) struct Opened {
    pub(crate) reader: Reader,
    pub(crate) shard: Shard,
    pub(crate) categories: Vec<String>,
}

#[derive(Deserialize)]
struct SuperNiFile<'a> {
    #[serde(rename = "Definition", deserialize_with = "joined")]
    definition: String,
    #[serde(rename = "Categories", default)]
    categories: Vec<String>,
    #[serde(rename = "Positive Examples", default)]
    positives: Vec<Positive>,
    #[serde(rename = "Instances", borrow)]
    instances: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct BbhFile<'a> {
    #[serde(borrow)]
    examples: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

fn joined<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(text) => text,
        OneOrMore::More(texts) => texts.join(" "),
    })
}

fn first<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(text) => text,
        OneOrMore::More(texts) => texts.into_iter().next().unwrap_or_default(),
    })
}

/// Examples that a Tk-Instruct prompt shows.
const SHOWN: usize = 2;

impl Opened {
    /// Opens a file of a task of this format.
    ///
    /// # Errors
    /// If it cannot be read, or is not what the format says.
    pub(crate) fn new(path: &Path, format: Format) -> Result<Self> {
        let (reader, shard) = match format {
            Format::SuperNi => return Self::super_ni(path),
            Format::Bbh => {
                let bytes = read(path)?;
                let file: BbhFile<'_> = parse(path, &bytes)?;
                (Reader::Bbh, items(path, &bytes, &file.examples)?)
            }
            Format::Mmlu => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let subject = ["_test", "_dev", "_val", "_train"]
                    .iter()
                    .find_map(|part| stem.strip_suffix(part))
                    .unwrap_or(&stem)
                    .replace('_', " ");
                (Reader::Mmlu(subject), rows(path)?)
            }
            Format::Cot => (Reader::Cot, Shard::of_lines(path)?),
            _ => (Reader::Objects, objects(path)?),
        };
        Ok(Self { reader, shard, categories: Vec::new() })
    }

    fn super_ni(path: &Path) -> Result<Self> {
        let bytes = read(path)?;
        let file: SuperNiFile<'_> = parse(path, &bytes)?;
        let shard = items(path, &bytes, &file.instances)?;
        let definition = file.definition.trim().to_owned();
        let reader = Reader::SuperNi(SuperNi { definition, positives: file.positives }.into());
        Ok(Self { reader, shard, categories: file.categories })
    }
}

/// The objects of a file: JSON lines, an array, or Parquet.
pub(crate) fn objects(path: &Path) -> Result<Shard> {
    if is_parquet(path)? {
        return Shard::of_parquet(path);
    }
    let head = head(path)?;
    let head = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&head);
    match head.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => {
            let bytes = read(path)?;
            let list: Vec<&RawValue> = parse(path, &bytes)?;
            items(path, &bytes, &list)
        }
        _ => Shard::of_lines(path),
    }
}

/// Whether a file is Parquet, by its name or by its first bytes.
pub(crate) fn is_parquet(path: &Path) -> Result<bool> {
    let named = path.extension().is_some_and(|ending| ending == "parquet");
    Ok(named || head(path)?.starts_with(b"PAR1"))
}

/// The first bytes of a file.
fn head(path: &Path) -> Result<Vec<u8>> {
    let mut head = vec![0; 4096];
    let mut file = std::fs::File::open(path).map_err(|error| Error::read(path, error))?;
    let size = std::io::Read::read(&mut file, &mut head);
    head.truncate(size.map_err(|error| Error::read(path, error))?);
    Ok(head)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::read(path, error))
}

fn parse<'a, T: Deserialize<'a>>(path: &Path, bytes: &'a [u8]) -> Result<T> {
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    serde_json::from_slice(text).map_err(|error| Error::Syntax {
        path: path.into(),
        line: error.line(),
        column: error.column(),
        message: message(&error),
    })
}

/// Where the items of a list lie in the bytes they were read from.
fn items(path: &Path, bytes: &[u8], list: &[&RawValue]) -> Result<Shard> {
    let (mut line, mut seen) = (1, 0);
    let pieces = list.iter().map(|item| {
        let item = item.get().as_bytes();
        let start = item.as_ptr() as usize - bytes.as_ptr() as usize;
        line += memchr::memchr_iter(b'\n', &bytes[seen..start]).count() as u32;
        seen = start;
        (start as u64, item.len() as u32, line)
    });
    let pieces = pieces.collect();
    Shard::of_pieces(path, bytes, pieces)
}

/// Where the rows of a CSV without a header lie.
fn rows(path: &Path) -> Result<Shard> {
    let bytes = read(path)?;
    let mut reader = csv_reader(&bytes);
    let (mut pieces, mut row) = (Vec::new(), csv::ByteRecord::new());
    let mut line = 1;
    let mut seen = 0;
    loop {
        let start = reader.position().byte() as usize;
        let wrong = |error: csv::Error| Error::Syntax {
            path: path.into(),
            line,
            column: 1,
            message: error.to_string(),
        };
        if !reader.read_byte_record(&mut row).map_err(wrong)? {
            break;
        }
        // Line breaks before a row belong to none.
        let breaks = bytes[start..].iter().take_while(|byte| b"\r\n".contains(byte)).count();
        line += memchr::memchr_iter(b'\n', &bytes[seen..start + breaks]).count();
        seen = start + breaks;
        let length = reader.position().byte() as usize - seen;
        pieces.push((seen as u64, length as u32, line as u32));
    }
    Shard::of_pieces(path, &bytes, pieces)
}

fn csv_reader(bytes: &[u8]) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes)
}

impl Reader {
    /// What is said around every record, by name.
    pub(crate) fn shared_texts(&self) -> Vec<(String, String)> {
        let Self::SuperNi(task) = self else { return Vec::new() };
        let positives = task.positives.iter().zip(1..).flat_map(|(positive, number)| {
            let Positive { input, output, explanation } = positive.clone();
            let name = format!("positive example {number}");
            [input, output, explanation].map(|text| (name.clone(), text))
        });
        let mut texts = vec![("definition".to_owned(), task.definition.clone())];
        texts.extend(positives);
        texts
    }

    /// What a record says. `random` decides where there is a choice.
    pub(crate) fn item(
        &self,
        raw: Raw,
        names: Names<'_>,
        options: &[String],
        random: &mut Random,
    ) -> Result<Item, Defect> {
        let bytes = match (self, raw) {
            (Self::Objects, raw) | (_, raw @ Raw::Object(_)) => {
                return Item::of(raw.object()?, names, options);
            }
            (_, Raw::Bytes(bytes)) => bytes,
        };
        match self {
            Self::SuperNi(task) => task.item(object(&bytes)?, random),
            Self::Bbh => {
                let names_of_bbh = [("answer".to_owned(), "target".to_owned())].into();
                Item::of(object(&bytes)?, Names(&names_of_bbh), &[])
            }
            Self::Cot => {
                let line = text(bytes)?;
                let [question, answer, rationale] =
                    columns(line.trim_end_matches('\r').split('\t'))?;
                let mut item = Item::default();
                let unescaped = |text: &str| text.replace("\\n", "\n");
                item.set("question", unescaped(&question));
                item.set("rationale", unescaped(&rationale));
                item.check("answer", &answer)?;
                item.set("answer", unescaped(&answer));
                Ok(item)
            }
            Self::Mmlu(subject) => {
                let mut row = csv::StringRecord::new();
                let read = csv_reader(&bytes).read_record(&mut row);
                read.map_err(|error| Defect::Tabular(error.to_string()))?;
                let [question, a, b, c, d, letter] = columns(row.iter())?;
                let mut item = Item { options: vec![a, b, c, d], ..Item::default() };
                let chosen = ["A", "B", "C", "D"].iter().position(|known| *known == letter.trim());
                let answer = chosen.map(|chosen| item.options[chosen].clone());
                let answer = answer.ok_or_else(|| Defect::NoOption {
                    field: "the last column".into(),
                    found: letter,
                    options: ["A", "B", "C", "D"].map(String::from).into(),
                })?;
                item.set("question", question);
                item.set("subject", subject.as_str());
                item.set("answer", answer);
                Ok(item)
            }
            Self::Objects => unreachable!("objects were read above"),
        }
    }
}

impl SuperNi {
    fn item(&self, mut object: Object, random: &mut Random) -> Result<Item, Defect> {
        let mut item = Item::default();
        item.set("definition", self.definition.as_str());
        match object.get_mut("input").map(Value::take) {
            Some(Value::String(input)) => item.set("input", input),
            _ => return Err(missing("input", &object)),
        }
        let answer = match object.get_mut("output").map(Value::take) {
            Some(Value::String(output)) => output,
            // One of the references, as Tk-Instruct takes one at random.
            Some(Value::Array(mut list)) if !list.is_empty() => {
                match list.swap_remove(random.below(list.len())) {
                    Value::String(output) => output,
                    _ => return Err(missing("output", &object)),
                }
            }
            _ => return Err(missing("output", &object)),
        };
        item.check("output", &answer)?;
        item.set("answer", answer);
        self.set_examples(&mut item, random);
        Ok(item)
    }

    /// One example with its explanation, and the first ones as Tk-Instruct writes them.
    fn set_examples(&self, item: &mut Item, random: &mut Random) {
        if !self.positives.is_empty() {
            let Positive { input, output, explanation } =
                &self.positives[random.below(self.positives.len())];
            item.set("example_input", input.trim());
            item.set("example_output", output.trim());
            item.set("example_explanation", explanation.trim());
        }
        let shown = self.positives.iter().take(SHOWN).zip(1..);
        let shown = shown.map(|(Positive { input, output, .. }, number)| {
            let (input, output) = (sentence(input), sentence(output));
            format!(" Positive Example {number} -\nInput: {input}\n Output: {output}\n\n")
        });
        item.set("examples", shown.collect::<String>());
        item.set("definition_sentence", sentence(&self.definition));
        let input = item.get("input").map(sentence).unwrap_or_default();
        item.set("input_sentence", input);
    }
}

/// The text with a full stop where it does not end in punctuation, as Tk-Instruct has it.
fn sentence(text: &str) -> String {
    let text = text.trim();
    let ended = text.ends_with(|c: char| c.is_ascii_punctuation());
    if ended { text.to_owned() } else { format!("{text}.") }
}

fn missing(field: &str, object: &Object) -> Defect {
    Defect::MissingField {
        what: "the instance".into(),
        field: field.into(),
        found: object.keys().cloned().collect(),
    }
}

fn text(bytes: Vec<u8>) -> Result<String, Defect> {
    String::from_utf8(bytes).map_err(|error| Defect::Tabular(error.to_string()))
}

/// Exactly so many columns.
fn columns<'a, const N: usize>(
    found: impl Iterator<Item = &'a str>,
) -> Result<[String; N], Defect> {
    let found: Vec<String> = found.map(String::from).collect();
    found.try_into().map_err(|found: Vec<_>| {
        Defect::Tabular(format!("it has {} columns, wanted {N}", found.len()))
    })
}
