//! What a run measured: `metrics.jsonl`, one object a step, and the same as TensorBoard curves.
//!
//! A run that was stopped and resumed leaves the file of one that never stopped: lines after the
//! resumed step are cut off. The curves are drawn anew from the lines that stay.
//!
//! A line that cannot be written ends the run, since nothing could bring it back; a curve that cannot
//! be drawn is a warning.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::tensorboard::Events;
use crate::{Error, Result};

/// The file's name in the run folder.
pub const METRICS: &str = "metrics.jsonl";

/// Numbers with names of their own, in order.
pub type Named = Vec<(String, f64)>;

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The step, from 1.
    pub step: u64,
    /// Passes over the data when it was done, with the part of the current one.
    pub epoch: f64,
    /// The objective of the whole step, in nats per token or per the objective's unit.
    pub loss: f64,
    /// Tokens that went through the model in this step.
    pub tokens: u64,
    /// Those that were supervised.
    pub supervised_tokens: u64,
    /// The rate of this step.
    pub learning_rate: f64,
    /// Norm of the gradient of all trained weights, before clipping.
    pub grad_norm: f64,
    /// Tokens by the time of this step.
    pub tokens_per_second: f64,
    /// Seconds of training since the run began, those before a stop included.
    pub elapsed_s: f64,
    /// The objective's own terms, and `held_out_*` where an evaluation was due.
    #[serde(flatten, with = "named")]
    pub more: Named,
}

/// Named numbers as an object.
pub(crate) mod named {
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_json::{Map, Value};

    use super::Named;

    pub(crate) fn serialize<S: Serializer>(named: &Named, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(named.iter().map(|(name, value)| (name, value)))
    }

    /// What is not finite was written as `null`.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Named, D::Error> {
        let named = Map::<String, Value>::deserialize(from)?;
        Ok(named
            .into_iter()
            .map(|(name, value)| (name, value.as_f64().unwrap_or(f64::NAN)))
            .collect())
    }
}

/// Appends lines to the metrics of a run.
pub(crate) struct Metrics {
    file: File,
    path: PathBuf,
    /// The curves, as long as they can be drawn.
    events: Option<Events>,
    warning: Option<String>,
    /// The newest step that has a line; 0 before the first.
    last_step: u64,
}

impl Metrics {
    /// Goes on after `step` of a run that has trained for `elapsed`; `baseline` is what was measured
    /// before its first step. Step 0 begins a new file.
    pub(crate) fn open(
        run: &Path,
        step: u64,
        elapsed: Duration,
        baseline: &[(String, f64)],
    ) -> Result<Self> {
        let path = run.join(METRICS);
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(Error::file("open", &path))?;
        let text = fs::read(&path).map_err(Error::file("read", &path))?;
        let (kept, lines) = lines_until(&text, step);
        let cut = file.set_len(kept as u64).and_then(|()| file.seek(SeekFrom::End(0)));
        cut.map_err(Error::file("write", &path))?;

        let began = SystemTime::now() - elapsed;
        let last_step = lines.last().and_then(step_of).unwrap_or(0);
        let mut metrics = Self { file, path, events: None, warning: None, last_step };
        match Events::create(run) {
            Ok(events) => metrics.events = Some(events),
            Err(error) => metrics.warn(&error),
        }
        metrics.baseline(baseline, began);
        for line in &lines {
            let elapsed = line.get("elapsed_s").and_then(Value::as_f64).unwrap_or(0.0);
            let elapsed = Duration::try_from_secs_f64(elapsed).unwrap_or(Duration::ZERO);
            metrics.curve(line, began + elapsed);
        }
        metrics.draw(Events::flush);
        Ok(metrics)
    }

    /// What was measured before the first step: curves begin with it, lines do not.
    pub(crate) fn baseline(&mut self, values: &[(String, f64)], time: SystemTime) {
        let scalars = values.iter().map(|(name, value)| (name.as_str(), *value));
        if !values.is_empty() {
            self.draw(|events| events.write(time, 0, scalars));
        }
    }

    /// Adds the line of a step.
    pub(crate) fn write(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line).expect("a line is JSON");
        let object = serde_json::from_str(&text).expect("a line is an object");
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(Error::file("write", &self.path))?;
        self.last_step = line.step;
        self.curve(&object, SystemTime::now());
        self.draw(Events::flush);
        Ok(())
    }

    /// What has gone wrong with the curves, once.
    pub(crate) fn warning(&mut self) -> Option<String> {
        self.warning.take()
    }

    /// The newest step that has a line; 0 before the first.
    pub(crate) fn last_step(&self) -> u64 {
        self.last_step
    }

    /// Returns when everything so far is on the disk.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(Error::file("write", &self.path))
    }

    fn curve(&mut self, line: &Map<String, Value>, time: SystemTime) {
        let counts = ["step", "tokens", "supervised_tokens", "elapsed_s"];
        let drawn = line.iter().filter(|(name, _)| !counts.contains(&name.as_str()));
        let scalars = drawn.filter_map(|(name, value)| Some((name.as_str(), value.as_f64()?)));
        self.draw(|events| events.write(time, step_of(line).unwrap_or(0), scalars));
    }

    /// Draws, unless something has gone wrong before.
    fn draw(&mut self, draw: impl FnOnce(&mut Events) -> Result<()>) {
        if let Some(Err(error)) = self.events.as_mut().map(draw) {
            self.warn(&error);
        }
    }

    fn warn(&mut self, error: &Error) {
        self.events = None;
        self.warning = Some(format!("no curves are drawn for TensorBoard any more: {error}"));
    }
}

fn step_of(line: &Map<String, Value>) -> Option<u64> {
    line.get("step")?.as_u64()
}

/// The whole lines of steps up to `step` at the start of the file, and their length in bytes.
fn lines_until(text: &[u8], step: u64) -> (usize, Vec<Map<String, Value>>) {
    let (mut kept, mut lines) = (0, Vec::new());
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let whole = line.ends_with(b"\n");
        match serde_json::from_slice::<Map<String, Value>>(line) {
            Ok(object) if whole && step_of(&object).is_some_and(|found| found <= step) => {
                lines.push(object);
            }
            _ => break,
        }
        kept += line.len();
    }
    (kept, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> Line {
        Line {
            step,
            epoch: 0.5,
            loss: 1.25,
            tokens: 8,
            supervised_tokens: 4,
            learning_rate: 1e-5,
            grad_norm: 2.0,
            tokens_per_second: 100.0,
            elapsed_s: step as f64,
            more: vec![("held_out_loss".into(), 1.5)],
        }
    }

    #[test]
    fn a_line_has_the_keys_of_the_interface() {
        let folder = tempfile::tempdir().unwrap();
        let mut metrics = Metrics::open(folder.path(), 0, Duration::ZERO, &[]).unwrap();
        metrics.write(&line(1)).unwrap();
        let text = fs::read_to_string(folder.path().join(METRICS)).unwrap();
        let object = serde_json::from_str::<Map<String, Value>>(&text).unwrap();
        let wanted = "step epoch loss tokens supervised_tokens learning_rate grad_norm \
                      tokens_per_second elapsed_s held_out_loss";
        assert_eq!(object.len(), wanted.split(' ').count());
        assert!(wanted.split_whitespace().all(|key| object.contains_key(key)), "{text}");
    }

    /// A file that is always full.
    #[cfg(target_os = "linux")]
    fn full() -> File {
        File::options().write(true).open("/dev/full").unwrap()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_with_where_to_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut metrics = Metrics::open(folder.path(), 0, Duration::ZERO, &[]).unwrap();
        metrics.file = full();
        let told = |last_good: Option<&str>| {
            let error = metrics.write(&line(1)).unwrap_err();
            let error = error.of_metrics(last_good.map(PathBuf::from));
            format!("{error}\n{}", error.hint().unwrap())
        };
        let [nothing, good] = [None, Some("checkpoints/step-000007")].map(told);
        let path = folder.path().join(METRICS);
        let start = format!("cannot write `{}`: No space left on device", path.display());
        assert!(nothing.starts_with(&start) && good.starts_with(&start), "{good}");
        assert!(nothing.ends_with("\nfree some space and run the same command again"), "{nothing}");
        assert!(
            good.contains("; the last good checkpoint is untouched\nfree some space"),
            "{good}"
        );
        assert!(good.contains("it goes on from `checkpoints/step-000007`"), "{good}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn curves_that_cannot_be_drawn_are_told_once_and_the_lines_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut metrics = Metrics::open(folder.path(), 0, Duration::ZERO, &[]).unwrap();
        metrics.events = Some(Events::to(full(), folder.path().join("events")));
        metrics.write(&line(1)).unwrap();
        let warning = metrics.warning().unwrap();
        assert!(warning.starts_with("no curves are drawn for TensorBoard any more: "), "{warning}");
        metrics.write(&line(2)).unwrap();
        assert_eq!(metrics.warning(), None);
        let text = fs::read_to_string(folder.path().join(METRICS)).unwrap();
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn resuming_cuts_off_later_and_torn_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METRICS);
        let open = |step| Metrics::open(folder.path(), step, Duration::ZERO, &[]).unwrap();
        let mut metrics = open(0);
        (1..=5).for_each(|step| metrics.write(&line(step)).unwrap());
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 3]).unwrap();

        let mut metrics = open(3);
        (4..=5).for_each(|step| metrics.write(&line(step)).unwrap());
        assert_eq!(fs::read(&path).unwrap(), whole);
        open(0);
        assert_eq!(fs::read(&path).unwrap(), b"");
    }
}
