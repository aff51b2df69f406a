//! `albacore score`: log-probabilities of given responses.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use albacore_data::{
    Body, Defect, Encoded, Encoder, Learn, Message, Objects, Origin, Reason, Record, read_objects,
};
use albacore_model::Model;
use anyhow::{Context, anyhow};
use candle_core::Device;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::args::Score;
use crate::failure::{Failure, OrRefuse, Outcome, Refusal, Result};
use crate::loaded::Loaded;
use crate::progress::Progress;
use crate::scoring::{Scoring, sum};
use crate::terminal::Terminal;

/// Bad lines that are named; the rest are counted.
const SHOWN: usize = 10;

/// Runs the command.
///
/// # Errors
/// Refused if the model or a line of the input cannot be used; fails if the output cannot be written.
pub fn run(options: &Score, device: &Device, terminal: &Terminal) -> Result {
    let lines = read_objects(&options.input).or_refuse()?;
    let folder = options.output.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let message = format!("there is no folder `{}` to write the scores in", folder.display());
        return Err(Refusal::new(message, "make it first")).or_refuse();
    }
    let loaded = Loaded::new(&options.model, device, terminal)?;
    // Of a conversation, the last answer is the response.
    let mut encoder = loaded.encoder(options.template, Learn::Last)?;
    if options.no_eos {
        encoder = encoder.without_eos();
    }
    let responses = encode(lines, &encoder, loaded.model.config().vocab_size())?;
    write(options, &loaded.model, &responses, terminal)?;
    Ok(Outcome::Done)
}

/// A response, encoded.
struct Response {
    id: Value,
    example: Encoded,
}

/// What is scored.
enum Line {
    Ids { prompt_ids: Vec<u32>, response_ids: Vec<u32> },
    Messages { messages: Vec<Said> },
    Text { prompt: String, response: String },
}

#[derive(Deserialize)]
struct Said {
    role: String,
    content: String,
}

/// Encodes every line, or names all that cannot be.
fn encode(lines: Objects, encoder: &Encoder<'_>, rows: usize) -> Result<Vec<Response>> {
    let bad = lines.bad.into_iter().map(|bad| (bad.origin.line, anyhow!(bad.to_string())));
    let mut bad: Vec<_> = bad.collect();
    let mut responses = Vec::with_capacity(lines.good.len());
    for (origin, object) in lines.good {
        match response(object, origin.clone(), encoder, rows) {
            Ok(response) => responses.push(response),
            Err(error) => bad.push((origin.line, error.context(origin.to_string()))),
        }
    }
    bad.sort_by_key(|(line, _)| *line);
    let mut bad: Vec<_> = bad.into_iter().map(|(_, error)| error).collect();
    if bad.len() > SHOWN {
        let more = bad.split_off(SHOWN).len();
        bad.push(anyhow!("{more} more lines cannot be scored"));
    }
    if bad.is_empty() { Ok(responses) } else { Err(Failure::Problems(bad)) }
}

fn response(
    object: Map<String, Value>,
    origin: Origin,
    encoder: &Encoder<'_>,
    rows: usize,
) -> anyhow::Result<Response> {
    let (id, line) = parse(object)?;
    let body = match line {
        Line::Ids { prompt_ids, response_ids } => {
            let example = given(&prompt_ids, &response_ids, origin, rows)?;
            return Ok(Response { id, example });
        }
        Line::Text { prompt, response } => Body::Prompt { prompt, completion: response },
        Line::Messages { messages } => {
            let messages = messages.into_iter().map(|said| Message::new(said.role, said.content));
            Body::Messages { messages: messages.collect(), tools: None }
        }
    };
    Ok(Response { id, example: encoder.encode(&Record::new(body, origin))? })
}

/// The id and what is scored: which it is, is told by the fields that are there.
fn parse(mut object: Map<String, Value>) -> anyhow::Result<(Value, Line)> {
    let found: Vec<_> = object.keys().map(|key| format!("`{key}`")).collect();
    let wanted = || {
        anyhow!(
            "wanted `id` with `prompt` and `response`, with `messages`, or with `prompt_ids` and \
             `response_ids`, found {}",
            if found.is_empty() { "no fields".into() } else { found.join(", ") }
        )
    };
    let id = object.remove("id").ok_or_else(wanted)?;
    let has = |keys: &[&str]| keys.iter().all(|key| object.contains_key(*key));
    let line = if has(&["prompt_ids", "response_ids"]) {
        let prompt_ids = field(&mut object, "prompt_ids")?;
        Line::Ids { prompt_ids, response_ids: field(&mut object, "response_ids")? }
    } else if has(&["messages"]) {
        Line::Messages { messages: field(&mut object, "messages")? }
    } else if has(&["prompt", "response"]) {
        let prompt = field(&mut object, "prompt")?;
        Line::Text { prompt, response: field(&mut object, "response")? }
    } else {
        return Err(wanted());
    };
    Ok((id, line))
}

fn field<T: DeserializeOwned>(object: &mut Map<String, Value>, name: &str) -> anyhow::Result<T> {
    let value = object.remove(name).unwrap_or_default();
    serde_json::from_value(value).map_err(|error| anyhow!("`{name}`: {error}"))
}

/// Ids are taken as they are: nothing is added.
///
/// # Errors
/// If there are none on one side, or one is none of the model's `rows`.
pub fn given(
    prompt: &[u32],
    response: &[u32],
    origin: Origin,
    rows: usize,
) -> anyhow::Result<Encoded> {
    let empty = |name: &str| anyhow!("`{name}` is empty, wanted at least one id");
    if prompt.is_empty() {
        return Err(empty("prompt_ids"));
    }
    if response.is_empty() {
        return Err(empty("response_ids"));
    }
    let ids = [prompt, response].concat();
    if let Some(position) = ids.iter().position(|id| *id as usize >= rows) {
        return Err(Defect::Id { position, id: ids[position].into(), vocabulary: rows }.into());
    }
    let learned = (0..ids.len()).map(|position| position >= prompt.len()).collect();
    Ok(Encoded {
        learned,
        reasons: vec![Reason::Given; ids.len()],
        ids,
        origin,
        eos_added: false,
        responses: Vec::new(),
    })
}

/// Scores batch after batch, in the order of the input. The output is complete or does not exist.
fn write(
    options: &Score,
    model: &Model,
    responses: &[Response],
    terminal: &Terminal,
) -> Result<()> {
    let mut partial = options.output.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let cannot = || format!("cannot write `{}`", options.output.display());
    let mut out = BufWriter::new(File::create(&partial).with_context(cannot)?);
    let scoring = Scoring::new(responses.iter().map(|response| &response.example));
    let progress = Progress::new(terminal, "scoring", 0, responses.len() as u64);
    let mut done = 0;
    for batch in 0..scoring.batches() {
        let numbers = scoring.examples(batch);
        let of = |number: &u32| &responses[*number as usize];
        for (response, scores) in numbers.iter().map(of).zip(scoring.score(model, batch)?) {
            let line = json!({
                "id": response.id,
                "logprob": sum(&scores),
                "tokens": scores.len(),
                "token_logprobs": scores,
            });
            writeln!(out, "{line}").with_context(cannot)?;
        }
        done += numbers.len() as u64;
        progress.set(done, "responses");
    }
    out.into_inner()
        .map_err(|error| error.into_error())
        .and_then(|file| file.sync_all())
        .with_context(cannot)?;
    Ok(fs::rename(&partial, &options.output).with_context(cannot)?)
}
