//! The shapes in which candidates are published, each told by its fields.

use serde_json::{Map, Value};

use super::{CandidateSet, JUDGE, Response, id_text};
use crate::defect::in_backticks;
use crate::format::kind;
use crate::{Body, Template};

type Object = Map<String, Value>;
/// What is wrong with a record: found and wanted.
type Read<T> = Result<T, String>;

/// What a record looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `prompt`, `responses`: what `sample` writes.
    Candidates,
    /// `orig`, `text`, `avg_token_prob`: a teacher's answers, as Tuna's authors keep them.
    Probabilistic,
    /// `instruct`, `generation`, and the judge's `ranks` or `rank`: the same for a judge.
    Contextual,
    /// `instruction`, `output` (a list), and `score` if it has been ranked.
    Tuna,
    /// `chosen`, `rejected`.
    Preference,
}

impl Shape {
    pub(super) fn of(object: &Object) -> Read<Self> {
        let has = |fields: &[&str]| fields.iter().all(|field| object.contains_key(*field));
        let shapes: [(Self, &[&str]); 5] = [
            (Self::Candidates, &["prompt", "responses"]),
            (Self::Probabilistic, &["orig", "text", "avg_token_prob"]),
            (Self::Contextual, &["instruct", "generation"]),
            (Self::Tuna, &["instruction", "output"]),
            (Self::Preference, &["chosen", "rejected"]),
        ];
        let found = shapes.into_iter().find(|(_, fields)| has(fields));
        found.map(|(shape, _)| shape).ok_or_else(|| {
            let found: Vec<_> = object.keys().collect();
            format!("cannot tell what it is from the fields {}", in_backticks(&found))
        })
    }

    pub(super) fn read(
        self,
        object: &Object,
        id: String,
        template: &Template,
    ) -> Read<CandidateSet> {
        let set = match self {
            Self::Candidates => candidates(object)?,
            Self::Probabilistic => probabilistic(object, template)?,
            Self::Contextual => contextual(object)?,
            Self::Tuna => tuna(object)?,
            Self::Preference => preference(object, template)?,
        };
        Ok(CandidateSet { id, ..set })
    }
}

fn candidates(object: &Object) -> Read<CandidateSet> {
    let mut object = object.clone();
    object.insert("id".into(), "".into());
    let set: CandidateSet =
        serde_json::from_value(object.into()).map_err(|error| error.to_string())?;
    // Who asked for answers may have got none: `rank` sets such aside and counts them.
    match set.prompt.trim() {
        "" => Err("`prompt` is empty".into()),
        _ => Ok(set),
    }
}

fn tuna(object: &Object) -> Read<CandidateSet> {
    let mut responses = responses(object, "output", "")?;
    if object.contains_key("score") {
        let scores = numbers(object, "score", responses.len(), "output")?;
        for (response, score) in responses.iter_mut().zip(scores) {
            response.score = Some(score);
        }
    }
    if let Some(Value::Array(sources)) = object.get("source") {
        for (response, source) in responses.iter_mut().zip(sources) {
            response.source = id_text(source).unwrap_or_default();
        }
    }
    let original = optional(object, "original");
    let rouge = object.get("rouge").and_then(Value::as_f64);
    Ok(CandidateSet {
        prompt: text(object, "instruction")?,
        responses,
        original,
        rouge,
        ..CandidateSet::default()
    })
}

fn probabilistic(object: &Object, template: &Template) -> Read<CandidateSet> {
    let Some(Value::Object(orig)) = object.get("orig") else {
        return Err("`orig` is no object".into());
    };
    let mut responses = responses(object, "text", "")?;
    let means = numbers(object, "avg_token_prob", responses.len(), "text")?;
    for (response, mean) in responses.iter_mut().zip(means) {
        (response.mean_logprob, response.score) = (Some(mean), Some(mean));
    }
    let count = responses.len();
    let given = |field: &str| match object.contains_key(field) {
        true => numbers(object, field, count, "text").map(Some),
        false => Ok(None),
    };
    for (response, length) in responses.iter_mut().zip(given("length")?.into_iter().flatten()) {
        response.tokens = Some(length as u64);
    }
    for (response, all) in responses.iter_mut().zip(given("logprob")?.into_iter().flatten()) {
        response.logprob = Some(all);
    }
    let input = optional(orig, "input").unwrap_or_default();
    let prompt = asked(template, text(orig, "instruction")?, input)?;
    Ok(CandidateSet {
        prompt,
        responses,
        original: optional(orig, "output"),
        ..CandidateSet::default()
    })
}

/// The judge names the answers from the best to the worst, its own by the number after the last. Of
/// answers that say the same it names one: the others are left out.
fn contextual(object: &Object) -> Read<CandidateSet> {
    let mut responses = responses(object, "generation", "")?;
    let own = responses.len();
    if let Some(text) = optional(object, "response_4") {
        responses.push(Response::new(text, JUDGE));
    }
    let field = if object.contains_key("ranks") { "ranks" } else { "rank" };
    if let Some(Value::Array(ranks)) = object.get(field) {
        for (place, rank) in ranks.iter().enumerate() {
            let known = rank.as_u64().and_then(|rank| usize::try_from(rank).ok());
            let Some(known) = known.filter(|rank| *rank <= own) else {
                return Err(format!("`{field}` names answer {rank}, wanted one from 0 to {own}"));
            };
            let score = (ranks.len() - 1 - place) as f64;
            // The judge's own text may not have been kept.
            let Some(response) = responses.get_mut(known) else { continue };
            if response.score.replace(score).is_some() {
                return Err(format!("`{field}` names answer {rank} twice"));
            }
        }
        responses.retain(|response| response.score.is_some());
    }
    Ok(CandidateSet { prompt: text(object, "instruct")?, responses, ..CandidateSet::default() })
}

fn preference(object: &Object, template: &Template) -> Read<CandidateSet> {
    let answer = |field: &str| -> Read<(Option<String>, String)> {
        match object.get(field) {
            Some(Value::Array(messages)) => {
                let content = |message: &Value| Some(message.get("content")?.as_str()?.to_owned());
                let (last, before) = messages.split_last().ok_or(format!("`{field}` is empty"))?;
                if before.len() > 1 {
                    let before = before.len();
                    return Err(format!(
                        "`{field}` is a conversation of {before} messages before the answer, wanted one"
                    ));
                }
                let wrong = || format!("a message of `{field}` has no text as `content`");
                let prompt = before.first().map(|first| content(first).ok_or_else(wrong));
                Ok((prompt.transpose()?, content(last).ok_or_else(wrong)?))
            }
            _ => Ok((None, text(object, field)?)),
        }
    };
    let (asked_chosen, chosen) = answer("chosen")?;
    let (asked_rejected, rejected) = answer("rejected")?;
    let prompt = match object.get("prompt") {
        Some(Value::Array(messages)) if messages.len() == 1 => {
            text(messages[0].as_object().ok_or("`prompt[0]` is no message")?, "content")?
        }
        Some(Value::Array(messages)) => {
            let count = messages.len();
            return Err(format!("`prompt` is a conversation of {count} messages, wanted one"));
        }
        Some(_) => text(object, "prompt")?,
        None if asked_chosen != asked_rejected => {
            return Err("`chosen` and `rejected` answer different prompts".into());
        }
        None => asked_chosen.ok_or("there is no `prompt`")?,
    };
    let response = |text, score| Response { score: Some(score), ..Response::new(text, "") };
    let responses = vec![response(chosen, 1.0), response(rejected, 0.0)];
    let prompt = asked(template, prompt, String::new())?;
    Ok(CandidateSet { prompt, responses, ..CandidateSet::default() })
}

/// The text that asks for an answer to an instruction.
fn asked(template: &Template, instruction: String, input: String) -> Read<String> {
    let body = Body::Alpaca { instruction, input, output: String::new() };
    template.pair(&body).map(|pair| pair.prompt).map_err(|defect| defect.to_string())
}

fn text(object: &Object, field: &str) -> Read<String> {
    match object.get(field) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
        Some(Value::String(_)) => Err(format!("`{field}` is empty")),
        Some(other) => Err(format!("`{field}` is {}, wanted a text", kind(other))),
        None => Err(format!("there is no `{field}`")),
    }
}

/// `None` if it is missing, null or blank.
fn optional(object: &Object, field: &str) -> Option<String> {
    object.get(field)?.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

fn responses(object: &Object, field: &str, source: &str) -> Read<Vec<Response>> {
    let Some(Value::Array(list)) = object.get(field) else {
        return Err(format!("`{field}` is no list of texts"));
    };
    if list.is_empty() {
        return Err(format!("`{field}` is empty"));
    }
    let read = list.iter().enumerate().map(|(index, item)| match item {
        // Also an empty one: its score has this place.
        Value::String(text) => Ok(Response::new(text, source)),
        other => Err(format!("`{field}[{index}]` is {}, wanted a text", kind(other))),
    });
    read.collect()
}

/// As many finite numbers as there are items of another list.
pub(crate) fn numbers(object: &Object, field: &str, wanted: usize, of: &str) -> Read<Vec<f64>> {
    let Some(Value::Array(list)) = object.get(field) else {
        return Err(format!("`{field}` is no list of numbers"));
    };
    if list.len() != wanted {
        return Err(format!("`{field}` has {} items, `{of}` has {wanted}", list.len()));
    }
    let read = list.iter().enumerate().map(|(index, item)| {
        item.as_f64()
            .filter(|number| number.is_finite())
            .ok_or_else(|| format!("`{field}[{index}]` is {}, wanted a finite number", kind(item)))
    });
    read.collect()
}
