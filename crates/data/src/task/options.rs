//! Answer options: how a list of them is written, and what the answer is then called.
//!
//! Where the items have names of their own (letters, numbers), the name of the right one is the answer;
//! where all are marked alike (dashes, stars), the answer stays the option's text.

use serde::{Deserialize, Serialize};

use crate::Random;

/// The value of `option_style`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionStyle {
    /// `OPTIONS:` and a dash before each.
    #[default]
    Fixed,
    /// Another start, other marks and another end for each example.
    Random,
    /// They are not shown.
    None,
}

/// What may stand before a random list.
const STARTS: [&str; 16] = [
    "OPTIONS:",
    "Options:",
    "Possible answers:",
    "Choose from:",
    "Choices:",
    "CHOICES:",
    "Pick one:",
    "Answer with one of these:",
    "Available answers:",
    "The answer is one of:",
    "Select one of the following.",
    "Which of these is it?",
    "Candidates:",
    "One of the following is right:",
    "Answer choices:",
    "",
];

/// What may stand behind each option of a random list.
const ENDS: [&str; 3] = ["", ";", "."];

/// What may stand before an option: around the number of the item, or by itself.
const MARKS: [Mark; 29] = [
    Mark::same("- "),
    Mark::same("-"),
    Mark::same("* "),
    Mark::same("+ "),
    Mark::same("• "),
    Mark::same("~ "),
    Mark::same("> "),
    Mark::same("[ ] "),
    Mark::same(""),
    Mark::named("", Count::Upper, ". "),
    Mark::named("", Count::Upper, ") "),
    Mark::named("(", Count::Upper, ") "),
    Mark::named("(", Count::Upper, "). "),
    Mark::named("[", Count::Upper, "] "),
    Mark::named("<", Count::Upper, "> "),
    Mark::named("", Count::Upper, ": "),
    Mark::named("", Count::Lower, ". "),
    Mark::named("", Count::Lower, ") "),
    Mark::named("(", Count::Lower, ") "),
    Mark::named("[", Count::Lower, "] "),
    Mark::named("", Count::Digit, ". "),
    Mark::named("", Count::Digit, ") "),
    Mark::named("(", Count::Digit, ") "),
    Mark::named("[", Count::Digit, "] "),
    Mark::named("", Count::Digit, ": "),
    Mark::named("", Count::Roman, ". "),
    Mark::named("(", Count::Roman, ") "),
    Mark::named("", Count::SmallRoman, ". "),
    Mark::named("(", Count::SmallRoman, ") "),
];

/// What may stand between two options. Three of four lists have a line for each.
const BETWEEN: [&str; 4] = ["\n", "\n", "\n", " "];

#[derive(Clone, Copy, Debug)]
struct Mark {
    before: &'static str,
    count: Option<Count>,
    after: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Count {
    Upper,
    Lower,
    Digit,
    Roman,
    SmallRoman,
}

impl Mark {
    const fn same(text: &'static str) -> Self {
        Self { before: text, count: None, after: "" }
    }

    const fn named(before: &'static str, count: Count, after: &'static str) -> Self {
        Self { before, count: Some(count), after }
    }

    /// What stands before option `index`.
    fn of(&self, index: usize) -> String {
        let Self { before, count, after } = self;
        let number = match count {
            None => String::new(),
            Some(Count::Upper) if index < 26 => char::from(b'A' + index as u8).to_string(),
            Some(Count::Lower) if index < 26 => char::from(b'a' + index as u8).to_string(),
            Some(Count::Roman) => roman(index + 1),
            Some(Count::SmallRoman) => roman(index + 1).to_lowercase(),
            Some(Count::Upper | Count::Lower | Count::Digit) => (index + 1).to_string(),
        };
        format!("{before}{number}{after}")
    }
}

fn roman(mut number: usize) -> String {
    let mut out = String::new();
    for (value, sign) in [
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ] {
        while number >= value {
            out += sign;
            number -= value;
        }
    }
    out
}

/// The options as text, and what the answer is called among them.
pub(crate) fn shown(
    style: OptionStyle,
    options: &[String],
    answer: &str,
    random: &mut Random,
) -> (String, String) {
    if options.is_empty() || style == OptionStyle::None {
        return (String::new(), answer.to_owned());
    }
    if style == OptionStyle::Fixed {
        let items = options.iter().map(|option| format!("\n- {option}"));
        return (format!("OPTIONS:{}", items.collect::<String>()), answer.to_owned());
    }
    let start = STARTS[random.below(STARTS.len())];
    let mark = MARKS[random.below(MARKS.len())];
    let (between, end) = (BETWEEN[random.below(BETWEEN.len())], ENDS[random.below(ENDS.len())]);
    let item = |(index, option): (usize, &String)| format!("{}{option}{end}", mark.of(index));
    let items: Vec<_> = options.iter().enumerate().map(item).collect();
    let gap = if start.is_empty() { "" } else { between };
    let chosen = options.iter().position(|option| option.trim() == answer.trim());
    let name = match (mark.count, chosen) {
        (Some(_), Some(chosen)) => mark.of(chosen).trim().to_owned(),
        _ => answer.to_owned(),
    };
    (format!("{start}{gap}{}", items.join(between)), name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn options() -> Vec<String> {
        ["yes", "no", "maybe"].map(String::from).to_vec()
    }

    #[test]
    fn the_fixed_form_has_dashes_and_leaves_the_answer() {
        let mut random = Random::new(0, "options", 0);
        let (text, answer) = shown(OptionStyle::Fixed, &options(), "no", &mut random);
        assert_eq!((text.as_str(), answer.as_str()), ("OPTIONS:\n- yes\n- no\n- maybe", "no"));
    }

    #[test]
    fn a_named_item_is_the_answer_and_a_marked_one_is_not() {
        assert_eq!(MARKS[12].of(1), "(B). ");
        let mut names = BTreeSet::new();
        for number in 0..400 {
            let mut random = Random::new(1, "options", number);
            let (text, answer) = shown(OptionStyle::Random, &options(), " no", &mut random);
            assert!(text.contains("yes") && text.contains("maybe"), "{text}");
            // The name stands before its option; the text stays as it was.
            assert!(answer == " no" || text.contains(&format!("{answer} no")), "{answer}: {text}");
            names.insert(answer);
        }
        let known = [" no", "B.", "B)", "(B)", "(B).", "[B]", "b.", "2.", "(2)", "II.", "(ii)"];
        assert!(known.iter().all(|name| names.contains(*name)), "{names:?}");
    }

    #[test]
    fn more_options_than_letters_are_numbered_on() {
        assert_eq!([25, 26].map(|index| MARKS[9].of(index)), ["Z. ", "27. "]);
        assert_eq!([4, 9, 14, 40].map(roman), ["IV", "IX", "XIV", "XL"]);
    }

    #[test]
    fn hidden_options_leave_no_trace() {
        let mut random = Random::new(0, "options", 0);
        assert_eq!(
            shown(OptionStyle::None, &options(), "no", &mut random),
            (String::new(), "no".into())
        );
    }
}
