//! What a model wrote for a task becomes instances: an input (which may be empty) and an output.
//!
//! The rules are those of `prepare_for_finetuning.py` in yizhongw/self-instruct.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::python::strip;
use crate::FinishReason;

/// One example of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// What the task is about; empty if it needs nothing.
    pub input: String,
    /// The answer.
    pub output: String,
}

/// Why instances that a model wrote are not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unused {
    /// The text has none of the marks that instances have.
    NoInstance,
    /// The completion was cut off in the middle of its last instance.
    CutOff,
    /// Input and output are the same.
    InputIsOutput,
    /// The output is empty.
    EmptyOutput,
    /// Input or output ends with a colon: something is missing.
    EndsWithColon,
    /// The task has the same input with different outputs: none of its instances is to be trusted.
    Contradiction,
    /// The same instance again.
    Duplicate,
    /// More than are kept of one task.
    TooMany,
}

impl fmt::Display for Unused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoInstance => "the completion has none",
            Self::CutOff => "cut off at the most tokens",
            Self::InputIsOutput => "input and output are the same",
            Self::EmptyOutput => "the output is empty",
            Self::EndsWithColon => "input or output ends with a colon",
            Self::Contradiction => "one input with different outputs",
            Self::Duplicate => "the same again",
            Self::TooMany => "more than are kept of one task",
        })
    }
}

/// The instances of a completion, and how many were left out, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Those that can be used, in order.
    pub instances: Vec<Instance>,
    /// Those that cannot.
    pub unused: Vec<(Unused, usize)>,
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is valid")
}

static EXAMPLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"Example\s?\d*\.?"));
static OUTPUT: LazyLock<Regex> = LazyLock::new(|| pattern(r"Output\s*\d*\s*:"));
static INPUT: LazyLock<Regex> = LazyLock::new(|| pattern(r"Input\s*\d*\s*:"));
const CLASS_LABEL: &str = "Class label:";

/// The instances in a completion of the input-first prompt.
pub fn parse_generation(text: &str, finish_reason: &FinishReason) -> Parsed {
    let text = strip(text);
    let instances = if EXAMPLE.is_match(text) {
        EXAMPLE.split(text).map(strip).filter(|text| !text.is_empty()).map(input_first).collect()
    } else if OUTPUT.is_match(text) {
        vec![input_first(text)]
    } else {
        return Parsed { instances: Vec::new(), unused: vec![(Unused::NoInstance, 1)] };
    };
    usable(instances, finish_reason)
}

/// The instances in a completion of the output-first prompt: each begins with its label.
pub fn parse_classification(text: &str, finish_reason: &FinishReason) -> Parsed {
    let mut parts = text.split(CLASS_LABEL);
    parts.next();
    let instances = parts.map(|part| {
        let part = strip(part);
        let (label, input) = part.split_once('\n').unwrap_or((part, ""));
        Instance { input: strip(input).into(), output: strip(label).into() }
    });
    let instances = instances.collect::<Vec<_>>();
    if instances.is_empty() {
        return Parsed { instances, unused: vec![(Unused::NoInstance, 1)] };
    }
    usable(instances, finish_reason)
}

/// Input and output of one example. What follows a second `Output:`, or an `Input:` inside the
/// output, is another example that has run into this one.
fn input_first(text: &str) -> Instance {
    let mut parts = OUTPUT.split(text);
    let first = parts.next().unwrap_or_default();
    let (input, output) = match parts.next() {
        Some(output) => (strip(first), strip(output)),
        None => ("", strip(text)),
    };
    let output = INPUT.split(output).next().unwrap_or_default();
    let input = match INPUT.find(input) {
        Some(found) if found.start() == 0 => &input[found.end()..],
        _ => input,
    };
    Instance { input: strip(input).into(), output: strip(output).into() }
}

/// Leaves out what the rules leave out, in their order.
fn usable(mut instances: Vec<Instance>, finish_reason: &FinishReason) -> Parsed {
    let mut unused = Vec::new();
    let mut leave_out = |reason, count| {
        if count > 0 {
            unused.push((reason, count));
        }
    };
    if *finish_reason == FinishReason::Length {
        leave_out(Unused::CutOff, usize::from(instances.pop().is_some()));
    }
    type Rule = (Unused, fn(&Instance) -> bool);
    let rules: [Rule; 3] = [
        (Unused::InputIsOutput, |instance| instance.input == instance.output),
        (Unused::EmptyOutput, |instance| instance.output.is_empty()),
        (Unused::EndsWithColon, |instance| {
            instance.input.ends_with(':') || instance.output.ends_with(':')
        }),
    ];
    for (reason, applies) in rules {
        let before = instances.len();
        instances.retain(|instance| !applies(instance));
        leave_out(reason, before - instances.len());
    }
    let contradicts = |one: &Instance, two: &Instance| {
        !one.input.is_empty() && one.input == two.input && one.output != two.output
    };
    let pairs = instances.iter().enumerate();
    if pairs.into_iter().any(|(at, one)| instances[..at].iter().any(|two| contradicts(one, two))) {
        leave_out(Unused::Contradiction, instances.len());
        return Parsed { instances: Vec::new(), unused };
    }
    let mut kept: Vec<Instance> = Vec::new();
    let before = instances.len();
    for instance in instances {
        if !kept.contains(&instance) {
            kept.push(instance);
        }
    }
    leave_out(Unused::Duplicate, before - kept.len());
    Parsed { instances: kept, unused }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(input: &str, output: &str) -> Instance {
        Instance { input: input.into(), output: output.into() }
    }

    fn generation(text: &str) -> Parsed {
        parse_generation(text, &FinishReason::Stop)
    }

    #[test]
    fn examples_with_fields_become_inputs_and_outputs() {
        let text =
            " Example 1\nWord: tea\nOutput: eat\n\nExample 2.\nInput: pots\nOutput 2: stop\n";
        let wanted = [instance("Word: tea", "eat"), instance("pots", "stop")];
        assert_eq!(generation(text).instances, wanted);
    }

    #[test]
    fn without_examples_a_single_output_counts_and_anything_else_does_not() {
        assert_eq!(generation("Output: Paris").instances, [instance("", "Paris")]);
        assert_eq!(generation("Input: a\nOutput: b").instances, [instance("a", "b")]);
        assert_eq!(generation("Paris").unused, [(Unused::NoInstance, 1)]);
        // With examples, a piece that has no output mark is an output.
        assert_eq!(generation("Example 1\nParis").instances, [instance("", "Paris")]);
    }

    #[test]
    fn what_runs_on_is_cut_off_the_output() {
        let text = "Example 1\nInput: a\nOutput: b\nInput: c\nOutput: d";
        assert_eq!(generation(text).instances, [instance("a", "b")]);
    }

    #[test]
    fn a_completion_that_was_cut_off_loses_its_last_instance() {
        let text = "Example 1\nOutput: one\nExample 2\nOutput: tw";
        let parsed = parse_generation(text, &FinishReason::Length);
        assert_eq!(parsed.instances, [instance("", "one")]);
        assert_eq!(parsed.unused, [(Unused::CutOff, 1)]);
    }

    #[test]
    fn labels_come_first_in_classification() {
        let text = " Class label: Yes\nText: all is well\nClass label:No\nClass label: Maybe";
        let parsed = parse_classification(text, &FinishReason::Stop);
        let wanted =
            [instance("Text: all is well", "Yes"), instance("", "No"), instance("", "Maybe")];
        assert_eq!(parsed.instances, wanted);
        let none = parse_classification("Yes", &FinishReason::Stop);
        assert_eq!(none.unused, [(Unused::NoInstance, 1)]);
    }

    #[test]
    fn the_rules_leave_out_in_their_order() {
        let text = "Example 1\nInput: a\nOutput: a\nExample 2\nInput: b\nOutput:\nExample 3\n\
                    Input: c:\nOutput: d\nExample 4\nInput: e\nOutput: f\nExample 5\nInput: e\nOutput: f";
        let parsed = generation(text);
        assert_eq!(parsed.instances, [instance("e", "f")]);
        let reasons = parsed.unused.iter().map(|(reason, _)| *reason).collect::<Vec<_>>();
        let wanted =
            [Unused::InputIsOutput, Unused::EmptyOutput, Unused::EndsWithColon, Unused::Duplicate];
        assert_eq!(reasons, wanted);
    }

    #[test]
    fn one_input_with_two_outputs_spoils_the_task_and_two_outputs_without_input_do_not() {
        let text =
            "Example 1\nInput: a\nOutput: b\nExample 2\nInput: a\nOutput: c\nExample 3\nOutput: d";
        let parsed = generation(text);
        assert!(parsed.instances.is_empty());
        assert_eq!(parsed.unused, [(Unused::Contradiction, 3)]);
        let parsed = generation("Example 1\nOutput: b\nExample 2\nOutput: c");
        assert_eq!(parsed.instances.len(), 2);
    }
}
