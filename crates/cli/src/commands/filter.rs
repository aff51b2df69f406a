//! `albacore filter`: which records of a file are worth keeping, and why the others are not.

mod files;
mod told;

use albacore_data::{
    BadRecord, Filter as Engine, Novelty, Rejection, Rule, Sameness, TextFile, Tokenization,
    is_wordless,
};
use serde_json::json;

use crate::args::Filter;
use crate::failure::{Failure, OrRefuse, Outcome, Refusal, Result};
use crate::progress::{Progress, count};
use crate::terminal::Terminal;
use files::Output;
use told::{Drops, Example};

/// Records between two looks at the progress. A multiple of what novelty looks up at once.
const BATCH: usize = 8192;
/// The same where all pairs are told: a text may be like very many.
const PAIRS_BATCH: usize = 256;
/// Bad records that are named; the rest are counted.
const SHOWN: usize = 10;

/// Runs the command.
///
/// # Errors
/// Refused if a file cannot be read or a record has no text, or if an output is one of the inputs;
/// fails if an output cannot be written.
pub fn run(options: &Filter, terminal: &Terminal) -> Result {
    files::refuse_overwriting(options)?;
    let texts = Texts::read(options)?;
    let tokenization = if options.unicode { Tokenization::Unicode } else { Tokenization::Ascii };
    if options.rouge_l.is_some() {
        warn_of_wordless(&texts, tokenization, terminal);
    }
    match options.rouge_l {
        Some(threshold) if options.all_pairs => {
            write_pairs(options, &texts, Novelty::new(threshold, tokenization), terminal)?;
        }
        _ => filter(options, &texts, tokenization, terminal)?,
    }
    Ok(Outcome::Done)
}

/// All files: those to compare with first, the one to filter last.
struct Texts {
    files: Vec<TextFile>,
    /// For each file, the number of texts up to its end.
    ends: Vec<usize>,
}

impl Texts {
    /// Reads them, or names all records that cannot be used.
    fn read(options: &Filter) -> Result<Self> {
        let (mut files, mut ends, mut problems) = (Vec::new(), Vec::new(), Vec::new());
        for path in options.against.iter().chain([&options.input]) {
            let (file, bad) = TextFile::read(path, &options.field).or_refuse()?;
            problems.extend(bad);
            ends.push(ends.last().unwrap_or(&0) + file.texts().len());
            files.push(file);
        }
        if problems.is_empty() { Ok(Self { files, ends }) } else { Err(refusal(&problems)) }
    }

    fn input(&self) -> &TextFile {
        self.files.last().expect("the input is always read")
    }

    /// How many texts stand before the input's.
    fn known(&self) -> usize {
        self.ends.len().checked_sub(2).map_or(0, |before| self.ends[before])
    }

    /// The texts of the files to compare with.
    fn pools(&self) -> &[TextFile] {
        &self.files[..self.files.len() - 1]
    }

    /// The text of this number over all files, and where it stands.
    fn find(&self, number: usize) -> (&str, String) {
        let file = self.ends.partition_point(|end| *end <= number);
        let start = file.checked_sub(1).map_or(0, |before| self.ends[before]);
        let file = &self.files[file];
        (&file.texts()[number - start], file.origin(number - start).to_string())
    }
}

fn refusal(bad: &[BadRecord]) -> Failure {
    let shown = bad.iter().take(SHOWN).map(ToString::to_string);
    let more = bad.len().saturating_sub(SHOWN);
    let more = (more > 0).then(|| format!("{more} more records cannot be used"));
    let mut messages: Vec<_> = shown.chain(more).collect();
    let last = messages.pop().expect("there is something bad");
    let hint =
        "every record needs text in the field that `--field NAME` names; nothing was written";
    let mut errors: Vec<anyhow::Error> = messages.into_iter().map(anyhow::Error::msg).collect();
    errors.push(Refusal::new(last, hint).into());
    Failure::Problems(errors)
}

/// Texts without words have an F of 0 with all others: they pass, which may surprise.
fn warn_of_wordless(texts: &Texts, tokenization: Tokenization, terminal: &Terminal) {
    let input = texts.input();
    let wordless = |record: &usize| is_wordless(&input.texts()[*record], tokenization);
    let wordless: Vec<_> = (0..input.texts().len()).filter(wordless).collect();
    let Some(first) = wordless.first() else { return };
    let remedy = match tokenization {
        Tokenization::Unicode => "`--rule empty` drops blank ones",
        _ => "`--unicode` sees words of all scripts",
    };
    let have = match wordless.len() {
        1 => "1 text has".to_owned(),
        several => format!("{} texts have", count(several)),
    };
    terminal.warn(&format!(
        "{have} no word for ROUGE-L, and so nothing in common with any other (the first is {}); \
         {remedy}",
        input.origin(*first),
    ));
}

/// Writes what is kept and what is not, and tells the counts.
fn filter(
    options: &Filter,
    texts: &Texts,
    tokenization: Tokenization,
    terminal: &Terminal,
) -> Result<()> {
    let mut engine = engine(options, tokenization);
    for pool in texts.pools() {
        engine.know(&strings(pool.texts()));
    }
    let input = texts.input();
    let mut kept = Output::create(&options.output)?;
    let mut dropped = options.dropped.as_deref().map(Output::create).transpose()?;
    if input.is_array() {
        kept.begin_array();
    }
    let total = input.texts().len();
    let progress = Progress::new(terminal, "filtering", 0, total as u64);
    let mut drops = Drops::new(engine.names());
    for start in (0..total).step_by(BATCH) {
        let batch = &input.texts()[start..total.min(start + BATCH)];
        for (record, answer) in (start..).zip(engine.judge(&strings(batch))) {
            let Some(rejection) = answer else {
                kept.write(input.bytes(record))?;
                continue;
            };
            let example = example(texts, record, &rejection);
            if let Some(dropped) = &mut dropped {
                dropped.write(&line(&rejection.rule, &example, input.bytes(record)))?;
            }
            drops.add(&rejection.rule, example);
        }
        let done = total.min(start + BATCH);
        progress.set(done as u64, &format!("records, {} kept", done - drops.count()));
    }
    drop(progress);
    kept.finish()?;
    dropped.map(Output::finish).transpose()?;
    Ok(terminal.print(&drops.table(options, total, texts.known(), terminal.json))?)
}

/// The rules as they were named. A rule named twice is asked twice, which changes nothing.
fn engine(options: &Filter, tokenization: Tokenization) -> Engine {
    let rules = options.rules.iter().flat_map(|rules| rules.rules.clone());
    let mut engine = Engine::new(rules.collect::<Vec<Rule>>());
    let sameness: Vec<Sameness> = options.rules.iter().filter_map(|r| r.duplicates).collect();
    // The wider of two includes the narrower.
    if let Some(first) = sameness.iter().find(|s| **s == Sameness::Normalised).or(sameness.first())
    {
        engine = engine.without_duplicates(*first);
    }
    match options.rouge_l {
        Some(threshold) => engine.with_novelty(threshold, tokenization),
        None => engine,
    }
}

fn strings(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn example(texts: &Texts, record: usize, rejection: &Rejection) -> Example {
    let (text, origin) = texts.find(texts.known() + record);
    let nearest = rejection.nearest.map(|likeness| {
        let (text, origin) = texts.find(likeness.index);
        (origin, text.to_owned(), likeness.score)
    });
    Example { origin, text: text.to_owned(), value: rejection.value.clone(), nearest }
}

/// A line of the file of dropped records. The record stands in it as it was, but on one line.
fn line(rule: &str, example: &Example, record: &[u8]) -> Vec<u8> {
    let mut fields = json!({ "origin": example.origin, "rule": rule, "value": example.value });
    if let Some((origin, text, score)) = &example.nearest {
        fields["nearest"] = json!({ "origin": origin, "text": text, "score": score });
    }
    let fields = fields.to_string();
    let mut line = fields.strip_suffix('}').expect("an object ends so").as_bytes().to_vec();
    line.extend(b",\"record\":");
    // Inside of strings JSON has no line breaks: those that are there stand between its parts.
    let one_line = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
    line.extend(record.trim_ascii().iter().map(one_line));
    line.push(b'}');
    line
}

/// Writes each pair above the threshold once, in the order of the later text.
fn write_pairs(
    options: &Filter,
    texts: &Texts,
    mut novelty: Novelty,
    terminal: &Terminal,
) -> Result<()> {
    for pool in texts.pools() {
        novelty.extend(strings(pool.texts()));
    }
    let input = texts.input();
    let mut output = Output::create(&options.output)?;
    let total = input.texts().len();
    let progress = Progress::new(terminal, "comparing", 0, total as u64);
    let mut pairs = 0;
    for start in (0..total).step_by(PAIRS_BATCH) {
        let batch = &input.texts()[start..total.min(start + PAIRS_BATCH)];
        for (record, found) in (start..).zip(novelty.pairs(&strings(batch))) {
            let (second, second_origin) = texts.find(texts.known() + record);
            for likeness in &found {
                let (first, first_origin) = texts.find(likeness.index);
                let pair = json!({
                    "first": first_origin, "second": second_origin, "score": likeness.score,
                    "first_text": first, "second_text": second,
                });
                output.write(pair.to_string().as_bytes())?;
            }
            pairs += found.len();
        }
        progress.set(total.min(start + PAIRS_BATCH) as u64, &format!("records, {pairs} pairs"));
    }
    drop(progress);
    output.finish()?;
    Ok(terminal.print(&told::pairs(options, total, texts.known(), pairs, terminal.json))?)
}
