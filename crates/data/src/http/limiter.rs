//! When the next request may begin: two paces and a pause, shared by all workers.
//!
//! A pace lets requests begin as far apart as the limit says. It never gives a burst, so no minute
//! holds more than its limit, wherever the server's minutes begin. Times are seconds since any fixed
//! moment: nothing here reads a clock.

/// What may be asked of the server in a minute, and until when nothing may.
#[derive(Debug)]
pub(super) struct Limiter {
    requests: Option<Pace>,
    tokens: Option<Pace>,
    paused_until: f64,
}

/// One limit.
#[derive(Debug)]
struct Pace {
    seconds_per_unit: f64,
    free_at: f64,
}

impl Pace {
    fn new(per_minute: u32) -> Self {
        Self { seconds_per_unit: 60.0 / f64::from(per_minute), free_at: 0.0 }
    }

    /// These units begin now, and the next ones come after them.
    fn take(&mut self, now: f64, units: u64) {
        self.free_at = now + self.seconds_per_unit * units as f64;
    }
}

impl Limiter {
    /// No limit where none is given.
    pub(super) fn new(requests_per_minute: Option<u32>, tokens_per_minute: Option<u32>) -> Self {
        Self {
            requests: requests_per_minute.map(Pace::new),
            tokens: tokens_per_minute.map(Pace::new),
            paused_until: 0.0,
        }
    }

    /// Leave to begin a request of about so many tokens now; else, when to ask again.
    pub(super) fn take(&mut self, now: f64, tokens: u64) -> Result<(), f64> {
        let mut paces = [(&mut self.requests, 1), (&mut self.tokens, tokens)];
        let free_at = |(pace, _): &(&mut Option<Pace>, u64)| pace.as_ref().map(|pace| pace.free_at);
        let at = paces.iter().filter_map(free_at).fold(self.paused_until, f64::max);
        if at > now {
            return Err(at);
        }
        for (pace, units) in &mut paces {
            if let Some(pace) = pace {
                pace.take(now, *units);
            }
        }
        Ok(())
    }

    /// What a request has really taken: the difference is given back, or charged.
    pub(super) fn correct(&mut self, foretold: u64, taken: u64) {
        if let Some(pace) = &mut self.tokens {
            pace.free_at += pace.seconds_per_unit * (taken as f64 - foretold as f64);
        }
    }

    /// Nothing begins before this time.
    pub(super) fn pause(&mut self, until: f64) {
        self.paused_until = self.paused_until.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the next request of so many tokens begins, if it comes at this time and waits.
    fn begin(limiter: &mut Limiter, now: f64, tokens: u64) -> f64 {
        match limiter.take(now, tokens) {
            Ok(()) => now,
            Err(at) => begin(limiter, at, tokens),
        }
    }

    #[test]
    fn requests_are_evenly_spaced_and_no_minute_holds_more_than_its_limit() {
        let mut limiter = Limiter::new(Some(120), None);
        let begun: Vec<f64> = (0..500).map(|_| begin(&mut limiter, 10.0, 1)).collect();
        assert_eq!(begun[..3], [10.0, 10.5, 11.0]);
        for first in &begun {
            let minute = begun.iter().filter(|at| (*first..*first + 60.0).contains(at)).count();
            assert!(minute <= 120, "{minute}");
        }
        // Time that nobody used is not saved up.
        assert_eq!(begin(&mut limiter, 1000.0, 1), 1000.0);
        assert_eq!(begin(&mut limiter, 1000.0, 1), 1000.5);
    }

    #[test]
    fn tokens_are_counted_as_foretold_and_corrected_by_what_was_used() {
        let mut limiter = Limiter::new(None, Some(600)); // ten a second
        assert_eq!(begin(&mut limiter, 0.0, 100), 0.0);
        assert_eq!(limiter.take(1.0, 100), Err(10.0));
        limiter.correct(100, 40); // 6 s back
        assert_eq!(begin(&mut limiter, 1.0, 100), 4.0);
        limiter.correct(100, 130); // 3 s more than foretold
        assert_eq!(begin(&mut limiter, 5.0, 1), 17.0);
    }

    #[test]
    fn whichever_limit_is_stricter_decides() {
        let mut limiter = Limiter::new(Some(60), Some(60));
        assert_eq!(begin(&mut limiter, 0.0, 5), 0.0);
        assert_eq!(begin(&mut limiter, 0.0, 0), 5.0, "by tokens");
        assert_eq!(begin(&mut limiter, 5.5, 0), 6.0, "by requests");
    }

    #[test]
    fn a_pause_holds_all_back_and_the_pace_goes_on_after_it() {
        let mut limiter = Limiter::new(Some(60), Some(60));
        assert_eq!(begin(&mut limiter, 0.0, 40), 0.0);
        limiter.pause(30.0);
        // A shorter pause inside a longer one changes nothing, and no pause pays for tokens.
        limiter.pause(20.0);
        assert_eq!(limiter.take(25.0, 1), Err(40.0));
        limiter.correct(40, 10);
        assert_eq!(begin(&mut limiter, 25.0, 1), 30.0);
        assert_eq!(begin(&mut limiter, 25.0, 1), 31.0);
    }

    #[test]
    fn without_limits_only_a_pause_holds_requests_back() {
        let mut limiter = Limiter::new(None, None);
        assert_eq!(limiter.take(3.0, 1_000_000), Ok(()));
        assert_eq!(limiter.take(3.0, 1_000_000), Ok(()));
        limiter.pause(5.0);
        assert_eq!(limiter.take(4.0, 1), Err(5.0));
    }
}
