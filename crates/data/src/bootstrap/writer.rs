//! What is particular to a way of writing tasks: its prompt, and what is read from an answer.
//!
//! The rest (drawing tasks to show, asking, rules, novelty, records) is the same for all writers.

use std::sync::LazyLock;

use regex::Regex;

use super::python::{capitalize, one_line, strip};
use super::{Instance, Prompts, Shown};
use crate::{Completion, FinishReason, Result};

/// A task that a model has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What is to be done.
    pub instruction: String,
    /// Its input and output, if they were written at once.
    pub instance: Option<Instance>,
}

/// A way of writing tasks.
pub trait Writer: Sync {
    /// The prompt that shows `tasks` and asks for more.
    ///
    /// # Errors
    /// If a template of the user's cannot be filled in.
    fn prompt(&self, tasks: &[Shown]) -> Result<String>;

    /// The tasks in an answer to a prompt that showed so many.
    fn parse(&self, completion: &Completion, shown: usize) -> Vec<Candidate>;
}

/// Self-Instruct: a numbered list of instructions. An answer that was cut off is not used at all.
#[derive(Debug)]
pub struct Instructions<'p> {
    /// The templates.
    pub prompts: &'p Prompts,
    /// Whether only tasks of classification are asked for.
    pub classification_only: bool,
}

impl Writer for Instructions<'_> {
    fn prompt(&self, tasks: &[Shown]) -> Result<String> {
        self.prompts.instructions(tasks, self.classification_only)
    }

    fn parse(&self, completion: &Completion, shown: usize) -> Vec<Candidate> {
        static NUMBER: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"\n\d+\s?\. ").expect("the pattern is valid"));
        if completion.finish_reason == FinishReason::Length {
            return Vec::new();
        }
        let pieces = NUMBER.split(without_head(&completion.text, &format!("{}.", shown + 1)));
        let instructions = pieces.map(|piece| capitalize(&one_line(piece)));
        instructions.map(|instruction| Candidate { instruction, instance: None }).collect()
    }
}

/// Alpaca: instruction, input and output in one answer. What was cut off last is not used.
#[derive(Debug)]
pub struct Alpaca<'p> {
    /// The templates.
    pub prompts: &'p Prompts,
}

impl Writer for Alpaca<'_> {
    fn prompt(&self, tasks: &[Shown]) -> Result<String> {
        self.prompts.alpaca(tasks)
    }

    fn parse(&self, completion: &Completion, shown: usize) -> Vec<Candidate> {
        let head = format!("{}. Instruction:", shown + 1);
        let text = format!("{head}{}", without_head(&completion.text, &head));
        let mut blocks = text.split("###").collect::<Vec<_>>();
        if completion.finish_reason == FinishReason::Length {
            blocks.pop();
        }
        let numbered = (shown + 1..).zip(blocks);
        numbered.filter_map(|(number, block)| triple(number, block)).collect()
    }
}

/// An answer without the words that the prompt ends in: a model that answers a message, instead of going
/// on with a text, says them again.
fn without_head<'t>(text: &'t str, head: &str) -> &'t str {
    let rest = strip(text).strip_prefix(head);
    rest.filter(|rest| !rest.starts_with(|next: char| next.is_ascii_digit())).unwrap_or(text)
}

/// The three fields of block `number`, each once and in order, or nothing.
fn triple(number: usize, block: &str) -> Option<Candidate> {
    static FIELD: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(\d+)\.\s+(Instruction|Input|Output):").expect("the pattern is valid")
    });
    // A field of another number is text: `12. Input:` may end in `2. Input:`, which counts.
    let fields = FIELD.captures_iter(block).filter_map(|found| {
        let (whole, [digits, name]) = (found.get(0)?, found.extract::<2>().1);
        let ours = digits.ends_with(&number.to_string());
        let start = whole.start() + digits.len() - number.to_string().len().min(digits.len());
        ours.then_some((start, whole.end(), name))
    });
    let fields = fields.collect::<Vec<_>>();
    let &[(_, first, _), (second, input, _), (third, output, _)] = &fields[..] else { return None };
    let input = strip(&block[input..third]);
    Some(Candidate {
        instruction: strip(&block[first..second]).to_owned(),
        instance: Some(Instance {
            input: if input.eq_ignore_ascii_case("<noinput>") { "" } else { input }.to_owned(),
            output: strip(&block[output..]).to_owned(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Effort, Usage};

    fn completion(text: &str, finish_reason: FinishReason) -> Completion {
        let (usage, effort) = (Usage::default(), Effort::default());
        Completion { text: text.into(), finish_reason, logprobs: None, usage, effort }
    }

    fn instructions(text: &str, finish_reason: FinishReason) -> Vec<String> {
        let prompts = Prompts::load(None).unwrap();
        let writer = Instructions { prompts: &prompts, classification_only: false };
        let candidates = writer.parse(&completion(text, finish_reason), 8).into_iter();
        candidates.map(|candidate| candidate.instruction).collect()
    }

    #[test]
    fn numbered_lines_become_instructions_with_small_letters() {
        let text =
            " Explain what a PhD is.\n10. Name  three\tRivers.\n11 . Ask.\n12.Not split.\n13. ";
        let wanted = ["Explain what a phd is.", "Name three rivers.", "Ask. 12.not split.", ""];
        assert_eq!(instructions(text, FinishReason::Stop), wanted);
        assert!(instructions(text, FinishReason::Length).is_empty());
    }

    #[test]
    fn an_answer_that_begins_with_its_own_number_is_read_without_it() {
        let wanted = ["Name three rivers.", "Ask a question."];
        assert_eq!(
            instructions("9. Name three rivers.\n10. Ask a question.", FinishReason::Stop),
            wanted
        );
        // Another number is text, and so is a decimal.
        assert_eq!(instructions("7. Name it.", FinishReason::Stop), ["7. name it."]);
        assert_eq!(instructions(" 9.5 is a number.", FinishReason::Stop), ["9.5 is a number."]);
        let found =
            triples("4. Instruction: Say it.\n4. Input:\nx\n4. Output:\nIt.", FinishReason::Stop);
        assert_eq!(found, [("Say it.".into(), "x".into(), "It.".into())]);
    }

    fn triples(text: &str, finish_reason: FinishReason) -> Vec<(String, String, String)> {
        let prompts = Prompts::load(None).unwrap();
        let candidates = Alpaca { prompts: &prompts }.parse(&completion(text, finish_reason), 3);
        let fields = candidates.into_iter().map(|Candidate { instruction, instance }| {
            let Instance { input, output } = instance.unwrap();
            (instruction, input, output)
        });
        fields.collect()
    }

    #[test]
    fn blocks_become_tasks_and_those_with_other_fields_do_not() {
        let text = " Say it.\n4. Input:\n<NoInput>\n4. Output:\nIt.\n###\n5. Instruction: Add.\n5. Input:\n1 2\n\
                    5. Output:\n3\n###\n6. Instruction: No input.\n6. Output: x\n###\n9. Instruction: a\n9. Input: b\n9. Output: c";
        let wanted = [("Say it.", "", "It."), ("Add.", "1 2", "3")];
        let found = triples(text, FinishReason::Stop);
        let found = found.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str()));
        assert_eq!(found.collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn the_block_that_was_cut_off_is_not_used() {
        let text = " Say it.\n4. Input:\nx\n4. Output:\nIt.\n###\n5. Instruction: Add.\n5. Input:\n1\n5. Output:\n3";
        assert_eq!(triples(text, FinishReason::Stop).len(), 2);
        assert_eq!(triples(text, FinishReason::Length).len(), 1);
    }
}
