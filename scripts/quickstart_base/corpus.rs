//! The text that the base model learns from: short pages of sentences, lists and tables.
//! No page asks and answers; that is what finetuning teaches.

use crate::random::Random;
use crate::topic::{Topic, fill};

/// One page of text, of a few dozen to about two hundred tokens.
pub fn page(topics: &[Topic], random: &mut Random) -> String {
    match random.below(8) {
        0..3 => table(topics, random),
        3..5 => essay(topics, random),
        _ => notebook(topics, random),
    }
}

/// Lines of one form about one topic.
fn table(topics: &[Topic], random: &mut Random) -> String {
    let topic = weighted(topics, random);
    let form = one_of(topic.lines, random);
    let lines = (0..5 + random.below(8)).map(|_| told(topic, form, random));
    let text = lines.collect::<Vec<_>>().join("\n");
    headed(topic, text, random)
}

/// Sentences about one topic.
fn essay(topics: &[Topic], random: &mut Random) -> String {
    let topic = weighted(topics, random);
    let sentences = (0..4 + random.below(8)).map(|_| {
        let template = one_of(topic.sentences, random);
        told(topic, template, random)
    });
    let text = sentences.collect::<Vec<_>>().join(" ");
    headed(topic, text, random)
}

/// Sentences about anything, each a line or all in a row.
fn notebook(topics: &[Topic], random: &mut Random) -> String {
    let between = one_of(&[" ", "\n"], random);
    let sentences = (0..4 + random.below(8)).map(|_| {
        let topic = weighted(topics, random);
        let template = one_of(topic.sentences, random);
        told(topic, template, random)
    });
    sentences.collect::<Vec<_>>().join(between)
}

fn told(topic: &Topic, template: &str, random: &mut Random) -> String {
    let index = random.below(topic.size);
    fill(template, &(topic.row)(index, random))
}

fn one_of<'a>(templates: &[&'a str], random: &mut Random) -> &'a str {
    templates[random.below(templates.len())]
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
