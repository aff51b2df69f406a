//! Small skills with lists: the answer stands in the text and has to be put into form.

use super::world::kind_apart_from;
use crate::random::Random;
use crate::topic::{Row, Topic, ask, ask_about};
use crate::words::{Words, number_in_words, with_article};

pub fn topics(words: &Words) -> Vec<Topic<'_>> {
    vec![three_words(words), odd_one_out(words), choices(words)]
}

fn list_row(words: &Words, random: &mut Random) -> Row {
    let drawn = random.several(&words.nouns, 3);
    let [x, y, z] = [drawn[0][0], drawn[1][0], drawn[2][0]];
    vec![("x", x.to_owned()), ("y", y.to_owned()), ("z", z.to_owned())]
}

fn three_words(words: &Words) -> Topic<'_> {
    Topic {
        title: "Lists",
        size: 600,
        row: Box::new(move |_, random| list_row(words, random)),
        subject: "{x}, {y}, {z}",
        sentences: &[
            "The list is {x}, {y}, {z}. It begins with {x} and ends with {z}.",
            "The first word of {x}, {y}, {z} is {x}, and the last word is {z}.",
            "Backwards, {x}, {y}, {z} is {z}, {y}, {x}.",
            "In the list {x}, {y}, {z} the word {y} is in the middle.",
            "I bought {x}, {y} and {z}. Again: {x}, {y} and {z}.",
        ],
        lines: &[
            "{x}, {y}, {z}\n- {x}\n- {y}\n- {z}\n",
            "{x}, {y}, {z}\n1. {x}\n2. {y}\n3. {z}\n",
            "{x}, {y}, {z}\n{z}, {y}, {x}\n",
            "{x}, {y}, {z}\n{x} and {y} and {z}\n",
            "{x} {y} {z}\n{x}, {y}, {z}\n",
        ],
        tasks: vec![
            ask_about(
                "Write the words as a list with bullet points.",
                "{x}, {y}, {z}",
                "- {x}\n- {y}\n- {z}",
            ),
            ask_about(
                "Write the words as a numbered list.",
                "{x}, {y}, {z}",
                "1. {x}\n2. {y}\n3. {z}",
            ),
            ask_about("Reverse the list.", "{x}, {y}, {z}", "{z}, {y}, {x}"),
            ask_about("Repeat the list backwards.", "{x}, {y}, {z}", "{z}, {y}, {x}"),
            ask("What is the first word of this list: {x}, {y}, {z}?", "The first word is {x}."),
            ask("What is the last word of this list: {x}, {y}, {z}?", "The last word is {z}."),
            ask_about("Which word is in the middle of the list?", "{x}, {y}, {z}", "{y}"),
            ask_about("Put commas between the words.", "{x} {y} {z}", "{x}, {y}, {z}"),
            ask_about("Join the words with and.", "{x}, {y}, {z}", "{x} and {y} and {z}"),
            ask("Write the word {x} three times.", "{x} {x} {x}"),
            ask_about("Remove the word {y} from the list.", "{x}, {y}, {z}", "{x}, {z}"),
        ],
        weight: 14,
    }
}

fn odd_row(words: &Words, random: &mut Random) -> Row {
    let odd = random.pick(&words.nouns);
    let kind = kind_apart_from(odd[2], &words.nouns, random);
    let same: Vec<&str> =
        words.nouns.iter().filter(|row| row[2] == kind).map(|row| row[0]).collect();
    let pair = random.several(&same, 2);
    let mut three = [odd[0], *pair[0], *pair[1]];
    random.shuffle(&mut three);
    vec![
        ("odd", odd[0].to_owned()),
        ("kind", kind.to_owned()),
        ("a_kind", with_article(kind)),
        ("list", three.join(", ")),
    ]
}

fn odd_one_out(words: &Words) -> Topic<'_> {
    Topic {
        title: "Odd one out",
        size: 300,
        row: Box::new(move |_, random| odd_row(words, random)),
        subject: "{list}",
        sentences: &[
            "Of {list}, only the {odd} is not {a_kind}.",
            "In {list}, the odd one is {odd}.",
            "Not every one of {list} is {a_kind}: the {odd} is not.",
        ],
        lines: &["{list}\n{odd}\n", "{list}: {odd}"],
        tasks: vec![
            ask_about("Which word does not belong to the others?", "{list}", "{odd}"),
            ask("Which of these is not {a_kind}: {list}?", "The {odd} is not {a_kind}."),
            ask_about("Find the odd one out.", "{list}", "{odd}"),
        ],
        weight: 6,
    }
}

fn choice_row(words: &Words, random: &mut Random) -> Row {
    let person = random.pick(&words.names);
    let drawn = random.several(&words.nouns, 2);
    let (x, y) = (drawn[0], drawn[1]);
    let number = 2 + random.below(9);
    vec![
        ("name", person[0].to_owned()),
        ("pronoun", person[1].to_owned()),
        ("x", x[0].to_owned()),
        ("y", y[0].to_owned()),
        ("xs", x[1].to_owned()),
        ("ys", y[1].to_owned()),
        ("number", number_in_words(number)),
    ]
}

fn choices(words: &Words) -> Topic<'_> {
    Topic {
        title: "Who has what",
        size: 320,
        row: Box::new(move |_, random| choice_row(words, random)),
        subject: "{name}, {x}, {y}",
        sentences: &[
            "{name} has {number} {xs} and no {ys}. So {name} has {number} {xs}.",
            "{name} wants the {x}, not the {y}. So {pronoun} takes the {x}.",
            "There are {number} {xs} in the room. Who owns the {xs}? They belong to {name}.",
            "{name} sold the {y} and kept the {x}. Now {pronoun} has the {x}.",
        ],
        lines: &["{name}: {number} {xs}", "{name}, {x}", "{x} or {y}: {x}"],
        tasks: vec![
            ask_about(
                "Answer the question from the text. How many {xs} are there?",
                "{name} has {number} {xs} and one {y}.",
                "{name} has {number} {xs}.",
            ),
            ask_about(
                "Who is the text about? Give only the name.",
                "{name} wants the {x}, not the {y}.",
                "{name}",
            ),
            ask_about(
                "What does {name} want?",
                "{name} wants the {x}, not the {y}.",
                "{name} wants the {x}.",
            ),
            ask_about(
                "What does {name} have now?",
                "{name} sold the {y} and kept the {x}.",
                "{name} has the {x}.",
            ),
            ask_about(
                "What did {name} sell?",
                "{name} sold the {y} and kept the {x}.",
                "{name} sold the {y}.",
            ),
        ],
        weight: 8,
    }
}
