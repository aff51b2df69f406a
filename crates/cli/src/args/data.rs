//! The arguments of the commands that write, filter and show data.

use std::path::PathBuf;

use albacore_data::Rules;
use clap::{Args, Subcommand};

use super::Configured;

/// `albacore mixture`.
#[derive(Args, Debug)]
pub struct Mixture {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub configured: Configured,
    /// Count the records that share 13 words in a row with these files (JSON, JSON lines, Parquet or text)
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub contamination: Vec<PathBuf>,
    /// Make the example of every record, name those that cannot be used and count those that are too long
    #[arg(long)]
    pub check: bool,
}

/// `albacore data`.
#[derive(Args, Debug)]
pub struct Data {
    #[command(subcommand)]
    #[allow(missing_docs)]
    pub action: DataAction,
}

/// What `data` does.
#[derive(Debug, Subcommand)]
pub enum DataAction {
    /// Show which benchmarks can be had, with size and licence
    #[command(after_help = "Example:\n  albacore data list")]
    List(ListData),
    /// Download benchmarks, after showing size, licence, checksums and what not to train on
    #[command(after_help = "Example:\n  albacore data get gsm8k mgsm --data benchmarks\n\n\
        Run the same command again after a stop: it goes on where the download ended. A file whose\n\
        checksum is wrong is not kept.")]
    Get(GetData),
}

/// `albacore data list`.
#[derive(Args, Debug)]
pub struct ListData {
    /// Another list, a TOML file: of mirrors, say
    #[arg(long, value_name = "FILE")]
    pub registry: Option<PathBuf>,
}

/// `albacore data get`.
#[derive(Args, Debug)]
pub struct GetData {
    /// Benchmarks, by the names of `albacore data list`
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// The folder with all benchmarks, as `albacore eval --data` reads it
    #[arg(long, value_name = "DIR", default_value = "benchmarks")]
    pub data: PathBuf,
    /// Ask nothing: download
    #[arg(long)]
    pub yes: bool,
    /// Another list, a TOML file: of mirrors, say
    #[arg(long, value_name = "FILE")]
    pub registry: Option<PathBuf>,
}

/// `albacore bootstrap`.
#[derive(Args, Debug)]
pub struct Bootstrap {
    /// One stage alone; those before it must be complete
    #[command(subcommand)]
    pub stage: Option<Stage>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub all: Option<Drawn>,
}

/// What is drawn from a model, by a config.
#[derive(Args, Clone, Debug)]
pub struct Drawn {
    /// The config, a TOML file
    pub config: PathBuf,
    /// Replace a value of the config; VALUE is TOML, quotes around a plain word may be left out
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Show a prompt of each stage and say how much will be asked, and ask nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Drawn {
    /// The config, and what replaces some of its values.
    // Not flattened: in an `Option`, clap finds arguments only one level deep.
    pub fn configured(&self) -> Configured {
        Configured { config: self.config.clone(), set: self.set.clone() }
    }
}

/// `albacore tuna`.
#[derive(Args, Clone, Debug)]
pub struct Tuna {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub configured: Configured,
    /// Show the command of each stage and which are done, and run nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `albacore rank`.
#[derive(Args, Clone, Debug)]
pub struct Rank {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub configured: Configured,
    /// Compare with another ranking of the same answers; replaces `rank.against`
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Say what would be ranked and asked, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// The stages of `albacore bootstrap`.
#[derive(Clone, Debug, Subcommand)]
pub enum Stage {
    /// New instructions, from seed tasks
    Instructions(Drawn),
    /// Whether each asks for classification
    Classification(Drawn),
    /// Inputs and outputs of each
    Instances(Drawn),
    /// What is kept, laid out to train on: asks nothing
    Records(Drawn),
}

/// `albacore seeds`.
#[derive(Args, Debug)]
pub struct Seeds {
    /// What to do with them
    #[command(subcommand)]
    pub action: SeedsAction,
}

/// What can be done with seed tasks.
#[derive(Debug, Subcommand)]
pub enum SeedsAction {
    /// Format, near duplicates and balance
    Check(CheckSeeds),
}

/// `albacore seeds check`.
#[derive(Args, Debug)]
pub struct CheckSeeds {
    /// The seed tasks: a JSON array, or one JSON object a line
    pub file: PathBuf,
    /// Two instructions whose ROUGE-L F measure is above T are too alike
    #[arg(long, value_name = "T", value_parser = share, default_value_t = 0.7)]
    pub rouge_l: f64,
    /// Words of all scripts for ROUGE-L, and not only of ASCII letters and digits
    #[arg(long)]
    pub unicode: bool,
}

/// `albacore filter`.
#[derive(Args, Debug)]
pub struct Filter {
    /// The records: a JSON array, or one JSON object a line
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// Texts to compare with, files like IN; may be given several times
    #[arg(long, value_name = "POOL", num_args = 1..)]
    pub against: Vec<PathBuf>,
    /// The field that holds the text
    #[arg(long, value_name = "NAME", default_value = "instruction")]
    pub field: String,
    /// Drop a text whose ROUGE-L F measure with a kept one is above T, between 0 and 1
    #[arg(long, value_name = "T", value_parser = share)]
    pub rouge_l: Option<f64>,
    /// Drop a text that a rule rejects; may be given several times
    #[arg(long = "rule", value_name = "NAME[=…]")]
    pub rules: Vec<Rules>,
    /// Where to write the records that are kept, in the form of IN
    #[arg(long, value_name = "KEPT")]
    pub output: PathBuf,
    /// Where to write the records that are not, JSON lines with the reason
    #[arg(long, value_name = "D")]
    pub dropped: Option<PathBuf>,
    /// Drop nothing: write all pairs above T to KEPT instead, JSON lines
    #[arg(long, requires = "rouge_l", conflicts_with_all = ["rules", "dropped"])]
    pub all_pairs: bool,
    /// Words of all scripts for ROUGE-L, and not only of ASCII letters and digits
    #[arg(long)]
    pub unicode: bool,
}

/// `albacore report`.
#[derive(Args, Debug)]
pub struct Report {
    /// Folders of data runs; of several, the page shows the numbers side by side
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// Where to write the page [default: RUN/report.html]
    #[arg(long, short, value_name = "PAGE.html")]
    pub output: Option<PathBuf>,
    /// Also write records, train and held_out as Parquet, beside the JSON lines
    #[arg(long)]
    pub parquet: bool,
    /// Open the page in the browser
    #[arg(long)]
    pub open: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "wanted a number between 0 and 1".into())
}
