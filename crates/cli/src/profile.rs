//! `albacore train --profile`: where the GPU's time goes.

use albacore_kernels::{KernelTime, begin_profile, end_profile};
use albacore_trainer::Event;
use candle_core::Device;
use serde_json::json;

/// Steps that pass first: memory is being laid out, kernels are being loaded.
const WARM: u64 = 5;
/// Steps that are timed.
const TIMED: u64 = 10;

/// Times the kernels of some steps of a run.
pub struct Profile {
    device: Device,
    /// The step after which the clock was started.
    began: Option<u64>,
    /// Steps that were timed, and what they took.
    found: Option<(u64, Vec<KernelTime>)>,
    first: Option<u64>,
    last: u64,
}

impl Profile {
    /// A profile of a run on `device`, a GPU: the CPU has no clock of its own.
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone(), began: None, found: None, first: None, last: 0 }
    }

    /// Looks at what happens: the clock runs from the end of one step to the end of another.
    ///
    /// # Errors
    /// If a kernel has failed.
    pub fn event(&mut self, event: &Event<'_>) -> albacore_kernels::Result<()> {
        let Event::Stepped { line, .. } = event else { return Ok(()) };
        self.last = line.step;
        let first = *self.first.get_or_insert(line.step);
        match self.began {
            None if line.step >= first + WARM - 1 => {
                begin_profile(&self.device)?;
                self.began = Some(line.step);
            }
            Some(began) if self.found.is_none() && line.step >= began + TIMED => self.stop()?,
            _ => {}
        }
        Ok(())
    }

    fn stop(&mut self) -> albacore_kernels::Result<()> {
        if let (Some(_), None) = (self.began, &self.found) {
            let kernels = end_profile(&self.device)?;
            // A step is logged while the next one runs: the steps that the clock saw are told by a
            // kernel that each launches once.
            let norms = kernels.iter().find(|kernel| kernel.name == "finish_norm");
            self.found = Some((norms.map_or(0, |norms| norms.calls), kernels));
        }
        Ok(())
    }

    /// What was found, as a table or as JSON. A run that is over sooner is timed to its end.
    ///
    /// # Errors
    /// If a kernel has failed.
    pub fn text(&mut self, as_json: bool) -> albacore_kernels::Result<String> {
        self.stop()?;
        Ok(match &self.found {
            Some((steps, kernels)) if *steps > 0 && as_json => {
                let kernels = kernels.iter().map(|kernel| {
                    json!({
                        "name": kernel.name, "calls": kernel.calls,
                        "milliseconds": kernel.milliseconds, "operations": kernel.operations,
                    })
                });
                json!({ "profiled_steps": steps, "kernels": kernels.collect::<Vec<_>>() })
                    .to_string()
            }
            Some((steps, kernels)) if *steps > 0 => table(*steps, kernels),
            _ => format!("no profile: it begins after {WARM} steps, and the run had {}", self.last),
        })
    }
}

/// Time and share of each kernel in a step, and the rate of the products.
fn table(steps: u64, kernels: &[KernelTime]) -> String {
    let whole = kernels.iter().map(|kernel| kernel.milliseconds).sum::<f64>();
    let mut text = format!(
        "{:44} {:>10} {:>10} {:>7} {:>9}\n",
        format!("GPU time, mean of {steps} steps"),
        "calls",
        "ms",
        "share",
        "TFLOP/s"
    );
    let each = steps as f64;
    for KernelTime { name, calls, milliseconds, operations } in kernels {
        let rate = match *operations > 0.0 {
            true => format!("{:9.1}", operations / milliseconds / 1e9),
            false => String::new(),
        };
        text += &format!(
            "{name:44} {:10.1} {:10.3} {:6.1}% {rate}",
            *calls as f64 / each,
            milliseconds / each,
            100.0 * milliseconds / whole
        );
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text + &format!("{:44} {:>10} {:10.3}", "together", "", whole / each)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_step_s_calls_time_share_and_rate() {
        let kernel = |name: &str, calls, milliseconds, operations| KernelTime {
            name: name.into(),
            calls,
            milliseconds,
            operations,
        };
        let kernels = [kernel("product 8x8x8", 20, 30.0, 6e12), kernel("adamw", 10, 10.0, 0.0)];
        insta::assert_snapshot!(table(10, &kernels), @r"
        GPU time, mean of 10 steps                        calls         ms   share   TFLOP/s
        product 8x8x8                                       2.0      3.000   75.0%     200.0
        adamw                                               1.0      1.000   25.0%
        together                                                     4.000
        ");
    }
}
