//! `albacore eval score` of what others have judged: AlpacaEval's annotations and reviews of the Vicuna questions.

use std::collections::HashMap;
use std::path::Path;

use albacore_eval::{
    Contested, Judgement, SuiteOptions, WinRate, open_suite, parse_scores, read_annotations,
    read_reviews, totals, win_rate, win_rates_by_dataset,
};
use serde_json::json;

use super::told_judged::contested;
use crate::failure::{OrRefuse, Outcome, Refusal, Result};
use crate::progress::count;
use crate::terminal::Terminal;

/// Scores what is judged already; `None` if `task` is another.
pub(super) fn run(
    task: &str,
    data: Option<&Path>,
    path: &Path,
    terminal: &Terminal,
) -> Option<Result> {
    match task {
        "alpaca_eval" => Some(annotations(path, terminal)),
        "vicuna" => Some(reviews(data, path, terminal)),
        _ => None,
    }
}

fn annotations(path: &Path, terminal: &Terminal) -> Result {
    let annotations = read_annotations(path).or_refuse()?;
    let Some(all) = win_rate(&annotations) else {
        let message = format!("`{}` holds no preference", path.display());
        return Err(Refusal::new(message, "wanted the annotations of a judge")).or_refuse();
    };
    let by = win_rates_by_dataset(&annotations);
    if terminal.json {
        let WinRate { win_rate, standard_error, wins, losses, draws, without } = all;
        let line = json!({
            "task": "alpaca_eval", "n": annotations.len() - without,
            "metrics": { "win_rate": win_rate, "standard_error": standard_error },
            "wins": wins, "losses": losses, "draws": draws, "without": without, "datasets": by,
        });
        terminal.print(&line.to_string())?;
        return Ok(Outcome::Done);
    }
    let line = |name: &str, of: &WinRate| {
        format!(
            "  {name:<22}{:>10.2}{:>10.2}{:>9}{:>9}{:>9}{:>16}\n",
            of.win_rate,
            of.standard_error,
            count(of.wins),
            count(of.losses),
            count(of.draws),
            count(of.without)
        )
    };
    let mut text = format!(
        "alpaca_eval\n  {:<22}{:>10}{:>10}{:>9}{:>9}{:>9}{:>16}\n",
        "", "wins, %", "± error", "wins", "losses", "draws", "no preference"
    );
    text += &line("all", &all);
    text.extend(by.iter().map(|(name, of)| line(&format!("  {name}"), of)));
    terminal.print(&text)?;
    Ok(Outcome::Done)
}

/// The totals of stored scores, by category where the questions are known. Scores that are not those of their
/// review were put in by people, and are counted.
fn reviews(data: Option<&Path>, path: &Path, terminal: &Terminal) -> Result {
    let reviews = read_reviews(path).or_refuse()?;
    let mut categories = HashMap::new();
    if let Some(data) = data {
        let suite = open_suite("vicuna", data, &SuiteOptions::default()).or_refuse()?;
        let examples = suite.examples().iter();
        categories.extend(examples.map(|of| (of.id.clone(), of.task.clone())));
    }
    let mut judgements = Vec::with_capacity(reviews.len());
    let mut by_hand = 0;
    for review in &reviews {
        let id = review.question_id.to_string();
        let category = match categories.get(&id) {
            Some(category) => category.clone(),
            None if data.is_none() => String::new(),
            None => {
                let message = format!("`{}` reviews question {id}, which is none", path.display());
                let hint = "`--data` names the folder of the questions that were asked";
                return Err(Refusal::new(message, hint)).or_refuse();
            }
        };
        by_hand += usize::from(parse_scores(&review.text) != Some(review.score));
        judgements.push(Judgement::from_scores(id, category, review.score));
    }
    let (all, categories) = totals(&judgements);
    if terminal.json {
        let metrics = json!({
            "second_win_rate": all.second_win_rate(), "standard_error": all.standard_error(),
        });
        let line = json!({
            "task": "vicuna", "n": all.judged(), "metrics": metrics, "totals": all,
            "categories": categories, "scores_not_in_the_review": by_hand,
        });
        terminal.print(&line.to_string())?;
        return Ok(Outcome::Done);
    }
    let (first, second) = ("answer 1".to_owned(), "answer 2".to_owned());
    let judge = path.display().to_string();
    let mut text =
        contested(&Contested { judge, first, second, all, categories, unanswered: [0; 2] });
    if by_hand > 0 {
        text += &format!(
            "{:>9}  scores that do not stand in the first line of their review\n",
            count(by_hand)
        );
    }
    terminal.print(&text)?;
    Ok(Outcome::Done)
}
