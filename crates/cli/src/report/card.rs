//! The data card of a run: `README.md`, as Hugging Face reads it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use albacore_data::bootstrap::{AlpacaRecord, BootstrapConfig, Method};
use jiff::Timestamp;
use serde_json::json;

use super::Cell;
use super::data_run::DataRun;
use crate::progress::count;

/// A card that holds this line is ours, and is written anew.
const OURS: &str = "<!-- `albacore report` writes this file anew: take this line out to keep changes of your own. -->";

/// Longest record that stands in a card as an example, in bytes.
const EXAMPLE: usize = 600;

/// Whether a card may be written there: there is none, or it is one of ours.
pub fn may_write(path: &Path) -> bool {
    match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).lines().any(|line| line.trim() == OURS),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// The card of a run whose records are there. `ending` is that of the files to load: `jsonl` or
/// `parquet`.
pub fn card(run: &DataRun, ending: &str) -> String {
    let parts = [
        head(run, ending),
        OURS.to_owned(),
        title(run),
        files(run, ending),
        made(run),
        became(run),
        LIMITS.to_owned(),
        LICENCE.to_owned(),
    ];
    parts.join("\n\n") + "\n"
}

/// What the hub reads. Its strings are JSON's, which are YAML's.
fn head(run: &DataRun, ending: &str) -> String {
    let funnel = &run.numbers.funnel;
    let mut text = format!(
        "---\npretty_name: {}\nlicense: unknown\ntask_categories:\n- text-generation\nsize_categories:\n\
         - {}\ntags:\n- synthetic\n- instruction-finetuning\n- self-instruct\nconfigs:\n",
        json!(run.name),
        size_category(funnel.instances)
    );
    let mut config = |name: &str, splits: &[(&str, &str, usize)]| {
        let _ = writeln!(text, "- config_name: {name}\n  data_files:");
        // A file without rows cannot be loaded.
        for (split, file, _) in splits.iter().filter(|(_, _, rows)| *rows > 0) {
            let _ = writeln!(text, "  - split: {split}\n    path: {file}.{ending}");
        }
    };
    if funnel.train + funnel.held_out > 0 {
        let splits = [("train", "train", funnel.train), ("held_out", "held_out", funnel.held_out)];
        config("finetuning\n  default: true", &splits);
    }
    if funnel.instances > 0 {
        config("records", &[("train", "records", funnel.instances)]);
    }
    text + "---"
}

/// The hub's names for sizes.
fn size_category(rows: usize) -> &'static str {
    match rows {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        1_000_000..10_000_000 => "1M<n<10M",
        _ => "n>10M",
    }
}

fn title(run: &DataRun) -> String {
    let funnel = &run.numbers.funnel;
    let name = plain(&run.name);
    format!(
        "# {name}\n\n{} {} tasks with {} instances, laid out as {} records to train on and {} that are held \
         out.",
        plain(&run.settings.about()),
        count(funnel.tasks),
        count(funnel.instances),
        count(funnel.train),
        count(funnel.held_out)
    )
}

fn files(run: &DataRun, ending: &str) -> String {
    let funnel = &run.numbers.funnel;
    let mut text = "## Files\n\n| file | rows | fields |\n| --- | ---: | --- |\n".to_owned();
    for (name, rows, fields) in [
        ("train", funnel.train, "`prompt`, `completion`"),
        ("held_out", funnel.held_out, "`prompt`, `completion`; no task of these is in `train`"),
        ("records", funnel.instances, "`instruction`, `input` (may be empty), `output`"),
    ] {
        let _ = writeln!(text, "| `{name}.{ending}` | {} | {fields} |", count(rows));
    }
    let records = run.folder.records.iter().flatten();
    if let Some(example) = records.map(in_one_line).find(|line| line.len() <= EXAMPLE) {
        // An indented line is code, whatever it holds.
        let _ = write!(text, "\nA line of `records.jsonl`:\n\n    {example}\n");
    }
    text.trim_end().to_owned()
}

fn in_one_line(record: &AlpacaRecord) -> String {
    serde_json::to_string(record).expect("a record is JSON")
}

fn made(run: &DataRun) -> String {
    let settings = &run.settings;
    let mut facts = vec![("Date", date(&run.folder.path))];
    let known = |text: Option<String>| text.unwrap_or_else(|| "not recorded".into());
    facts.push(("Written by", known(settings.writer.as_deref().map(code))));
    let config = settings.bootstrap.as_ref();
    facts.push(("Method", known(config.map(method))));
    facts.push(("Seed tasks", known(config.map(seeds))));
    facts.push(("Prompts", known(config.map(prompts))));
    facts.push(("Drawing of instructions", known(config.map(decoding))));
    facts.push(("Random seed", known(settings.seed.map(|seed| seed.to_string()))));
    let facts = facts.iter().map(|(name, value)| format!("- {name}: {value}\n"));
    let what = "A model was shown a few tasks at a time and asked for more. Each new instruction was kept if no \
                rule spoke against it; inputs and outputs were then written for it, parsed, and sifted. Nobody \
                has corrected anything since.";
    format!("## How it was made\n\n{what}\n\n{}", facts.collect::<String>().trim_end())
}

/// The day on which the records were written, in UTC.
fn date(folder: &Path) -> String {
    let written = fs::metadata(folder.join("funnel.json")).and_then(|file| file.modified()).ok();
    let written = written.and_then(|time| Timestamp::try_from(time).ok());
    written.map_or("not known".into(), |time| time.strftime("%Y-%m-%d").to_string())
}

fn method(config: &BootstrapConfig) -> String {
    let kind = match config.method {
        Method::SelfInstruct => {
            "Self-Instruct (Wang et al., 2023): instructions, then whether each is \
                                 classification, then instances"
        }
        Method::Alpaca => {
            "Alpaca (Taori et al., 2023): instruction, input and output in one answer"
        }
    };
    let only = if config.classification_only { ", classification tasks only" } else { "" };
    format!("{kind}{only}")
}

fn seeds(config: &BootstrapConfig) -> String {
    let from = match &config.seeds {
        Some(path) => code(&path.file_name().unwrap_or_default().to_string_lossy()),
        None => "the 175 that come with albacore".into(),
    };
    let (all, machine) = (config.tasks_per_prompt(), config.machine_tasks_per_prompt());
    let own =
        if machine > 0 { format!(", {machine} of them the model's own") } else { String::new() };
    format!("{from}; {all} tasks in a prompt{own}")
}

fn prompts(config: &BootstrapConfig) -> String {
    match &config.prompts {
        Some(_) => "templates of the user's own in place of some that come with albacore".into(),
        None => "the templates that come with albacore".into(),
    }
}

fn decoding(config: &BootstrapConfig) -> String {
    let decoding = config.instruction_decoding();
    format!(
        "temperature {}, top-p {}, presence penalty {}, up to {} tokens",
        decoding.temperature, decoding.top_p, decoding.presence_penalty, decoding.max_tokens
    )
}

fn became(run: &DataRun) -> String {
    let funnel = &run.numbers.funnel;
    let mut text = "## Rules and counts\n\n| | |\n| --- | ---: |\n".to_owned();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "| {name} | {value} |");
    };
    row("instructions written", count(funnel.written as usize));
    for (rule, number) in &funnel.rejected {
        row(&format!("rejected by {}", code(rule)), count(*number as usize));
    }
    for (reason, number) in &funnel.unused_instances {
        let reason = json!(reason);
        row(
            &format!("instances left out, {}", code(reason.as_str().unwrap_or_default())),
            count(*number),
        );
    }
    for (name, cell) in
        run.numbers.named().into_iter().skip(1).filter(|(_, cell)| *cell != Cell::None)
    {
        row(name, cell.words());
    }
    if let Some(config) = &run.settings.bootstrap {
        let _ = write!(
            text,
            "\n`rouge_l` rejects an instruction whose ROUGE-L with a seed or an earlier instruction is above {}; \
             a task has at most {} instances.",
            config.novelty, config.instances_per_task
        );
    }
    text.trim_end().to_owned()
}

const LIMITS: &str = "## Known limits

- A model wrote all of it but the seed tasks. Outputs may be wrong, made up, biased or offensive; in the
  review of 200 such records that the Self-Instruct paper reports, 54 % had no flaw at all.
- Novelty compares words: two tasks that say the same in other words are both here.
- The rules expect English. Other languages are rejected more often, or not at all.
- The seed tasks and the demonstrations in the prompts colour what is asked for and how it is answered.
- Held-out records come from the same model: they measure how well it is imitated, and not how well a task
  is done.";

const LICENCE: &str = "## Licence

Unknown: `albacore` cannot tell it. It depends on the terms of the model that wrote the text and on those of
the seed tasks. Find them out before this is given on, replace `license` above, and take out the line that
lets `albacore report` write this file anew.";

/// Text of others as code, on one line.
fn code(text: &str) -> String {
    let text: String =
        text.chars().map(|c| if c.is_control() || c == '`' { ' ' } else { c }).collect();
    format!("`{}`", text.replace('|', "\\|"))
}

/// Text of others as plain words: nothing in it is Markdown.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        match c {
            c if c.is_control() => plain.push(' '),
            '*' | '_' | '`' | '[' | ']' | '<' | '>' | '#' | '|' | '\\' | '&' | '!' => {
                plain.extend(['\\', c])
            }
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_are_no_markdown() {
        assert_eq!(plain("a_b <x>\n# c"), "a\\_b \\<x\\> \\# c");
        assert_eq!(code("a`b|c\n"), "`a b\\|c `");
    }

    #[test]
    fn a_card_that_someone_has_taken_over_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("README.md");
        assert!(may_write(&path));
        fs::write(&path, format!("---\n---\n\n{OURS}\n# x\n")).unwrap();
        assert!(may_write(&path));
        fs::write(&path, "# My data\n").unwrap();
        assert!(!may_write(&path));
    }
}
