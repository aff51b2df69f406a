//! How alike the instructions are.

use albacore_data::bootstrap::{NewInstruction, RunFolder};

use crate::report::{Cell, Histogram, Lines, Section, Series, Table};

/// Pairs in each table.
const PAIRS: usize = 10;
/// Points of a line.
const POINTS: usize = 200;

/// The most similar text that was there before an instruction, and its ROUGE-L.
pub fn highest(line: &NewInstruction) -> Option<(&str, f64)> {
    let scores =
        line.most_similar.iter().filter_map(|(text, score)| Some((text.as_str(), score.as_f64()?)));
    scores.reduce(|best, next| if next.1 > best.1 { next } else { best })
}

/// Similarities, the pairs at both ends, and how the yield went.
pub fn section(folder: &RunFolder) -> Option<Section> {
    let mut pairs =
        folder.accepted.iter().filter_map(|line| Some((line, highest(line)?))).collect::<Vec<_>>();
    let mut parts = Vec::new();
    if !pairs.is_empty() {
        let scores = pairs.iter().map(|(_, (_, score))| *score).collect::<Vec<_>>();
        let means = pairs.iter().map(|(line, _)| line.avg_similarity_score).collect::<Vec<_>>();
        let title = "ROUGE-L of each accepted instruction with the most similar one before it";
        parts.push(Histogram::of_shares(title, "ROUGE-L", &scores).markup());
        let title = "Its mean with all that were there before it";
        parts.push(Histogram::of_shares(title, "ROUGE-L", &means).markup());
        // A stable sort: those that are equally alike stay in the order in which they were written.
        pairs.sort_by(|(_, one), (_, two)| two.1.total_cmp(&one.1));
        parts.push(table("The most similar pairs", pairs.iter().take(PAIRS)));
        parts.push(table("The least similar pairs", pairs.iter().rev().take(PAIRS)));
    }
    parts.extend(yields(folder));
    (!parts.is_empty()).then(|| Section::new("Novelty", parts))
}

type Pair<'r> = (&'r NewInstruction, (&'r str, f64));

fn table<'r>(title: &str, pairs: impl Iterator<Item = &'r Pair<'r>>) -> maud::Markup {
    let mut table =
        Table::new(title, &["instruction", "most similar before it", "ROUGE-L", "mean"]);
    table.rows = pairs
        .map(|(line, (text, score))| {
            vec![
                Cell::text(&line.instruction),
                Cell::text(*text),
                Cell::Number(*score, 3),
                Cell::Number(line.avg_similarity_score, 3),
            ]
        })
        .collect();
    table.markup()
}

/// Written and accepted, round by round: as the pool grows, fewer are new.
fn yields(folder: &RunFolder) -> Option<maud::Markup> {
    let accepted = folder.accepted.iter().map(|line| (line.request_idx, 1));
    let rejected = folder.rejected.iter().map(|line| (line.request_idx, 0));
    let mut rounds = accepted.chain(rejected).collect::<Vec<(u64, u64)>>();
    rounds.sort_unstable();
    let (first, last) = (rounds.first()?.0, rounds.last()?.0);
    if first == last {
        return None;
    }
    let every = ((last + 1) as usize).div_ceil(POINTS) as u64;
    let (mut written, mut kept) = (vec![(0.0, 0.0)], vec![(0.0, 0.0)]);
    let (mut taken, mut new) = (0, 0);
    for round in (0..=last).filter(|round| (round + 1) % every == 0 || *round == last) {
        while let Some((_, accepted)) = rounds.get(taken).filter(|(of, _)| *of <= round) {
            (taken, new) = (taken + 1, new + accepted);
        }
        written.push((round as f64 + 1.0, taken as f64));
        kept.push((round as f64 + 1.0, new as f64));
    }
    let series = [("written", written), ("accepted", kept)];
    let series = series.map(|(name, points)| Series { name: name.into(), points }).into();
    let title = "Instructions written and accepted, over the rounds".to_owned();
    Some(Lines { title, steps: "rounds".into(), series }.markup())
}
