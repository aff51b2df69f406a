//! From instances to records to train on: one of several layouts each, as stage 4 of Self-Instruct
//! draws them.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::Instance;
use super::python::strip;
use crate::Random;

/// A prompt and what is to follow it: a record of the format `prompt`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PromptRecord {
    /// What is given.
    pub prompt: String,
    /// What is answered.
    pub completion: String,
}

/// A layout: the prompt, in which `{I}` is the instruction and `{x}` the input, and what stands
/// before the output.
type Layout = (&'static str, &'static str);

const WITH_INPUT: [Layout; 7] = [
    ("{I}\nInput: {x}\nOutput:", " "),
    ("{I}\n\nInput: {x}\n\nOutput:", " "),
    ("Task: {I}\nInput: {x}\nOutput:", " "),
    ("{I}\n\n{x}\n\nOutput:", " "),
    ("{I}\n\n{x}\n\n", ""),
    ("{I}\n{x}\n\n", ""),
    ("Task: {I}\n\n{x}\n\n", ""),
];
const WITHOUT_INPUT: [Layout; 6] = [
    ("{I} Output:", " "),
    ("{I}\nOutput:", " "),
    ("{I}\n\nOutput:", " "),
    ("{I}\n", ""),
    ("{I}\n\n", ""),
    ("Task: {I}\n\n", ""),
];

static FIELD: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(\w+):").expect("the pattern is valid"));

/// Lays out one instance; `end` is put after the output.
pub fn lay_out(
    instruction: &str,
    instance: &Instance,
    end: &str,
    random: &mut Random,
) -> PromptRecord {
    let mut input = instance.input.clone();
    // Both by the same toss, as in the published code.
    if random.below(2) == 0 {
        input = without_its_only_field(&input).replace("\n\n", "\n");
    }
    let (instruction, input, output) = (strip(instruction), strip(&input), strip(&instance.output));
    let layouts: &[Layout] = if input.is_empty() { &WITHOUT_INPUT } else { &WITH_INPUT };
    let (prompt, before) = layouts[random.below(layouts.len())];
    // The input may hold `{I}` itself: it is put in last.
    let prompt = match prompt.split_once("{x}") {
        Some((head, tail)) => format!("{}{input}{tail}", head.replace("{I}", instruction)),
        None => prompt.replace("{I}", instruction),
    };
    PromptRecord { prompt, completion: format!("{before}{output}{end}") }
}

/// An input such as `Paragraph: …` without its one field name.
fn without_its_only_field(input: &str) -> &str {
    let names = FIELD.captures_iter(input).map(|found| found.extract::<1>().1[0]);
    if names.collect::<HashSet<_>>().len() != 1 {
        return input;
    }
    input.split_once(':').map_or(input, |(_, rest)| strip(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_layouts(input: &str) -> HashSet<PromptRecord> {
        let instance = Instance { input: input.into(), output: " seven ".into() };
        let draw =
            |number| lay_out(" Count. ", &instance, "<end>", &mut Random::new(1, "test", number));
        (0..500).map(draw).collect()
    }

    #[test]
    fn every_layout_is_drawn() {
        let without = all_layouts("");
        assert_eq!(without.len(), 6);
        let record = |prompt: &str, completion: &str| PromptRecord {
            prompt: prompt.into(),
            completion: completion.into(),
        };
        assert!(without.contains(&record("Count. Output:", " seven<end>")));
        assert!(without.contains(&record("Task: Count.\n\n", "seven<end>")));
        let with = all_layouts("a {I}");
        assert_eq!(with.len(), 7);
        assert!(with.contains(&record("Count.\nInput: a {I}\nOutput:", " seven<end>")));
    }

    #[test]
    fn blank_lines_of_an_input_are_taken_out_half_of_the_time() {
        let prompts = all_layouts("a\n\nb").into_iter().map(|record| record.prompt);
        let prompts = prompts.collect::<HashSet<_>>();
        assert!(prompts.contains("Count.\nInput: a\nb\nOutput:"), "{prompts:?}");
        assert!(prompts.contains("Count.\nInput: a\n\nb\nOutput:"), "{prompts:?}");
    }

    #[test]
    fn an_only_field_name_is_left_out_half_of_the_time() {
        let records = all_layouts("Word: tea");
        assert_eq!(records.len(), 14);
        assert!(records.iter().any(|record| record.prompt == "Count.\n\ntea\n\n"));
        assert_eq!(without_its_only_field("A: 1\nB: 2"), "A: 1\nB: 2");
        assert_eq!(without_its_only_field("A: 1\nA: 2"), "1\nA: 2");
    }
}
