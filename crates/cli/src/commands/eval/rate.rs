//! `albacore eval rate`: answers rated from A to D by judges.

use albacore_eval::{
    Agreement, AnswerOf, Contestant, Exchange, NoOpinion, Rated, both_ratings, rate, ratings,
};
use candle_core::Device;
use serde_json::{Value, json};

use super::bench::{Bench, judges, read_answers};
use super::told_judged;
use crate::args::RateAnswers;
use crate::config::Judging;
use crate::failure::{OrRefuse, Outcome, Refusal, Result};
use crate::judged::{Asked, RATED, RatedAnswers, between, write, write_lines};
use crate::terminal::Terminal;

/// Every prompt and reply.
const RATINGS: &str = "ratings.jsonl";

/// Runs the command.
///
/// # Errors
/// Refused if answers, the config or a judge cannot be used; fails if a judge answers nothing more, after what the
/// others said is written, or a file cannot be written.
pub(super) fn run(
    options: &RateAnswers,
    seed: Option<u64>,
    device: &Device,
    terminal: &Terminal,
) -> Result {
    let by = &options.by;
    let config = Judging::load_if_any(by.config.as_deref(), &by.set, seed, "rate")?;
    let mut contestants = read_answers(&options.answers, by.suite.as_deref())?;
    for contestant in &mut contestants {
        let is_unknown = |answer: &AnswerOf| answer.text.is_some() && answer.question.is_none();
        if contestant.answers.iter().any(is_unknown) {
            let message =
                format!("the answers of `{}` do not tell what was asked", contestant.name);
            let hint = "rate the answers of an evaluation, or AlpacaEval's outputs";
            return Err(Refusal::new(message, hint)).or_refuse();
        }
        contestant.answers.truncate(options.limit.map_or(usize::MAX, |limit| limit as usize));
    }
    let judges = judges(by, &config, terminal)?;
    let mut bench = Bench::take(&config, terminal, [RATED, RATINGS])?;
    let heard = bench.ask(&judges, device, |judge, journal, statistics| {
        let of = |contestant| rate(judge, journal, contestant, statistics).transpose();
        contestants.iter().map_while(of).collect::<albacore_eval::Result<Vec<_>>>().map(|found| {
            // One that was stopped is missing.
            (found.len() == contestants.len()).then_some(found)
        })
    })?;
    let Some(heard) = heard else { return Ok(Outcome::Stopped) };
    let (names, rated) = (&heard.names, &heard.said);
    let all = || {
        names.iter().zip(rated).flat_map(|(judge, rated)| {
            contestants.iter().zip(rated).map(move |(contestant, rated)| (judge, contestant, rated))
        })
    };
    let numbers = RatedAnswers {
        asked: Asked {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            answers: options.answers.clone(),
            questions: None,
            suite: by.suite.clone(),
            limit: options.limit,
            judge: config.judge.clone(),
            seed: config.run.seed,
            unfinished: heard.unfinished(),
        },
        ratings: all()
            .map(|(judge, contestant, rated)| ratings(judge, contestant, rated))
            .collect(),
        agreements: between(names, |one, other| {
            let both = rated[one].iter().zip(&rated[other]);
            let both = both.flat_map(|(one, other)| both_ratings(one, other));
            Agreement::of(&both.collect::<Vec<_>>())
        }),
    };
    let lines = all().flat_map(|(judge, contestant, rated)| lines(judge, contestant, rated));
    write_lines(&bench.folder().join(RATINGS), lines)?;
    write(&bench.folder().join(RATED), &numbers)?;
    for (name, rated) in names.iter().zip(rated) {
        let ratings = rated.iter().flatten().map(|rated| &rated.rating);
        bench.warn_of(name, ratings.filter_map(|rating| rating.as_ref().err()));
    }
    let text = told_judged::rated(&numbers, bench.folder(), &heard.statistics, terminal.json);
    terminal.print(&text)?;
    heard.end()
}

/// What was said of every answer.
fn lines(judge: &str, contestant: &Contestant, rated: &[Rated]) -> Vec<Value> {
    let line = |Rated { id, rating, exchange: Exchange { prompt, replies } }: &Rated| {
        let mut line = json!({
            "judge": judge, "model": contestant.name, "id": id, "prompt": prompt, "replies": replies,
        });
        match rating {
            Ok(rating) => line["rating"] = json!(rating),
            Err(NoOpinion::Unclear) => line["no_rating"] = json!("no reply can be read"),
            Err(NoOpinion::Failed(why)) => line["no_rating"] = json!(why),
        }
        line
    };
    rated.iter().map(line).collect()
}
