//! How long the texts are, and what they ask for.

use std::cmp::Reverse;

use albacore_data::bootstrap::RunFolder;

use super::numbers::{Numbers, words};
use crate::report::{Bar, Bars, Branch, Cell, Histogram, Section, Sunburst, Table, paragraph};

/// Verbs that are shown, and objects of each: as many as in the figure of the Self-Instruct paper.
const VERBS: usize = 20;
const OBJECTS: usize = 4;

/// How long instructions, inputs and outputs are.
pub fn lengths(folder: &RunFolder) -> Option<Section> {
    let records = || folder.records.iter().flatten();
    let kinds = [
        (
            "Instructions",
            folder.accepted.iter().map(|line| words(&line.instruction)).collect::<Vec<_>>(),
        ),
        (
            "Inputs that are not empty",
            records().map(|record| words(&record.input)).filter(|words| *words > 0).collect(),
        ),
        ("Outputs", records().map(|record| words(&record.output)).collect()),
    ];
    let mut table = Table::new("Length in words", &["", "texts", "mean", "median", "longest"]);
    let mut charts = Vec::new();
    for (name, mut lengths) in kinds {
        if lengths.is_empty() {
            continue;
        }
        charts.push(Histogram::of_numbers(name, "words", &lengths).markup());
        lengths.sort_unstable();
        let mean = lengths.iter().sum::<u64>() as f64 / lengths.len() as f64;
        table.rows.push(vec![
            Cell::text(name),
            Cell::Count(lengths.len() as u64),
            Cell::Number(mean, 1),
            Cell::Count(lengths[lengths.len() / 2]),
            Cell::Count(lengths[lengths.len() - 1]),
        ]);
    }
    (!charts.is_empty()).then(|| {
        charts.insert(0, table.markup());
        Section::new("Length", charts)
    })
}

/// How many tasks are classification.
pub fn classification(folder: &RunFolder) -> Option<Section> {
    let classified = folder.classified.as_deref().filter(|lines| !lines.is_empty())?;
    let yes = classified.iter().filter(|line| line.is_yes()).count() as u64;
    let whole = classified.len() as u64;
    let bars = [("yes", yes), ("no", whole - yes)];
    let bars = bars.map(|(name, count)| Bar { name: name.into(), count }).into();
    let columns = ["held to be".to_owned(), "tasks".to_owned()];
    let chart = Bars { title: "Is it classification?".into(), columns, bars, whole };
    Some(Section::new("Classification", vec![chart.markup()]))
}

/// What the instructions ask for.
pub fn verbs(numbers: &Numbers) -> Option<Section> {
    let mut branches = numbers
        .verbs
        .iter()
        .map(|(verb, objects)| {
            let mut leaves =
                objects.iter().filter(|(object, _)| !object.is_empty()).collect::<Vec<_>>();
            leaves.sort_by_key(|(object, count)| (Reverse(**count), (*object).clone()));
            let leaves =
                leaves.into_iter().take(OBJECTS).map(|(object, count)| (object.clone(), *count));
            Branch { name: verb.clone(), count: objects.values().sum(), leaves: leaves.collect() }
        })
        .collect::<Vec<_>>();
    branches.retain(|branch| !branch.leaves.is_empty());
    branches.sort_by_key(|branch| (Reverse(branch.count), branch.name.clone()));
    branches.truncate(VERBS);
    if branches.is_empty() {
        return None;
    }
    let shown = branches.iter().map(|branch| branch.count).sum::<u64>();
    let accepted = numbers.funnel.accepted;
    let share = |part: u64| 100.0 * part as f64 / accepted.max(1) as f64;
    let note = format!(
        "A verb is recognised in {:.1} % of the instructions, and one of those shown in {:.1} %. It is looked \
         for by a list of English verbs where imperatives begin, and its object by the words that follow: no \
         parser, so questions and rare verbs are left out, and some objects are mistaken.",
        share(numbers.with_verb),
        share(shown)
    );
    let columns = ["verb".to_owned(), "most frequent objects".to_owned()];
    let title = format!(
        "The {} most frequent verbs with an object, and the {OBJECTS} most frequent objects of each",
        branches.len()
    );
    let chart = Sunburst { title, columns, branches }.markup();
    Some(Section::new("Verbs and their objects", vec![paragraph(&note), chart]))
}
