//! Exact match: the share of examples that the model answers word for word.

use std::borrow::Borrow;
use std::ops::ControlFlow;

use albacore_data::{Encoded, Tokenizer};
use albacore_model::{Limits, Model, Sampling, generate};

use crate::Result;

/// One example, answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the model was given, special tokens included.
    pub prompt: String,
    /// The answer in the data.
    pub wanted: String,
    /// The answer of the model.
    pub found: String,
}

impl Answer {
    /// Whether both are the same but for white space around them.
    pub fn is_exact(&self) -> bool {
        self.wanted.trim() == self.found.trim()
    }
}

/// All answers of one measurement.
#[derive(Clone, Debug, Default)]
pub struct ExactMatch {
    /// One answer an example, in order.
    pub answers: Vec<Answer>,
}

impl ExactMatch {
    /// Examples answered exactly.
    pub fn exact(&self) -> usize {
        self.answers.iter().filter(|answer| answer.is_exact()).count()
    }

    /// Percentage of examples answered exactly.
    pub fn percent(&self) -> f64 {
        100.0 * self.exact() as f64 / self.answers.len().max(1) as f64
    }
}

/// Answers every example greedily and compares with what the data says.
///
/// The prompt is everything before the last learned span, which is the wanted answer: the same rule
/// for every format of data.
///
/// # Errors
/// If the model cannot be run or an answer cannot be decoded.
pub fn exact_match<E: Borrow<Encoded>>(
    model: &Model,
    tokenizer: &Tokenizer,
    examples: &[E],
    max_new_tokens: usize,
) -> Result<ExactMatch> {
    // 32 prompts fill the matrix products and keep the cache small.
    const BATCH: usize = 32;
    let limits = Limits { max_new_tokens, stop_ids: tokenizer.eos_ids().to_vec() };
    let mut answers = Vec::with_capacity(examples.len());
    for examples in examples.chunks(BATCH) {
        let (prompts, wanted): (Vec<_>, Vec<_>) =
            examples.iter().map(|example| last_answer(example.borrow())).unzip();
        let prompts = prompts.into_iter().map(<[u32]>::to_vec).collect::<Vec<_>>();
        let greedy = Sampling::default();
        let found = generate(model, &prompts, greedy, &limits, |_, _| ControlFlow::Continue(()))?;
        for ((prompt, wanted), found) in prompts.iter().zip(wanted).zip(found) {
            answers.push(Answer {
                prompt: tokenizer.decode(prompt, false)?,
                wanted: tokenizer.decode(wanted, true)?,
                found: tokenizer.decode(&found.ids, true)?,
            });
        }
    }
    Ok(ExactMatch { answers })
}

/// Splits an example into what comes before its last learned span, and that span; of several responses
/// to one prompt the best is wanted.
fn last_answer(example: &Encoded) -> (&[u32], &[u32]) {
    if let Some(best) = example.best_response() {
        return (example.prompt(), &example.ids[example.response(best)]);
    }
    let end = example.learned.iter().rposition(|&learned| learned).map_or(0, |last| last + 1);
    let start = example.learned[..end].iter().rposition(|&learned| !learned);
    let start = start.map_or(0, |before| before + 1);
    (&example.ids[..start], &example.ids[start..end])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use albacore_data::Origin;
    use albacore_kernels::storage;

    use super::*;
    use crate::tiny;

    fn example(learned: &[bool]) -> Encoded {
        Encoded {
            ids: (0..learned.len() as u32).collect(),
            learned: learned.to_vec(),
            reasons: Vec::new(),
            origin: Origin { file: std::path::Path::new("here").into(), line: 1 },
            eos_added: false,
            responses: Vec::new(),
        }
    }

    #[test]
    fn the_wanted_answer_is_the_last_learned_span_without_what_follows() {
        let turns = example(&[false, true, false, false, true, true, false]);
        assert_eq!(last_answer(&turns), (&[0, 1, 2, 3][..], &[4, 5][..]));
        assert_eq!(last_answer(&example(&[false, true])), (&[0][..], &[1][..]));
    }

    /// Words as tokens: a word's id is its place among them; the first ends a text.
    const WORDS: [&str; 10] =
        ["</s>", "hot", "cold", "up", "down", "left", "right", "in", "out", "off"];

    fn tokenizer() -> Tokenizer {
        let folder = tempfile::tempdir().unwrap();
        let words = WORDS.iter().enumerate().map(|(id, word)| format!("\"{word}\": {id}"));
        let words = words.collect::<Vec<_>>().join(", ");
        let tokenizer = format!(
            r#"{{"version": "1.0", "truncation": null, "padding": null, "normalizer": null,
            "pre_tokenizer": {{"type": "WhitespaceSplit"}}, "post_processor": null,
            "decoder": null, "added_tokens": [{{"id": 0, "content": "</s>", "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}}],
            "model": {{"type": "WordLevel", "unk_token": "off", "vocab": {{{words}}}}}}}"#
        );
        fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();
        let config = r#"{"eos_token": "</s>"}"#;
        fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
        Tokenizer::load(folder.path()).unwrap()
    }

    /// A model that follows a word by the one after it in `WORDS`, and the last by `</s>`: its layers
    /// add nothing, token `i` is the unit vector `i`, and row `i + 1` of the head is that vector too.
    fn counting() -> Model {
        let model = tiny::model();
        for parameter in model.parameters() {
            for part in parameter.parts() {
                let columns = parameter.value().dims().last().copied().unwrap();
                let row_of = |token: usize| match part.name.as_str() {
                    "model.embed_tokens.weight" => Some(token),
                    "lm_head.weight" => Some((token + 1) % WORDS.len()),
                    _ => None,
                };
                let silent = ["o_proj", "down_proj"].iter().any(|name| part.name.contains(name));
                if row_of(0).is_some() || silent {
                    let fill = |numbers: &mut [f32]| {
                        numbers.fill(0.0);
                        for (token, row) in (0..WORDS.len()).filter_map(|t| Some((t, row_of(t)?))) {
                            numbers[row * columns + token] = 1.0;
                        }
                        Ok(())
                    };
                    storage::write(&parameter.part_value(part).unwrap(), fill).unwrap();
                }
            }
        }
        model
    }

    #[test]
    fn a_known_answer_is_right_and_another_wrong() {
        let (model, tokenizer) = (counting(), tokenizer());
        let example = |prompt: &[u32], answer: &[u32]| Encoded {
            ids: [prompt, answer].concat(),
            learned: [vec![false; prompt.len()], vec![true; answer.len()]].concat(),
            ..example(&[])
        };
        // Prompts of different lengths; counting on from `in` ends the text after `off`.
        let examples =
            [example(&[5, 7], &[8, 9, 0]), example(&[1, 2, 6], &[7, 9, 0]), example(&[8], &[9, 0])];
        let found = exact_match(&model, &tokenizer, &examples, 5).unwrap();
        let answer = |prompt: &str, wanted: &str, found: &str| Answer {
            prompt: prompt.into(),
            wanted: wanted.into(),
            found: found.into(),
        };
        let wanted = [
            answer("left in", "out off", "out off"),
            answer("hot cold right", "in off", "in out off"),
            answer("out", "off", "off"),
        ];
        assert_eq!(found.answers, wanted);
        assert_eq!(found.exact(), 2);
        // Cut off before its end, an answer is wrong.
        assert_eq!(exact_match(&model, &tokenizer, &examples, 1).unwrap().exact(), 1);
    }

    #[test]
    fn white_space_around_an_answer_does_not_count_and_anything_else_does() {
        let answer = |wanted: &str, found: &str| Answer {
            prompt: String::new(),
            wanted: wanted.into(),
            found: found.into(),
        };
        assert!(answer("cold", " cold\n").is_exact());
        assert!(!answer("cold", "Cold").is_exact());
        let answers = vec![answer("a", "a"), answer("a", "b"), answer("a", "a "), answer("", "c")];
        assert_eq!(ExactMatch { answers }.percent(), 50.0);
        assert_eq!(ExactMatch::default().percent(), 0.0);
    }
}
