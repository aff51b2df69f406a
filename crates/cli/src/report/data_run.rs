//! What a data run has come to: its sections of a page.
//!
//! ```text
//!  run folder ─► RunFolder, Settings ─► Numbers ─┬► facts, comparison, --json
//!                                                └► funnel, requests, lengths, verbs, similarity, samples
//! ```

mod funnel;
mod numbers;
mod samples;
mod settings;
mod similarity;
mod texts;

use std::path::Path;

use albacore_data::bootstrap::{RunFolder, Stage};
use maud::Markup;

use super::{Cell, Page, Section, Table, facts, notice};
use crate::failure::{OrRefuse, Refusal, Result};
use crate::progress::count;

pub use numbers::Numbers;
pub use settings::Settings;

/// A run and what its config says.
#[derive(Debug)]
pub struct DataRun {
    /// Its name: that of its folder.
    pub name: String,
    /// What it has written.
    pub folder: RunFolder,
    /// How it was told to.
    pub settings: Settings,
    /// What that comes to.
    pub numbers: Numbers,
}

impl DataRun {
    /// Reads a run, which may be under way.
    ///
    /// # Errors
    /// Refused if there is no data run in the folder, or if a file of it is malformed.
    pub fn read(path: &Path) -> Result<Self> {
        let Some(folder) = RunFolder::read(path).or_refuse()? else {
            return Err(no_run(path)).or_refuse();
        };
        let settings = Settings::read(path)?;
        let real = path.canonicalize().or_refuse()?;
        let name = real.file_name().unwrap_or(real.as_os_str()).to_string_lossy().into_owned();
        let numbers = Numbers::of(&folder, &settings);
        Ok(Self { name, folder, settings, numbers })
    }

    /// The stages that it has not run to their end.
    pub fn missing(&self) -> Vec<Stage> {
        let mut missing = self.folder.missing(self.settings.is_alpaca(&self.folder));
        // The first stage may have ended with fewer than were wanted: then a later one has been run.
        let has_later = self.folder.classified.is_some() || self.folder.funnel.is_some();
        if self.wanted().is_some() && !has_later && !missing.contains(&Stage::Instructions) {
            missing.insert(0, Stage::Instructions);
        }
        missing
    }

    /// The instructions that are wanted, if they are more than there are.
    fn wanted(&self) -> Option<usize> {
        let wanted = self.settings.bootstrap.as_ref()?.instructions;
        (self.folder.accepted.len() < wanted).then_some(wanted)
    }

    /// What is said of a stage that is not complete.
    fn told(&self, stage: Stage) -> String {
        match (stage, self.wanted()) {
            (Stage::Instructions, Some(wanted)) => {
                let accepted = count(self.folder.accepted.len());
                format!("`{}` ({accepted} of {})", stage.name(), count(wanted))
            }
            _ => format!("`{}`", stage.name()),
        }
    }

    /// Everything about it.
    fn sections(&self, seed: u64) -> (Vec<Markup>, Vec<Section>) {
        let mut first = Vec::new();
        let missing = self.missing().into_iter().map(|stage| self.told(stage));
        let missing = missing.collect::<Vec<_>>();
        if !missing.is_empty() {
            let text = format!(
                "Not complete: {}. What follows is what there is so far.",
                missing.join(", ")
            );
            first.push(notice(&text));
        }
        let numbers = self.numbers.named();
        let told =
            numbers.iter().filter(|(name, cell)| FACTS.contains(name) && *cell != Cell::None);
        let told = told.map(|(name, cell)| (*name, cell.words())).collect::<Vec<_>>();
        first.push(facts(&told));
        let sections = [
            Some(funnel::section(&self.folder)),
            funnel::rejected(&self.folder),
            funnel::requests(&self.numbers.requests, self.settings.has_prices()),
            texts::lengths(&self.folder),
            texts::classification(&self.folder),
            texts::verbs(&self.numbers),
            similarity::section(&self.folder),
            samples::section(&self.name, &self.folder, seed),
        ];
        (first, sections.into_iter().flatten().collect())
    }
}

/// The numbers that stand at the top.
const FACTS: [&str; 8] = [
    "instructions written",
    "instructions accepted",
    "tasks",
    "instances",
    "records to train on",
    "requests",
    "tokens of answers",
    "cost",
];

fn no_run(path: &Path) -> Refusal {
    let (shown, hint) = (path.display(), "name the folder in which `albacore bootstrap` writes");
    if !path.is_dir() {
        return Refusal::new(format!("there is no folder `{shown}`"), hint);
    }
    let message = if path.join("metrics.jsonl").is_file() || path.join("checkpoints").is_dir() {
        format!(
            "`{shown}` is a training run, and there is no report of those yet, wanted a data run"
        )
    } else {
        format!("`{shown}` has no `instructions.jsonl` or `requests.jsonl`, wanted a data run")
    };
    Refusal::new(message, hint)
}

/// A page of one run, or of several: side by side first, then one after the other. `seed` draws the
/// samples.
pub fn page(runs: &[DataRun], seed: u64) -> Page {
    if let [run] = runs {
        let (parts, mut sections) = run.sections(seed);
        sections.insert(0, Section::new("At a glance", parts));
        let title = format!("Data run {}", run.name);
        return Page { title, about: run.settings.about(), sections };
    }
    let compared = Section::new("Side by side", vec![comparison(runs).markup()]);
    let each = runs.iter().map(|run| {
        let (parts, sections) = run.sections(seed);
        Section { title: run.name.clone(), parts, sections }
    });
    let about = "Instruction data written by models: the runs side by side, then each by itself.";
    Page {
        title: format!("{} data runs", count(runs.len())),
        about: about.into(),
        sections: std::iter::once(compared).chain(each).collect(),
    }
}

/// The numbers of all runs.
fn comparison(runs: &[DataRun]) -> Table {
    let names = runs.iter().map(|run| run.name.as_str());
    let columns = std::iter::once("").chain(names).collect::<Vec<_>>();
    let mut table = Table::new("The runs side by side", &columns);
    let writers = runs.iter().map(|run| {
        let writer = run.settings.writer.as_deref();
        writer.map_or(Cell::None, Cell::text)
    });
    table.rows.push(std::iter::once(Cell::text("written by")).chain(writers).collect());
    let numbers = runs.iter().map(|run| run.numbers.named()).collect::<Vec<_>>();
    for at in 0..numbers[0].len() {
        let cells = numbers.iter().map(|numbers| numbers[at].1.clone());
        table.rows.push(std::iter::once(Cell::text(numbers[0][at].0)).chain(cells).collect());
    }
    table
}
