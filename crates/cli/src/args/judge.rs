//! The arguments of `albacore eval judge` and `albacore eval rate`.

use std::path::PathBuf;

use clap::Args;

/// What the help of `albacore eval judge` ends with.
pub(super) const JUDGE_HELP: &str = "Example:\n  albacore eval models/base runs/tuned --suite vicuna --data benchmarks\n  \
        albacore eval judge runs/eval --judge models/judge\n  \
        albacore eval judge answer_llama.jsonl answer_alpaca.jsonl --questions question.jsonl --config judge.toml\n\n\
        A file holds the answers of one model or of several: answers.jsonl of `albacore eval` (its folder will do),\n\
        {question_id, text} with --questions, {id, prediction} with --questions, or AlpacaEval's outputs.\n\
        Every two models are compared; a pair is shown in both orders, and what changes with the order is a tie.\n\
        RUN/judgements.jsonl has every prompt and reply, RUN/judged.json the totals; RUN is runs/judge, or as the\n\
        config says. `albacore config --for judge` prints every key. Run the same command again after a stop: it\n\
        goes on after the last reply.";

/// What the help of `albacore eval rate` ends with.
pub(super) const RATE_HELP: &str = "Example:\n  albacore eval runs/tuned --suite user_oriented --data benchmarks\n  \
        albacore eval rate runs/eval --suite user_oriented --judge models/judge\n\n\
        A: correct and satisfying, B: acceptable, C: significant errors, D: irrelevant or invalid. The judge sees the\n\
        question, a right answer where one is known, and the answer.\n\
        RUN/ratings.jsonl has every prompt and reply, RUN/rated.json the counts; RUN is runs/rate, or as the config\n\
        says. Run the same command again after a stop: it goes on after the last reply.";

/// Who judges, and how.
#[derive(Args, Clone, Debug)]
pub struct JudgedBy {
    /// Who judges: a model folder, a run folder or a hub id; may be given several times, and how far they agree is
    /// told. A `[server]` in the config judges as well
    #[arg(long = "judge", value_name = "MODEL")]
    pub judges: Vec<String>,
    /// Of an evaluation's answers, only those to this suite
    #[arg(long, value_name = "NAME")]
    pub suite: Option<String>,
    /// How judges are asked, a TOML file; `albacore config --for judge` prints every key
    #[arg(long, value_name = "C")]
    pub config: Option<PathBuf>,
    /// Replace a value of the config; VALUE is TOML, quotes around a plain word may be left out
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `albacore eval judge`.
#[derive(Args, Clone, Debug)]
pub struct JudgeAnswers {
    /// Files of answers, or folders of evaluations
    #[arg(value_name = "ANSWERS", required = true)]
    pub answers: Vec<PathBuf>,
    /// The questions, where the answers do not tell them: lines {question_id, text, category}
    #[arg(long, value_name = "FILE")]
    pub questions: Option<PathBuf>,
    /// Only the first N questions of each category
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub by: JudgedBy,
}

/// `albacore eval rate`.
#[derive(Args, Clone, Debug)]
pub struct RateAnswers {
    /// Files of answers that tell their questions, or folders of evaluations
    #[arg(value_name = "ANSWERS", required = true)]
    pub answers: Vec<PathBuf>,
    /// Only the first N answers of each model
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub by: JudgedBy,
}
