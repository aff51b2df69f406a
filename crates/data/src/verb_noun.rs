//! What an instruction asks for: its first verb, and what that acts on.
//!
//! ```text
//!  "Given a list of words, sort them and write a short story."  ─►  sort, them
//!  "Please write me a short story about rivers."                ─►  write, story
//! ```
//! No parser stands behind this: the verb is looked for where imperatives begin (the start of the
//! text, after "please" or "your task is to", after a comma or a full stop), in a list of verbs with
//! which tasks are told; the object is the last word of the words that follow it, up to a
//! preposition, a conjunction or another mark of an end. It sees English only. Questions, and
//! imperatives whose verb is not in the list, have no verb here; adjectives that follow their noun
//! and nouns that look like verbs mislead it at times. That is enough to see what kinds of task there
//! are; to say more, parse the text.

use std::collections::HashSet;
use std::sync::LazyLock;

mod words;

/// The first verb of an instruction and its object, both in their base form. `None` if no verb is
/// recognised; the object is `None` if the verb has none ("explain why …").
pub fn verb_and_object(instruction: &str) -> Option<(String, Option<String>)> {
    let words = split(instruction);
    let starts = (0..words.len()).filter(|&at| begins_a_clause(&words, at));
    for start in starts {
        let mut at = start;
        while words.get(at).is_some_and(|word| is(&OPENERS, word)) {
            at += 1;
        }
        let Some(verb) = words.get(at).map(|word| in_american(word)) else { continue };
        // "do you know …" is a question
        let is_asked = verb == "do" && words.get(at + 1).is_some_and(|next| is(&SUBJECTS, next));
        if is(&VERBS, verb) && !is_asked {
            return Some((verb.to_owned(), object(&words[at + 1..])));
        }
    }
    None
}

/// Small words and the marks between them; an apostrophe or a hyphen inside a word is part of it.
fn split(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_open = false;
    // The first sentences tell what is to be done; a text of megabytes is not read to its end.
    for c in text.chars().take(2000) {
        let c = if c == '’' { '\'' } else { c };
        if c.is_alphanumeric() || (is_open && matches!(c, '\'' | '-')) {
            if !is_open {
                words.push(String::new());
            }
            is_open = true;
            words.last_mut().expect("there is a word").extend(c.to_lowercase());
        } else {
            is_open = false;
            if !c.is_whitespace() && c != '"' {
                words.push(c.to_string());
            }
        }
    }
    words
}

/// Whether an imperative may begin at this word.
fn begins_a_clause(words: &[String], at: usize) -> bool {
    let Some(before) = at.checked_sub(1) else { return true };
    let before = words[before].as_str();
    if matches!(before, "." | "," | ":" | ";" | "!" | "?" | "please" | "then" | "-" | ")") {
        return true;
    }
    // "you need to write", "your task is to write", "can you write", "help me write"
    let two = at.checked_sub(2).map_or("", |at| words[at].as_str());
    match before {
        "to" => is(&BEFORE_TO, two),
        "you" => matches!(two, "can" | "could" | "would" | "will"),
        "must" | "should" | "will" => two == "you",
        "me" => two == "help",
        "let's" => true,
        _ => false,
    }
}

/// The head of the noun phrase with which these words begin.
fn object(words: &[String]) -> Option<String> {
    // "compare and contrast the two": what the second verb acts on, the first does too
    let words = match words {
        [and, verb, rest @ ..] if and == "and" && is(&VERBS, verb) => rest,
        words => words,
    };
    let mut words = words.iter().map(String::as_str).peekable();
    while words.next_if(|word| is(&PARTICLES, word)).is_some() {}
    // "give me a list": the object is the second of the two
    if words.peek().is_some_and(|word| is(&PRONOUNS, word)) {
        let pronoun = words.next().unwrap_or_default();
        if words.peek().is_none_or(|next| !is(&DETERMINERS, next) && !is_number(next)) {
            // "tell me how": it is not you or me that is told
            return (!matches!(pronoun, "me" | "us" | "you")).then(|| pronoun.to_owned());
        }
    }
    let mut head: Option<&str> = None;
    while let Some(word) = words.next() {
        let next = words.peek().copied().unwrap_or(".");
        if is(&DETERMINERS, word) || is_number(word) || is(&MODIFIERS, word) {
            // "write one or two sentences", "sort the numbers below"
            if head.is_some() && is(&DETERMINERS, word) {
                break;
            }
            continue;
        }
        match word {
            "," | "/" | "or" | "and" if head.is_none() => continue,
            _ if is(&ENDS, word) || !word.starts_with(char::is_alphanumeric) => break,
            // "a poem describing the sea", and not "a wedding greeting"
            _ if head.is_some() && is_participle(word, next) => break,
            _ => {}
        }
        head = Some(word);
    }
    head.map(singular)
}

fn is(list: &HashSet<&str>, word: &str) -> bool {
    list.contains(word)
}

/// Whether a word says what the one before it does: something follows that it acts on.
fn is_participle(word: &str, next: &str) -> bool {
    word.len() > 4 && word.ends_with("ing") && (is(&DETERMINERS, next) || is_number(next))
}

fn is_number(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
}

/// One spelling for verbs that have two.
fn in_american(verb: &str) -> &str {
    words::SPELLINGS
        .iter()
        .find(|(british, _)| *british == verb)
        .map_or(verb, |(_, american)| american)
}

/// A noun without the ending of its plural.
fn singular(noun: &str) -> String {
    let noun = noun.strip_suffix("'s").or(noun.strip_suffix('\'')).unwrap_or(noun);
    if let Some((_, one)) = words::PLURALS.iter().find(|(many, _)| *many == noun) {
        return (*one).to_owned();
    }
    let ends = |ends: &[&str]| ends.iter().any(|end| noun.ends_with(end));
    if noun.len() < 4 || ends(&["ss", "us", "is", "news"]) || !noun.ends_with('s') {
        return noun.to_owned();
    }
    if let Some(stem) = noun.strip_suffix("ies").filter(|stem| stem.len() > 1) {
        return format!("{stem}y");
    }
    let cut = if ends(&["sses", "shes", "ches", "xes", "zzes"]) { 2 } else { 1 };
    noun[..noun.len() - cut].to_owned()
}

macro_rules! sets {
    ($($name:ident)*) => {
        $(static $name: LazyLock<HashSet<&str>> =
            LazyLock::new(|| words::$name.split_whitespace().collect());)*
    };
}
sets!(VERBS SUBJECTS OPENERS BEFORE_TO PARTICLES PRONOUNS DETERMINERS MODIFIERS ENDS);

#[cfg(test)]
mod tests;
