//! `albacore preview`: examples token by token, what is learned and why.

use albacore_data::{Encoded, PreviewToken, Tokenizer, preview};

use crate::args::Preview;
use crate::config::{Config, Settings};
use crate::failure::{OrRefuse, Outcome, Result};
use crate::prepared::Prepared;
use crate::terminal::{Terminal, stdout_has_colour};

/// Columns of a line of tokens.
const WIDTH: usize = 100;
/// Columns before them.
const MARGIN: usize = 29;

/// Runs the command.
///
/// # Errors
/// Refused if the config or its data cannot be used.
pub fn run(options: &Preview, seed: Option<u64>, terminal: &Terminal) -> Result {
    let config = Config::load(&options.configured, seed)?;
    let prepared = Prepared::new(&config, None, terminal)?;
    prepared.losses().iter().for_each(|loss| terminal.warn(loss));
    let Prepared { tokenizer, dataset, .. } = &prepared;
    let colour = stdout_has_colour();
    for example in dataset.train.iter().take(options.examples) {
        let tokens = preview(tokenizer, example).or_refuse()?;
        if terminal.json {
            let mut line = serde_json::json!({ "origin": example.origin, "tokens": tokens });
            if !example.responses.is_empty() {
                line["responses"] = serde_json::json!(example.responses);
            }
            terminal.print(&line.to_string())?;
        } else {
            terminal.print(&format!("{}\n", render(example, &tokens, colour)))?;
        }
    }
    if !terminal.json {
        terminal.print(&legend(tokenizer, colour))?;
    }
    Ok(Outcome::Done)
}

/// One example: its tokens, or those of its prompt and then of each response.
fn render(example: &Encoded, tokens: &[PreviewToken], colour: bool) -> String {
    let (prompt, count) = (example.prompt().len(), example.responses.len());
    let mut text =
        format!("{}: {} tokens, {} learned\n", example.origin, example.len(), example.supervised());
    if count == 0 {
        return text + &rows(tokens, colour);
    }
    text += &rows(&tokens[..prompt], colour);
    for (index, response) in example.responses.iter().enumerate() {
        text += &format!(" response {} of {count}, score {}\n", index + 1, response.score);
        text += &rows(&tokens[example.response(index)], colour);
    }
    text
}

/// Tokens that are learned alike for the same reason stand together, a bar between two.
fn rows(tokens: &[PreviewToken], colour: bool) -> String {
    let mut text = String::new();
    for group in tokens.chunk_by(|a, b| (a.learned, a.reason) == (b.learned, b.reason)) {
        let learned = group[0].learned;
        let reason = group[0].reason.to_string();
        let margin = format!("  {:<8} {reason:<17}", if learned { "learned" } else { "read" });
        for (index, line) in lines(group).iter().enumerate() {
            let margin = if index == 0 { margin.as_str() } else { "" };
            text += &format!("{margin:<MARGIN$}{}\n", paint(line, learned, colour));
        }
    }
    text
}

/// Tokens joined to lines that fit the width.
fn lines(tokens: &[PreviewToken]) -> Vec<String> {
    let mut lines = vec![String::new()];
    for token in tokens {
        let shown = visible(&token.text);
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            *line = shown;
        } else if line.chars().count() + shown.chars().count() < WIDTH - MARGIN {
            *line += &format!("│{shown}");
        } else {
            lines.push(shown);
        }
    }
    lines
}

/// The text with its line breaks and other control characters spelled out.
fn visible(text: &str) -> String {
    let spell =
        |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(spell).collect()
}

/// Learned tokens are green, all others dim.
fn paint(text: &str, learned: bool, colour: bool) -> String {
    match (colour, learned) {
        (false, _) => text.to_owned(),
        (true, true) => format!("\x1b[1;32m{text}\x1b[0m"),
        (true, false) => format!("\x1b[2m{text}\x1b[0m"),
    }
}

fn legend(tokenizer: &Tokenizer, colour: bool) -> String {
    let eos = visible(&tokenizer.token(tokenizer.eos()));
    format!(
        "{}  the model is trained to predict this token from those before it\n\
         {}     the model only reads it\n\
         │        between two tokens; the token that ends an answer is `{eos}`",
        paint("learned", true, colour),
        paint("read", false, colour),
    )
}

#[cfg(test)]
mod tests {
    use albacore_data::{Origin, Reason, Response};

    use super::*;

    fn token(text: &str, learned: bool, reason: Reason) -> PreviewToken {
        PreviewToken { text: text.into(), id: 0, learned, reason }
    }

    fn example() -> (Encoded, Vec<PreviewToken>) {
        let tokens = vec![
            token("<s>", false, Reason::Bos),
            token("How", false, Reason::Prompt),
            token(" many", false, Reason::Prompt),
            token("?\n", false, Reason::Prompt),
            token("Three", true, Reason::Answer),
            token("</s>", true, Reason::AnswerEnd),
        ];
        let example = Encoded {
            ids: vec![0; 6],
            learned: tokens.iter().map(|token| token.learned).collect(),
            reasons: tokens.iter().map(|token| token.reason).collect(),
            origin: Origin::new("a.jsonl", 3),
            eos_added: false,
            responses: Vec::new(),
        };
        (example, tokens)
    }

    #[test]
    fn without_colour_words_say_what_is_learned() {
        let (example, tokens) = example();
        insta::assert_snapshot!(render(&example, &tokens, false), @r"
        a.jsonl:3: 6 tokens, 2 learned
          read     beginning of text <s>
          read     prompt            How│ many│?\n
          learned  answer            Three
          learned  end of answer     </s>
        ");
    }

    #[test]
    fn a_prompt_is_shown_once_and_each_response_with_its_score() {
        let (mut example, mut tokens) = example();
        tokens.extend([token("3", true, Reason::Answer), token("</s>", true, Reason::AnswerEnd)]);
        example.ids = vec![0; 8];
        example.learned = tokens.iter().map(|token| token.learned).collect();
        example.responses =
            [(4, 0.5), (6, -1.0)].map(|(start, score)| Response { start, score }).to_vec();
        insta::assert_snapshot!(render(&example, &tokens, false), @r"
        a.jsonl:3: 8 tokens, 4 learned
          read     beginning of text <s>
          read     prompt            How│ many│?\n
         response 1 of 2, score 0.5
          learned  answer            Three
          learned  end of answer     </s>
         response 2 of 2, score -1
          learned  answer            3
          learned  end of answer     </s>
        ");
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let (example, tokens) = example();
        let coloured = render(&example, &tokens, true);
        let plain = ["\x1b[1;32m", "\x1b[2m", "\x1b[0m"]
            .iter()
            .fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(plain, render(&example, &tokens, false));
    }

    #[test]
    fn a_long_run_of_tokens_is_broken_into_lines() {
        let tokens: Vec<_> = (0..60).map(|_| token(" word", true, Reason::Answer)).collect();
        let lines = lines(&tokens);
        assert!(lines.len() > 3 && lines.iter().all(|line| line.chars().count() <= WIDTH - MARGIN));
    }
}
