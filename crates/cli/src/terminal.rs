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
    /// Part of a recipe: what to do next is not for the reader to type.
    pub of_recipe: bool,
}

impl Terminal {
    /// As the command line asked.
    pub fn new(global: &Global) -> Self {
        Self { quiet: global.quiet, json: global.json, of_recipe: false }
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

    /// Says what went wrong and what to do about it, on stderr, even if quiet.
    pub fn error(&self, message: &str, hint: Option<&str>) {
        if self.json {
            return complain(&serde_json::json!({ "error": message, "hint": hint }).to_string());
        }
        complain(&format!("error: {message}"));
        if let Some(hint) = hint {
            complain(&format!("hint: {hint}"));
        }
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
    pub fn print(&self, text: &str) -> Result<(), Unprinted> {
        let newline = if text.ends_with('\n') { "" } else { "\n" };
        write(&[text, newline])
    }

    /// Prints what may be typed next, on stdout; to people only, and not within a recipe.
    ///
    /// # Errors
    /// As [`Terminal::print`].
    pub fn advise(&self, text: &str) -> Result<(), Unprinted> {
        if self.json || self.of_recipe { Ok(()) } else { self.print(text) }
    }

    /// Prints a piece of a line on stdout, and shows it at once.
    ///
    /// # Errors
    /// As [`Terminal::print`].
    pub fn print_piece(&self, text: &str) -> Result<(), Unprinted> {
        write(&[text])
    }
}

fn write(texts: &[&str]) -> Result<(), Unprinted> {
    let mut stdout = io::stdout().lock();
    let written = texts.iter().try_for_each(|text| stdout.write_all(text.as_bytes()));
    written.and_then(|()| stdout.flush()).map_err(Unprinted)
}

/// Stdout cannot be written.
#[derive(Debug)]
pub struct Unprinted(pub io::Error);

impl std::fmt::Display for Unprinted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot write to stdout: {}", self.0)
    }
}

impl std::error::Error for Unprinted {}

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
