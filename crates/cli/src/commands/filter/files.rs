//! Outputs that are complete or do not exist, and are never an input.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::args::Filter;
use crate::failure::{OrRefuse, Refusal, Result};

/// Refuses an output that is an input, another output, or in a folder that is not there; and an
/// input that would be compared with itself.
pub fn refuse_overwriting(options: &Filter) -> Result<()> {
    let outputs: Vec<_> = [&options.output].into_iter().chain(&options.dropped).collect();
    for input in options.against.iter().chain([&options.input]) {
        // What is written lies beside its place until it is complete.
        let partials = outputs.iter().map(|output| partial(output));
        let written: Vec<_> =
            outputs.iter().map(|path| path.to_path_buf()).chain(partials).collect();
        if let Some(written) = written.iter().find(|written| is_same(input, written)) {
            let message = format!("`{}` would be written over: it is read", written.display());
            return Err(Refusal::new(message, "write to another file")).or_refuse();
        }
    }
    if let Some(pool) = options.against.iter().find(|pool| is_same(pool, &options.input)) {
        let message = format!("`--against {}` is the input itself", pool.display());
        let hint = "the input's texts are compared with one another without being asked to";
        return Err(Refusal::new(message, hint)).or_refuse();
    }
    if let [kept, dropped] = outputs[..]
        && (is_same(kept, dropped) || partial(kept) == *dropped || partial(dropped) == *kept)
    {
        let message = format!(
            "`--output {}` and `--dropped {}` are one file",
            kept.display(),
            dropped.display()
        );
        return Err(Refusal::new(message, "write to two files")).or_refuse();
    }
    for output in outputs {
        let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let message = format!("there is no folder `{}` to write in", folder.display());
            return Err(Refusal::new(message, "make it first")).or_refuse();
        }
        if output.is_dir() {
            let message = format!("`{}` is a folder, wanted a file to write", output.display());
            return Err(Refusal::new(message, "name a file in it")).or_refuse();
        }
        // What is written takes the place of what is there, be it a device or a pipe.
        let is_there = fs::metadata(output);
        if output.starts_with("/dev") || is_there.is_ok_and(|there| !there.is_file()) {
            let message = format!("`{}` is no file, wanted one to write", output.display());
            return Err(Refusal::new(message, "name a file: it is written whole or not at all"))
                .or_refuse();
        }
    }
    Ok(())
}

/// Where a file lies until it is complete.
fn partial(path: &Path) -> PathBuf {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    PathBuf::from(partial)
}

/// Whether two paths lead to one file, by whatever links.
fn is_same(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    if let (Ok(a), Ok(b)) = (fs::metadata(a), fs::metadata(b)) {
        use std::os::unix::fs::MetadataExt;
        return (a.dev(), a.ino()) == (b.dev(), b.ino());
    }
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

/// A file of records, written beside its place and renamed when it is complete.
pub struct Output {
    path: PathBuf,
    partial: PathBuf,
    out: Option<BufWriter<File>>,
    is_array: bool,
    records: usize,
}

impl Output {
    /// Begins to write a file of lines.
    pub fn create(path: &Path) -> Result<Self> {
        let partial = partial(path);
        let file = File::create(&partial).with_context(|| cannot(path))?;
        let out = Some(BufWriter::with_capacity(1 << 16, file));
        Ok(Self { path: path.into(), partial, out, is_array: false, records: 0 })
    }

    /// Makes it one JSON array, its items on lines of their own.
    pub fn begin_array(&mut self) {
        self.is_array = true;
    }

    /// Writes a record.
    pub fn write(&mut self, record: &[u8]) -> Result<()> {
        let before: &[u8] = match (self.is_array, self.records) {
            (false, _) => b"",
            (true, 0) => b"[\n",
            (true, _) => b",\n",
        };
        let after: &[u8] = if self.is_array { b"" } else { b"\n" };
        self.put(&[before, record, after])?;
        self.records += 1;
        Ok(())
    }

    fn put(&mut self, parts: &[&[u8]]) -> Result<()> {
        let out = self.out.as_mut().expect("it is open until it is finished");
        let written = parts.iter().try_for_each(|part| out.write_all(part));
        Ok(written.with_context(|| cannot(&self.path))?)
    }

    /// Ends the file, and puts it in its place.
    pub fn finish(mut self) -> Result<()> {
        if self.is_array {
            let end: &[u8] = if self.records == 0 { b"[]\n" } else { b"\n]\n" };
            self.put(&[end])?;
        }
        let out = self.out.take().expect("it is finished once");
        let file = out.into_inner().map_err(std::io::IntoInnerError::into_error);
        let synced = file.and_then(|file| file.sync_all());
        let placed = synced.and_then(|()| fs::rename(&self.partial, &self.path));
        if placed.is_err() {
            let _ = fs::remove_file(&self.partial);
        }
        Ok(placed.with_context(|| cannot(&self.path))?)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.out.take().is_some() {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

fn cannot(path: &Path) -> String {
    format!("cannot write `{}`", path.display())
}
