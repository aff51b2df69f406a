//! Questions that stand in the training data: a section of an evaluation's page.

use maud::html;

use super::{Cell, Section, Table, notice, paragraph};
use crate::contamination::Contamination;

/// The numbers of every task of which something is found.
pub fn section(contamination: &Contamination) -> Section {
    let [_, found, _] = contamination.total();
    let about = contamination.about() + ".";
    let mut parts = vec![if found > 0 { notice(&about) } else { paragraph(&about) }];
    let columns = ["suite", "task", "questions", "found", "too short to tell"];
    let mut table = Table::new("Tasks of which something is found", &columns);
    let tasks = contamination.tasks.iter().filter(|task| task.found > 0);
    table.rows = tasks
        .map(|task| {
            vec![
                Cell::text(&task.suite),
                Cell::text(&task.task),
                Cell::Count(task.questions as u64),
                Cell::Count(task.found as u64),
                Cell::Count(task.too_short as u64),
            ]
        })
        .collect();
    let is_long = table.rows.len() > 16;
    if !table.rows.is_empty() {
        let markup = table.markup();
        parts.push(match is_long {
            true => html! { details { summary { "By task" } (markup) } },
            false => markup,
        });
        parts.push(paragraph(
            "Every question that is found stands in contamination.jsonl, with a record.",
        ));
    }
    let files = contamination.files.iter().map(|file| file.display().to_string());
    parts.push(paragraph(&format!("Training files: {}", files.collect::<Vec<_>>().join(", "))));
    parts.extend(contamination.unread.iter().map(|error| notice(error)));
    Section::new("In the training data", parts)
}
