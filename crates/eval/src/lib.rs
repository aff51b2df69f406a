//! What a model has learned, measured: held-out loss and exact match, and the benchmarks of the papers.
//!
//! ```text
//!  files ─open_suite─► Task ─ask(model)─► Outcome: every prompt, answer and score ─┐
//!                       └ predictions made elsewhere ─score─► scores ──────────────┴─► Results
//! ```
//! The trainer does not know this crate: it asks through its `Evaluator` trait, which the binary
//! fulfils with what stands here.

mod alpaca_eval;
mod bbh;
mod chain_of_thought;
mod config;
mod consult;
mod error;
mod evaluation_config;
mod exact_match;
mod fit;
mod flan;
mod folder;
mod gsm8k;
mod held_out;
mod interval;
mod judge;
mod judge_config;
pub mod lmentry;
mod mgsm;
mod mmlu;
mod parallel;
mod paraphrase;
mod predictions;
mod prefix;
mod rating;
mod results;
mod runner;
mod suite;
mod super_ni;
mod task;
mod terms;
mod text_scores;
#[cfg(test)]
mod tiny;
mod tydiqa;
mod user_oriented;
mod vicuna;

pub use alpaca_eval::{Annotation, WinRate, read_annotations, win_rate, win_rates_by_dataset};
pub use bbh::Bbh;
pub use chain_of_thought::{majority, reasoned_answer};
pub use config::{EvalConfig, Metric};
pub use consult::{Exchange, Judge, NoOpinion};
pub use error::{Error, Result};
pub use evaluation_config::{EvaluationConfig, LmentryCut, Shots};
pub use exact_match::{Answer, ExactMatch, exact_match};
pub use flan::{Measurement, flan_average};
pub use gsm8k::Gsm8k;
pub use held_out::{Loss, held_out_loss};
pub use interval::{Bootstrap, Estimate, FEWEST_FOR_CLEAR};
pub use judge::{
    Agreement, AnswerOf, Contest, Contestant, Contested, JudgeAgreement, JudgeForm, Judgement,
    Opinion, Orders, Pair, Review, Totals, Verdict, VicunaQuestion, both_verdicts, contest,
    contests, judge, parse_scores, read_contestants, read_questions, read_reviews, totals,
};
pub use judge_config::JudgeConfig;
pub use mgsm::Mgsm;
pub use mmlu::Mmlu;
pub use predictions::Predictions;
pub use prefix::{Prefixed, read_prefix};
pub use rating::{Rated, Rating, Ratings, both_ratings, rate, ratings};
pub use results::{Difference, Part, Prompts, Results, Row, Scored, Summary};
pub use runner::{Answered, Asking, Outcome, Ruler, Unanswered, ask};
pub use suite::{SuiteOptions, open_suite, suites};
pub use super_ni::SuperNi;
pub use task::{Example, Mean, Question, Scores, Task, first_of_each_task};
pub use terms::{SuiteTerms, Terms};
pub use text_scores::text_scores;
pub use tydiqa::TydiQa;
pub use user_oriented::UserOriented;
pub use vicuna::Vicuna;
