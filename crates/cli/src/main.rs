//! The `albacore` binary: reads arguments and configs, calls the crates below, prints.
//!
//! One file a command, in `commands`. Exit codes are set in one place, [`failure`]; a command
//! returns how it ended, and never exits by itself.

#![expect(unreachable_pub, reason = "a binary has no outside: `pub` is for its other modules")]

mod answer;
mod args;
mod benchmarks;
mod commands;
mod companions;
mod config;
mod contamination;
mod data_run;
mod decode;
mod device;
mod diagnose;
mod download;
mod evaluator;
mod failure;
mod hub;
mod judged;
mod loaded;
mod local_model;
mod model_folder;
mod prepared;
mod profile;
mod program;
mod progress;
mod report;
mod run_log;
mod scoring;
mod signals;
mod suites;
mod summary;
mod terminal;
mod tree;
mod writer;

use std::process::ExitCode;

use candle_core::Device;
use clap::Parser;

use args::{Arguments, Command, Global};
use failure::{OrRefuse, Refusal, Result, conclude};
use program::program;
use terminal::Terminal;

fn main() -> ExitCode {
    albacore_kernels::keep_freed_memory();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return misunderstood(&error),
    };
    let terminal = Terminal::new(&arguments.global);
    conclude(run(&arguments, &terminal), &terminal)
}

/// Shows what clap says: help, the version, or what is wrong with the command line.
fn misunderstood(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || !std::env::args_os().any(|argument| argument == "--json") {
        error.exit();
    }
    let text = error.to_string();
    let message = text.trim().trim_start_matches("error: ").to_owned();
    let hint = format!("`{} --help` shows what can be typed", program());
    conclude(
        Err(Refusal::new(message, hint)).or_refuse(),
        &Terminal { quiet: false, json: true, of_recipe: false },
    )
}

fn run(arguments: &Arguments, terminal: &Terminal) -> Result {
    let Arguments { command, global } = arguments;
    let device = &prepare_machine(global)?;
    let seed = global.seed;
    match command {
        Command::Train(options) => commands::train::run(options, seed, device, terminal),
        Command::Preview(options) => commands::preview::run(options, seed, terminal),
        Command::Prepare(options) => commands::prepare::run(options, seed, terminal),
        Command::Mixture(options) => commands::mixture::run(options, seed, terminal),
        Command::Import(options) => commands::import::run(options, terminal),
        Command::Export(options) => commands::export::run(options, terminal),
        Command::Score(options) => commands::score::run(options, device, terminal),
        Command::Eval(options) => commands::eval::run(options, seed, device, terminal),
        Command::Complete(options) => commands::complete::run(options, seed, device, terminal),
        Command::Bootstrap(options) => commands::bootstrap::run(options, seed, device, terminal),
        Command::Sample(options) => commands::sample::run(options, seed, device, terminal),
        Command::Rank(options) => commands::rank::run(options, seed, device, terminal),
        Command::Tuna(options) => commands::tuna::run(options, seed, device, terminal),
        Command::Data(options) => commands::data::run(options, terminal),
        Command::Seeds(options) => commands::seeds::run(options, terminal),
        Command::Filter(options) => commands::filter::run(options, terminal),
        Command::Report(options) => commands::report::run(options, seed, terminal),
        Command::Config(options) => commands::config::run(options, seed, terminal),
    }
}

/// Opens the device and sets the number of threads.
fn prepare_machine(global: &Global) -> Result<Device> {
    if let Some(threads) = global.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global().or_refuse()?;
    }
    device::open(global.device)
}
