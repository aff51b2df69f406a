//! Where the numbers are computed: the CPU, or a GPU that is opened before anything is touched.

use albacore_model::Model;
use albacore_trainer::{Precision, only_on_a_gpu};
use candle_core::{DType, Device};

use crate::args;
use crate::config::Config;
use crate::failure::{Failure, OrRefuse, Refusal, Result};

/// Opens the device that `--device` names.
///
/// # Errors
/// Refused if it cannot be used, with what is missing.
pub fn open(device: args::Device) -> Result<Device> {
    match device {
        args::Device::Cpu => Ok(Device::Cpu),
        args::Device::Cuda(index) => {
            albacore_kernels::gpu(index).map_err(albacore_model::Error::from).or_refuse()
        }
    }
}

/// The numbers to compute with on this device: those asked for, or its usual ones.
pub fn precision(asked: Option<Precision>, device: &Device) -> Precision {
    let usual = if device.is_cpu() { Precision::F32 } else { Precision::Bf16 };
    asked.unwrap_or(usual)
}

/// Refuses what a config, or `--profile`, asks for that the device has not.
///
/// # Errors
/// All that is refused, each problem an error of its own.
pub fn suits(config: &Config, profiled: bool, device: &Device) -> Result<()> {
    if !device.is_cpu() {
        return Ok(());
    }
    let problems = only_on_a_gpu(&config.optim, &config.train).into_iter();
    let refusals = problems.map(|problem| {
        let (message, hint) = problem.split_once("\nhint: ").unwrap_or((&problem, ""));
        Refusal::new(message, hint)
    });
    let half = Refusal::new(
        "`train.precision` is `bf16`, wanted `f32` on the CPU",
        "half precision needs a GPU: `--device cuda`",
    );
    let clock = Refusal::new("`--profile` is set, wanted a GPU to time", "add `--device cuda`");
    let refusals = refusals
        .chain((config.train.precision == Some(Precision::Bf16)).then_some(half))
        .chain(profiled.then_some(clock));
    let errors: Vec<_> = refusals.map(Into::into).collect();
    if errors.is_empty() { Ok(()) } else { Err(Failure::Problems(errors)) }
}

/// Moves a model that is not trained to the device, in its usual numbers.
///
/// # Errors
/// If the device has no room.
pub fn place(model: &mut Model, device: &Device) -> Result<()> {
    if device.is_cpu() {
        return Ok(());
    }
    Ok(model.place(device, DType::BF16, false)?)
}
