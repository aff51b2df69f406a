//! Times launches by the GPU's own clock, while somebody wants to know.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaStream, DriverError, sys};
use parking_lot::Mutex;

use super::cuda::failed;
use crate::{KernelTime, Result};

/// One launch between two events of the stream.
struct Timed {
    name: String,
    operations: f64,
    began: CudaEvent,
    ended: CudaEvent,
}

/// What was launched since the clock was started; `None` while it stands still.
#[derive(Default)]
pub(super) struct Clock(Mutex<Option<Vec<Timed>>>);

impl Clock {
    pub(super) fn start(&self) {
        *self.0.lock() = Some(Vec::new());
    }

    /// Runs `launch`, between two events if the clock runs.
    pub(super) fn time<R>(
        &self,
        stream: &Arc<CudaStream>,
        named: impl FnOnce() -> (String, f64),
        launch: impl FnOnce() -> Result<R>,
    ) -> Result<R> {
        let mut all = self.0.lock();
        let Some(all) = &mut *all else {
            return launch();
        };
        let event = || -> Result<CudaEvent, DriverError> {
            let event = stream.context().new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT))?;
            event.record(stream)?;
            Ok(event)
        };
        let began = event().map_err(failed("time a kernel"))?;
        let launched = launch()?;
        let ended = event().map_err(failed("time a kernel"))?;
        let (name, operations) = named();
        all.push(Timed { name, operations, began, ended });
        Ok(launched)
    }

    /// Runs `f` while the clock stands still.
    pub(super) fn pause<R>(&self, f: impl FnOnce() -> R) -> R {
        let so_far = self.0.lock().take();
        let result = f();
        *self.0.lock() = so_far;
        result
    }

    /// Stops the clock and waits for what it has timed: sums by name, the longest first.
    pub(super) fn stop(&self) -> Result<Vec<KernelTime>> {
        let all = self.0.lock().take().unwrap_or_default();
        let mut sums = BTreeMap::<String, KernelTime>::new();
        for Timed { name, operations, began, ended } in all {
            let took = ended.synchronize().and_then(|()| began.elapsed_ms(&ended));
            let took = took.map_err(failed("time a kernel"))?;
            let sum = sums.entry(name.clone()).or_insert_with(|| KernelTime::of(name));
            sum.calls += 1;
            sum.milliseconds += f64::from(took);
            sum.operations += operations;
        }
        let mut sums = sums.into_values().collect::<Vec<_>>();
        sums.sort_by(|one, two| two.milliseconds.total_cmp(&one.milliseconds));
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_stops_the_clock_and_goes_on_with_what_it_had() {
        let clock = Clock::default();
        let runs = || clock.0.lock().is_some();
        assert!(!clock.pause(runs) && !runs());
        clock.start();
        assert!(!clock.pause(runs) && runs());
    }
}
