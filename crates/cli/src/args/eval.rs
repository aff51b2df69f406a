//! The arguments of `albacore eval`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::PromptStyle;
use super::judge::{JUDGE_HELP, JudgeAnswers, RATE_HELP, RateAnswers};

/// What the help of `albacore eval` ends with.
pub(super) const HELP: &str = "Example:\n  albacore eval models/base runs/tuned --suite mmlu,bbh --data benchmarks --limit 50\n  \
        albacore eval score --task gsm8k --data benchmarks --predictions mine.jsonl\n\n\
        Suites:\n  \
        super_ni   Super-NaturalInstructions: definition and 2 positive examples\n  \
        mmlu       57 subjects, 5 exemplars, the most probable of A to D\n  \
        mmlu_cot   the same, reasoned out\n  \
        bbh        BIG-Bench Hard, 3 exemplars, answered at once\n  \
        bbh_cot    the same, reasoned out\n  \
        gsm8k      grade school mathematics, 8 exemplars, reasoned out\n  \
        mgsm       the same in 10 languages, reasoned out in each; English is `mgsm/en`\n  \
        lmentry    25 elementary tasks, by patterns; robustness with all 41 files\n  \
        tydiqa     gold passages in 8 languages, 1 exemplar; English is `tydiqa/english`\n  \
        user_oriented  252 tasks of users (Self-Instruct), by ROUGE-L; `eval rate` has a judge rate them\n  \
        vicuna     80 open questions in 9 categories, for `eval judge`\n\n\
        Try it: albacore eval data/quickstart/base --suite super_ni,mmlu --data data/quickstart-eval\n\n\
        RUN/answers.jsonl has every prompt, answer and score, RUN/results.json the table; RUN is runs/eval, or as\n\
        the config says. Run the same command again after a stop: it goes on after the last answer.";

/// `albacore eval`.
#[derive(Args, Debug)]
pub struct Eval {
    /// Score predictions that were made elsewhere
    #[command(subcommand)]
    pub action: Option<EvalAction>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub models: Option<EvalModels>,
}

/// What else `eval` does.
#[derive(Clone, Debug, Subcommand)]
pub enum EvalAction {
    /// Score predictions that were made elsewhere
    #[command(
        after_help = "Example:\n  albacore eval score --task bbh/word_sorting --data benchmarks --predictions mine.jsonl\n\n\
        A line of the predictions is {\"id\", \"prediction\"}, one for every example: the id is its index from 0\n\
        (BBH, GSM8K, MGSM), `subject/index` (MMLU) or the instance's own (Super-NaturalInstructions).\n\
        Of a suite whose tasks share ids it is `task/id`.\n\
        Two tasks are judged already and need no --data: `alpaca_eval`, whose annotations give the win rate, and\n\
        `vicuna`, whose reviews give the totals (by category, if --data holds the questions)."
    )]
    Score(ScorePredictions),
    /// Have a judge compare the answers of models, two by two
    #[command(after_help = JUDGE_HELP)]
    Judge(JudgeAnswers),
    /// Have a judge rate answers from A to D
    #[command(after_help = RATE_HELP)]
    Rate(RateAnswers),
    /// Loss and perplexity of models on records, and how far they rank answers as their scores do
    #[command(
        after_help = "Example:\n  albacore eval held-out models/base runs/tuned --input held_out.jsonl --template alpaca\n\n\
        The records are as for training; what is learned there is what is measured here, as `[eval]` does during a\n\
        run. Of `tuna` and `preference` records all answers are read, and pairs whose scores differ are compared."
    )]
    HeldOut(HeldOutRecords),
}

/// Models and what they are asked.
#[derive(Args, Clone, Debug)]
pub struct EvalModels {
    /// Model folders, run folders or hub ids `org/name[@revision]`; none if the config names a server
    #[arg(value_name = "MODEL")]
    pub models: Vec<String>,
    /// What to ask, of the list below; `bbh/word_sorting` is one task of a suite, with `bbh/snarks` they are two
    #[arg(long = "suite", value_name = "NAME[,NAME]", value_delimiter = ',', required = true)]
    pub suites: Vec<String>,
    /// The folder with the benchmarks as they are published, or one of them
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Only the first N questions of each task
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Count the questions that stand in these training files (JSON, JSON lines, Parquet or text): 13 words in a row.
    /// Without a MODEL that is all that is done, and RUN is runs/contamination
    #[arg(long, value_name = "FILE[,FILE]", value_delimiter = ',')]
    pub contamination: Vec<PathBuf>,
    /// How they are asked, a TOML file; `albacore config --for eval` prints every key
    #[arg(long, value_name = "C")]
    pub config: Option<PathBuf>,
    /// Replace a value of the config; VALUE is TOML, quotes around a plain word may be left out
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `albacore eval held-out`.
#[derive(Args, Clone, Debug)]
pub struct HeldOutRecords {
    /// Model folders, run folders or hub ids `org/name[@revision]`
    #[arg(value_name = "MODEL", required = true)]
    pub models: Vec<String>,
    /// Records, in any format that training reads; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    pub input: Vec<PathBuf>,
    /// How prompts are wrapped [default: chat if the model has a chat template, else none]
    #[arg(long, value_enum, value_name = "chat|alpaca|none", hide_possible_values = true)]
    pub template: Option<PromptStyle>,
}

/// `albacore eval score`.
#[derive(Args, Clone, Debug)]
pub struct ScorePredictions {
    /// A suite or one of its tasks: `gsm8k`, `bbh/word_sorting`
    #[arg(long, value_name = "NAME")]
    pub task: String,
    /// The folder with the benchmarks as they are published, or one of them
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The predictions, JSON lines
    #[arg(long, value_name = "F.jsonl")]
    pub predictions: PathBuf,
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_help_names_every_suite() {
        for (suite, _) in albacore_eval::suites() {
            assert!(super::HELP.contains(&format!("\n  {suite} ")), "{suite}");
        }
    }
}
