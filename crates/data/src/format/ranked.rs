//! Records of one prompt and several answers: `tuna` and `preference`.

use serde_json::Value;

use super::{Fields, Names, Object, kind};
use crate::ranked::{Asked, Candidate, Original, Ranked, Said};
use crate::{Defect, Message};

/// In which shape a `tuna` record comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `instruction`, `output`, `score`: what is trained on.
    Training,
    /// `orig`, `text`, `avg_token_prob`: the answers of a teacher, with its mean log-probabilities.
    Probabilistic,
    /// `instruct`, `generation`, `ranks`: the answers of the model, in the order of a judge.
    Contextual,
}

impl Shape {
    /// By the fields that are there. `output` is a list, which tells it from an `alpaca` record with a
    /// score.
    pub(super) fn of(object: &Object, names: Names<'_>) -> Option<Self> {
        let has = |field: &str| object.contains_key(field);
        let output = object.get(names.of("output"));
        if output.is_some_and(Value::is_array) && has(names.of("score")) {
            return object.contains_key(names.of("instruction")).then_some(Self::Training);
        }
        if has("orig") && has("text") && has("avg_token_prob") {
            return Some(Self::Probabilistic);
        }
        let contextual = has("instruct") && has("generation") && (has("ranks") || has("rank"));
        contextual.then_some(Self::Contextual)
    }
}

/// Reads a `tuna` record.
pub(super) fn tuna(fields: &mut Fields<'_, '_>) -> Result<Ranked, Defect> {
    match Shape::of(fields.object, fields.names).unwrap_or(Shape::Training) {
        Shape::Training => training(fields),
        Shape::Probabilistic => probabilistic(fields),
        Shape::Contextual => contextual(fields),
    }
}

fn training(fields: &mut Fields<'_, '_>) -> Result<Ranked, Defect> {
    let prompt = Asked::Text(fields.question("instruction")?);
    let original = fields.optional_text("original")?;
    let original =
        (!original.trim().is_empty()).then_some(Original { text: original, score: None });
    let candidates = scored(fields, "output", "score")?;
    Ok(Ranked { format: "tuna", prompt, candidates, original })
}

fn probabilistic(fields: &mut Fields<'_, '_>) -> Result<Ranked, Defect> {
    let mut orig = fields.take("orig")?;
    let found = kind(&orig);
    let Some(object) = orig.as_object_mut() else {
        return Err(Defect::Type { what: "`orig`".into(), found, wanted: "an object" });
    };
    let (names, place) = (fields.names, "orig.".to_owned());
    let mut inner = Fields { object, names, what: "`orig`".into(), place };
    let instruction = inner.question("instruction")?;
    let input = inner.optional_text("input")?;
    let original = inner.optional_text("output")?;
    let original =
        (!original.trim().is_empty()).then_some(Original { text: original, score: None });
    let candidates = scored(fields, "text", "avg_token_prob")?;
    Ok(Ranked {
        format: "tuna",
        prompt: Asked::Instruction { instruction, input },
        candidates,
        original,
    })
}

/// The judge names the answers from the best to the worst, its own as the one behind the last; of
/// answers that say the same it names one, and the others are left out.
fn contextual(fields: &mut Fields<'_, '_>) -> Result<Ranked, Defect> {
    let prompt = Asked::Text(fields.question("instruct")?);
    let texts = fields.answers("generation")?;
    let field = if fields.object.contains_key("ranks") { "ranks" } else { "rank" };
    let ranks = fields.numbers(field)?;
    let own = fields.optional_text("response_4")?;
    let own = (!own.trim().is_empty()).then_some(own);
    let mut scores = vec![None; texts.len() + 1];
    for (place, &rank) in ranks.iter().enumerate() {
        let wrong = |wanted: String| Defect::Rank { field: field.to_owned(), found: rank, wanted };
        let known = usize::try_from(rank).ok().and_then(|rank| scores.get_mut(rank));
        let score = known.ok_or_else(|| wrong(format!("an answer from 0 to {}", texts.len())))?;
        if score.replace((ranks.len() - 1 - place) as f32).is_some() {
            return Err(wrong("each answer once".to_owned()));
        }
    }
    let original = own.map(|text| Original { text, score: scores[texts.len()] });
    let candidates = texts.into_iter().zip(scores);
    let candidates = candidates
        .filter_map(|(text, score)| score.map(|score| Candidate { said: Said::Text(text), score }));
    let candidates: Vec<_> = candidates.collect();
    enough(field, candidates.len())?;
    Ok(Ranked { format: "tuna", prompt, candidates, original })
}

/// A list of texts and one of their scores.
fn scored<'a>(
    fields: &mut Fields<'_, 'a>,
    texts: &'a str,
    scores: &'a str,
) -> Result<Vec<Candidate>, Defect> {
    let found = fields.answers(texts)?;
    let numbers = fields.scores(scores)?;
    if numbers.len() != found.len() {
        let [field, of] = [scores, texts].map(|field| fields.names.of(field).to_owned());
        return Err(Defect::Scores { field, of, scores: numbers.len(), candidates: found.len() });
    }
    enough(fields.names.of(texts), found.len())?;
    let candidates = found.into_iter().zip(numbers);
    Ok(candidates.map(|(text, score)| Candidate { said: Said::Text(text), score }).collect())
}

/// One answer alone has no rival.
fn enough(field: &str, found: usize) -> Result<(), Defect> {
    match found {
        0 | 1 => Err(Defect::Candidates { field: field.to_owned(), found }),
        _ => Ok(()),
    }
}

/// Reads a `preference` record: of two candidates, the chosen one has score 1 and the other 0. Without
/// `prompt`, what both have in common at their start is the prompt. With `label`, it is one answer.
pub(super) fn preference(fields: &mut Fields<'_, '_>) -> Result<Ranked, Defect> {
    if fields.object.contains_key(fields.names.of("label")) {
        return labelled(fields);
    }
    let is_text = |field| fields.object.get(fields.names.of(field)).is_some_and(Value::is_string);
    let (prompt, said) = if is_text("chosen") && is_text("rejected") {
        let both = [fields.answer("chosen")?, fields.answer("rejected")?];
        let (prompt, said) = match fields.object.contains_key(fields.names.of("prompt")) {
            true => {
                let instruction = fields.question("prompt")?;
                (Asked::Instruction { instruction, input: String::new() }, both)
            }
            false => parted(fields, &both)?,
        };
        (prompt, said.map(Said::Text))
    } else {
        conversations(fields)?
    };
    let scored = said.into_iter().zip([1.0, 0.0]);
    let candidates = scored.map(|(said, score)| Candidate { said, score }).collect();
    Ok(Ranked { format: "preference", prompt, candidates, original: None })
}

/// One answer, and whether it is a good one: its score is then 1, else 0.
fn labelled(fields: &mut Fields<'_, '_>) -> Result<Ranked, Defect> {
    let instruction = fields.question("prompt")?;
    let said = Said::Text(fields.answer("completion")?);
    let label = fields.take("label")?;
    let wrong = || fields.wrong("label", &label, "true or false");
    let score = label.as_bool().map(|good| f32::from(u8::from(good))).ok_or_else(wrong)?;
    let prompt = Asked::Instruction { instruction, input: String::new() };
    let candidates = vec![Candidate { said, score }];
    Ok(Ranked { format: "preference", prompt, candidates, original: None })
}

/// The text with which both begin, and how each goes on: a blank between them belongs to the answers, as TRL
/// has it.
fn parted(fields: &mut Fields<'_, '_>, both: &[String; 2]) -> Result<(Asked, [String; 2]), Defect> {
    let [chosen, rejected] = both;
    let pairs = chosen.char_indices().zip(rejected.chars());
    let alike = pairs.take_while(|((_, one), other)| one == other);
    let end = alike.last().map_or(0, |((at, last), _)| at + last.len_utf8());
    let prompt = chosen[..end].strip_suffix(' ').unwrap_or(&chosen[..end]);
    if prompt.trim().is_empty() {
        // Which is not there.
        let missing = fields.question("prompt");
        return missing.map(|prompt| (Asked::Text(prompt), both.clone()));
    }
    let answer = |text: &String, field: &str| match &text[prompt.len()..] {
        rest if rest.trim().is_empty() => Err(Defect::EmptyAnswer {
            field: fields.names.of(field).to_owned(),
            found: "has nothing behind what both begin with",
        }),
        rest => Ok(rest.to_owned()),
    };
    let said = [answer(chosen, "chosen")?, answer(rejected, "rejected")?];
    Ok((Asked::Text(prompt.to_owned()), said))
}

/// Lists of messages. Without `prompt`, or beside one that is text, the messages with which both begin are the
/// prompt; if there are none, that text is.
fn conversations(fields: &mut Fields<'_, '_>) -> Result<(Asked, [Said; 2]), Defect> {
    let mut chosen = fields.messages("chosen", |fields, number| fields.message(number))?;
    let mut rejected = fields.messages("rejected", |fields, number| fields.message(number))?;
    let prompt = fields.object.get(fields.names.of("prompt"));
    let messages = match prompt {
        Some(Value::Array(_)) => {
            fields.messages("prompt", |fields, number| fields.message(number))?
        }
        Some(Value::String(_)) if chosen.len() == 1 && rejected.len() == 1 => {
            vec![Message::new("user", fields.question("prompt")?)]
        }
        Some(Value::String(_)) | None => {
            let both = chosen.iter().zip(&rejected);
            let alike = both.take_while(|(chosen, rejected)| chosen == rejected).count();
            // What both say at their end is an answer all the same.
            let alike = alike.min(chosen.len() - 1).min(rejected.len() - 1);
            rejected.drain(..alike);
            chosen.drain(..alike).collect()
        }
        Some(other) => return Err(fields.wrong("prompt", other, "a text or a list of messages")),
    };
    if messages.is_empty() {
        return Err(Defect::EmptyPrompt { field: fields.names.of("prompt").to_owned() });
    }
    let answer = |field: &str, mut messages: Vec<Message>| match messages.pop() {
        Some(last) if messages.is_empty() && last.role == "assistant" => Ok(Said::Message(last)),
        last => Err(Defect::Answer {
            field: fields.names.of(field).to_owned(),
            messages: messages.len() + 1,
            role: last.map(|last| last.role).unwrap_or_default(),
        }),
    };
    let said = [answer("chosen", chosen)?, answer("rejected", rejected)?];
    let tools = fields.take("tools").ok().filter(|tools| !tools.is_null());
    Ok((Asked::Messages { messages, tools }, said))
}

impl<'a> Fields<'_, 'a> {
    /// Text to be answered: whitespace alone asks for nothing.
    fn question(&mut self, field: &'a str) -> Result<String, Defect> {
        let text = self.text(field)?;
        match text.trim() {
            "" => Err(Defect::EmptyPrompt {
                field: format!("{}{}", self.place, self.names.of(field)),
            }),
            _ => Ok(text),
        }
    }

    /// A list of texts, none of them blank.
    fn answers(&mut self, field: &'a str) -> Result<Vec<String>, Defect> {
        let value = self.take(field)?;
        let Value::Array(list) = value else {
            return Err(self.wrong(field, &value, "a list of texts"));
        };
        let texts = list.into_iter().enumerate().map(|(index, item)| {
            let name = format!("{}[{index}]", self.names.of(field));
            match item {
                Value::String(text) if text.is_empty() => {
                    Err(Defect::EmptyAnswer { field: name, found: "is `\"\"`" })
                }
                Value::String(text) if text.trim().is_empty() => {
                    Err(Defect::EmptyAnswer { field: name, found: "holds only whitespace" })
                }
                Value::String(text) => Ok(text),
                other => Err(Defect::Type {
                    what: format!("`{name}`"),
                    found: kind(&other),
                    wanted: "a string",
                }),
            }
        });
        texts.collect()
    }

    /// A list of numbers, all of them finite.
    fn scores(&mut self, field: &'a str) -> Result<Vec<f32>, Defect> {
        let value = self.take(field)?;
        let Value::Array(list) = &value else {
            return Err(self.wrong(field, &value, "a list of numbers"));
        };
        let scores = list.iter().enumerate().map(|(index, item)| {
            let wrong = |found| Defect::Type {
                what: format!("`{}[{index}]`", self.names.of(field)),
                found,
                wanted: "a finite number",
            };
            let score = item.as_f64().ok_or_else(|| wrong(kind(item)))? as f32;
            if score.is_finite() { Ok(score) } else { Err(wrong("a number too large for f32")) }
        });
        scores.collect()
    }
}
