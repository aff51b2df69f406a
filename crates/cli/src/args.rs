//! The command line: what can be typed, and its help.

mod config;
mod data;
mod eval;
mod judge;

use std::path::PathBuf;
use std::str::FromStr;

use albacore_model::Dtype;
use albacore_trainer::Resume;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use config::{ConfigOf, ShowConfig};
pub use data::{
    Bootstrap, CheckSeeds, Data, DataAction, Drawn, Filter, GetData, Mixture, Rank, Report, Seeds,
    SeedsAction, Stage, Tuna,
};
pub use eval::{Eval, EvalAction, EvalModels, HeldOutRecords, ScorePredictions};
pub use judge::{JudgeAnswers, JudgedBy, RateAnswers};

/// Everything that was typed after `albacore`.
#[derive(Debug, Parser)]
#[command(
    name = "albacore",
    version,
    about = "Finetune language models on instructions: from base weights to an exported model",
    after_help = "Example:\n  albacore train configs/quickstart.toml\n\n\
        Exit codes: 0 done, 1 failed while running, 2 bad usage, config or input (nothing was \
        touched),\n75 stopped by a signal after saving (run the same command again to go on)",
    max_term_width = 100
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What every command understands.
    #[command(flatten)]
    pub global: Global,
}

/// Options that every command understands.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Where to compute: `cpu`, `cuda` or `cuda:N`
    #[arg(long, global = true, value_name = "DEVICE", default_value = "cpu")]
    pub device: Device,
    /// Threads to compute with [default: one a core]; results do not depend on it
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Seed of everything random; replaces `run.seed` of a config
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
    /// No progress, only results, warnings and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Results on stdout and progress on stderr as JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
}

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    Cpu,
    /// The NVIDIA card of this index.
    Cuda(usize),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "cpu" => Some(Self::Cpu),
            None if text == "cuda" => Some(Self::Cuda(0)),
            Some(("cuda", index)) => index.parse().map(Self::Cuda).ok(),
            _ => None,
        }
        .ok_or_else(|| "wanted `cpu`, `cuda` or `cuda:N`".into())
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a model as a config says
    #[command(
        after_help = "Example:\n  albacore train configs/quickstart.toml --set run.name=short --set train.epochs=2\n\n\
        Run the same command again after a stop: it goes on from the newest complete checkpoint."
    )]
    Train(Train),
    /// Show examples token by token: what is learned, what is not, and why
    #[command(after_help = "Example:\n  albacore preview configs/quickstart.toml -n 2")]
    Preview(Preview),
    /// Read, template and tokenize the data of a config, and count what comes out
    #[command(after_help = "Example:\n  albacore prepare configs/quickstart.toml")]
    Prepare(Configured),
    /// Show the tasks of a mixture: how often each is drawn, and what of it comes in the run
    #[command(
        after_help = "Example:\n  albacore mixture configs/flan/t5.toml --contamination test.jsonl"
    )]
    Mixture(Mixture),
    /// Turn a GGUF file into a Hugging Face folder
    #[command(after_help = "Example:\n  albacore import smollm2.gguf models/smollm2 --dtype bf16")]
    Import(Import),
    /// Write a trained model as a folder that transformers and vLLM load
    #[command(
        after_help = "Example:\n  albacore export runs/quickstart out/quickstart --dtype bf16"
    )]
    Export(Export),
    /// Log-probabilities of given responses
    #[command(
        after_help = "Example:\n  albacore score models/smollm2 --input pairs.jsonl --output scores.jsonl\n\n\
        A line of the input is {\"id\", \"prompt\", \"response\"}, {\"id\", \"messages\"} or {\"id\", \
        \"prompt_ids\",\n\"response_ids\"}; of the output {\"id\", \"logprob\", \"tokens\", \
        \"token_logprobs\"}."
    )]
    Score(Score),
    /// Measure models on the benchmarks of the papers, side by side
    #[command(
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true,
        after_help = eval::HELP
    )]
    Eval(Eval),
    /// Let a model answer a prompt
    #[command(
        after_help = "Example:\n  albacore complete runs/quickstart --prompt \"What is the capital of France?\""
    )]
    Complete(Complete),
    /// Write instruction data with a model: instructions from seed tasks, then inputs and outputs
    #[command(
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true,
        after_help = "Example:\n  albacore bootstrap my-data.toml --dry-run\n  \
        albacore bootstrap my-data.toml\n  albacore bootstrap records my-data.toml --set bootstrap.held_out=0.1\n\n\
        `albacore config --for bootstrap` prints every key of the config. Run the same command again after a\n\
        stop: it goes on after the last answer, and asks only what has none. RUN/records.jsonl (`alpaca`) and\n\
        RUN/train.jsonl (`prompt`) are sources that `albacore train` reads."
    )]
    Bootstrap(Bootstrap),
    /// Let a model answer every prompt several times, in ways that differ
    #[command(after_help = "Example:\n  albacore sample configs/tuna/sample.toml --dry-run\n  \
        albacore sample configs/tuna/sample.toml\n\n\
        `albacore config --for sample` prints every key of the config. Run the same command again after a\n\
        stop: it goes on after the last answer, and asks only what has none. `albacore rank` reads\n\
        RUN/candidates.jsonl.")]
    Sample(Drawn),
    /// Put the answers to each prompt in order: by likelihood, a judge, a reference or scores
    #[command(after_help = "Example:\n  albacore rank configs/tuna/rank-probabilistic.toml\n  \
        albacore rank configs/tuna/rank-contextual.toml --against runs/by-likelihood/ranked.jsonl\n\n\
        `albacore config --for rank` prints every key of the config. RUN/ranked.jsonl (`tuna`) is a source that\n\
        `albacore train` reads; RUN/unranked.jsonl says why the other sets are not in it.")]
    Rank(Rank),
    /// Run a whole recipe: finetune, sample, rank, train on the ranking
    #[command(after_help = "Example:\n  albacore tuna configs/tuna/tuna.toml --dry-run\n  \
        albacore tuna configs/tuna/tuna.toml\n\n\
        Each stage is a command with a config of its own; --dry-run shows them as one would type them. Run the\n\
        same command again after a stop: stages that are done stay, and the one that was stopped goes on.")]
    Tuna(Tuna),
    /// Look a file of seed tasks over
    #[command(after_help = "Example:\n  albacore seeds check my_seeds.jsonl")]
    Seeds(Seeds),
    /// Keep the records whose text passes the rules, as they are and in order
    #[command(
        after_help = "Example:\n  albacore filter raw.jsonl --against seeds.jsonl --rule self-instruct \\\n    \
        --rouge-l 0.7 --output kept.jsonl --dropped dropped.jsonl\n\n\
        Rules, asked in the order they are named; one that is not named is off:\n  \
        empty                     nothing but blanks\n  \
        words=4..150              fewer or more words; 4.. and ..150 have one end\n  \
        characters=10..2000       fewer or more characters\n  \
        keyword=image,go to       one of these as whole words [default: Self-Instruct's 13]\n  \
        start=Write a program     starts with one of these [default: this one]\n  \
        punctuation-start         starts with ASCII punctuation\n  \
        non-ascii-start           starts with another character than ASCII's\n  \
        script=latin:0.5          less than this share of the letters is of this script\n  \
        repetition=3:0.3          more than this share of the runs of 3 words stood there before\n  \
        refusal                   one of 24 phrases with which models refuse [or a list of yours]\n  \
        self-instruct             empty, words=4..150, keyword, start, punctuation-start and\n                            \
        non-ascii-start: what Self-Instruct asks of an instruction\n  \
        alpaca                    self-instruct with 5 more keywords: what Alpaca asks of one\n  \
        duplicate                 the same as an earlier text but for case and blanks;\n                            \
        duplicate=exact: to the byte. Asked after all rules above\n\
        --rouge-l comes last: a text is compared with those of --against and with all that were kept."
    )]
    Filter(Filter),
    /// Get benchmarks from where they are published
    #[command(
        after_help = "Example:\n  albacore data list\n  albacore data get bbh --data benchmarks"
    )]
    Data(Data),
    /// Show what a data run has come to: a page, a data card, Parquet files
    #[command(after_help = "Example:\n  albacore report runs/data --parquet\n  \
        albacore report runs/small runs/large --output compared.html\n\n\
        The page needs no network and no other file. A run may be under way: the page shows what there is.\n\
        Once a run is complete its data card, README.md, is written too, as Hugging Face reads it; one\n\
        that was changed by hand stays. --seed draws other samples.")]
    Report(Report),
    /// Print every config key with its default, or a config as it takes effect
    #[command(after_help = "Example:\n  albacore config > my.toml\n  \
        albacore config my.toml --set optim.learning_rate=1e-5\n  \
        albacore config --for bootstrap > my-data.toml")]
    Config(ShowConfig),
}

/// A config, and what replaces some of its values.
#[derive(Args, Clone, Debug)]
pub struct Configured {
    /// The config, a TOML file
    pub config: PathBuf,
    /// Replace a value of the config; VALUE is TOML, quotes around a plain word may be left out
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `albacore train`.
#[derive(Args, Debug)]
pub struct Train {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub configured: Configured,
    /// Go on from the newest complete checkpoint of the run, from none, or from that in a folder
    #[arg(long, value_name = "auto|never|PATH", default_value = "auto")]
    pub resume: Resume,
    /// Go on even though the config has changed in a way that alters the training
    #[arg(long)]
    pub accept_changes: bool,
    /// Say what would happen, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// On a GPU: time every kernel of ten steps, and show where the time goes
    #[arg(long)]
    pub profile: bool,
}

/// `albacore preview`.
#[derive(Args, Debug)]
pub struct Preview {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub configured: Configured,
    /// How many examples to show
    #[arg(short = 'n', long = "examples", value_name = "N", default_value_t = 3)]
    pub examples: usize,
}

/// `albacore import`.
#[derive(Args, Debug)]
pub struct Import {
    /// The GGUF file
    pub gguf: PathBuf,
    /// The folder to write; it must be empty or new
    pub out: PathBuf,
    /// How numbers are stored
    #[arg(long, value_name = "f32|bf16|f16", default_value_t = Dtype::F32)]
    pub dtype: Dtype,
}

/// `albacore export`.
#[derive(Args, Debug)]
pub struct Export {
    /// A run folder (its newest complete checkpoint), a checkpoint or a model folder
    pub run: String,
    /// The folder to write; it must be empty or new
    pub out: PathBuf,
    /// How numbers are stored; training computes in f32, so anything else rounds
    #[arg(long, value_name = "f32|bf16|f16", default_value_t = Dtype::F32)]
    pub dtype: Dtype,
}

/// How a prompt is wrapped before the model reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PromptStyle {
    /// The chat template that came with the model.
    Chat,
    /// The Alpaca prompt.
    Alpaca,
    /// As it is.
    None,
}

/// `albacore score`.
#[derive(Args, Debug)]
pub struct Score {
    /// A model folder, a run folder or a hub id `org/name[@revision]`
    pub model: String,
    /// The responses to score, JSON lines
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,
    /// Where to write the scores, JSON lines in the order of the input
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// How prompts are wrapped [default: chat if the model has a chat template, else none]
    #[arg(long, value_enum, value_name = "chat|alpaca|none", hide_possible_values = true)]
    pub template: Option<PromptStyle>,
    /// Do not score the end-of-sequence token after a response
    #[arg(long)]
    pub no_eos: bool,
}

/// `albacore complete`.
#[derive(Args, Debug)]
pub struct Complete {
    /// A model folder, a run folder or a hub id `org/name[@revision]`
    pub model: String,
    /// What to answer; may be given several times, `-` reads it from stdin
    #[arg(long, value_name = "TEXT", required = true)]
    pub prompt: Vec<String>,
    /// What to say before the prompt, in the template's system role
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// How the prompt is wrapped [default: chat if the model has a chat template, else none]
    #[arg(long, value_enum, value_name = "chat|alpaca|none", hide_possible_values = true)]
    pub template: Option<PromptStyle>,
    /// The longest answer, in tokens
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_new_tokens: usize,
    /// 0 takes the likeliest token every time; larger is more varied
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub temperature: f32,
    /// Draw from the K likeliest tokens only; 0 draws from all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: usize,
    /// Draw from the likeliest tokens that together hold this probability
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f32,
    /// Above 1 makes tokens that were already written less likely
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub repetition_penalty: f32,
    /// Search with so many beams for the likeliest answer, on the CPU; 1 searches none
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub beams: usize,
    /// With beams: above 0 favours longer answers, below shorter ones
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    pub length_penalty: f32,
    /// Stop before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Arguments::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let example = format!("Example:\n  albacore {}", command.get_name());
            assert!(help.starts_with(&example), "{}: {help}", command.get_name());
        }
    }

    #[test]
    fn bootstrap_takes_a_config_or_a_stage_with_one() {
        let parse = |words: &[&str]| {
            let words = ["albacore", "bootstrap"].iter().chain(words);
            match Arguments::try_parse_from(words).map(|parsed| parsed.command) {
                Ok(Command::Bootstrap(options)) => (options.stage.is_some(), options.all.is_some()),
                _ => (false, false),
            }
        };
        assert_eq!(parse(&["a.toml", "--set", "run.seed=1"]), (false, true));
        assert_eq!(parse(&["records", "a.toml", "--dry-run"]), (true, false));
        assert_eq!(parse(&[]), (false, false));
    }

    #[test]
    fn a_device_has_an_index() {
        assert_eq!("cuda:3".parse(), Ok(Device::Cuda(3)));
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        assert!("gpu".parse::<Device>().is_err());
        assert!("cuda:x".parse::<Device>().is_err());
    }
}
