//! What became of the records, in counts and examples.

use serde_json::{Value, json};

use crate::args::Filter;
use crate::progress::count;

/// Examples of each rule that are shown.
const EXAMPLES: usize = 3;
/// Characters of a text that are shown.
const WIDTH: usize = 70;

/// A record that was dropped.
#[derive(Clone, Debug)]
pub struct Example {
    /// Where it stands.
    pub origin: String,
    /// Its text.
    pub text: String,
    /// What the rule found.
    pub value: Value,
    /// The text that it is too like: where it stands, itself, and the score.
    pub nearest: Option<(String, String, f64)>,
}

/// What was dropped by each rule, in the order in which the rules are asked.
#[derive(Debug)]
pub struct Drops {
    rules: Vec<(String, usize, Vec<Example>)>,
}

impl Drops {
    /// Of these rules.
    pub fn new(names: Vec<String>) -> Self {
        let mut rules: Vec<_> = names.into_iter().map(|name| (name, 0, Vec::new())).collect();
        // A rule that is named twice drops nothing the second time.
        rules.dedup_by(|later, earlier| later.0 == earlier.0);
        Self { rules }
    }

    /// Counts a record, and keeps it if it is one of the first.
    pub fn add(&mut self, rule: &str, example: Example) {
        let known = self.rules.iter_mut().find(|(name, ..)| name == rule);
        let (_, count, examples) = known.expect("only rules that are named drop anything");
        *count += 1;
        if examples.len() < EXAMPLES {
            examples.push(example);
        }
    }

    /// All that were dropped.
    pub fn count(&self) -> usize {
        self.rules.iter().map(|(_, count, _)| count).sum()
    }

    /// The counts for people, or one JSON object.
    pub fn table(&self, options: &Filter, records: usize, known: usize, as_json: bool) -> String {
        let kept = records - self.count();
        if as_json {
            let rules: Vec<_> = self.rules.iter().map(as_value).collect();
            return json!({ "records": records, "known": known, "kept": kept, "dropped": rules })
                .to_string();
        }
        let width = count(records.max(known)).len();
        let row = |name: &str, number: usize, note: &str| {
            format!("{name:<8} {:>width$}  {note}\n", count(number))
        };
        let mut text = read(options, records, known, width);
        for (rule, number, examples) in &self.rules {
            text += &row("dropped", *number, rule);
            examples.iter().for_each(|example| text += &shown(example));
        }
        text + &row("kept", kept, &format!("in `{}`", options.output.display()))
    }
}

/// The counts of what was read.
fn read(options: &Filter, records: usize, known: usize, width: usize) -> String {
    let input = options.input.display();
    let mut text = format!("{:<8} {:>width$}  in `{input}`\n", "records", count(records));
    if !options.against.is_empty() {
        let pools: Vec<_> =
            options.against.iter().map(|path| format!("`{}`", path.display())).collect();
        text += &format!("{:<8} {:>width$}  in {}\n", "against", count(known), pools.join(", "));
    }
    text
}

/// The counts of `--all-pairs`.
pub fn pairs(
    options: &Filter,
    records: usize,
    known: usize,
    pairs: usize,
    as_json: bool,
) -> String {
    if as_json {
        return json!({ "records": records, "known": known, "pairs": pairs }).to_string();
    }
    let width = [records, known, pairs].map(|number| count(number).len()).into_iter().max();
    let width = width.unwrap_or(0);
    let note =
        format!("above {}, in `{}`", options.rouge_l.unwrap_or_default(), options.output.display());
    read(options, records, known, width)
        + &format!("{:<8} {:>width$}  {note}\n", "pairs", count(pairs))
}

fn as_value((rule, count, examples): &(String, usize, Vec<Example>)) -> Value {
    let examples = examples.iter().map(|example| {
        let mut value = json!({
            "origin": example.origin, "text": example.text, "value": example.value,
        });
        if let Some((origin, text, score)) = &example.nearest {
            value["nearest"] = json!({ "origin": origin, "text": text, "score": score });
        }
        value
    });
    json!({ "rule": rule, "count": count, "examples": examples.collect::<Vec<_>>() })
}

/// An example on one line; the text that it is too like on another.
fn shown(example: &Example) -> String {
    let value = match (&example.value, &example.nearest) {
        (_, Some(_)) => String::new(),
        (Value::String(found), None) => format!("`{}` in ", excerpt(found)),
        (Value::Number(share), None) if share.is_f64() => {
            format!("{:.3} in ", share.as_f64().unwrap_or_default())
        }
        (value, None) => format!("{value} in "),
    };
    let mut text = format!("  {}: {value}\"{}\"\n", example.origin, excerpt(&example.text));
    if let Some((origin, nearest, score)) = &example.nearest {
        let like = match example.value {
            Value::Null => "the same as".into(),
            _ => format!("{score:.3} with"),
        };
        text += &format!("    {like} {origin}: \"{}\"\n", excerpt(nearest));
    }
    text
}

/// The beginning of a text, without anything that a terminal would obey.
fn excerpt(text: &str) -> String {
    let spell = |c: char| match c {
        c if c.is_control() => c.escape_default().to_string(),
        // what is invisible, or turns the direction of the text
        '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => {
            c.escape_unicode().to_string()
        }
        c => c.to_string(),
    };
    let text: String = text.chars().take(WIDTH + 1).collect();
    if text.chars().count() > WIDTH {
        text.chars().take(WIDTH - 1).map(spell).chain(["…".to_owned()]).collect()
    } else {
        text.chars().map(spell).collect()
    }
}
