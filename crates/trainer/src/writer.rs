//! Writes checkpoints behind training.
//!
//! A candle tensor is a shared pointer, and weights and moments change only in the optimizer's
//! update. So nothing is copied: a thread reads the living tensors while the next forward and
//! backward passes run, and the next update waits for it. How long it waited is reported.

use std::error::Error as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use albacore_model::save::{self, write_safetensors};
use serde::Serialize;

use crate::checkpoint::{self, CheckpointConfig, OPTIMIZER, STATE, State};
use crate::error::is_full;
use crate::manifest::{Entry, MANIFEST, Manifest, Sealing};
use crate::{Error, Result};

/// Small files that make a checkpoint a model's folder (`config.json`, the tokenizer, …): names and
/// contents.
pub type SmallFiles = Vec<(String, Vec<u8>)>;

/// Everything that goes into a checkpoint. The tensors share their storage with the model and the
/// optimizer: they must not change until it is written.
pub(crate) struct Contents {
    pub(crate) files: Arc<SmallFiles>,
    pub(crate) weights: Vec<save::Entry<'static>>,
    pub(crate) moments: Vec<save::Entry<'static>>,
    pub(crate) state: State,
}

/// A checkpoint that was saved.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// The step.
    pub step: u64,
    /// Its folder.
    pub folder: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Time that the writing took, behind training.
    pub took: Duration,
    /// Time that training waited for it.
    pub stalled: Duration,
    /// Older checkpoints that were removed.
    pub removed: Vec<PathBuf>,
    /// Sentences on older ones that should have been and could not be.
    pub warnings: Vec<String>,
}

/// The thread that writes, one checkpoint at a time.
pub(crate) struct Writer {
    checkpoints: PathBuf,
    config: CheckpointConfig,
    running: Option<JoinHandle<Result<Saved>>>,
}

impl Writer {
    /// A writer into a run's `checkpoints` folder.
    pub(crate) fn new(checkpoints: PathBuf, config: CheckpointConfig) -> Self {
        Self { checkpoints, config, running: None }
    }

    /// Begins to write. The one before must have been waited for.
    pub(crate) fn start(&mut self, contents: Contents) {
        assert!(self.running.is_none(), "one checkpoint is written at a time");
        let (checkpoints, config) = (self.checkpoints.clone(), self.config.clone());
        self.running = Some(thread::spawn(move || save(&checkpoints, &config, &contents)));
    }

    /// Waits until nothing is being written. Returns what has been since the last call.
    pub(crate) fn wait(&mut self) -> Result<Option<Saved>> {
        let Some(running) = self.running.take() else { return Ok(None) };
        let since = Instant::now();
        let mut saved = running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        saved.stalled = since.elapsed();
        Ok(Some(saved))
    }
}

impl Drop for Writer {
    /// A run that ends with an error still seals the checkpoint that it had begun.
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.join();
        }
    }
}

/// Writes and seals a checkpoint, then removes those that it makes superfluous.
fn save(checkpoints: &Path, config: &CheckpointConfig, contents: &Contents) -> Result<Saved> {
    let (since, step) = (Instant::now(), contents.state.step);
    let (folder, bytes) = write(checkpoints, contents)?;
    // Now it is saved: whatever happens to older ones does not undo that.
    let (mut removed, mut warnings) = (Vec::new(), Vec::new());
    match outdated(checkpoints, config, step) {
        Err(error) => warnings.push(format!("older checkpoints stay: {error}")),
        Ok(outdated) => {
            for folder in outdated {
                match remove(&folder) {
                    Ok(()) => removed.push(folder),
                    Err(error) => warnings.push(error.to_string()),
                }
            }
        }
    }
    let (took, stalled) = (since.elapsed(), Duration::ZERO);
    Ok(Saved { step, folder, bytes, took, stalled, removed, warnings })
}

/// The checkpoints that the one of `step` makes superfluous.
fn outdated(checkpoints: &Path, config: &CheckpointConfig, step: u64) -> Result<Vec<PathBuf>> {
    let there = checkpoint::list(checkpoints)?;
    let steps = there.iter().map(|(step, _)| *step).collect::<Vec<_>>();
    let outdated = config.outdated(&steps, step);
    let outdated = there.into_iter().filter(|(step, _)| outdated.contains(step));
    Ok(outdated.map(|(_, folder)| folder).collect())
}

/// Removes a checkpoint: first it loses its name, so that half of it is never found.
fn remove(folder: &Path) -> Result<()> {
    let partial = checkpoint::partial(folder);
    let removed = fs::rename(folder, &partial).and_then(|()| fs::remove_dir_all(&partial));
    removed.map_err(Error::file("remove", folder))
}

/// Writes and seals a checkpoint; if that fails, nothing of it is left.
fn write(checkpoints: &Path, contents: &Contents) -> Result<(PathBuf, u64)> {
    let sealed = checkpoints.join(checkpoint::name_of(contents.state.step));
    let partial = checkpoint::partial(&sealed);
    let needed = contents.bytes();
    let full = |free| {
        let (folder, last_good) = (checkpoints.to_owned(), checkpoint::last_good(checkpoints));
        Error::DiskFull { folder, needed, free, last_good }
    };
    let free = free_space(checkpoints)?;
    if free < needed {
        return Err(full(free));
    }
    let written = fill(&partial, contents).and_then(|bytes| {
        publish(&partial, &sealed).map_err(Error::file("name", &sealed))?;
        Ok((sealed, bytes))
    });
    written.map_err(|error| {
        // What was written is of no use, and its space may be what is missing.
        let _ = fs::remove_dir_all(&partial);
        if is_disk_full(&error) { full(free_space(checkpoints).unwrap_or(0)) } else { error }
    })
}

impl Contents {
    /// Its size on the disk, or a little more.
    fn bytes(&self) -> u64 {
        // Numbers, and an entry of the header each.
        let tensors = self.weights.iter().chain(&self.moments);
        let tensors = tensors.map(|tensor| tensor.bytes() + tensor.name.len() as u64 + 128);
        // Files fill whole blocks.
        let files = self.files.iter().map(|(_, data)| data.len() as u64 + 4096);
        tensors.sum::<u64>() + files.sum::<u64>() + (1 << 16)
    }
}

/// Writes all files into a new folder, the manifest last, and waits until they are on the disk.
/// Returns their size.
fn fill(partial: &Path, contents: &Contents) -> Result<u64> {
    fs::create_dir(partial).map_err(Error::file("make folder", partial))?;
    let mut files = Vec::new();
    for (name, data) in contents.files.iter() {
        files.push(small_file(partial, name, data)?);
    }
    for (name, tensors) in
        [("model.safetensors", &contents.weights), (OPTIMIZER, &contents.moments)]
    {
        let fill = |out: &mut Sealing, path: &Path| {
            write_safetensors(out, path, tensors)?;
            Ok(())
        };
        files.push(file(partial, name, fill)?);
    }
    files.push(small_file(partial, STATE, &json(&contents.state))?);
    let total = files.iter().map(|entry| entry.bytes).sum();
    small_file(partial, MANIFEST, &json(&Manifest { files }))?;
    sync_folder(partial).map_err(Error::file("write", partial))?;
    Ok(total)
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("a checkpoint's records are JSON");
    text.push(b'\n');
    text
}

/// Writes one file through `fill` and waits until it is on the disk.
fn file(
    folder: &Path,
    name: &str,
    fill: impl FnOnce(&mut Sealing, &Path) -> Result<()>,
) -> Result<Entry> {
    let path = folder.join(name);
    let mut file = Sealing::create(&path).map_err(Error::file("write", &path))?;
    fill(&mut file, &path)?;
    file.seal(name).map_err(Error::file("write", &path))
}

fn small_file(folder: &Path, name: &str, data: &[u8]) -> Result<Entry> {
    file(folder, name, |out, path| out.write_all(data).map_err(Error::file("write", path)))
}

/// Gives a finished folder its name, in place of any that had it: a damaged one, or one of a run
/// that was wound back.
fn publish(partial: &Path, sealed: &Path) -> io::Result<()> {
    let old = checkpoint::partial(sealed);
    if sealed.exists() {
        fs::rename(sealed, &old)?;
    }
    fs::rename(partial, sealed)?;
    sync_folder(sealed.parent().expect("a checkpoint lies in a folder"))?;
    // If it cannot be removed, the next start tries again and says so.
    let _ = fs::remove_dir_all(&old);
    Ok(())
}

/// Waits until the names in a folder are on the disk.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Bytes that the file system has left for us.
fn free_space(folder: &Path) -> Result<u64> {
    let space = rustix::fs::statvfs(folder).map_err(io::Error::from);
    let space = space.map_err(Error::file("look at", folder))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Whether an error comes from a full disk or a spent quota.
fn is_disk_full(error: &Error) -> bool {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).any(is_full)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use albacore_model::Dtype;

    use super::*;
    use crate::Checkpoint;
    use crate::manifest::Scrutiny;

    fn contents(step: u64, weights: Vec<save::Entry<'static>>) -> Contents {
        let mut state = State::new(9, 0, "digest".into(), serde_json::json!({}));
        state.step = step;
        let files = Arc::new(vec![("config.json".to_owned(), b"{}".to_vec())]);
        Contents { files, weights, moments: Vec::new(), state }
    }

    fn entry(
        len: usize,
        numbers: impl Fn() -> albacore_model::Result<Vec<f32>> + Send + Sync + 'static,
    ) -> save::Entry<'static> {
        save::Entry::computed("weight", vec![len], Dtype::F32, numbers)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
        names.sort();
        names
    }

    #[test]
    fn a_checkpoint_that_would_not_fit_is_not_begun() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &contents(1, vec![entry(1, || Ok(vec![1.0]))])).unwrap();
        let huge = contents(2, vec![entry(1 << 60, || unreachable!("it is not written"))]);
        let error = write(folder.path(), &huge).unwrap_err();
        let Error::DiskFull { needed, free, .. } = error else { panic!("{error}") };
        assert!(needed > 1 << 62 && free < needed);
        let text = error.to_string();
        assert!(text.ends_with("; the last good checkpoint is untouched"), "{text}");
        let hint = error.hint().unwrap();
        let good = folder.path().join("step-000001");
        let wanted = format!(
            "free some space and run the same command again: it goes on from `{}`",
            good.display()
        );
        assert!(hint.starts_with(&wanted), "{hint}");
        assert_eq!(names(folder.path()), ["step-000001"]);

        let empty = tempfile::tempdir().unwrap();
        let error = write(empty.path(), &huge).unwrap_err();
        let text = format!("{error}\n{}", error.hint().unwrap());
        assert!(!text.contains("good checkpoint") && !text.contains("goes on"), "{text}");
    }

    #[test]
    fn an_old_checkpoint_that_cannot_be_removed_is_named_and_harms_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let config = CheckpointConfig { keep_last: 1, ..Default::default() };
        // A file in the place of a folder cannot be removed as one.
        fs::write(folder.path().join("step-000001"), "").unwrap();
        let save =
            |step| save(folder.path(), &config, &contents(step, vec![entry(1, || Ok(vec![1.0]))]));
        let saved = save(2).unwrap();
        let wanted = format!("cannot remove `{}`: ", folder.path().join("step-000001").display());
        assert!(saved.warnings.len() == 1 && saved.warnings[0].starts_with(&wanted), "{saved:?}");
        assert_eq!(names(folder.path()), ["step-000001.partial", "step-000002"]);

        let saved = save(3).unwrap();
        assert_eq!((saved.warnings.len(), saved.removed.len()), (0, 1));
        assert_eq!(names(folder.path()), ["step-000001.partial", "step-000003"]);
        // Neither does the next of the same step trip over it.
        save(1).unwrap();
        assert!(names(folder.path()).contains(&"step-000001".to_owned()));
    }

    #[test]
    fn a_disk_that_fills_up_while_saving_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &contents(1, vec![entry(1, || Ok(vec![1.0]))])).unwrap();
        let full = || {
            let (action, path) = ("write", PathBuf::from("model.safetensors"));
            let source = io::ErrorKind::StorageFull.into();
            Err(albacore_model::Error::Io { action, path, source })
        };
        let error = write(folder.path(), &contents(2, vec![entry(1, full)])).unwrap_err();
        assert!(matches!(error, Error::DiskFull { .. }), "{error}");
        assert_eq!(names(folder.path()), ["step-000001"]);
        Checkpoint::open(&folder.path().join("step-000001"), Scrutiny::Hashes).unwrap();
    }

    #[test]
    fn a_checkpoint_takes_the_place_of_one_of_the_same_step() {
        let folder = tempfile::tempdir().unwrap();
        for number in [1.0, 2.0] {
            let numbers = move || Ok(vec![number]);
            let (sealed, bytes) =
                write(folder.path(), &contents(1, vec![entry(1, numbers)])).unwrap();
            assert_eq!(names(folder.path()), ["step-000001"]);
            let weights = fs::read(sealed.join("model.safetensors")).unwrap();
            assert!(weights.ends_with(&f32::to_le_bytes(number)));
            let entries = fs::read_dir(&sealed).unwrap().map(|entry| entry.unwrap());
            let files = entries.filter(|entry| entry.file_name() != MANIFEST);
            assert_eq!(files.map(|file| file.metadata().unwrap().len()).sum::<u64>(), bytes);
        }
    }

    #[test]
    fn training_goes_on_while_a_checkpoint_is_written_and_waits_for_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let numbers = move || {
            held.lock().unwrap().recv().unwrap();
            Ok(vec![1.0])
        };
        let mut writer = Writer::new(folder.path().to_owned(), CheckpointConfig::default());
        assert_eq!(writer.wait().unwrap(), None);
        writer.start(contents(3, vec![entry(1, numbers)]));
        // The writer cannot go on before this line: `start` did not wait for it.
        release.send(()).unwrap();
        let saved = writer.wait().unwrap().unwrap();
        assert_eq!((saved.step, saved.folder), (3, folder.path().join("step-000003")));
        assert_eq!(writer.wait().unwrap(), None);
    }

    #[test]
    fn a_run_that_fails_still_seals_what_it_had_begun() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(folder.path().to_owned(), CheckpointConfig::default());
        writer.start(contents(3, vec![entry(1, || Ok(vec![1.0]))]));
        drop(writer);
        Checkpoint::open(&folder.path().join("step-000003"), Scrutiny::Hashes).unwrap();
    }
}
