//! Words about words: opposites, plurals, tenses, comparison, spelling.

use crate::random::Random;
use crate::topic::{Row, Topic, ask, ask_about};
use crate::words::{Words, capitalised};

pub fn topics(words: &Words) -> Vec<Topic<'_>> {
    vec![
        opposites(words),
        plurals(words),
        past(words),
        rewriting(words),
        continuous(words),
        comparison(words),
        spelling(words),
    ]
}

fn opposites(words: &Words) -> Topic<'_> {
    let pairs = &words.opposites;
    Topic {
        title: "Opposites",
        size: pairs.len(),
        row: Box::new(move |index, _| {
            // Each pair is asked one way round only, so that no record answers another.
            let turned = index % 2 == 1;
            let (word, opposite) = (pairs[index][0], pairs[index][1]);
            let (word, opposite) = if turned { (opposite, word) } else { (word, opposite) };
            vec![("word", word.to_owned()), ("opposite", opposite.to_owned())]
        }),
        subject: "{word}",
        sentences: &[
            "The opposite of {word} is {opposite}.",
            "The opposite of {opposite} is {word}.",
            "{Word} is the opposite of {opposite}.",
            "{Opposite} is the opposite of {word}.",
            "The words {word} and {opposite} are opposites.",
            "The words {opposite} and {word} are opposites.",
            "Not {word} but {opposite}.",
            "If it is not {word}, it may be {opposite}.",
        ],
        lines: &[
            "{word} - {opposite}",
            "{opposite} - {word}",
            "{word}\n{opposite}\n",
            "{opposite}\n{word}\n",
            "{Word}: {opposite}",
            "{Word}, opposite: {opposite}.",
        ],
        tasks: vec![
            ask("What is the opposite of {word}?", "The opposite of {word} is {opposite}."),
            ask("Tell me the opposite of {word}.", "The opposite of {word} is {opposite}."),
            ask(
                "Please name the opposite of the word {word}.",
                "The opposite of {word} is {opposite}.",
            ),
            ask("In one word, what is the opposite of {word}?", "{opposite}"),
            ask("Opposite of {word}? One word, please.", "{opposite}"),
            ask_about("Give the opposite of this word.", "Word: {word}", "{opposite}"),
            ask_about("Answer with the opposite.", "Word: {word}", "{opposite}"),
        ],
        weight: 10,
    }
}

fn plurals(words: &Words) -> Topic<'_> {
    let nouns = &words.nouns;
    Topic {
        title: "Singular and plural",
        size: nouns.len(),
        row: Box::new(move |index, _| {
            vec![("noun", nouns[index][0].to_owned()), ("plural", nouns[index][1].to_owned())]
        }),
        subject: "{noun}",
        sentences: &[
            "The plural of {noun} is {plural}.",
            "One {noun}, two {plural}.",
            "Here is one {noun}. There are many {plural}.",
            "First I saw a single {noun}, then three {plural}.",
            "{Plural} is the plural of {noun}.",
        ],
        lines: &[
            "{noun} - {plural}",
            "{noun}\n{plural}\n",
            "one {noun}, many {plural}",
            "{Noun}, plural: {plural}.",
            "two {plural}",
        ],
        tasks: vec![
            ask("What is the plural of {noun}?", "The plural of {noun} is {plural}."),
            ask("Tell me the plural form of {noun}.", "The plural of {noun} is {plural}."),
            ask("One word only: what is the plural of {noun}?", "{plural}"),
            ask_about("Give the plural of this noun.", "Noun: {noun}", "{plural}"),
            ask_about("Complete the phrase.", "one {noun}, two", "{plural}"),
            ask("I have one {noun}. What do I call two of them?", "You call them two {plural}."),
        ],
        weight: 12,
    }
}

/// The cells of a verb with somebody who does it.
fn verb_row(words: &Words, index: usize, random: &mut Random) -> Row {
    let verb = &words.verbs[index];
    let name = random.pick(&words.names);
    let rest = if verb[4].is_empty() { String::new() } else { format!(" {}", verb[4]) };
    vec![
        ("verb", verb[0].to_owned()),
        ("third", verb[1].to_owned()),
        ("past", verb[2].to_owned()),
        ("ing", verb[3].to_owned()),
        ("rest", rest),
        ("name", name[0].to_owned()),
        ("pronoun", name[1].to_owned()),
    ]
}

fn past(words: &Words) -> Topic<'_> {
    Topic {
        title: "Past tense",
        size: words.verbs.len(),
        row: Box::new(move |index, random| verb_row(words, index, random)),
        subject: "{verb}",
        sentences: &[
            "The past tense of {verb} is {past}.",
            "The past of {verb} is {past}.",
            "Today they {verb}. Yesterday they {past}.",
            "I {verb} now, and I {past} before.",
            "{Past} is the past tense of {verb}.",
        ],
        lines: &[
            "{verb} - {past}",
            "{verb}\n{past}\n",
            "{Verb}, past: {past}.",
            "today {verb}, yesterday {past}",
        ],
        tasks: vec![
            ask("What is the past tense of {verb}?", "The past tense of {verb} is {past}."),
            ask(
                "Tell me the past tense of the verb {verb}.",
                "The past tense of {verb} is {past}.",
            ),
            ask("In one word, what is the past tense of {verb}?", "{past}"),
            ask_about("Put this verb into the past tense.", "Verb: {verb}", "{past}"),
            ask_about("Complete the phrase.", "today I {verb}, yesterday I", "{past}"),
        ],
        weight: 8,
    }
}

fn rewriting(words: &Words) -> Topic<'_> {
    Topic {
        title: "Yesterday and today",
        size: words.verbs.len(),
        row: Box::new(move |index, random| verb_row(words, index, random)),
        subject: "{name} {third}{rest}.",
        sentences: &[
            "Every day {name} {third}{rest}. Yesterday {name} {past}{rest}.",
            "{name} {third}{rest}. Yesterday {pronoun} {past}{rest}.",
            "Yesterday {name} {past}{rest}. Today {name} {third}{rest} again.",
            "{name} {past}{rest}. {Pronoun} will {verb}{rest} tomorrow.",
            "Now {name} is {ing}{rest}. Tomorrow {name} will {verb}{rest}.",
            "{name} will {verb}{rest}. {Pronoun} likes {ing}.",
            "{name} {third}{rest}. {name} is {ing}{rest}.",
        ],
        lines: &[
            "{name} {third}{rest}.\n{name} {past}{rest}.\n",
            "{name} {third}{rest}.\n{name} will {verb}{rest}.\n",
            "{name} {third}{rest}.\n{name} is {ing}{rest}.\n",
        ],
        tasks: vec![
            ask_about(
                "Rewrite the sentence in the past tense.",
                "{name} {third}{rest}.",
                "{name} {past}{rest}.",
            ),
            ask_about(
                "Say that this happened yesterday.",
                "{name} {third}{rest}.",
                "Yesterday {name} {past}{rest}.",
            ),
            ask_about(
                "Rewrite the sentence in the future tense.",
                "{name} {third}{rest}.",
                "{name} will {verb}{rest}.",
            ),
            ask_about(
                "Change the sentence so that it will happen tomorrow.",
                "{name} {third}{rest}.",
                "Tomorrow {name} will {verb}{rest}.",
            ),
            ask_about(
                "Say that it is happening now.",
                "{name} {third}{rest}.",
                "Now {name} is {ing}{rest}.",
            ),
            ask_about(
                "Replace the name with he or she.",
                "{name} {past}{rest}.",
                "{Pronoun} {past}{rest}.",
            ),
        ],
        weight: 16,
    }
}

fn continuous(words: &Words) -> Topic<'_> {
    Topic {
        title: "The ing-form",
        size: words.verbs.len(),
        row: Box::new(move |index, random| verb_row(words, index, random)),
        subject: "{verb}",
        sentences: &[
            "The ing-form of {verb} is {ing}.",
            "They {verb} often, and they like {ing}.",
            "I {verb}. I am {ing}.",
            "{Ing} is the ing-form of {verb}.",
        ],
        lines: &["{verb} - {ing}", "{verb}\n{ing}\n", "I {verb}, I am {ing}"],
        tasks: vec![
            ask("What is the ing-form of {verb}?", "The ing-form of {verb} is {ing}."),
            ask("Which word do we get when we add ing to {verb}?", "{ing}"),
            ask_about("Give the ing-form of this verb.", "Verb: {verb}", "{ing}"),
            ask_about("Complete the phrase.", "I {verb}, I am", "{ing}"),
        ],
        weight: 6,
    }
}

fn comparison(words: &Words) -> Topic<'_> {
    let adjectives = &words.adjectives;
    Topic {
        title: "Comparing things",
        size: adjectives.len(),
        row: Box::new(move |index, _| {
            let row = &adjectives[index];
            vec![
                ("word", row[0].to_owned()),
                ("more", row[1].to_owned()),
                ("most", row[2].to_owned()),
            ]
        }),
        subject: "{word}",
        sentences: &[
            "The comparative of {word} is {more}.",
            "The superlative of {word} is {most}.",
            "One is {word}, another is {more}, and the third is the {most}.",
            "This one is {word}, but that one is {more}.",
            "Of all the {word} ones, it is the {most}.",
            "{More} means more {word}, and {most} means most {word}.",
        ],
        lines: &[
            "{word}, {more}, {most}",
            "{word} - {more} - {most}",
            "{word}\n{more}\n",
            "{word}\n{most}\n",
        ],
        tasks: vec![
            ask("What is the comparative of {word}?", "The comparative of {word} is {more}."),
            ask("What is the superlative of {word}?", "The superlative of {word} is {most}."),
            ask("One word only: what is the comparative of {word}?", "{more}"),
            ask("Write the three forms of the adjective {word}.", "{word}, {more}, {most}"),
            ask_about("Give the superlative of this adjective.", "Word: {word}", "{most}"),
        ],
        weight: 6,
    }
}

fn spelling(words: &Words) -> Topic<'_> {
    let nouns: Vec<&str> =
        words.nouns.iter().map(|row| row[0]).filter(|noun| noun.len() <= 7).collect();
    Topic {
        title: "Spelling",
        size: nouns.len(),
        row: Box::new(move |index, _| {
            let word = nouns[index];
            let letters: Vec<String> = word.chars().map(String::from).collect();
            vec![
                ("word", word.to_owned()),
                ("spelled", letters.join("-")),
                ("letter", capitalised(&letters[0])),
            ]
        }),
        subject: "{word}",
        sentences: &[
            "The word {word} is spelled {spelled}.",
            "We spell {word} like this: {spelled}.",
            "{Spelled} spells {word}.",
            "The word {word} begins with the letter {letter}.",
            "{letter} is the first letter of {word}.",
        ],
        lines: &[
            "{word}: {spelled}",
            "{word}\n{spelled}\n",
            "{letter} for {word}",
            "{letter}\n{word}\n",
        ],
        tasks: vec![
            ask("How do you spell {word}?", "{spelled}"),
            ask("Spell the word {word}.", "The word {word} is spelled {spelled}."),
            ask(
                "Which letter does the word {word} begin with?",
                "The word {word} begins with the letter {letter}.",
            ),
            ask_about("Spell it letter by letter.", "Word: {word}", "{spelled}"),
            ask_about("Name the first letter of this word.", "Word: {word}", "{letter}"),
        ],
        weight: 8,
    }
}
