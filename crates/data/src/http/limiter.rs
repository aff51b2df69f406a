//! When the next request may begin: two paces and a pause, shared by all workers.
//!
//! A pace gives out times, one after the other, as far apart as the limit says. It never gives a
//! burst, so no minute holds more than its limit, wherever the server's minutes begin. Times are
//! seconds since any fixed moment: nothing here reads a clock.

/// What may be asked of the server in a minute, and until when nothing may.
#[derive(Debug)]
pub(super) struct Limiter {
    requests: Option<Pace>,
    tokens: Option<Pace>,
    paused_until: f64,
    pauses: u64,
}

/// Leave to begin a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ticket {
    /// From when on.
    pub(super) at: f64,
    /// How many tokens it was counted for.
    tokens: u64,
    /// How many pauses there had been.
    pauses: u64,
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

    /// When these units may begin; the next ones come after them.
    fn take(&mut self, now: f64, units: u64) -> f64 {
        let at = self.free_at.max(now);
        self.free_at = at + self.seconds_per_unit * units as f64;
        at
    }
}

impl Limiter {
    /// No limit where none is given.
    pub(super) fn new(requests_per_minute: Option<u32>, tokens_per_minute: Option<u32>) -> Self {
        Self {
            requests: requests_per_minute.map(Pace::new),
            tokens: tokens_per_minute.map(Pace::new),
            paused_until: 0.0,
            pauses: 0,
        }
    }

    /// Leave for a request of about so many tokens. It is void if a pause comes before its time:
    /// then ask again.
    pub(super) fn take(&mut self, now: f64, tokens: u64) -> Ticket {
        let mut at = now.max(self.paused_until);
        // Tokens first: a request that waits for them takes its turn among requests when they are there.
        if let Some(pace) = &mut self.tokens {
            at = pace.take(at, tokens);
        }
        if let Some(pace) = &mut self.requests {
            at = pace.take(at, 1);
        }
        Ticket { at, tokens, pauses: self.pauses }
    }

    /// Whether no pause has come since.
    pub(super) fn is_valid(&self, ticket: &Ticket) -> bool {
        ticket.pauses == self.pauses
    }

    /// What a request has really taken: the difference is given back, or charged.
    pub(super) fn correct(&mut self, ticket: &Ticket, tokens: u64) {
        // After a pause the pace began anew; what was counted before it is forgotten.
        if let (Some(pace), true) = (&mut self.tokens, ticket.pauses == self.pauses) {
            pace.free_at += pace.seconds_per_unit * (tokens as f64 - ticket.tokens as f64);
        }
    }

    /// Nothing begins before this time, and all that has been given leave for later asks again.
    pub(super) fn pause(&mut self, until: f64) {
        if until > self.paused_until {
            self.paused_until = until;
            self.pauses += 1;
            for pace in [&mut self.requests, &mut self.tokens].into_iter().flatten() {
                pace.free_at = until;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_evenly_spaced_and_no_minute_holds_more_than_its_limit() {
        let mut limiter = Limiter::new(Some(120), None);
        let begun: Vec<f64> = (0..500).map(|_| limiter.take(10.0, 1).at).collect();
        assert_eq!(begun[..3], [10.0, 10.5, 11.0]);
        for first in &begun {
            let minute = begun.iter().filter(|at| (*first..*first + 60.0).contains(at)).count();
            assert!(minute <= 120, "{minute}");
        }
        // Time that nobody used is not saved up.
        assert_eq!(limiter.take(1000.0, 1).at, 1000.0);
        assert_eq!(limiter.take(1000.0, 1).at, 1000.5);
    }

    #[test]
    fn tokens_are_counted_as_foretold_and_corrected_by_what_was_used() {
        let mut limiter = Limiter::new(None, Some(600)); // ten a second
        let first = limiter.take(0.0, 100);
        assert_eq!((first.at, limiter.take(0.0, 100).at), (0.0, 10.0));
        limiter.correct(&first, 40); // 6 s back
        assert_eq!(limiter.take(0.0, 100).at, 14.0);
        limiter.correct(&first, 130); // 3 s more than foretold
        assert_eq!(limiter.take(0.0, 1).at, 27.0);
    }

    #[test]
    fn whichever_limit_is_stricter_decides() {
        let mut limiter = Limiter::new(Some(60), Some(60));
        assert_eq!(limiter.take(0.0, 5).at, 0.0);
        assert_eq!(limiter.take(0.0, 1).at, 5.0, "by tokens");
        assert_eq!(limiter.take(6.5, 0).at, 6.5);
        assert_eq!(limiter.take(6.5, 0).at, 7.5, "by requests");
    }

    #[test]
    fn a_pause_voids_what_waits_and_the_pace_begins_anew_after_it() {
        let mut limiter = Limiter::new(Some(60), None);
        let waiting = [limiter.take(0.0, 1), limiter.take(0.0, 1)];
        limiter.pause(30.0);
        assert!(!limiter.is_valid(&waiting[0]) && !limiter.is_valid(&waiting[1]));
        let again = [limiter.take(1.0, 1), limiter.take(1.0, 1)];
        assert_eq!(again.map(|ticket| ticket.at), [30.0, 31.0]);
        // A shorter pause inside a longer one changes nothing.
        limiter.pause(20.0);
        assert!(limiter.is_valid(&again[0]));
    }

    #[test]
    fn without_limits_only_a_pause_holds_requests_back() {
        let mut limiter = Limiter::new(None, None);
        assert_eq!(limiter.take(3.0, 1_000_000).at, 3.0);
        assert_eq!(limiter.take(3.0, 1_000_000).at, 3.0);
        limiter.pause(5.0);
        assert_eq!(limiter.take(4.0, 1).at, 5.0);
    }
}
