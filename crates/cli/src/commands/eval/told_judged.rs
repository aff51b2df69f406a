//! What judges have said, as it is printed.

use std::fmt::Write;
use std::path::Path;

use albacore_data::Statistics;
use albacore_eval::{Agreement, Contested, Rating, Totals};
use serde_json::json;

use super::told::shortened;
use crate::data_run::took;
use crate::judged::{Between, Judged, RatedAnswers};
use crate::program::program;
use crate::progress::count;

/// Every two models, judge by judge, and how far the judges agree.
pub(super) fn judged(
    judged: &Judged,
    folder: &Path,
    statistics: &Statistics,
    as_json: bool,
) -> String {
    if as_json {
        return json!({ "run": folder, "judged": judged, "statistics": statistics }).to_string();
    }
    let mut text: String = judged.contests.iter().map(|one| contested(one) + "\n").collect();
    for Between { one, other, agreement } in &judged.agreements {
        text += &agreed(one, other, &agreement.verdicts, "verdicts");
        if let Some(same) = agreement.same_winner {
            let _ = writeln!(
                text,
                "of {} pairs where neither says tie, {:.1} % have the same winner",
                count(agreement.decided),
                100.0 * same
            );
        }
    }
    text + &ending(folder, statistics, "judgements.jsonl")
}

/// How many answers of each model have which rating, and how far the judges agree.
pub(super) fn rated(
    rated: &RatedAnswers,
    folder: &Path,
    statistics: &Statistics,
    as_json: bool,
) -> String {
    if as_json {
        return json!({ "run": folder, "rated": rated, "statistics": statistics }).to_string();
    }
    let mut text = format!(
        "{:<30}{:<30}{:>6}{:>6}{:>6}{:>6}{:>12}{:>12}{:>12}\n",
        "judge", "model", "A", "B", "C", "D", "no rating", "no answer", "A or B, %"
    );
    for ratings in &rated.ratings {
        let counts = Rating::ALL.map(|rating| format!("{:>6}", count(ratings.count(rating))));
        let _ = writeln!(
            text,
            "{:<30}{:<30}{}{:>12}{:>12}{:>12}",
            shortened(&ratings.judge, 28),
            shortened(&ratings.model, 28),
            counts.concat(),
            count(ratings.failed + ratings.unclear),
            count(ratings.unanswered),
            ratings.acceptable().map_or_else(|| "–".to_owned(), |share| format!("{share:.1}"))
        );
    }
    text.push('\n');
    for Between { one, other, agreement } in &rated.agreements {
        text += &agreed(one, other, agreement, "ratings");
    }
    text + &ending(folder, statistics, "ratings.jsonl")
}

/// A contest: a line for all of it, and one a category.
pub(super) fn contested(contest: &Contested) -> String {
    let Contested { judge, first, second, all, categories, unanswered } = contest;
    let mut text = format!(
        "first `{}`, second `{}`, judged by `{}`\n  {:<22}{:>7}{:>8}{:>7}{:>12}{:>10}{:>18}{:>20}\n",
        shortened(first, 40),
        shortened(second, 40),
        shortened(judge, 40),
        "",
        "first",
        "second",
        "ties",
        "no verdict",
        "by order",
        "sums of scores",
        "second's wins, %",
    );
    let named = categories.iter().map(|(name, totals)| (format!("  {name}"), totals));
    // One category says nothing that all of it does not.
    let named = named.filter(|_| categories.len() > 1);
    for (name, totals) in std::iter::once(("all".to_owned(), all)).chain(named) {
        text += &line(&name, totals);
    }
    for (model, missing) in [first, second].into_iter().zip(unanswered) {
        if *missing > 0 {
            let _ = writeln!(
                text,
                "{:>9}  questions that `{}` has not answered: they are not judged",
                count(*missing),
                shortened(model, 40)
            );
        }
    }
    text
}

fn line(name: &str, totals: &Totals) -> String {
    let Totals { first, second, ties, depending_on_order, scores, failed, unclear } = totals;
    let sums = match scores {
        [0.0, 0.0] => "–".to_owned(),
        [first, second] => format!("{first:.1}   {second:.1}"),
    };
    let wins = match (totals.second_win_rate(), totals.standard_error()) {
        (Some(rate), Some(error)) => format!("{rate:.1} ± {error:.1}"),
        (Some(rate), None) => format!("{rate:.1}"),
        _ => "–".to_owned(),
    };
    format!(
        "  {:<22}{:>7}{:>8}{:>7}{:>12}{:>10}{sums:>18}{wins:>20}\n",
        shortened(name, 21),
        count(*first),
        count(*second),
        count(*ties),
        count(failed + unclear),
        count(*depending_on_order),
    )
}

fn agreed(one: &str, other: &str, agreement: &Agreement, what: &str) -> String {
    let (one, other) = (shortened(one, 40), shortened(other, 40));
    let Agreement { n, same: Some(same), kappa } = agreement else {
        return format!("`{one}` and `{other}` have no {what} in common\n");
    };
    let kappa = kappa.map_or_else(|| "–".to_owned(), |kappa| format!("{kappa:.2}"));
    format!(
        "`{one}` and `{other}` agree on {:.1} % of {} {what}, kappa {kappa}\n",
        100.0 * same,
        count(*n)
    )
}

fn ending(folder: &Path, statistics: &Statistics, lines: &str) -> String {
    let (run, program) = (folder.display(), program());
    format!(
        "{}\n\nevery prompt and reply: {run}/{lines}\nas a page:              {program} report {run}\n",
        took(statistics)
    )
}
