//! The text that the base model learns from: short pages of sentences, tables, dictionary entries.
//! No page asks and answers; that is what finetuning teaches.

use crate::random::Random;
use crate::topic::{Row, Topic, fill};

/// One page of text, of a few dozen to about two hundred tokens.
pub fn page(topics: &[Topic], random: &mut Random) -> String {
    match random.below(10) {
        0..3 => table(topics, random),
        3..5 => essay(topics, random),
        5..7 => dictionary(topics, random),
        7..9 => notebook(topics, random),
        _ => dictation(topics, random),
    }
}

/// Lines of one form about one topic.
fn table(topics: &[Topic], random: &mut Random) -> String {
    let topic = weighted(topics, random);
    let form = random.one_of(topic.lines);
    let lines: Vec<String> =
        (0..5 + random.below(8)).map(|_| fill(form, &any_row(topic, random))).collect();
    headed(topic, lines.join("\n"), random)
}

/// Sentences about one topic.
fn essay(topics: &[Topic], random: &mut Random) -> String {
    let topic = weighted(topics, random);
    let sayings: Vec<String> = (0..3 + random.below(4)).map(|_| said(topic, random)).collect();
    headed(topic, sayings.join(" "), random)
}

/// Headwords, each with what is to be said of it.
fn dictionary(topics: &[Topic], random: &mut Random) -> String {
    let between = random.one_of(&[": ", "\n", "\n\n", ". "]);
    let of_one_topic = random.once_in(2).then(|| weighted(topics, random));
    let entries = (0..3 + random.below(4)).map(|_| {
        let topic = of_one_topic.unwrap_or_else(|| weighted(topics, random));
        let row = any_row(topic, random);
        let sentence = fill(random.one_of(topic.sentences), &row);
        format!("{}{between}{sentence}", fill(topic.subject, &row))
    });
    entries.collect::<Vec<_>>().join("\n\n")
}

/// Sentences about anything, each a line or all in a row.
fn notebook(topics: &[Topic], random: &mut Random) -> String {
    let between = random.one_of(&[" ", "\n"]);
    let sayings = (0..3 + random.below(4)).map(|_| {
        let topic = weighted(topics, random);
        said(topic, random)
    });
    sayings.collect::<Vec<_>>().join(between)
}

/// A few sentences, written twice: reading them teaches to copy.
fn dictation(topics: &[Topic], random: &mut Random) -> String {
    let text = (0..1 + random.below(3)).map(|_| {
        let topic = weighted(topics, random);
        fill(random.one_of(topic.sentences), &any_row(topic, random))
    });
    let text = text.collect::<Vec<_>>().join(" ");
    format!("{text}\n\n{text}")
}

/// One to three sentences about the same thing.
fn said(topic: &Topic, random: &mut Random) -> String {
    let row = any_row(topic, random);
    let count = 1 + random.below(3);
    let templates = random.several(topic.sentences, count);
    templates.into_iter().map(|template| fill(template, &row)).collect::<Vec<_>>().join(" ")
}

fn any_row(topic: &Topic, random: &mut Random) -> Row {
    (topic.row)(random.below(topic.size), random)
}

/// Two pages in three carry a title.
fn headed(topic: &Topic, text: String, random: &mut Random) -> String {
    if random.once_in(3) { text } else { format!("{}\n\n{text}", topic.title) }
}

fn weighted<'a, 'b>(topics: &'a [Topic<'b>], random: &mut Random) -> &'a Topic<'b> {
    let total: usize = topics.iter().map(|topic| topic.weight).sum();
    let mut left = random.below(total);
    for topic in topics {
        if left < topic.weight {
            return topic;
        }
        left -= topic.weight;
    }
    unreachable!("`left` is below the sum of the weights")
}
