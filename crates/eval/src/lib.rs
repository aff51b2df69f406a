//! What a model has learned, measured: held-out loss and exact match.
//!
//! The trainer does not know this crate: it asks through its `Evaluator` trait, which the binary
//! fulfils with what stands here.

mod alpaca_eval;
mod ask;
mod config;
mod error;
mod exact_match;
mod folder;
mod held_out;
mod judge;
pub mod lmentry;
mod paraphrase;
mod task;
mod text_scores;
#[cfg(test)]
mod tiny;
mod tydiqa;
mod user_oriented;

pub use alpaca_eval::{Annotation, WinRate, read_annotations, win_rate, win_rates_by_dataset};
pub use config::{EvalConfig, Metric};
pub use error::{Error, Result};
pub use exact_match::{Answer, ExactMatch, exact_match};
pub use held_out::{Loss, held_out_loss};
pub use judge::{
    JudgeAgreement, JudgeForm, Judgement, NoOpinion, Opinion, Orders, Pair, Review, Totals,
    Verdict, VicunaQuestion, judge, judge_agreement, pairs, parse_scores, parse_verdict,
    read_answers, read_questions, read_reviews, totals,
};
pub use paraphrase::{NotComparable, ParaphraseRobustness, paraphrase_robustness};
pub use task::{Example, Mean, Question, Scores, Task};
pub use text_scores::text_scores;
pub use tydiqa::TydiQa;
pub use user_oriented::{Rated, Rating, UserOriented, rate};
