//! How long to wait before asking again, and a sleep that can be ended.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::Random;

/// A random part of the wait before retry number `retry` (from 0): of `first` seconds, doubled with each
/// retry, at most `longest` ("full jitter": many who failed together do not come back together).
pub(super) fn backoff(random: &mut Random, first: f64, longest: f64, retry: u32) -> Duration {
    let most = (first * f64::from(retry.min(60)).exp2()).min(longest);
    let micros = (most * 1e6) as usize;
    Duration::from_micros(random.below(micros + 1) as u64)
}

/// What a `Retry-After` header says: seconds, or a date (RFC 9110, section 10.2.3). One that cannot
/// be read says nothing.
pub(super) fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Some(seconds) = text.parse::<f64>().ok().filter(|seconds| !seconds.is_nan()) {
        return Duration::try_from_secs_f64(seconds.max(0.0)).ok();
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(SystemTime::from(date).duration_since(now).unwrap_or(Duration::ZERO))
}

/// Says stop to all who sleep or are about to ask.
#[derive(Default)]
pub(super) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Ends all sleeps, now and later.
    pub(super) fn stop(&self) {
        *self.lock() = true;
        self.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.lock()
    }

    /// Sleeps until then; whether it was not ended before.
    pub(super) fn sleep_until(&self, then: Instant) -> bool {
        let mut stopped = self.lock();
        while !*stopped {
            let Some(left) = then.checked_duration_since(Instant::now()) else { return true };
            if left.is_zero() {
                return true;
            }
            let waited = self.changed.wait_timeout(stopped, left);
            stopped = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // A flag is whole whoever panicked while holding it.
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_random_parts_of_a_doubling_time_and_the_same_for_the_same_seed() {
        let waits = |seed| {
            let mut random = Random::new(seed, "backoff", 7);
            (0..70).map(|retry| backoff(&mut random, 0.5, 60.0, retry)).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
        for (retry, wait) in waits(1).iter().enumerate() {
            let most = (0.5 * 2f64.powi(retry as i32)).min(60.0);
            assert!(wait.as_secs_f64() <= most, "retry {retry}: {wait:?} of {most}");
        }
        // 63 waits of up to 60 s: their mean is 30 s, within four standard deviations of 2.2 s.
        let mean = waits(1)[7..].iter().map(Duration::as_secs_f64).sum::<f64>() / 63.0;
        assert!((21.0..39.0).contains(&mean), "{mean}");
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // 1994-11-06 08:49:37
        let read = |text| retry_after(text, now);
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read(" 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(read("-3"), Some(Duration::ZERO));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        for nothing in ["soon", "", "nan", "1e400", "Sun, 99 Nov 1994"] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_stop_ends_a_sleep_at_once() {
        let stop = std::sync::Arc::new(Stop::default());
        assert!(stop.sleep_until(Instant::now() + Duration::from_millis(5)));
        let (sleeper, start) = (stop.clone(), Instant::now());
        let slept =
            std::thread::spawn(move || sleeper.sleep_until(start + Duration::from_secs(60)));
        stop.stop();
        assert!(!slept.join().unwrap());
        assert!(start.elapsed() < Duration::from_secs(30));
        assert!(!stop.sleep_until(Instant::now()) && stop.is_stopped());
    }
}
