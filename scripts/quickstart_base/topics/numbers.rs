//! Counting, small sums, numbers in words, and other things that come in order.

use crate::topic::{Topic, ask, ask_about};
use crate::words::{Words, number_in_words};

pub fn topics(words: &Words) -> Vec<Topic<'_>> {
    vec![in_words(), neighbours(), sums(), differences(), sequences(words)]
}

fn in_words<'a>() -> Topic<'a> {
    Topic {
        title: "Numbers in words",
        size: 101,
        row: Box::new(|number, _| {
            vec![("number", number.to_string()), ("words", number_in_words(number))]
        }),
        subject: "{number}",
        sentences: &[
            "The number {number} is written {words}.",
            "{number} is read as {words}.",
            "{Words} is {number} in digits.",
            "We write {words} as {number}.",
        ],
        lines: &[
            "{number} - {words}",
            "{words} - {number}",
            "{number}\n{words}\n",
            "{words}\n{number}\n",
        ],
        tasks: vec![
            ask("Write the number {number} in words.", "{words}"),
            ask("How is {number} written in words?", "The number {number} is written {words}."),
            ask("Write {words} in digits.", "{number}"),
            ask_about("Turn the digits into words.", "Number: {number}", "{words}"),
        ],
        weight: 5,
    }
}

fn neighbours<'a>() -> Topic<'a> {
    Topic {
        title: "Counting",
        size: 100,
        row: Box::new(|index, _| {
            let number = index + 1;
            let cell = |value: usize| value.to_string();
            vec![
                ("number", cell(number)),
                ("before", cell(number - 1)),
                ("after", cell(number + 1)),
                ("next", cell(number + 2)),
                ("third", cell(number + 3)),
            ]
        }),
        subject: "{number}",
        sentences: &[
            "After {number} comes {after}.",
            "Before {number} comes {before}.",
            "The number after {number} is {after}.",
            "The number before {number} is {before}.",
            "We count {number}, {after}, {next}, {third}.",
        ],
        lines: &[
            "{number}, {after}, {next}, {third}",
            "{number}\n{after}\n{next}\n",
            "{before} < {number} < {after}",
        ],
        tasks: vec![
            ask("Which number comes after {number}?", "After {number} comes {after}."),
            ask("Which number comes before {number}?", "Before {number} comes {before}."),
            ask("What is the next number after {number}? Digits only.", "{after}"),
            ask_about(
                "Go on counting with three more numbers.",
                "Number: {number}",
                "{after}, {next}, {third}",
            ),
        ],
        weight: 5,
    }
}

fn sums<'a>() -> Topic<'a> {
    Topic {
        title: "Adding",
        size: 100,
        row: Box::new(|index, _| {
            let (a, b) = (index / 10 + 1, index % 10 + 1);
            vec![("a", a.to_string()), ("b", b.to_string()), ("sum", (a + b).to_string())]
        }),
        subject: "{a} + {b}",
        sentences: &[
            "{a} plus {b} is {sum}.",
            "{a} and {b} make {sum}.",
            "The sum of {a} and {b} is {sum}.",
            "If you add {b} to {a}, you get {sum}.",
        ],
        lines: &["{a} + {b} = {sum}", "{sum} = {a} + {b}", "{a} + {b}\n{sum}\n"],
        tasks: vec![
            ask("What is {a} plus {b}?", "{a} plus {b} is {sum}."),
            ask("Add {a} and {b}.", "The sum of {a} and {b} is {sum}."),
            ask("Work out {a} + {b}. Give only the number.", "{sum}"),
            ask_about("Copy it and write the result.", "Sum: {a} + {b}", "{a} + {b} = {sum}"),
        ],
        weight: 8,
    }
}

fn differences<'a>() -> Topic<'a> {
    Topic {
        title: "Taking away",
        size: 100,
        row: Box::new(|index, _| {
            let (rest, b) = (index / 10 + 1, index % 10 + 1);
            let a = rest + b;
            vec![("a", a.to_string()), ("b", b.to_string()), ("rest", rest.to_string())]
        }),
        subject: "{a} - {b}",
        sentences: &[
            "{a} minus {b} is {rest}.",
            "Take {b} from {a} and {rest} is left.",
            "The difference between {a} and {b} is {rest}.",
        ],
        lines: &["{a} - {b} = {rest}", "{rest} = {a} - {b}", "{a} - {b}\n{rest}\n"],
        tasks: vec![
            ask("What is {a} minus {b}?", "{a} minus {b} is {rest}."),
            ask("Take {b} away from {a}.", "{a} minus {b} is {rest}."),
            ask("Work out {a} - {b}. Give only the number.", "{rest}"),
            ask_about("Copy it and write the result.", "Sum: {a} - {b}", "{a} - {b} = {rest}"),
        ],
        weight: 8,
    }
}

fn sequences(words: &Words) -> Topic<'_> {
    // (sequence, position) of every member that has a follower
    let mut members = Vec::new();
    for (sequence, row) in words.sequences.iter().enumerate() {
        members.extend((1..row.len() - 1).map(|position| (sequence, position)));
    }
    Topic {
        title: "Things in order",
        size: members.len(),
        row: Box::new(move |index, _| {
            let (sequence, position) = members[index];
            let row = &words.sequences[sequence];
            vec![
                ("name", row[0].to_owned()),
                ("member", row[position].to_owned()),
                ("next", row[position + 1].to_owned()),
                ("all", row[1..].join(", ")),
            ]
        }),
        subject: "{member}",
        sentences: &[
            "{next} comes after {member}.",
            "After {member} comes {next}.",
            "{member} is followed by {next}.",
            "The {name} are {all}.",
            "{member} comes before {next}.",
        ],
        lines: &["{member}, {next}", "{member}\n{next}\n", "{all}"],
        tasks: vec![
            ask("What comes after {member}?", "After {member} comes {next}."),
            ask("What comes before {next}?", "{member} comes before {next}."),
            ask("Among the {name}, which one follows {member}?", "{member} is followed by {next}."),
            ask_about("Name what comes next.", "Now: {member}", "{next}"),
        ],
        weight: 3,
    }
}
