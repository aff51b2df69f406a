//! `albacore report`: what data runs have come to, as a page, a data card and Parquet files.

use std::fs;
use std::path::{Path, PathBuf};

use albacore_data::bootstrap::{Row, write_parquet};
use anyhow::Context;
use serde_json::json;

use crate::args::Report;
use crate::failure::{OrRefuse, Outcome, Refusal, Result};
use crate::progress::Progress;
use crate::report::card::{self, card};
use crate::report::data_run::{DataRun, page};
use crate::report::evaluation::{self, EvaluationRun};
use crate::report::judging::{self, JudgedRun};
use crate::terminal::Terminal;

/// Runs the command.
///
/// # Errors
/// Refused if a folder is no data run or holds malformed files, or if there is no place for the page;
/// fails if a file cannot be written.
pub fn run(options: &Report, seed: Option<u64>, terminal: &Terminal) -> Result {
    let output = output(options)?;
    if options.runs.iter().any(|run| JudgedRun::is_in(run)) {
        return judged(options, &output, seed, terminal);
    }
    if options.runs.iter().any(|run| EvaluationRun::is_in(run)) {
        return evaluations(options, &output, seed, terminal);
    }
    let steps = 2 * options.runs.len() as u64 + 1;
    let progress = Progress::new(terminal, "reporting", 0, steps);
    let runs = read(&options.runs, &progress)?;
    let mut written = Vec::new();
    for (done, run) in (runs.len() as u64..).zip(&runs) {
        progress.set(done, &format!("writing beside {}", run.name));
        written.push(write_beside(run, options.parquet, terminal)?);
    }
    progress.set(steps - 1, "writing the page");
    let page = page(&runs, seed.unwrap_or_default());
    replace(&output, &page.html())?;
    drop(progress);
    terminal.print(&told(&output, &runs, &written, terminal.json))?;
    show(options, &output, terminal);
    Ok(Outcome::Done)
}

/// The page of evaluations, which has no other files.
fn evaluations(options: &Report, output: &Path, seed: Option<u64>, terminal: &Terminal) -> Result {
    if let Some(other) = options.runs.iter().find(|run| !EvaluationRun::is_in(run)) {
        let message = format!("`{}` is no evaluation, and the others are", other.display());
        return Err(Refusal::new(message, "make a page of each kind")).or_refuse();
    }
    let runs =
        options.runs.iter().map(|run| EvaluationRun::read(run)).collect::<Result<Vec<_>>>()?;
    replace(output, &evaluation::page(&runs, seed.unwrap_or_default())?.html())?;
    let text = match terminal.json {
        true => {
            let results: Vec<_> =
                runs.iter().map(|run| json!({ "run": run.path, "results": run.results })).collect();
            json!({ "page": output, "runs": results }).to_string()
        }
        false => format!("{:<8} {}\n", "page", output.display()),
    };
    terminal.print(&text)?;
    show(options, output, terminal);
    Ok(Outcome::Done)
}

/// The page of what judges have said, which has no other files.
fn judged(options: &Report, output: &Path, seed: Option<u64>, terminal: &Terminal) -> Result {
    if let Some(other) = options.runs.iter().find(|run| !JudgedRun::is_in(run)) {
        let message = format!("`{}` holds no judgements, and the others do", other.display());
        return Err(Refusal::new(message, "make a page of each kind")).or_refuse();
    }
    let runs = options.runs.iter().map(|run| JudgedRun::read(run)).collect::<Result<Vec<_>>>()?;
    replace(output, &judging::page(&runs, seed.unwrap_or_default()).html())?;
    let text = match terminal.json {
        true => {
            let runs: Vec<_> = runs.iter().map(JudgedRun::json).collect();
            json!({ "page": output, "runs": runs }).to_string()
        }
        false => format!("{:<8} {}\n", "page", output.display()),
    };
    terminal.print(&text)?;
    show(options, output, terminal);
    Ok(Outcome::Done)
}

/// Opens the page, if that is wanted.
fn show(options: &Report, output: &Path, terminal: &Terminal) {
    if options.open
        && let Err(error) = open::that_detached(output)
    {
        terminal.warn(&format!("cannot open `{}`: {error}", output.display()));
    }
}

/// Where the page goes: into the run, unless there are several.
fn output(options: &Report) -> Result<PathBuf> {
    let hint = "name a file: `--output PAGE.html`";
    let refuse = |message: String| Err(Refusal::new(message, hint)).or_refuse();
    match (&options.output, &options.runs[..]) {
        (Some(path), _) if path.extension().is_none_or(|ending| ending != "html") => refuse(
            format!("the page would be `{}`, wanted a name that ends in `.html`", path.display()),
        ),
        (Some(path), _) => Ok(path.clone()),
        (None, [run]) => Ok(run.join("report.html")),
        (None, runs) => refuse(format!("a page of {} runs has no place of its own", runs.len())),
    }
}

/// Reads all runs; those whose folders have one name are called by their paths.
fn read(paths: &[PathBuf], progress: &Progress) -> Result<Vec<DataRun>> {
    let read = (0..).zip(paths).map(|(done, path)| {
        progress.set(done, &format!("reading {}", path.display()));
        DataRun::read(path)
    });
    let mut runs = read.collect::<Result<Vec<_>>>()?;
    let names = runs.iter().map(|run| run.name.clone()).collect::<Vec<_>>();
    for (run, path) in runs.iter_mut().zip(paths) {
        if names.iter().filter(|name| **name == run.name).count() > 1 {
            run.name = path.display().to_string();
        }
    }
    Ok(runs)
}

/// What was written into a run's folder.
#[derive(Default)]
struct Beside {
    card: Option<PathBuf>,
    parquet: Vec<PathBuf>,
}

/// Writes the card, and Parquet files if they are wanted or were written before, if stage 4 has been run.
fn write_beside(run: &DataRun, parquet: bool, terminal: &Terminal) -> Result<Beside> {
    let folder = &run.folder.path;
    let mut beside = Beside::default();
    if !run.numbers.has_records {
        let what = if parquet { "a data card and Parquet files" } else { "a data card" };
        terminal.note(&format!(
            "`{}` gets {what} when its stage `records` has been run",
            folder.display()
        ));
        return Ok(beside);
    }
    // Parquet files of an earlier report must not tell another story than the JSON lines.
    if parquet || folder.join("records.parquet").is_file() {
        let data = &run.folder;
        beside.parquet = vec![
            columns(folder, "records", data.records.as_deref())?,
            columns(folder, "train", data.train.as_deref())?,
            columns(folder, "held_out", data.held_out.as_deref())?,
        ];
    }
    let path = folder.join("README.md");
    if card::may_write(&path) {
        let ending = if beside.parquet.is_empty() { "jsonl" } else { "parquet" };
        replace(&path, &card(run, ending))?;
        beside.card = Some(path);
    } else {
        terminal
            .note(&format!("`{}` has been changed by hand, and stays as it is", path.display()));
    }
    Ok(beside)
}

fn columns<R: Row>(folder: &Path, name: &str, rows: Option<&[R]>) -> Result<PathBuf> {
    let path = folder.join(format!("{name}.parquet"));
    write_parquet(&path, rows.unwrap_or_default())?;
    Ok(path)
}

/// Replaces a file by this text, all at once.
fn replace(path: &Path, text: &str) -> Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, path));
    Ok(written.with_context(|| format!("cannot write `{}`", path.display()))?)
}

fn told(page: &Path, runs: &[DataRun], written: &[Beside], as_json: bool) -> String {
    if as_json {
        let runs = runs.iter().zip(written).map(|(run, beside)| {
            let missing = run.missing().iter().map(|stage| stage.name()).collect::<Vec<_>>();
            json!({
                "run": run.folder.path, "missing": missing, "card": beside.card, "parquet": beside.parquet,
                "numbers": run.numbers,
            })
        });
        return json!({ "page": page, "runs": runs.collect::<Vec<_>>() }).to_string();
    }
    let mut text = format!("{:<8} {}\n", "page", page.display());
    for beside in written {
        let files = beside.card.iter().map(|card| ("card", card));
        for (what, path) in files.chain(beside.parquet.iter().map(|path| ("parquet", path))) {
            text += &format!("{what:<8} {}\n", path.display());
        }
    }
    text
}
