//! What a run tells: on the terminal as it happens, and in the run's `log.txt` for later.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use albacore_trainer::{Event, Line, Named};

use crate::progress::{Progress, count, size, time};
use crate::terminal::Terminal;

/// Tells what happens in a run.
pub struct RunLog {
    path: PathBuf,
    /// Opened when the first line is written: a refused run leaves no file.
    file: Option<File>,
    waiting: Vec<String>,
    terminal: Terminal,
    progress: Option<Progress>,
    /// While the frozen reference is asked, before the first step.
    referring: Option<Progress>,
    first_step: u64,
    /// Seconds of training before this process.
    before_s: Option<f64>,
}

impl RunLog {
    /// Writes to `log.txt` in the run's folder.
    pub fn new(run: &Path, terminal: &Terminal) -> Self {
        Self {
            path: run.join("log.txt"),
            file: None,
            waiting: Vec::new(),
            terminal: *terminal,
            progress: None,
            referring: None,
            first_step: 0,
            before_s: None,
        }
    }

    /// Says how things go.
    pub fn say(&mut self, text: &str) {
        self.write(text);
        match &self.progress {
            Some(progress) => progress.say(text),
            None => self.terminal.note(text),
        }
    }

    /// Says what may surprise.
    pub fn warn(&mut self, text: &str) {
        self.write(&format!("warning: {text}"));
        self.terminal.warn(text);
    }

    /// Tells of an event.
    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Started { step, steps, trained, set_aside } => {
                self.open();
                if let Some(folder) = set_aside {
                    let folder = folder.display();
                    self.say(&format!("moved what an earlier run had written to `{folder}`"));
                }
                self.first_step = *step;
                self.say(&format!(
                    "training {} parameters, {} steps",
                    count(*trained),
                    steps - step
                ));
                self.progress = Some(Progress::new(&self.terminal, "step", *step, *steps));
            }
            Event::Referring { done, total } => {
                let total = *total as u64;
                let shown = self.referring.get_or_insert_with(|| {
                    Progress::new(&self.terminal, "asking the reference", 0, total)
                });
                shown.set(*done as u64, "prompts");
                if *done as u64 == total {
                    self.referring = None;
                }
            }
            Event::Stepped { line, steps } => self.stepped(line, *steps),
            Event::Evaluated { step, values, took } => {
                if !values.is_empty() {
                    self.say(&format!("step {step}: {} ({})", named(values), time(*took)));
                }
            }
            Event::Saved(saved) => self.say(&format!(
                "saved `{}`: {} in {}, training waited {}",
                saved.folder.display(),
                size(saved.bytes),
                time(saved.took),
                time(saved.stalled)
            )),
            Event::Warning(text) => self.warn(text),
        }
    }

    fn stepped(&mut self, line: &Line, steps: u64) {
        if self.terminal.json && !self.terminal.quiet {
            crate::terminal::complain(&serde_json::json!({ "step": line }).to_string());
            return;
        }
        // The time of this step is in neither count: it began before either was known.
        let before = *self.before_s.get_or_insert(line.elapsed_s);
        let done = line.step - self.first_step - 1;
        let left = if done == 0 {
            String::new()
        } else {
            let a_step = (line.elapsed_s - before) / done as f64;
            let left = Duration::from_secs_f64((a_step * (steps - line.step) as f64).max(0.0));
            format!(", {} left", time(left))
        };
        let detail = format!("loss {:.4}, {:.0} tokens/s{left}", line.loss, line.tokens_per_second);
        if let Some(progress) = &self.progress {
            progress.set(line.step, &detail);
        }
    }

    /// The end: the bar goes.
    pub fn close(&mut self) {
        self.progress = None;
    }

    /// From here on the log is written, what was said before included.
    pub fn open(&mut self) {
        // A log that cannot be written ends no training.
        self.file = File::options().append(true).create(true).open(&self.path).ok();
        for line in std::mem::take(&mut self.waiting) {
            self.write(&line);
        }
    }

    fn write(&mut self, text: &str) {
        match &mut self.file {
            Some(file) => {
                let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%SZ");
                let _ = writeln!(file, "{now}  {text}");
            }
            None => self.waiting.push(text.to_owned()),
        }
    }
}

/// `held_out_loss 1.234, held_out_exact_match 80.0 %`.
pub fn named(values: &Named) -> String {
    let shown: Vec<_> =
        values.iter().map(|(name, value)| format!("{name} {}", shown(name, *value))).collect();
    shown.join(", ")
}

/// A measured value, with its unit.
pub fn shown(name: &str, value: f64) -> String {
    let is_percent = name.ends_with("exact_match") || name.starts_with("suite_");
    if is_percent { format!("{value:.1} %") } else { format!("{value:.4}") }
}
