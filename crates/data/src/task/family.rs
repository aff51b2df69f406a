//! Families of tasks and their templates, as `data/templates/*.toml` and users' own files have them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::defect::in_backticks;
use crate::task::pattern::{OPTIONS, Pattern};
use crate::{Error, Result};

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        /// The families that albacore has: name and file.
        const SHIPPED: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../../../data/templates/", $name, ".toml")))),*
        ];
    };
}

shipped!(
    "closed_book",
    "commonsense",
    "coreference",
    "cot",
    "data_to_text",
    "dialog",
    "instruction",
    "instruction_example",
    "multiple_choice",
    "nli",
    "paraphrase",
    "plain",
    "reading",
    "rewriting",
    "sentiment",
    "summarization",
    "tk_instruct",
    "topic",
    "translation",
    "word_sense",
);

/// A family as its file says it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    about: String,
    fields: Vec<String>,
    #[serde(default)]
    templates: Vec<WrittenTemplate>,
    #[serde(default)]
    inversions: Vec<WrittenTemplate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTemplate {
    #[serde(default)]
    head: Option<Spanned<String>>,
    input: Spanned<String>,
    target: Spanned<String>,
    #[serde(default)]
    input_prefix: String,
    #[serde(default)]
    target_prefix: String,
    #[serde(default = "blank_line")]
    delimiter: String,
    #[serde(default = "two_blank_lines")]
    separator: String,
    #[serde(default)]
    final_suffix: String,
    #[serde(default)]
    wrap: Option<Spanned<String>>,
    #[serde(default = "yes")]
    mix: bool,
}

fn blank_line() -> String {
    "\n\n".into()
}

fn two_blank_lines() -> String {
    "\n\n\n".into()
}

fn yes() -> bool {
    true
}

/// One way to say a task.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    /// What stands once at the head, before the exemplars.
    pub(crate) head: Pattern,
    /// What is given.
    pub(crate) input: Pattern,
    /// What is learned.
    pub(crate) target: Pattern,
    /// Before each input among exemplars.
    pub(crate) input_prefix: String,
    /// Before each target among exemplars.
    pub(crate) target_prefix: String,
    /// Between an input and its target among exemplars.
    pub(crate) delimiter: String,
    /// Behind each exemplar.
    pub(crate) separator: String,
    /// At the very end of an input with exemplars.
    pub(crate) final_suffix: String,
    /// What is put around exemplars and input, with `{input}` in it.
    pub(crate) wrap: Option<(String, String)>,
    /// Whether it is one of those that mixed exemplars are written in.
    pub(crate) mix: bool,
}

/// A family: the fields of its records, and its templates.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: String,
    about: String,
    fields: Vec<String>,
    /// The file that it came from, or its name.
    pub(crate) place: String,
    pub(crate) templates: Vec<Template>,
    pub(crate) inversions: Vec<Template>,
}

/// A family of templates, as a user chooses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FamilyCard {
    /// Its name, the value of `family`.
    pub name: String,
    /// What its tasks are.
    pub about: String,
    /// The fields that its records may have.
    pub fields: Vec<String>,
    /// How many templates it has.
    pub templates: usize,
    /// How many of them ask for the question.
    pub inversions: usize,
}

/// All families that are shipped, by name.
pub fn families() -> Vec<FamilyCard> {
    let card = |name| {
        let family = Family::load(name).expect("the tests load every shipped family");
        FamilyCard {
            name: family.name.clone(),
            about: family.about.clone(),
            fields: family.fields.clone(),
            templates: family.templates.len(),
            inversions: family.inversions.len(),
        }
    };
    Family::names().map(card).collect()
}

impl Family {
    /// A family by its name, or from a user's file.
    ///
    /// # Errors
    /// If there is none of this name, or the file cannot be read or used.
    pub(crate) fn load(name: &str) -> Result<Arc<Self>> {
        static KNOWN: LazyLock<Mutex<HashMap<String, Arc<Family>>>> = LazyLock::new(Mutex::default);
        let mut known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(family) = known.get(name) {
            return Ok(family.clone());
        }
        if let Some((_, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
            let family = Arc::new(Self::parse(name, &format!("templates/{name}.toml"), text)?);
            known.insert(name.to_owned(), family.clone());
            return Ok(family);
        }
        let path = Path::new(name);
        if path.extension().is_none_or(|ending| ending != "toml") {
            let names: Vec<_> = SHIPPED.iter().map(|(name, _)| *name).collect();
            return Err(Error::NoFamily { name: name.to_owned(), known: names });
        }
        let text = std::fs::read_to_string(path).map_err(|error| Error::read(path, error))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&stem, name, &text).map(Arc::new)
    }

    /// The names of all families that are shipped.
    fn names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    pub(crate) fn parse(name: &str, place: &str, text: &str) -> Result<Self> {
        let line = |at: usize| 1 + text[..at].matches('\n').count();
        let wrong = |at: Option<usize>, message: String| {
            let place = at.map_or(place.to_owned(), |at| format!("{place}:{}", line(at)));
            Error::Template { place, message }
        };
        let written: Written = toml::from_str(text).map_err(|error| {
            wrong(error.span().map(|span| span.start), error.message().replace('\n', ", "))
        })?;
        let parse = |text: &Spanned<String>, options: bool| {
            let at = Some(text.span().start);
            let pattern = Pattern::parse(text.get_ref()).map_err(|message| wrong(at, message))?;
            let known = |field: &str| {
                written.fields.iter().any(|known| known == field) || (options && field == OPTIONS)
            };
            if let Some(field) = pattern.fields().find(|field| !known(field)) {
                let known = in_backticks(&written.fields);
                return Err(wrong(at, format!("unknown field `{field}`, wanted one of {known}")));
            }
            Ok(pattern)
        };
        let template = |written: &WrittenTemplate| {
            let target = parse(&written.target, false)?;
            if target.fields().next().is_none() {
                let message = "`target` has no field, so that every record would teach the same";
                return Err(wrong(Some(written.target.span().start), message.into()));
            }
            let wrap =
                written.wrap.as_ref().map(|wrap| match wrap.get_ref().split_once("{input}") {
                    Some((before, behind)) => Ok((before.to_owned(), behind.to_owned())),
                    None => Err(wrong(Some(wrap.span().start), "`wrap` has no `{input}`".into())),
                });
            let head = written.head.as_ref().map(|head| parse(head, false)).transpose()?;
            Ok(Template {
                head: head.unwrap_or_default(),
                input: parse(&written.input, true)?,
                target,
                input_prefix: written.input_prefix.clone(),
                target_prefix: written.target_prefix.clone(),
                delimiter: written.delimiter.clone(),
                separator: written.separator.clone(),
                final_suffix: written.final_suffix.clone(),
                wrap: wrap.transpose()?,
                mix: written.mix,
            })
        };
        let all = |list: &[WrittenTemplate]| list.iter().map(template).collect::<Result<Vec<_>>>();
        let (templates, inversions) = (all(&written.templates)?, all(&written.inversions)?);
        if templates.is_empty() {
            return Err(wrong(None, "has no `[[templates]]`".into()));
        }
        let Written { about, fields, .. } = written;
        let (name, place) = (name.into(), place.into());
        Ok(Self { name, about, fields, place, templates, inversions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_that_is_shipped_has_ten_templates_and_no_two_alike() {
        let mut count = 0;
        for name in Family::names() {
            let family = Family::load(name).unwrap_or_else(|error| panic!("{error}"));
            let shown = |template: &Template| {
                format!("{:?}{:?}{:?}", template.head, template.input, template.target)
            };
            for list in [&family.templates, &family.inversions] {
                let mut texts: Vec<_> = list.iter().map(shown).collect();
                texts.sort();
                texts.dedup();
                assert_eq!(texts.len(), list.len(), "{name}");
            }
            if !["plain", "tk_instruct"].contains(&name) {
                assert!(family.templates.len() >= 10, "{name}: {}", family.templates.len());
                count += 1;
            }
            assert!(
                family.templates.iter().filter(|template| template.mix).count() > 0,
                "{name}: mixed exemplars need a template"
            );
        }
        assert!(count >= 14, "{count}");
    }

    #[test]
    fn what_is_wrong_with_a_template_is_told_with_its_line() {
        let told = |text: &str| Family::parse("mine", "mine.toml", text).unwrap_err().to_string();
        let head = "about = \"a\"\nfields = [\"a\", \"answer\"]\n";
        let one = |input: &str, target: &str| {
            told(&format!("{head}[[templates]]\ninput = \"{input}\"\ntarget = \"{target}\"\n"))
        };
        insta::assert_snapshot!(
            [
                one("{b}", "{answer}"),
                one("{a", "{answer}"),
                one("{a}", "yes"),
                one("{a}", "{options}"),
                told(head),
                told(&format!("{head}[[templates]]\ninputs = \"a\"\n")),
            ]
            .join("\n")
        );
    }
}
