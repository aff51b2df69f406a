//! The arguments of `albacore eval`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
        user_oriented  252 tasks of users (Self-Instruct), by ROUGE-L\n\n\
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
        Of a suite whose tasks share ids it is `task/id`."
    )]
    Score(ScorePredictions),
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
    /// How they are asked, a TOML file; `albacore config --for eval` prints every key
    #[arg(long, value_name = "C")]
    pub config: Option<PathBuf>,
    /// Replace a value of the config; VALUE is TOML, quotes around a plain word may be left out
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `albacore eval score`.
#[derive(Args, Clone, Debug)]
pub struct ScorePredictions {
    /// A suite or one of its tasks: `gsm8k`, `bbh/word_sorting`
    #[arg(long, value_name = "NAME")]
    pub task: String,
    /// The folder with the benchmarks as they are published, or one of them
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
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
