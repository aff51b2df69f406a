//! Files of the network: downloaded whole or not at all, gone on with where an interrupted download ended.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use ureq::Agent;
use ureq::http::{Response, StatusCode};

use crate::failure::{Failure, Refusal, Result};
use crate::progress::{Progress, size};
use crate::terminal::Terminal;

/// Asks servers for files.
pub struct Downloads {
    agent: Agent,
    /// What tells a server who asks, if that matters to it.
    token: Option<String>,
    /// What to do if a download breaks off.
    hint: &'static str,
}

impl Downloads {
    /// `token` goes with every request; `hint` with every download that fails.
    pub fn new(token: Option<String>, hint: &'static str) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_resolve(Some(Duration::from_secs(5)))
            .timeout_connect(Some(Duration::from_secs(10)))
            .build();
        Self { agent: agent.into(), token, hint }
    }

    /// Asks for what is at an address, from a byte on.
    ///
    /// # Errors
    /// If there is no answer; an answer that says no is none of these.
    pub fn get(&self, address: &str, from: u64) -> Result<Response<ureq::Body>, ureq::Error> {
        let mut request = self.agent.get(address);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        request.call()
    }

    /// Downloads a file to `target`; until it is whole and `check` has nothing against it, it is called
    /// `target.partial`, and the next download goes on with that. `what` it is, is told.
    ///
    /// # Errors
    /// If it cannot be downloaded or written, and those of `check`.
    pub fn file(
        &self,
        address: &str,
        target: &Path,
        what: &str,
        terminal: &Terminal,
        check: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let mut partial = target.as_os_str().to_owned();
        partial.push(".partial");
        let partial = Path::new(&partial);
        let begun = partial.metadata().map_or(0, |found| found.len());
        let response = self.get(address, begun).map_err(|error| self.broken(address, error))?;
        let (mut out, begun) = match response.status() {
            StatusCode::PARTIAL_CONTENT => (File::options().append(true).open(partial)?, begun),
            StatusCode::OK => (File::create(partial)?, 0),
            // There is nothing behind what is here: it was whole, and only its name was missing.
            StatusCode::RANGE_NOT_SATISFIABLE => return finish(partial, target, check),
            other => return Err(anyhow!("`{address}` answers {other}").into()),
        };
        let left = response.body().content_length();
        let whole = begun + left.unwrap_or(0);
        terminal.note(&format!("downloading {what}, {}", size(whole)));
        let progress = Progress::new(terminal, "downloading MiB", begun >> 20, whole >> 20);
        let copied = copy(response.into_body().into_reader(), &mut out, |copied| {
            progress.set((begun + copied) >> 20, "");
        });
        let copied = copied.map_err(|error| self.broken(address, error))?;
        if left.is_some_and(|left| left != copied) {
            let found = size(begun + copied);
            let error =
                io::Error::other(format!("the connection ended after {found} of {}", size(whole)));
            return Err(self.broken(address, error));
        }
        out.sync_all()?;
        finish(partial, target, check)
    }

    fn broken(&self, address: &str, error: impl Into<anyhow::Error>) -> Failure {
        let refusal = Refusal::new(format!("cannot download `{address}`"), self.hint);
        Failure::Failed(error.into().context(refusal))
    }
}

/// Looks at a file that is whole, and gives it its name.
fn finish(partial: &Path, target: &Path, check: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if let Err(failure) = check(partial) {
        fs::remove_file(partial)?;
        return Err(failure);
    }
    Ok(fs::rename(partial, target)?)
}

/// The value of a variable of the environment, unless it is empty.
pub fn set(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Copies all there is; returns how many bytes.
fn copy(mut from: impl Read, to: &mut impl Write, mut tell: impl FnMut(u64)) -> io::Result<u64> {
    let (mut buffer, mut copied) = (vec![0; 1 << 20], 0);
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(copied);
        }
        to.write_all(&buffer[..read])?;
        copied += read as u64;
        tell(copied);
    }
}
