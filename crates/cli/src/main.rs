//! The `albacore` binary: reads arguments and configs, calls the crates below, prints.
//!
//! One file a command, in `commands`. Exit codes are set in one place, [`failure`]; a command
//! returns how it ended, and never exits by itself.

mod args;
mod decode;
mod diagnose;
mod failure;
mod memory;
mod signals;
mod terminal;
mod tree;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Device, Global};
use failure::{OrRefuse, Outcome, Refusal, Result, conclude};

fn main() -> ExitCode {
    memory::keep_freed_memory();
    conclude(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result {
    prepare_machine(&arguments.global)?;
    Ok(Outcome::Done)
}

/// Checks the device and sets the number of threads.
fn prepare_machine(global: &Global) -> Result<()> {
    if let Device::Cuda(_) = global.device {
        return Err(Refusal::new(
            "this build of albacore has no CUDA kernels, wanted by `--device cuda`",
            "build it with `cargo build --release --features cuda` where the CUDA toolkit is \
             installed, or leave out `--device` to compute on the CPU",
        ))
        .or_refuse();
    }
    if let Some(threads) = global.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global().or_refuse()?;
    }
    Ok(())
}
