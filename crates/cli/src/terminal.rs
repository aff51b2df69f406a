//! What is said to the person at the terminal: results on stdout, everything else on stderr.
//!
//! Nothing here panics when the reader has gone away: a lost message never ends a training run.

use std::io::{self, IsTerminal, Write};

use crate::args::Global;

/// How to talk.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Results and warnings only.
    pub quiet: bool,
    /// JSON lines instead of sentences.
    pub json: bool,
}

impl Terminal {
    /// As the command line asked.
    pub fn new(global: &Global) -> Self {
        Self { quiet: global.quiet, json: global.json }
    }

    /// Says how things go, on stderr.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.stderr("note", text, text);
        }
    }

    /// Says what may surprise, on stderr, even if quiet.
    pub fn warn(&self, text: &str) {
        self.stderr("warning", text, &format!("warning: {text}"));
    }

    fn stderr(&self, key: &str, text: &str, sentence: &str) {
        if self.json {
            complain(&serde_json::json!({ key: text }).to_string());
        } else {
            complain(sentence);
        }
    }

    /// Prints a result on stdout.
    ///
    /// # Errors
    /// If stdout cannot be written, as when the reader has gone away.
    pub fn print(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            stdout.write_all(b"\n")?;
        }
        stdout.flush()
    }
}

/// Writes a line on stderr, if anyone reads it.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether stdout shows colours: a terminal whose owner did not ask for none (no-color.org).
pub fn stdout_has_colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !refused && !dumb
}
