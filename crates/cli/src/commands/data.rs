//! `albacore data`: benchmarks from where they are published, at the user's word.
//!
//! ```text
//!  the list ─► what it is, its size, licence and checksums ─ yes? ─► download, check ─► the suite's folder
//! ```

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::args::{Data, DataAction, GetData};
use crate::benchmarks::{Benchmark, Part, Published, benchmarks};
use crate::download::Downloads;
use crate::failure::{Failure, OrRefuse, Outcome, Refusal, Result};
use crate::program::program;
use crate::progress::{count, size};
use crate::terminal::Terminal;

/// Files of one place that are shown one by one.
const SHOWN: usize = 4;

/// Runs the command.
///
/// # Errors
/// Refused if there is no such benchmark, nobody says yes, or other files are in the way; fails if a file
/// cannot be downloaded or is not what was published.
pub fn run(options: &Data, terminal: &Terminal) -> Result {
    match &options.action {
        DataAction::List(options) => {
            list(&benchmarks(options.registry.as_deref())?, terminal)?;
            Ok(Outcome::Done)
        }
        DataAction::Get(options) => get(options, terminal),
    }
}

fn list(known: &[Benchmark], terminal: &Terminal) -> Result<()> {
    if terminal.json {
        return Ok(terminal.print(&json!({ "benchmarks": known }).to_string())?);
    }
    let rows = known.iter().map(|benchmark| {
        let Benchmark { name, about, licence, .. } = benchmark;
        let (files, size) = (files(benchmark).count(), told_size(benchmark));
        format!("{name:<14} {:>5} {:>17}   {about} ({licence})\n", count(files), size)
    });
    let head = format!("{:<14} {:>5} {:>17}\n", "name", "files", "size");
    Ok(terminal.print(&(head + &rows.collect::<String>()))?)
}

/// A file, where it comes from and where it goes.
struct Wanted<'b> {
    url: String,
    target: PathBuf,
    file: &'b Published,
}

fn files(benchmark: &Benchmark) -> impl Iterator<Item = (&Part, &Published)> {
    benchmark.parts.iter().flat_map(|part| part.files.iter().map(move |file| (part, file)))
}

/// The size of all files, as far as it is known.
fn told_size(benchmark: &Benchmark) -> String {
    let bytes = files(benchmark).filter_map(|(_, file)| file.bytes).sum::<u64>();
    let unknown = files(benchmark).filter(|(_, file)| file.bytes.is_none()).count();
    match (unknown, bytes) {
        (0, bytes) => size(bytes),
        (_, 0) => "not known".into(),
        (_, bytes) => format!("{} and more", size(bytes)),
    }
}

fn get(options: &GetData, terminal: &Terminal) -> Result {
    let known = benchmarks(options.registry.as_deref())?;
    let chosen = chosen(&known, &options.names)?;
    let mut wanted = Vec::new();
    for benchmark in &chosen {
        let of = files(benchmark).map(|(part, file)| Wanted {
            url: format!("{}/{}", part.url, file.name),
            target: options.data.join(&part.folder).join(&file.name),
            file,
        });
        wanted.extend(of);
    }
    let mut missing = Vec::new();
    for one in &wanted {
        if !is_there(one)? {
            missing.push(one);
        }
    }
    let there = wanted.len() - missing.len();
    if !terminal.json {
        let text: String = chosen.iter().map(|benchmark| told(benchmark)).collect();
        terminal.print(&text)?;
    }
    if !missing.is_empty() {
        agree(options, &missing, terminal)?;
    }
    let downloads = Downloads::new(None, "run the same command again to go on");
    let mut unchecked = 0;
    for Wanted { url, target, file } in missing.iter().copied() {
        let folder = target.parent().expect("it was joined to a folder");
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make folder `{}`", folder.display()))?;
        downloads.file(url, target, &file.name, terminal, |path| check(url, path, file))?;
        unchecked += usize::from(file.sha256.is_none());
    }
    let text = match terminal.json {
        true => json!({
            "data": options.data, "benchmarks": chosen, "files": wanted.len(),
            "downloaded": missing.len(), "without_checksum": unchecked,
        })
        .to_string(),
        false => end(options, missing.len(), there, unchecked),
    };
    terminal.print(&text)?;
    Ok(Outcome::Done)
}

/// The benchmarks of these names.
fn chosen<'b>(known: &'b [Benchmark], names: &[String]) -> Result<Vec<&'b Benchmark>> {
    let mut chosen: Vec<&Benchmark> = Vec::new();
    for name in names {
        let Some(found) = known.iter().find(|benchmark| benchmark.name == *name) else {
            let all: Vec<_> = known.iter().map(|benchmark| benchmark.name.as_str()).collect();
            let message =
                format!("there is no benchmark `{name}`, wanted one of `{}`", all.join("`, `"));
            let hint = "`albacore data list` says what each is";
            return Err(Refusal::new(message, hint)).or_refuse();
        };
        if !chosen.contains(&found) {
            chosen.push(found);
        }
    }
    Ok(chosen)
}

/// What a benchmark is, before anything is downloaded.
fn told(benchmark: &Benchmark) -> String {
    let Benchmark { name, about, licence, home, note, parts } = benchmark;
    let (number, size) = (count(files(benchmark).count()), told_size(benchmark));
    let mut text = format!(
        "{name}: {about}\n  home      {home}\n  licence   {licence}\n  size      {number} files, {size}\n  \
         note      {note}\n"
    );
    for Part { url, folder, files } in parts {
        text += &format!("  from      {url}\n  to        {}\n", folder.display());
        for Published { name, bytes, sha256 } in files.iter().take(SHOWN) {
            let bytes = bytes.map_or("size not known".to_owned(), size_of);
            let sum = sha256
                .as_ref()
                .map_or("no checksum is known".to_owned(), |sum| format!("SHA-256 {sum}"));
            text += &format!("            {name}, {bytes}, {sum}\n");
        }
        if files.len() > SHOWN {
            let more = &files[SHOWN..];
            let sums = more.iter().filter(|file| file.sha256.is_some()).count();
            let (more, sums) = (count(more.len()), count(sums));
            text += &format!("            and {more} more, checksums of {sums}\n");
        }
    }
    text
}

fn size_of(bytes: u64) -> String {
    format!("{bytes} bytes")
}

/// Asks the user, unless the command line has answered.
fn agree(options: &GetData, missing: &[&Wanted<'_>], terminal: &Terminal) -> Result<()> {
    if options.yes {
        return Ok(());
    }
    let refuse = |message: &str, hint: &str| Err(Refusal::new(message, hint)).or_refuse();
    if terminal.json || !io::stdin().is_terminal() {
        return refuse("nothing was downloaded: nobody has said yes", "say it with `--yes`");
    }
    let (number, place) = (count(missing.len()), options.data.display());
    eprint_now(&format!("download {number} files into `{place}`? [y/N] "));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => refuse("nothing was downloaded", "answer `y`, or say `--yes`"),
    }
}

/// Asks in a line that goes on.
fn eprint_now(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Whether a file is there already, and what was published.
fn is_there(wanted: &Wanted<'_>) -> Result<bool> {
    let Wanted { target, file, url } = wanted;
    if !target.exists() {
        return Ok(false);
    }
    match check(url, target, file) {
        Ok(()) => Ok(true),
        Err(_) => {
            let message = format!("`{}` is there and is not what is published", target.display());
            let hint = "move it away, or name another folder with `--data`";
            Err(Refusal::new(message, hint)).or_refuse()
        }
    }
}

/// Compares a file with what was published, as far as that is known.
fn check(url: &str, path: &Path, file: &Published) -> Result<()> {
    let Some(wanted) = &file.sha256 else { return Ok(()) };
    let mut digest = Sha256::new();
    let mut bytes =
        File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match io::Read::read(&mut bytes, &mut buffer)? {
            0 => break,
            read => digest.update(&buffer[..read]),
        }
    }
    let found: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found == *wanted {
        return Ok(());
    }
    let message = format!("`{url}` has SHA-256 {found}, wanted {wanted}: it was not kept");
    let hint = "what is published there has changed, or somebody stands between; try again later";
    Err(Failure::Failed(Refusal::new(message, hint).into()))
}

/// What there is now, and what to do with it.
fn end(options: &GetData, downloaded: usize, there: usize, unchecked: usize) -> String {
    let (data, names) = (options.data.display(), options.names.join(","));
    let mut text = format!("downloaded {} files", count(downloaded));
    if there > 0 {
        text += &format!(", {} were there", count(there));
    }
    text += "\n";
    if unchecked > 0 {
        text += &format!(
            "of {} no checksum is known: the commit in their address pins them\n",
            count(unchecked)
        );
    }
    text + &format!("\nnext\n  {} eval MODEL --suite {names} --data {data}\n", program())
}
