//! The arguments of `albacore config`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// A command that reads a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConfigOf {
    /// `train`, `preview` and `prepare`.
    Train,
    /// `bootstrap`.
    Bootstrap,
    /// `sample`.
    Sample,
    /// `rank`.
    Rank,
    /// `tuna`.
    Tuna,
    /// `eval`.
    Eval,
    /// `eval judge` and `eval rate`.
    Judge,
}

/// `albacore config`.
#[derive(Args, Debug)]
pub struct ShowConfig {
    /// A config to show as it takes effect; without it, every key with its default
    pub config: Option<PathBuf>,
    /// The command whose config it is
    #[arg(
        long = "for",
        value_name = "train|bootstrap|sample|rank|tuna|eval|judge",
        default_value = "train",
        hide_possible_values = true
    )]
    pub of: ConfigOf,
    /// The families of templates that tasks can have, with the fields of their records
    #[arg(long, conflicts_with_all = ["config", "of"])]
    pub families: bool,
    /// Replace a value of the config; VALUE is TOML, quotes around a plain word may be left out
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "config")]
    pub set: Vec<String>,
}
