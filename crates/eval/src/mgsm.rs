//! MGSM: 250 problems of GSM8K in ten languages (and English), reasoned out in the language itself.
//!
//! - Layout: `mgsm_LANGUAGE.tsv`, lines of question and answer; `exemplars.py` with eight exemplars a
//!   language, `{"q": "Question: …", "a": "Step-by-Step Answer: … The answer is 11."}`.
//! - Prompt: the exemplars, then the question between the words that stand in an exemplar around its own.
//! - What counts: the last number of the answer. It must be the same number as in the second column.
//! - The suite's number is the mean of the ten languages; English is asked by `mgsm/en` alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use albacore_data::Decoding;
use serde::Deserialize;

use crate::chain_of_thought::last_number;
use crate::folder::{Home, read, stems};
use crate::{Error, Example, Mean, Question, Result, Scores, SuiteOptions, Task};

const HOME: Home = Home {
    suite: "mgsm",
    places: &["mgsm", "url-nlp/mgsm", ""],
    origin: "https://github.com/google-research/url-nlp, folder `mgsm` (CC BY-SA 4.0)",
};

/// The suite.
#[derive(Debug)]
pub struct Mgsm {
    examples: Vec<Example>,
}

#[derive(Deserialize)]
struct Exemplar {
    q: String,
    a: String,
}

impl Mgsm {
    /// Reads it.
    ///
    /// # Errors
    /// If files are missing or malformed.
    pub fn open(data: &Path, options: &SuiteOptions) -> Result<Self> {
        let is_test = |name: &str| name.starts_with("mgsm_") && name.ends_with(".tsv");
        let folder = HOME.find(data, "mgsm_LANGUAGE.tsv", is_test)?;
        let names = stems(&folder, ".tsv").into_iter();
        let languages: Vec<_> =
            names.filter_map(|name| Some(name.strip_prefix("mgsm_")?.to_owned())).collect();
        let mut languages = options.chosen("mgsm", &folder, languages)?;
        if options.tasks.is_empty() {
            languages.retain(|language| language != "en");
        }
        let wanted = options.shots.unwrap_or(8);
        let path = folder.join("exemplars.py");
        let exemplars = match wanted {
            0 => BTreeMap::new(),
            _ if !path.is_file() => return Err(HOME.missing(data, &folder, "exemplars.py")),
            _ => exemplars(&path)?,
        };
        let mut examples = Vec::new();
        for language in languages {
            let shots = match exemplars.get(&language) {
                None if wanted > 0 => {
                    let message = format!("no exemplars of the language `{language}`");
                    return Err(Error::malformed(path.display(), message));
                }
                shots => shots.map(|shots| &shots[..wanted.min(shots.len())]).unwrap_or_default(),
            };
            read_language(&folder, &language, shots, &mut examples)?;
        }
        Ok(Self { examples })
    }
}

fn read_language(
    folder: &Path,
    language: &str,
    exemplars: &[Exemplar],
    examples: &mut Vec<Example>,
) -> Result<()> {
    let shots: Arc<[_]> =
        exemplars.iter().map(|shot| format!("{}\n{}\n\n", shot.q, shot.a)).collect();
    // Up to its colon, which Chinese and Japanese have a character of their own for.
    let lead = |text: &'_ str| -> Option<usize> {
        let (colon, found) = text.char_indices().find(|(_, found)| matches!(found, ':' | '：'))?;
        let end = colon + found.len_utf8();
        Some(if text[end..].starts_with(' ') { end + 1 } else { end })
    };
    let words =
        exemplars.first().and_then(|Exemplar { q, a }| Some((&q[..lead(q)?], &a[..lead(a)?])));
    let (asks, answers) = words.unwrap_or(("Question: ", "Step-by-Step Answer:"));
    let answers = answers.trim_end();
    let path = folder.join(format!("mgsm_{language}.tsv"));
    let text = read(&path)?;
    for (index, line) in text.lines().filter(|line| !line.is_empty()).enumerate() {
        let Some((question, answer)) = line.split_once('\t') else {
            let place = format!("{}:{}", path.display(), index + 1);
            return Err(Error::malformed(place, "wanted a question, a tab and an answer"));
        };
        examples.push(Example {
            id: index.to_string(),
            task: language.to_owned(),
            question: Question {
                shots: shots.clone(),
                tail: format!("{asks}{question}\n{answers}"),
                ..Question::default()
            },
            texts: vec![question.to_owned()],
            references: vec![answer.trim().replace(',', "")],
            ..Example::default()
        });
    }
    Ok(())
}

/// The exemplars of every language, in the order of their numbers.
fn exemplars(path: &Path) -> Result<BTreeMap<String, Vec<Exemplar>>> {
    const NAME: &str = "MGSM_EXEMPLARS = ";
    let text = read(path)?;
    let malformed = |message: String| Error::malformed(path.display(), message);
    let (_, table) = text
        .split_once(NAME)
        .ok_or_else(|| malformed(format!("wanted a line that begins with `{NAME}`")))?;
    let json = json_of_python(table);
    let mut values = serde_json::Deserializer::from_str(&json)
        .into_iter::<BTreeMap<String, BTreeMap<u32, Exemplar>>>();
    let table = values.next().unwrap_or_else(|| Ok(BTreeMap::new()));
    let table = table.map_err(|error| malformed(error.to_string()))?;
    Ok(table.into_iter().map(|(key, shots)| (key, shots.into_values().collect())).collect())
}

/// A dictionary of Python's as JSON: neighbouring strings become one, commas before a bracket go.
fn json_of_python(text: &str) -> String {
    let mut json = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(quote) = characters.next() {
        if quote == '}' && json.trim_end().ends_with(',') {
            json.truncate(json.trim_end().len() - 1);
        }
        // Two strings beside each other go on as one.
        let goes_on = json.trim_end().ends_with('"');
        if !matches!(quote, '"' | '\'') {
            json.push(quote);
            continue;
        }
        if goes_on {
            json.truncate(json.trim_end().len() - 1);
        } else {
            json.push('"');
        }
        while let Some(inside) = characters.next() {
            match inside {
                '\\' if characters.peek() == Some(&'\'') => {}
                '\\' => {
                    json.push('\\');
                    json.extend(characters.next());
                }
                end if end == quote => break,
                '"' => json.push_str("\\\""),
                other => json.push(other),
            }
        }
        json.push('"');
    }
    json
}

/// The digits of the scripts that the questions are written in, as Python's `float` reads them.
fn ascii_digit(c: char) -> char {
    /// Where each row of ten digits begins: Arabic, Persian, Devanagari, Bengali, Telugu, Thai, full width.
    const ZEROS: [char; 7] = ['٠', '۰', '०', '০', '౦', '๐', '０'];
    let value = |zero: &char| (c as u32).checked_sub(*zero as u32).filter(|value| *value < 10);
    let digit = ZEROS.iter().find_map(value);
    digit.and_then(|value| char::from_digit(value, 10)).unwrap_or(c)
}

impl Task for Mgsm {
    fn name(&self) -> &'static str {
        "mgsm"
    }

    fn examples(&self) -> &[Example] {
        &self.examples
    }

    fn decoding(&self) -> Decoding {
        Decoding { max_tokens: 512, stop: vec!["\n\n".into()], ..Decoding::default() }
    }

    fn extract(&self, _: usize, answer: &str) -> String {
        let digits: String = answer.chars().map(ascii_digit).collect();
        last_number(&digits).unwrap_or_default()
    }

    fn score(&self, example: usize, extracted: &str) -> Scores {
        let number = |text: &str| text.parse::<f64>().ok();
        let wanted = number(&self.examples[example].references[0]);
        let right = wanted.is_some() && number(extracted) == wanted;
        Scores::from([("accuracy", f64::from(right))])
    }

    fn headline(&self, _: &str) -> &'static str {
        "accuracy"
    }

    fn mean(&self) -> Mean {
        Mean::OfTasks
    }

    fn reasons(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn digits_of_every_script_are_digits() {
        let read = |text: &str| last_number(&text.chars().map(ascii_digit).collect::<String>());
        for text in ["উত্তর হল ১৮।", "คำตอบคือ ๑๘", "సమాధానం ౧౮", "答えは１８です", "18."]
        {
            assert_eq!(read(text).as_deref(), Some("18"), "{text}");
        }
    }

    const EXEMPLARS: &str = r#""""Prompts."""
OTHER = [1, 2]

MGSM_EXEMPLARS = {
    "de": {
        "2": {"q": "Frage: Und " "2?", "a": "Antwort: Es " "sind \"zwei\"."},
        "1": {
            "q": "Frage: Wie "
                 " "
                 "viele?",
            "a": 'Schritt: 1.',
        },
    },
    "zh": {"1": {"q": "\u95ee\u9898\uff1aX?", "a": "\u7b54\u6848\uff1a5."}},
}

MORE = {}
"#;

    fn open(options: &SuiteOptions) -> Result<Mgsm> {
        let folder = tempfile::tempdir().unwrap();
        for language in ["de", "en", "zh"] {
            let path = folder.path().join(format!("mgsm_{language}.tsv"));
            fs::write(path, "Was?\t2,125\nWer?\t3\n").unwrap();
        }
        fs::write(folder.path().join("exemplars.py"), EXEMPLARS).unwrap();
        Mgsm::open(folder.path(), options)
    }

    #[test]
    fn a_question_is_asked_in_the_words_of_its_languages_exemplars() {
        let suite = open(&SuiteOptions::default()).unwrap();
        let texts: Vec<_> =
            suite.examples().iter().map(|example| example.question.text(8)).collect();
        let wanted = "Frage: Wie  viele?\nSchritt: 1.\n\nFrage: Und 2?\nAntwort: Es sind \"zwei\".\n\n\
                      Frage: Was?\nSchritt:";
        assert_eq!(texts[0], wanted);
        assert_eq!(texts[2], "问题：X?\n答案：5.\n\n问题：Was?\n答案：");
        // English is not one of the languages.
        assert_eq!(texts.len(), 4);
    }

    #[test]
    fn english_is_asked_by_its_name_and_a_language_without_exemplars_is_refused() {
        let english = |shots| {
            open(&SuiteOptions { tasks: vec!["en".into()], shots, ..SuiteOptions::default() })
        };
        let text = english(Some(0)).unwrap().examples()[1].question.text(0);
        assert_eq!(text, "Question: Wer?\nStep-by-Step Answer:");
        assert!(
            english(None).unwrap_err().to_string().contains("no exemplars of the language `en`")
        );
    }

    #[test]
    fn the_last_number_counts_as_a_number() {
        let suite = open(&SuiteOptions::default()).unwrap();
        let right = |answer| suite.score(0, &suite.extract(0, answer))["accuracy"] == 1.0;
        assert!(right("5 und 2,125.") && right("2125.00") && right("$2125"));
        assert!(!right("2125 oder 3") && !right("") && !right("viele"));
    }
}
