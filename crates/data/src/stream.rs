//! Ids to text as they come.

use crate::{Defect, Tokenizer};

/// No character has more bytes than this, so as many undecodable tokens are no part of one.
const LONGEST_CHARACTER: usize = 4;

/// Turns ids into text one by one. A character that is spread over several tokens comes out with the
/// last of them; a space that a token only has inside a text is kept. Bytes that are no text come out
/// as U+FFFD.
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    /// The tokens of the last piece given out, and those that came since.
    ids: Vec<u32>,
    /// How many of them were given out.
    given: usize,
}

impl<'a> TextStream<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer, skip_special: bool) -> Self {
        Self { tokenizer, skip_special, ids: Vec::new(), given: 0 }
    }

    /// The text that this id completes: empty inside a character.
    ///
    /// # Errors
    /// If the tokenizer's decoder fails.
    pub fn push(&mut self, id: u32) -> Result<String, Defect> {
        self.ids.push(id);
        let text = self.new_text()?;
        let waiting = self.ids.len() - self.given;
        if text.is_empty() || (text.ends_with('\u{FFFD}') && waiting < LONGEST_CHARACTER) {
            return Ok(String::new());
        }
        self.ids.drain(..self.given);
        self.given = self.ids.len();
        Ok(text)
    }

    /// What is left at the end: the beginning of a character that never ended, or nothing.
    ///
    /// # Errors
    /// If the tokenizer's decoder fails.
    pub fn finish(&mut self) -> Result<String, Defect> {
        let text = self.new_text()?;
        self.given = self.ids.len();
        Ok(text)
    }

    /// The text of all tokens less that of the ones given out: decoders drop the space at the
    /// beginning of a text, so the new tokens alone would lose theirs.
    fn new_text(&self) -> Result<String, Defect> {
        let old = self.tokenizer.decode(&self.ids[..self.given], self.skip_special)?;
        let all = self.tokenizer.decode(&self.ids, self.skip_special)?;
        Ok(all.get(old.len()..).unwrap_or_default().to_owned())
    }
}
