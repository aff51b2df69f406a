//! Where the numbers are computed: the CPU, or a GPU that is opened before anything is touched.

use albacore_model::Llama;
use albacore_trainer::Precision;
use candle_core::{DType, Device};

use crate::args;
use crate::failure::{OrRefuse, Refusal, Result};

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
///
/// # Errors
/// Refused if the device has no such numbers.
pub fn precision(asked: Option<Precision>, device: &Device) -> Result<Precision> {
    match (asked, device.is_cpu()) {
        (Some(Precision::Bf16), true) => Err(Refusal::new(
            "`train.precision` is `bf16`, wanted `f32` on the CPU",
            "half precision needs a GPU: `--device cuda`",
        ))
        .or_refuse(),
        (Some(asked), _) => Ok(asked),
        (None, true) => Ok(Precision::F32),
        (None, false) => Ok(Precision::Bf16),
    }
}

/// Moves a model that is not trained to the device, in its usual numbers.
///
/// # Errors
/// If the device has no room.
pub fn place(model: &mut Llama, device: &Device) -> Result<()> {
    if device.is_cpu() {
        return Ok(());
    }
    Ok(model.place(device, DType::BF16, false)?)
}
