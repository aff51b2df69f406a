//! `albacore eval judge`: the answers of models compared by judges, two by two.

use albacore_eval::{
    Contest, Contested, Exchange, JudgeAgreement, Judgement, NoOpinion, Orders, both_verdicts,
    contest, contests, judge, read_questions,
};
use candle_core::Device;
use serde_json::{Value, json};

use super::bench::{Bench, judges, read_answers};
use super::told_judged;
use crate::args::JudgeAnswers;
use crate::config::Judging;
use crate::failure::{OrRefuse, Outcome, Result};
use crate::judged::{Asked, JUDGED, Judged, between, write, write_lines};
use crate::terminal::Terminal;

/// Every prompt and reply.
const JUDGEMENTS: &str = "judgements.jsonl";

/// Runs the command.
///
/// # Errors
/// Refused if answers, questions, the config or a judge cannot be used; fails if a judge answers nothing more,
/// after what the others said is written, or a file cannot be written.
pub(super) fn run(
    options: &JudgeAnswers,
    seed: Option<u64>,
    device: &Device,
    terminal: &Terminal,
) -> Result {
    let by = &options.by;
    let config = Judging::load_if_any(by.config.as_deref(), &by.set, seed, "judge")?;
    let contestants = read_answers(&options.answers, by.suite.as_deref())?;
    let questions = options.questions.as_deref().map(read_questions).transpose().or_refuse()?;
    let limit = options.limit.map(|limit| limit as usize);
    let contests = contests(&contestants, questions.as_deref(), limit).or_refuse()?;
    let judges = judges(by, &config, terminal)?;
    let mut bench = Bench::take(&config, terminal, [JUDGED, JUDGEMENTS])?;
    let heard = bench.ask(&judges, device, |who, journal, statistics| {
        let of = |contest: &Contest| {
            judge(who, journal, &name(contest), &contest.pairs, statistics).transpose()
        };
        contests.iter().map_while(of).collect::<albacore_eval::Result<Vec<_>>>().map(|found| {
            // One that was stopped is missing.
            (found.len() == contests.len()).then_some(found)
        })
    })?;
    let Some(heard) = heard else { return Ok(Outcome::Stopped) };
    let (names, judgements) = (&heard.names, &heard.said);
    let judged = Judged {
        asked: Asked {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            answers: options.answers.clone(),
            questions: options.questions.clone(),
            suite: by.suite.clone(),
            limit: options.limit,
            judge: config.judge.clone(),
            seed: config.run.seed,
            unfinished: heard.unfinished(),
        },
        contests: numbers(names, &contests, judgements),
        agreements: between(names, |one, other| {
            let both = judgements[one].iter().zip(&judgements[other]);
            let both = both.flat_map(|(one, other)| both_verdicts(one, other));
            JudgeAgreement::of(&both.collect::<Vec<_>>())
        }),
    };
    let orders = config.judge.orders;
    let lines = names.iter().zip(judgements).flat_map(|(name, judgements)| {
        let of = contests.iter().zip(judgements);
        of.flat_map(move |(contest, judgements)| lines(name, contest, judgements, orders))
    });
    write_lines(&bench.folder().join(JUDGEMENTS), lines)?;
    write(&bench.folder().join(JUDGED), &judged)?;
    for (name, judgements) in names.iter().zip(judgements) {
        let opinions = judgements.iter().flatten().flat_map(|judgement| &judgement.opinions);
        bench.warn_of(name, opinions.filter_map(|opinion| opinion.as_ref().err()));
    }
    let text = told_judged::judged(&judged, bench.folder(), &heard.statistics, terminal.json);
    terminal.print(&text)?;
    heard.end()
}

/// What a contest's requests begin with.
fn name(contest: &Contest) -> String {
    format!("{} | {}", contest.first, contest.second)
}

fn numbers(
    judges: &[String],
    contests: &[Contest],
    judgements: &[Vec<Vec<Judgement>>],
) -> Vec<Contested> {
    let of_judge = judges.iter().zip(judgements).flat_map(|(judge, judgements)| {
        let of = contests.iter().zip(judgements);
        of.map(move |(one, judgements)| contest(judge, one, judgements))
    });
    of_judge.collect()
}

/// What was said of every pair, order by order.
fn lines(judge: &str, contest: &Contest, judgements: &[Judgement], orders: Orders) -> Vec<Value> {
    let mut lines = Vec::new();
    let orders = match orders {
        Orders::Both => &["as_it_is", "exchanged"][..],
        Orders::One => &["as_it_is"],
    };
    for judgement in judgements {
        let said = judgement.opinions.iter().zip(&judgement.exchanges).zip(orders);
        for ((opinion, Exchange { prompt, replies }), order) in said {
            let mut line = json!({
                "judge": judge, "first": contest.first, "second": contest.second,
                "id": judgement.id, "category": judgement.category, "order": order,
                "prompt": prompt, "replies": replies,
            });
            match opinion {
                Ok(opinion) => {
                    line["verdict"] = json!(opinion.verdict);
                    line["scores"] = json!(opinion.scores);
                }
                Err(NoOpinion::Unclear) => line["no_verdict"] = json!("no reply can be read"),
                Err(NoOpinion::Failed(why)) => line["no_verdict"] = json!(why),
            }
            lines.push(line);
        }
    }
    lines
}
