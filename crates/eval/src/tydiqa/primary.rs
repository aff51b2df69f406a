//! The primary task's lines: whole articles, with places of passages and of minimal answers in bytes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use serde::Deserialize;

use super::Asked;
use crate::{Error, Result};

#[derive(Deserialize)]
struct Line {
    example_id: serde_json::Number,
    language: String,
    question_text: String,
    document_plaintext: String,
    passage_answer_candidates: Vec<Span>,
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Annotation {
    minimal_answer: Span,
    passage_answer: Chosen,
}

/// A part of the article; -1 where there is none.
#[derive(Deserialize)]
struct Span {
    plaintext_start_byte: i64,
    plaintext_end_byte: i64,
}

#[derive(Deserialize)]
struct Chosen {
    candidate_index: i64,
}

/// The questions that have a minimal answer, each with the passage of the first one.
pub(super) fn read(path: &Path) -> Result<Vec<Asked>> {
    let lines = text(path)?;
    let lines = (1..).zip(lines.lines()).filter(|(_, line)| !line.trim().is_empty());
    let asked = lines.map(|(number, line)| {
        let wrong =
            |message: String| Error::malformed(format!("{}:{number}", path.display()), message);
        let line = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        asked(line).map_err(wrong)
    });
    asked.filter_map(Result::transpose).collect()
}

fn text(path: &Path) -> Result<String> {
    let file = File::open(path).map_err(Error::file(path))?;
    let mut text = String::new();
    match path.extension().is_some_and(|ending| ending == "gz") {
        true => GzDecoder::new(file).read_to_string(&mut text),
        false => { file }.read_to_string(&mut text),
    }
    .map_err(Error::file(path))?;
    Ok(text)
}

fn asked(line: Line) -> Result<Option<Asked>, String> {
    let article = &line.document_plaintext;
    let part = |Span { plaintext_start_byte: start, plaintext_end_byte: end }: &Span| {
        let place = usize::try_from(*start).ok().zip(usize::try_from(*end).ok());
        place.and_then(|(start, end)| article.get(start..end)).ok_or_else(|| {
            let length = article.len();
            format!("bytes {start} to {end} are no text of the article, which has {length}")
        })
    };
    let answered = line.annotations.iter().filter(|of| of.minimal_answer.plaintext_start_byte >= 0);
    let (mut passage, mut answers) = (None, Vec::new());
    for annotation in answered {
        let index = annotation.passage_answer.candidate_index;
        let candidate = usize::try_from(index).ok();
        let candidate = candidate.and_then(|index| line.passage_answer_candidates.get(index));
        let candidate = candidate.ok_or_else(|| format!("there is no passage {index}"))?;
        if passage.is_none() {
            passage = Some(part(candidate)?.to_owned());
        }
        answers.push(part(&annotation.minimal_answer)?.to_owned());
    }
    Ok(passage.map(|passage| Asked {
        id: format!("{}-{}", line.language, line.example_id),
        language: line.language,
        passage,
        question: line.question_text,
        answers,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"example_id": -7, "language": "finnish", "question_text": "Missä?", "document_plaintext": "Å ja Turku. Se on täällä.", "passage_answer_candidates": [{"plaintext_start_byte": 0, "plaintext_end_byte": 12}, {"plaintext_start_byte": 13, "plaintext_end_byte": 29}], "annotations": [{"minimal_answer": {"plaintext_start_byte": -1, "plaintext_end_byte": -1}, "passage_answer": {"candidate_index": 0}}, {"minimal_answer": {"plaintext_start_byte": 19, "plaintext_end_byte": 28}, "passage_answer": {"candidate_index": 1}}]}
{"example_id": 8, "language": "thai", "question_text": "?", "document_plaintext": "x", "passage_answer_candidates": [], "annotations": []}
"#;

    #[test]
    fn places_are_bytes_and_questions_without_an_answer_are_left_out() {
        let file = tempfile::NamedTempFile::with_suffix(".jsonl").unwrap();
        std::fs::write(file.path(), LINES).unwrap();
        let asked = read(file.path()).unwrap();
        assert_eq!(asked.len(), 1);
        assert_eq!((&*asked[0].id, &*asked[0].passage), ("finnish--7", "Se on täällä."));
        assert_eq!(asked[0].answers, ["täällä"]);
        // In the middle of a character.
        std::fs::write(file.path(), LINES.replace(": 19", ": 21")).unwrap();
        let error = read(file.path()).unwrap_err().to_string();
        assert!(
            error.ends_with(":1: bytes 21 to 28 are no text of the article, which has 29"),
            "{error}"
        );
    }
}
