//! The text of an answer as its tokens come.

use albacore_data::{Defect, TextStream};

use crate::terminal::Terminal;

/// The text of an answer as it grows, up to the first stop text.
pub struct Answer<'a> {
    stream: TextStream<'a>,
    stops: Vec<String>,
    /// What there is of it.
    pub text: String,
    /// Bytes of it that were printed.
    shown: usize,
    /// A stop text came.
    pub stopped: bool,
}

impl<'a> Answer<'a> {
    /// An answer whose tokens come out of `stream`, and which ends before the first of `stops`.
    pub fn new(stream: TextStream<'a>, stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stream, stops, text: String::new(), shown: 0, stopped: false }
    }

    /// Adds a token; returns the text that it completes, a stop text included.
    ///
    /// # Errors
    /// If the tokenizer's decoder fails.
    pub fn push(&mut self, id: u32) -> Result<String, Defect> {
        let piece = self.stream.push(id)?;
        self.add(&piece);
        Ok(piece)
    }

    /// What is left in the stream: no text is held back any more.
    ///
    /// # Errors
    /// If the tokenizer's decoder fails.
    pub fn end(&mut self) -> Result<(), Defect> {
        if !self.stopped {
            let rest = self.stream.finish()?;
            self.add(&rest);
        }
        Ok(())
    }

    fn add(&mut self, piece: &str) {
        let old = self.text.len();
        self.text += piece;
        let found = self.stops.iter().filter_map(|stop| {
            // It ends in the new piece, so it begins no earlier than this.
            let mut from = (old + 1).saturating_sub(stop.len());
            while !self.text.is_char_boundary(from) {
                from -= 1;
            }
            Some(from + self.text[from..].find(stop.as_str())?)
        });
        if let Some(end) = found.min() {
            self.text.truncate(end);
            self.stopped = true;
        }
    }

    /// Prints what is new; before the end without what may yet become a stop text.
    ///
    /// # Errors
    /// If it cannot be printed.
    pub fn show(&mut self, terminal: &Terminal, ended: bool) -> crate::failure::Result<()> {
        let held_back = if ended || self.stopped { 0 } else { self.held_back() };
        let end = self.text.len() - held_back;
        if end > self.shown {
            terminal.print_piece(&self.text[self.shown..end])?;
            self.shown = end;
        }
        Ok(())
    }

    /// Bytes at the end of the text with which a stop text begins.
    fn held_back(&self) -> usize {
        let begun = |stop: &String| {
            let ends = (1..stop.len()).rev().filter(|end| stop.is_char_boundary(*end));
            ends.into_iter().find(|end| self.text.ends_with(&stop[..*end])).unwrap_or(0)
        };
        self.stops.iter().map(begun).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local_model::tests::letters;

    fn grown(pieces: &[&str], stops: &[&str]) -> (String, bool) {
        let tokenizer = letters();
        let stops = stops.iter().map(|&stop| stop.to_owned()).collect::<Vec<_>>();
        let mut answer = Answer::new(tokenizer.stream(true), &stops);
        for piece in pieces {
            if answer.stopped {
                break;
            }
            answer.add(piece);
        }
        (answer.text, answer.stopped)
    }

    #[test]
    fn the_first_stop_text_ends_an_answer_wherever_pieces_are_cut() {
        let cut = |pieces: &[&str]| grown(pieces, &["\n\nTask", "é!", ""]);
        assert_eq!(cut(&["one\n", "\nTa", "sk 2"]), ("one".into(), true));
        assert_eq!(cut(&["one\n\nTask two é!"]), ("one".into(), true));
        assert_eq!(cut(&["ca", "fé", "! and more"]), ("caf".into(), true));
        assert_eq!(cut(&["one\n\nTa", "lk"]), ("one\n\nTalk".into(), false));
        // Of two the one that begins first, though the other is complete before.
        assert_eq!(grown(&["abc", "d"], &["bcd", "c"]), ("ab".into(), true));
        assert_eq!(grown(&["ab", "cd"], &["d", "bcd"]), ("a".into(), true));
    }
}
