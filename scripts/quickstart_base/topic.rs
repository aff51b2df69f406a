//! A topic: facts (or small skills) that can be told as plain text and asked for as instructions.
//!
//! The corpus tells a topic in `sentences` and `lines`; the instruction set asks for it with
//! `tasks`. Both are templates: `{past}` stands for a cell of the row, `{Past}` for the same with
//! a capital letter, `{{` and `}}` for braces.

use crate::random::Random;
use crate::words::capitalised;

/// One fact: named cells, such as `("word", "hot"), ("opposite", "cold")`.
pub type Row = Vec<(&'static str, String)>;

/// One way to ask: the templates of an Alpaca record.
pub struct Task {
    pub instruction: &'static str,
    pub input: &'static str,
    pub output: &'static str,
}

/// A task whose instruction says everything.
pub const fn ask(instruction: &'static str, output: &'static str) -> Task {
    Task { instruction, input: "", output }
}

/// A task with an input of its own.
pub const fn ask_about(
    instruction: &'static str,
    input: &'static str,
    output: &'static str,
) -> Task {
    Task { instruction, input, output }
}

/// Makes the row of this number, by chance where there is a choice.
pub type RowMaker<'a> = Box<dyn Fn(usize, &mut Random) -> Row + 'a>;

/// Facts of one sort and the ways to tell them and to ask for them.
pub struct Topic<'a> {
    /// Heads the pages of the corpus.
    pub title: &'static str,
    /// How many rows there are; for skills without end, how many records are wanted.
    pub size: usize,
    /// Makes row `index`; what is free in it (a name, a wrong answer) is drawn.
    pub row: RowMaker<'a>,
    /// What a row is about: the headword of its entry in a dictionary.
    pub subject: &'static str,
    pub sentences: &'static [&'static str],
    pub lines: &'static [&'static str],
    pub tasks: Vec<Task>,
    /// How often a page is about this topic, beside the others.
    pub weight: usize,
}

/// Puts the cells of `row` into `template`.
pub fn fill(template: &str, row: &Row) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, found) = rest.split_at(at);
        text.push_str(before);
        if found.starts_with("{{") || found.starts_with("}}") {
            text.push_str(&found[..1]);
            rest = &found[2..];
            continue;
        }
        let end = found.find('}').expect("a slot is closed");
        text.push_str(&cell(&found[1..end], row));
        rest = &found[end + 1..];
    }
    text + rest
}

fn cell(slot: &str, row: &Row) -> String {
    let name = slot.to_lowercase();
    let found = row.iter().find(|(key, _)| *key == name);
    let (_, value) = found.unwrap_or_else(|| panic!("found slot `{slot}`, wanted one of {row:?}"));
    if slot == name { value.clone() } else { capitalised(value) }
}
