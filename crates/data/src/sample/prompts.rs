//! What is asked: the prompts of records, in their template.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use super::PromptsConfig;
use crate::candidates::id_text;
use crate::format::{Names, Object};
use crate::random::{Random, shuffled};
use crate::read::read_objects;
use crate::template::conversation;
use crate::{
    BadRecords, Body, Defect, Error, Format, Origin, Result, SourceConfig, Template,
    TemplateChoice, Tokenizer,
};

/// One prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Asked {
    /// What its record calls itself, else its number among all.
    pub id: String,
    /// The text that is asked.
    pub prompt: String,
    /// The answer that the record has.
    pub original: Option<String>,
    /// Where the record stands.
    pub origin: Origin,
}

/// All prompts of a config.
#[derive(Debug, Default)]
pub struct Prompts {
    /// In the order of the sources.
    pub asked: Vec<Asked>,
    /// What was left out, and why.
    pub dropped: Vec<String>,
}

/// Stands for an answer that a record need not have, where a format wants one.
const NO_ANSWER: &str = "-";

impl Prompts {
    /// Reads the prompts of all sources. `tokenizer` is that of a model here, whose chat template may be
    /// wanted; `fits` says whether it can read a prompt, and why not.
    ///
    /// # Errors
    /// If a file or the template cannot be used, the chat template is wanted and there is no model here,
    /// two prompts have one id, or records cannot be asked and none may be left out.
    pub fn read(
        config: &PromptsConfig,
        tokenizer: Option<&Tokenizer>,
        seed: u64,
        fits: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let template = template(config, tokenizer)?;
        let mut prompts = Self::default();
        let (mut problems, mut records) = (Vec::new(), 0);
        for (index, source) in config.sources.iter().enumerate() {
            let objects = read_objects(&source.path)?;
            records += objects.good.len() + objects.bad.len();
            problems.extend(objects.bad.iter().map(ToString::to_string));
            let mut format = source.format;
            let names = Names(&source.fields);
            for (origin, mut object) in cap(source, index, seed, objects.good) {
                let number = prompts.asked.len() + problems.len();
                let id = object.get("id").and_then(id_text).unwrap_or_else(|| number.to_string());
                let answered = add_answer(&mut object, names);
                if format.is_none() {
                    format = Format::detect(&object, names);
                }
                let Some(format) = format else {
                    let found = object.keys().cloned().collect();
                    return Err(Error::UnknownFormat { origin, found });
                };
                let read = format.parse(object, names);
                match read.and_then(|body| ask(&template, &body)).map_err(|why| why.to_string()) {
                    Ok((prompt, original)) => match fits(&prompt) {
                        None => {
                            let original = original.filter(|_| answered);
                            prompts.asked.push(Asked { id, prompt, original, origin });
                        }
                        Some(why) => problems.push(format!("{origin}: {why}")),
                    },
                    Err(why) => problems.push(format!("{origin}: {why}")),
                }
            }
        }
        let twice = prompts.twice();
        if config.bad_records == BadRecords::Error || !twice.is_empty() {
            problems.extend(twice);
            Error::records(problems, records)?;
        } else {
            prompts.dropped = problems;
        }
        match prompts.asked.is_empty() {
            true => Err(Error::records(prompts.dropped, records)
                .err()
                .unwrap_or_else(|| unreachable!("a file without records is an error of its own"))),
            false => Ok(prompts),
        }
    }

    /// Prompts whose id another one has.
    fn twice(&self) -> Vec<String> {
        let mut first: HashMap<&str, &Origin> = HashMap::new();
        let mut problems = Vec::new();
        for Asked { id, origin, .. } in &self.asked {
            match first.get(id.as_str()) {
                Some(before) => {
                    problems.push(format!("{origin}: the id `{id}` is that of {before} as well"));
                }
                None => drop(first.insert(id, origin)),
            }
        }
        problems
    }
}

fn template(config: &PromptsConfig, tokenizer: Option<&Tokenizer>) -> Result<Template> {
    match (Template::without_model(&config.template)?, tokenizer) {
        (Some(template), _) => Ok(template),
        (None, Some(tokenizer)) => {
            let today = config.date.at(0, 0, 0, 0);
            Template::load(&TemplateChoice::Chat, tokenizer, Some(today))
        }
        (None, None) => Err(Error::Template {
            place: "`data.template`".into(),
            message: "`chat` is the chat template of a model here, and a server writes: wanted `alpaca`, \
                      `none` or a TOML file (with `server.api = \"chat\"` the server puts its own around \
                      each prompt)"
                .into(),
        }),
    }
}

/// At most `cap` records, chosen as `train` does: at random, in file order.
fn cap(
    source: &SourceConfig,
    index: usize,
    seed: u64,
    objects: Vec<(Origin, Object)>,
) -> Vec<(Origin, Object)> {
    let Some(cap) = source.cap.filter(|cap| *cap < objects.len()) else { return objects };
    let mut chosen = shuffled(objects.len(), Random::new(seed, "cap", index as u64));
    chosen.truncate(cap);
    chosen.sort_unstable();
    let mut objects: Vec<_> = objects.into_iter().map(Some).collect();
    chosen.iter().filter_map(|index| objects[*index as usize].take()).collect()
}

/// Gives a record that has none an answer, so that its format is known by its fields. Returns whether
/// it had one.
fn add_answer(object: &mut Object, names: Names<'_>) -> bool {
    for (question, answer) in [("instruction", "output"), ("prompt", "completion")] {
        if !object.contains_key(names.of(question)) {
            continue;
        }
        let name = names.of(answer);
        let blank = match object.get(name) {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.trim().is_empty(),
            Some(_) => false,
        };
        if blank {
            object.insert(name.to_owned(), NO_ANSWER.into());
            return false;
        }
    }
    true
}

/// The text that asks for an answer, and the answer if there is one.
fn ask(template: &Template, body: &Body) -> Result<(String, Option<String>), Defect> {
    let misfit = || {
        let template = template.name().to_owned();
        Defect::Misfit { record: body.name(), template }
    };
    let Template::Chat(chat) = template else {
        let pair = template.pair(body)?;
        return Ok((pair.prompt, Some(pair.response)));
    };
    let mut messages = conversation(body).ok_or_else(misfit)?;
    let answered = messages.last().is_some_and(|last| last.role == "assistant");
    let original = if answered { messages.pop().map(|last| last.content) } else { None };
    let tools = match body {
        Body::Messages { tools, .. } => tools.as_ref(),
        _ => None,
    };
    if messages.is_empty() {
        return Err(misfit());
    }
    Ok((chat.render(&messages, tools, true)?.text, original))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn read(records: &[Value], config: PromptsConfig) -> Result<Prompts> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompts.jsonl");
        let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
        fs::write(&path, lines).unwrap();
        let config = PromptsConfig { sources: vec![SourceConfig::new(path)], ..config };
        let fits = |prompt: &str| (prompt.len() > 400).then(|| "it is too long".to_owned());
        Prompts::read(&config, None, 0, &fits)
    }

    fn plain() -> PromptsConfig {
        PromptsConfig { template: TemplateChoice::None, ..PromptsConfig::default() }
    }

    #[test]
    fn a_prompt_keeps_its_id_and_its_answer_and_may_have_neither() {
        let records = [
            json!({"id": "a", "instruction": "Add.", "input": "1 2", "output": "3"}),
            json!({"id": 9, "instruction": "Go.", "output": ""}),
            json!({"instruction": "Stay."}),
        ];
        let prompts = read(&records, plain()).unwrap().asked;
        let shown = prompts
            .iter()
            .map(|asked| (asked.id.as_str(), asked.prompt.as_str(), asked.original.as_deref()));
        let wanted = [("a", "Add.\n\n1 2", Some("3")), ("9", "Go.", None), ("2", "Stay.", None)];
        assert!(shown.eq(wanted));
        let alpaca = read(&records, PromptsConfig::default()).unwrap().asked;
        assert!(alpaca[1].prompt.ends_with("### Instruction:\nGo.\n\n### Response:"));
        let bare = read(&[json!({"prompt": "P"})], plain()).unwrap().asked;
        assert_eq!((bare[0].prompt.as_str(), &bare[0].original), ("P", &None));
    }

    #[test]
    fn what_cannot_be_asked_is_named_or_left_out() {
        let records = [
            json!({"id": "a", "prompt": "Go.", "completion": "3"}),
            json!({"id": "b", "prompt": 3, "completion": "3"}),
            json!({"id": "c", "prompt": "long ".repeat(200), "completion": "3"}),
        ];
        let error = read(&records, plain()).unwrap_err().to_string();
        assert!(error.starts_with("2 of 3 records cannot be used"), "{error}");
        assert!(error.contains(":3: it is too long"), "{error}");
        let config = PromptsConfig { bad_records: BadRecords::Drop, ..plain() };
        let prompts = read(&records, config.clone()).unwrap();
        assert_eq!((prompts.asked.len(), prompts.dropped.len()), (1, 2));
        assert!(read(&records[1..], config.clone()).is_err(), "nothing is left");
        // An id that stands twice is never left out: which of them would it be?
        let twice = [records[0].clone(), records[0].clone()];
        let error = read(&twice, config).unwrap_err().to_string();
        assert!(error.contains("the id `a` is that of"), "{error}");
    }

    #[test]
    fn a_chat_template_needs_a_model() {
        let config = PromptsConfig { template: TemplateChoice::Chat, ..plain() };
        let error = read(&[json!({"prompt": "P"})], config).unwrap_err().to_string();
        assert!(
            error.contains("`data.template`: `chat` is the chat template of a model"),
            "{error}"
        );
    }
}
