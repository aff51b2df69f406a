//! What was written, what became of it, and what it took.

use std::collections::BTreeMap;

use albacore_data::Statistics;
use albacore_data::bootstrap::{RunFolder, Stage, Unused};
use maud::html;

use crate::report::{Bar, Bars, Cell, Section, Table, paragraph, shown};

/// Examples of each rule.
const EXAMPLES: usize = 3;
/// Characters of an example.
const EXCERPT: usize = 300;

fn bar(name: impl Into<String>, count: u64) -> Bar {
    Bar { name: name.into(), count }
}

/// From what was written to what is trained on.
pub fn section(folder: &RunFolder) -> Section {
    let funnel = folder.funnel();
    let is_whole = folder.funnel.as_ref() == Some(&funnel);
    let mut bars = vec![bar("written", funnel.written)];
    bars.extend(
        funnel.rejected.iter().map(|(rule, count)| bar(format!("− rejected by {rule}"), *count)),
    );
    bars.push(bar("accepted", funnel.accepted));
    // Refused prompts of the first stage have brought no instruction that could go missing.
    let refused = funnel.refused.iter().filter(|(stage, _)| **stage > Stage::Instructions);
    bars.extend(
        refused.map(|(stage, count)| bar(format!("− refused in stage {}", stage.name()), *count)),
    );
    if is_whole {
        bars.push(bar("tasks with instances", funnel.tasks as u64));
    }
    let chart = |title: &str, [name, counted]: [&str; 2], bars: Vec<Bar>, whole: u64| {
        let columns = [name.to_owned(), counted.to_owned()];
        Bars { title: title.into(), columns, bars, whole }.markup()
    };
    let mut parts = vec![chart("Instructions", ["", "instructions"], bars, funnel.written)];
    if is_whole {
        let unused =
            funnel.unused_instances.iter().map(|(reason, count)| (told(*reason), *count as u64));
        let mut bars =
            unused.map(|(reason, count)| bar(format!("− {reason}"), count)).collect::<Vec<_>>();
        let found = funnel.instances as u64 + bars.iter().map(|bar| bar.count).sum::<u64>();
        bars.insert(0, bar("found", found));
        bars.push(bar("kept", funnel.instances as u64));
        bars.push(bar("kept, without input", funnel.without_input as u64));
        parts.push(chart("Instances", ["", "instances"], bars, found));
        let (train, held_out, repeated) = (funnel.train, funnel.held_out, funnel.repeated);
        let bars = vec![
            bar("to train on", train as u64),
            bar("held out", held_out as u64),
            bar("the same as another", repeated as u64),
        ];
        parts.push(chart("Records", ["", "records"], bars, (train + held_out + repeated) as u64));
    } else if folder.funnel.is_some() {
        parts.push(paragraph("Instances and records are older than the newest instructions: run the other stages again."));
    }
    Section::new("What became of everything", parts)
}

/// A reason in words.
fn told(reason: Unused) -> &'static str {
    match reason {
        Unused::NoInstance => "answers without any instance",
        Unused::CutOff => "cut off at the end of an answer",
        Unused::InputIsOutput => "input and output the same",
        Unused::EmptyOutput => "empty output",
        Unused::EndsWithColon => "input or output ends with a colon",
        Unused::Contradiction => "one input with different outputs in the task",
        Unused::Duplicate => "the same instance again",
        Unused::TooMany => "more than are kept of one task",
    }
}

/// Examples of what the rules rejected.
pub fn rejected(folder: &RunFolder) -> Option<Section> {
    let mut by_rule = BTreeMap::<&str, Vec<_>>::new();
    for line in &folder.rejected {
        let examples = by_rule.entry(&line.rule).or_default();
        if examples.len() < EXAMPLES {
            examples.push(line);
        }
    }
    let part = html! {
        @for (rule, lines) in &by_rule {
            details {
                summary { "Rejected by " (shown(rule)) }
                ul { @for line in lines {
                    li {
                        (shown(&line.instruction).up_to(EXCERPT))
                        @if line.instruction.is_empty() { span.empty { "(empty)" } }
                        @if let (Some(like), Some(score)) = (&line.most_similar, line.score) {
                            br;
                            span.cut { (format!("{score:.3}")) " with: " (shown(like).up_to(EXCERPT)) }
                        }
                    }
                } }
            }
        }
    };
    (!by_rule.is_empty()).then(|| Section::new("What was rejected, for example", vec![part]))
}

/// What the requests took.
pub fn requests(requests: &BTreeMap<Stage, Statistics>, has_prices: bool) -> Option<Section> {
    let columns = [
        "stage",
        "answered",
        "asked again",
        "refused",
        "tokens of prompts",
        "tokens of answers",
        "answers with estimated tokens",
        "seconds each",
        "tokens a second",
        "cost",
    ];
    let mut table =
        Table::new("What the requests took", &columns[..columns.len() - usize::from(!has_prices)]);
    let row = |name: &str, took: &Statistics| {
        let ratio = |over: f64, under: f64, digits| {
            if under > 0.0 { Cell::Number(over / under, digits) } else { Cell::None }
        };
        let mut row = vec![
            Cell::text(name),
            Cell::Count(took.answers),
            Cell::Count(took.retries),
            Cell::Count(took.refused),
            Cell::Count(took.prompt_tokens),
            Cell::Count(took.completion_tokens),
            Cell::share(took.estimated, took.answers),
            ratio(took.seconds, took.answers as f64, 2),
            ratio(took.completion_tokens as f64, took.seconds, 1),
        ];
        row.extend(has_prices.then(|| took.cost.map_or(Cell::None, |cost| Cell::Number(cost, 4))));
        row
    };
    table.rows = requests.iter().map(|(stage, took)| row(stage.name(), took)).collect();
    let mut total = Statistics::default();
    requests.values().for_each(|took| total.join(took));
    table.rows.push(row("all", &total));
    let note = "Seconds are from the first time that a request was asked to its answer; requests that run \
                side by side each count in full.";
    (!requests.is_empty()).then(|| Section::new("Requests", vec![table.markup(), paragraph(note)]))
}
