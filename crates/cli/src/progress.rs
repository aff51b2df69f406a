//! How far something is: a bar on a terminal, a line now and then elsewhere, JSON lines if asked
//! for, nothing if quiet. All of it on stderr.

use std::io::{IsTerminal, stderr};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal::{Terminal, complain};

/// Work that is over sooner than this shows no progress.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two plain lines.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// The bars that are shown, each on a line of its own.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Shows how far one piece of work is. Any thread may tell it.
pub struct Progress {
    what: &'static str,
    total: u64,
    terminal: Terminal,
    began: Instant,
    /// On a terminal.
    bar: Option<ProgressBar>,
    /// When the last plain line was written.
    spoke: Mutex<Instant>,
}

impl Progress {
    /// Progress of `what`, such as `encoding records`, up to `total`, of which `done` were done before.
    pub fn new(terminal: &Terminal, what: &'static str, done: u64, total: u64) -> Self {
        let shows_bar = stderr().is_terminal() && !terminal.quiet && !terminal.json;
        let bar = shows_bar.then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
            let style = "{prefix} {pos}/{len} {wide_bar:.cyan} {msg}";
            bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
            bar.set_prefix(what);
            bar.set_position(done);
            bar
        });
        let began = Instant::now();
        Self { what, total, terminal: *terminal, began, bar, spoke: Mutex::new(began) }
    }

    /// `done` of the total is done; `detail` is said beside it.
    pub fn set(&self, done: u64, detail: &str) {
        if self.terminal.quiet || self.began.elapsed() < PATIENCE {
            return;
        }
        if let Some(bar) = &self.bar {
            if bar.is_hidden() {
                BARS.add(bar.clone());
            }
            bar.set_message(detail.to_owned());
            bar.set_position(done);
            return;
        }
        let mut spoke = self.spoke.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if spoke.elapsed() < BETWEEN_LINES {
            return;
        }
        *spoke = Instant::now();
        let Self { what, total, .. } = self;
        self.say(format!("{what} {done}/{total} {detail}").trim_end());
    }

    /// Says something in between, above the bar if there is one.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) if !bar.is_hidden() => BARS.suspend(|| complain(text)),
            _ => self.terminal.note(text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `3m12s`, `45s`, `2h05m`.
pub fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, _) if duration < Duration::from_secs(10) => {
            format!("{:.1}s", duration.as_secs_f64())
        }
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m"),
    }
}

/// `12,345`.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// `1.3 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let exponent = (bytes.ilog2() / 10).clamp(1, 4);
    let number = bytes as f64 / 1024f64.powi(exponent as i32);
    let unit = UNITS[exponent as usize - 1];
    if number < 10.0 { format!("{number:.1} {unit}") } else { format!("{number:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        let seconds = Duration::from_secs_f64;
        assert_eq!(time(seconds(4.26)), "4.3s");
        assert_eq!(time(seconds(192.0)), "3m12s");
        assert_eq!(time(seconds(7500.0)), "2h05m");
        assert_eq!([count(7), count(1234), count(1_234_567)], ["7", "1,234", "1,234,567"]);
        assert_eq!([size(512), size(1536), size(538_090_408)], ["512 bytes", "1.5 KiB", "513 MiB"]);
    }
}
