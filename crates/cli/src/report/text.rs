//! Texts of others, made fit to be looked at.

use maud::{Markup, Render, html};

use crate::progress::count;

/// Characters of a text that a page shows.
const LONGEST: usize = 2000;

/// A text as a page shows it; written into HTML it is escaped and, if very long, cut with a note.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'t> {
    text: &'t str,
    longest: usize,
}

/// A text as a page shows it: up to 2,000 characters.
pub fn shown(text: &str) -> Shown<'_> {
    Shown { text, longest: LONGEST }
}

impl<'t> Shown<'t> {
    /// Up to so many characters.
    pub fn up_to(self, longest: usize) -> Self {
        Self { longest, ..self }
    }

    /// Its visible characters, and how many are left out.
    pub fn cut(self) -> (String, usize) {
        let end =
            self.text.char_indices().nth(self.longest).map_or(self.text.len(), |(end, _)| end);
        let (head, rest) = self.text.split_at(end);
        let mut visible = String::with_capacity(head.len());
        for c in head.chars() {
            spell(c, &mut visible);
        }
        (visible, rest.chars().count())
    }
}

/// A character that cannot be seen, or that changes how others are seen, is spelled out.
fn spell(c: char, into: &mut String) {
    match c {
        '\n' | '\t' => into.push(c),
        // the pictures of control characters that Unicode has
        '\0'..='\u{1F}' => into.extend(char::from_u32(0x2400 + c as u32)),
        '\u{7F}' => into.push('\u{2421}'),
        '\u{80}'..='\u{9F}'
        | '\u{200B}'
        | '\u{200E}'..='\u{200F}'
        | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{FEFF}'
        | '\u{FFF9}'..='\u{FFFB}'
        | '\u{E0000}'..='\u{E007F}' => into.extend(c.escape_unicode()),
        // noncharacters
        c if c as u32 & 0xFFFE == 0xFFFE => into.extend(c.escape_unicode()),
        c => into.push(c),
    }
}

impl Render for Shown<'_> {
    fn render(&self) -> Markup {
        let (text, left_out) = self.cut();
        html! {
            (text)
            @if left_out > 0 { span.cut { " … " (count(left_out)) " more characters" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_spelled_out() {
        let (text, left_out) = shown("a\0b\u{1b}[2J\u{202E}c\u{85}\n\té東\u{FFFF}\u{7f}").cut();
        assert_eq!(text, "a␀b␛[2J\\u{202e}c\\u{85}\n\té東\\u{ffff}␡");
        assert_eq!(left_out, 0);
    }

    #[test]
    fn a_very_long_text_is_cut_with_a_note() {
        let text = "é".repeat(5000);
        assert_eq!(shown(&text).cut().1, 3000);
        let html = shown(&text).up_to(3).render().into_string();
        assert_eq!(html, "ééé<span class=\"cut\"> … 4,997 more characters</span>");
    }
}
