//! TyDi QA, gold passage: a question, the passage that answers it, and the answer's words.
//!
//! - Layout: `tydiqa-goldp-v1.1-dev.json` in SQuAD's form, `data: [{paragraphs: [{context, qas: [{id, question,
//!   answers: [{text}]}]}]}]`, where an id begins with its language (`finnish-…`). Lines of the primary task
//!   (`*.jsonl`, packed or not) are read too: each question that has a minimal answer, with its passage.
//! - Prompt: one solved question of the same language, then the passage, the question, and `Answer:`. The solved
//!   one is the first of that language in `tydiqa-goldp-v1.1-train.json`; without that file, the first other
//!   question of the language that is asked about another passage.
//! - Score: the best over the answers, as SQuAD 1.1 has it: exact match and F1 of the bags of words, after
//!   lower case, without ASCII punctuation and English articles, blanks collapsed.
//! - The suite's number is the mean of its languages. English is asked only by name (`tydiqa/english`): the
//!   published few-shot scores leave it out.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::LazyLock;

use albacore_data::{Decoding, is_python_space};
use regex::Regex;
use serde::Deserialize;

use crate::folder::{Home, json, names};
use crate::{Error, Example, Mean, Question, Result, Scores, SuiteOptions, Task};

mod primary;

const HOME: Home = Home {
    suite: "tydiqa",
    places: &["tydiqa", ""],
    origin: "https://github.com/google-research-datasets/tydiqa (Apache-2.0)",
};

const LEFT_OUT: &str = "english";

/// The suite.
#[derive(Debug)]
pub struct TydiQa {
    examples: Vec<Example>,
}

/// A question with the passage that answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    id: String,
    language: String,
    passage: String,
    question: String,
    answers: Vec<String>,
}

impl TydiQa {
    /// Reads it, or some languages of it; at most one solved question comes first.
    ///
    /// # Errors
    /// If files are missing or malformed, or there is no such language.
    pub fn open(data: &Path, options: &SuiteOptions) -> Result<Self> {
        let is_dev = |name: &str| name.contains("dev") && (is_gold(name) || is_primary(name));
        let folder = HOME.find(data, "tydiqa-goldp-v1.1-dev.json", is_dev)?;
        let shots = options.shots.unwrap_or(1);
        let mut files: Vec<_> = names(&folder).into_iter().filter(|name| is_dev(name)).collect();
        // The gold passages themselves rather than what can be made of the primary task.
        files.sort_by_key(|name| !is_gold(name));
        let asked = read(&folder.join(&files[0]))?;
        let train = names(&folder).into_iter().find(|name| name.contains("train") && is_gold(name));
        let train = train.map(|name| read(&folder.join(name))).transpose()?;
        let languages: BTreeSet<_> = asked.iter().map(|one| one.language.clone()).collect();
        let mut languages = options.chosen("tydiqa", &folder, languages.into_iter().collect())?;
        if options.tasks.is_empty() {
            languages.retain(|language| language != LEFT_OUT);
        }
        let wanted = |asked: &&Asked| languages.contains(&asked.language);
        let mut by_language: Vec<&Asked> = asked.iter().filter(wanted).collect();
        by_language.sort_by(|one, other| one.language.cmp(&other.language));
        let solved = train.as_deref().unwrap_or(&asked);
        let firsts = first_of_each(solved);
        let example = |one: &Asked| {
            let shot = firsts.get(one.language.as_str()).filter(|_| shots > 0).and_then(|of| {
                of.iter().map(|&place| &solved[place]).find(|other| other.passage != one.passage)
            });
            Example {
                id: one.id.clone(),
                task: one.language.clone(),
                question: Question {
                    shots: shot.map(solved_text).into_iter().collect(),
                    tail: asked_text(one),
                    ..Question::default()
                },
                texts: vec![one.passage.clone(), one.question.clone()],
                references: one.answers.clone(),
                ..Example::default()
            }
        };
        Ok(Self { examples: by_language.into_iter().map(example).collect() })
    }
}

fn is_gold(name: &str) -> bool {
    name.ends_with(".json")
}

fn is_primary(name: &str) -> bool {
    name.ends_with(".jsonl") || name.ends_with(".jsonl.gz")
}

fn read(path: &Path) -> Result<Vec<Asked>> {
    match is_gold(&path.to_string_lossy()) {
        true => gold(path),
        false => primary::read(path),
    }
}

/// The questions of each language, as far as a second passage.
fn first_of_each(asked: &[Asked]) -> HashMap<&str, Vec<usize>> {
    let mut firsts: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, one) in asked.iter().enumerate() {
        let of = firsts.entry(&one.language).or_default();
        if of.iter().all(|&other| asked[other].passage != one.passage) && of.len() < 2 {
            of.push(place);
        }
    }
    firsts
}

fn asked_text(Asked { passage, question, .. }: &Asked) -> String {
    format!("Passage: {}\n\nQuestion: {}\nAnswer:", passage.trim(), question.trim())
}

fn solved_text(asked: &Asked) -> String {
    format!("{} {}\n\n\n", asked_text(asked), asked.answers[0].trim())
}

#[derive(Deserialize)]
struct Gold {
    data: Vec<Document>,
}

#[derive(Deserialize)]
struct Document {
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<QuestionAndAnswers>,
}

#[derive(Deserialize)]
struct QuestionAndAnswers {
    id: String,
    question: String,
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    text: String,
}

fn gold(path: &Path) -> Result<Vec<Asked>> {
    let Gold { data } = json(path)?;
    let paragraphs = data.into_iter().flat_map(|document| document.paragraphs);
    let asked = paragraphs.flat_map(|Paragraph { context, qas }| {
        qas.into_iter().map(move |QuestionAndAnswers { id, question, answers }| {
            let wrong = |message: &str| {
                Error::malformed(path.display(), format!("the question `{id}` {message}"))
            };
            let language = id.split_once('-').map(|(language, _)| language.to_lowercase());
            let language = language
                .ok_or_else(|| wrong("has no language in its id, wanted `LANGUAGE-NUMBER`"))?;
            if answers.is_empty() {
                return Err(wrong("has no answer, wanted at least one"));
            }
            let answers = answers.into_iter().map(|answer| answer.text).collect();
            Ok(Asked { id, language, passage: context.clone(), question, answers })
        })
    });
    asked.collect()
}

impl Task for TydiQa {
    fn name(&self) -> &'static str {
        "tydiqa"
    }

    fn examples(&self) -> &[Example] {
        &self.examples
    }

    fn decoding(&self) -> Decoding {
        Decoding { max_tokens: 64, stop: vec!["\n".into()], ..Decoding::default() }
    }

    fn score(&self, example: usize, extracted: &str) -> Scores {
        let found = normalized(extracted);
        let references = self.examples[example].references.iter().map(|text| normalized(text));
        let (mut exact, mut best) = (false, 0.0);
        for reference in references {
            exact |= reference == found;
            best = f64::max(best, f1(&found, &reference));
        }
        Scores::from([("exact_match", f64::from(u8::from(exact))), ("f1", best)])
    }

    fn headline(&self, _: &str) -> &'static str {
        "exact_match"
    }

    fn mean(&self) -> Mean {
        Mean::OfTasks
    }
}

static ARTICLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(a|an|the)\b").expect("a pattern of our own compiles"));

/// A text's words as SQuAD 1.1 compares them.
fn normalized(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let bare: String = lower.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    // Beside a quotation mark that is no ASCII too.
    let bare = ARTICLE.replace_all(&bare, " ");
    bare.split(is_python_space).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// F1 of two bags of words.
fn f1(found: &[String], reference: &[String]) -> f64 {
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in reference {
        *left.entry(word).or_default() += 1;
    }
    let mut common = 0;
    for word in found {
        if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    if common == 0 {
        return 0.0;
    }
    let precision = f64::from(common) / found.len() as f64;
    let recall = f64::from(common) / reference.len() as f64;
    2.0 * precision * recall / (precision + recall)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const DEV: &str = r#"{"version": "1.1", "data": [{"title": "t", "paragraphs": [
        {"context": "Turku on Aurajoen varrella.", "qas": [{"id": "finnish-1-0", "question": "Missä Turku on?",
            "answers": [{"text": "Aurajoen varrella", "answer_start": 9}, {"text": "joen varrella"}]}]},
        {"context": "Oulu on pohjoisessa.", "qas": [{"id": "finnish-2-0", "question": "Missä Oulu on?",
            "answers": [{"text": "pohjoisessa", "answer_start": 8}]}]},
        {"context": "Mto ni mrefu.", "qas": [{"id": "swahili-1-1", "question": "Mto ni?",
            "answers": [{"text": "mrefu", "answer_start": 7}]}]},
        {"context": "The Nile is a river.", "qas": [{"id": "english-4-1", "question": "What is the Nile?",
            "answers": [{"text": "a river", "answer_start": 12}]}]}]}]}"#;

    fn open(language: Option<&str>, train: Option<&str>) -> Result<TydiQa> {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("tydiqa-goldp-v1.1-dev.json"), DEV).unwrap();
        if let Some(train) = train {
            fs::write(data.path().join("tydiqa-goldp-v1.1-train.json"), train).unwrap();
        }
        let tasks = language.map(str::to_owned).into_iter().collect();
        TydiQa::open(data.path(), &SuiteOptions { tasks, ..SuiteOptions::default() })
    }

    #[test]
    fn the_solved_question_is_of_the_same_language_and_another_passage() {
        let suite = open(None, None).unwrap();
        let ids: Vec<_> = suite.examples().iter().map(|example| example.id.as_str()).collect();
        assert_eq!(ids, ["finnish-1-0", "finnish-2-0", "swahili-1-1"], "English is left out");
        let asked = "Passage: Oulu on pohjoisessa.\n\nQuestion: Missä Oulu on?\nAnswer:";
        let first = &suite.examples()[0].question;
        assert_eq!(first.shots[..], [format!("{asked} pohjoisessa\n\n\n")]);
        assert_eq!(suite.examples()[1].question.tail, asked);
        assert!(suite.examples()[1].question.shots[0].contains("Turku on Aurajoen"));
        assert!(suite.examples()[2].question.shots.is_empty(), "there is no other in Swahili");
        let train = DEV.replace("Mto ni mrefu", "Maji ni baridi");
        let suite = open(None, Some(&train)).unwrap();
        assert!(suite.examples()[2].question.shots[0].starts_with("Passage: Maji ni baridi."));
        assert_eq!(open(Some("english"), None).unwrap().examples().len(), 1);
        let error = open(Some("welsh"), None).unwrap_err().to_string();
        assert!(error.starts_with("`tydiqa` has no task `welsh`"), "{error}");
    }

    #[test]
    fn the_best_answer_counts_without_articles_and_punctuation() {
        let suite = open(None, None).unwrap();
        let scores = |text: &str| {
            let scores = suite.score(0, &suite.extract(0, text));
            (scores["exact_match"], scores["f1"])
        };
        assert_eq!(scores(" Aurajoen, varrella.\n"), (1.0, 1.0));
        assert_eq!(scores("the joen varrella"), (1.0, 1.0));
        assert_eq!(
            normalized("\u{201c}The cat\u{201d} \u{2014}a hat, theatre"),
            ["\u{201c}", "cat\u{201d}", "\u{2014}", "hat", "theatre"]
        );
        // One word of three and one of two.
        let third = 2.0 * (1.0 / 3.0) * 0.5 / (1.0 / 3.0 + 0.5);
        assert_eq!(scores("aivan Aurajoen rannalla"), (0.0, third));
        assert_eq!(scores("Turku"), (0.0, 0.0));
        assert_eq!(scores("varrella varrella"), (0.0, 0.5));
    }
}
