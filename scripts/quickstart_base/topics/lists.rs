//! Small skills with lists: the answer stands in the text and has to be put into form.

use super::world::are_apart;
use crate::random::Random;
use crate::topic::{Row, Topic, ask, ask_about};
use crate::words::{Words, number_in_words, with_article};

pub fn topics(words: &Words) -> Vec<Topic<'_>> {
    vec![three_words(words), matches(words), choices(words)]
}

fn list_row(words: &Words, random: &mut Random) -> Row {
    let drawn = random.several(&words.nouns, 3);
    let [x, y, z] = [drawn[0][0], drawn[1][0], drawn[2][0]];
    vec![("x", x.to_owned()), ("y", y.to_owned()), ("z", z.to_owned())]
}

fn three_words(words: &Words) -> Topic<'_> {
    Topic {
        title: "Lists",
        size: 900,
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
                "List: {x}, {y}, {z}",
                "- {x}\n- {y}\n- {z}",
            ),
            ask_about(
                "Write the words as a numbered list.",
                "List: {x}, {y}, {z}",
                "1. {x}\n2. {y}\n3. {z}",
            ),
            ask_about("Reverse the list.", "List: {x}, {y}, {z}", "{z}, {y}, {x}"),
            ask_about("Repeat the list backwards.", "List: {x}, {y}, {z}", "{z}, {y}, {x}"),
            ask("What is the first word of this list: {x}, {y}, {z}?", "The first word is {x}."),
            ask("What is the last word of this list: {x}, {y}, {z}?", "The last word is {z}."),
            ask_about("Which word is in the middle of the list?", "List: {x}, {y}, {z}", "{y}"),
            ask_about("Put commas between the words.", "Words: {x} {y} {z}", "{x}, {y}, {z}"),
            ask_about("Join the words with and.", "List: {x}, {y}, {z}", "{x} and {y} and {z}"),
            ask("Write the word {x} three times.", "{x} {x} {x}"),
            ask_about("Remove the word {y} from the list.", "List: {x}, {y}, {z}", "{x}, {z}"),
        ],
        weight: 14,
    }
}

fn match_row(words: &Words, random: &mut Random) -> Row {
    let one = random.pick(&words.nouns);
    let mut other = || loop {
        let noun = random.pick(&words.nouns);
        if are_apart(one[2], noun[2]) {
            break noun[0];
        }
    };
    let mut three = [one[0], other(), other()];
    random.shuffle(&mut three);
    vec![
        ("one", one[0].to_owned()),
        ("kind", one[2].to_owned()),
        ("a_kind", with_article(one[2])),
        ("list", three.join(", ")),
    ]
}

fn matches(words: &Words) -> Topic<'_> {
    Topic {
        title: "Finding one",
        size: 300,
        row: Box::new(move |_, random| match_row(words, random)),
        subject: "{list}",
        sentences: &[
            "Of {list}, only the {one} is {a_kind}.",
            "In {list} there is {a_kind}: the {one}.",
            "From {list} we choose {a_kind}, the {one}.",
        ],
        lines: &["{kind}: {list}\n{one}\n", "{kind} in {list}: {one}"],
        tasks: vec![
            ask("Which of these is {a_kind}: {list}?", "The {one} is {a_kind}."),
            ask_about("Pick {a_kind} from the list.", "List: {list}", "{one}"),
        ],
        weight: 8,
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
        size: 480,
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
