//! Scripts: which writing a letter belongs to, by the blocks of Unicode.
//!
//! Blocks are enough to tell languages apart: a block holds a few signs of no script beside its
//! letters, and only letters are asked about.

use std::fmt;
use std::str::FromStr;

/// A script, or a family of scripts that are written together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Script {
    /// English, Spanish, Vietnamese, …
    Latin,
    /// Greek.
    Greek,
    /// Russian, Ukrainian, Bulgarian, …
    Cyrillic,
    /// Armenian.
    Armenian,
    /// Hebrew, Yiddish.
    Hebrew,
    /// Arabic, Persian, Urdu, …
    Arabic,
    /// Hindi, Marathi, Nepali, …
    Devanagari,
    /// Bengali, Assamese.
    Bengali,
    /// Tamil.
    Tamil,
    /// Telugu.
    Telugu,
    /// Thai.
    Thai,
    /// Lao.
    Lao,
    /// Burmese.
    Myanmar,
    /// Georgian.
    Georgian,
    /// Amharic, Tigrinya.
    Ethiopic,
    /// Khmer.
    Khmer,
    /// Korean.
    Hangul,
    /// Hiragana and Katakana.
    Kana,
    /// Chinese characters, in Japanese too.
    Han,
}

use Script::{
    Arabic, Armenian, Bengali, Cyrillic, Devanagari, Ethiopic, Georgian, Greek, Han, Hangul,
    Hebrew, Kana, Khmer, Lao, Latin, Myanmar, Tamil, Telugu, Thai,
};

/// The scripts by name.
const NAMES: [(&str, Script); 19] = [
    ("latin", Latin),
    ("greek", Greek),
    ("cyrillic", Cyrillic),
    ("armenian", Armenian),
    ("hebrew", Hebrew),
    ("arabic", Arabic),
    ("devanagari", Devanagari),
    ("bengali", Bengali),
    ("tamil", Tamil),
    ("telugu", Telugu),
    ("thai", Thai),
    ("lao", Lao),
    ("myanmar", Myanmar),
    ("georgian", Georgian),
    ("ethiopic", Ethiopic),
    ("khmer", Khmer),
    ("hangul", Hangul),
    ("kana", Kana),
    ("han", Han),
];

/// First and last character of blocks, ascending.
const BLOCKS: [(u32, u32, Script); 44] = [
    (0x0041, 0x024F, Latin),
    (0x0250, 0x02AF, Latin),
    (0x0370, 0x03FF, Greek),
    (0x0400, 0x052F, Cyrillic),
    (0x0530, 0x058F, Armenian),
    (0x0590, 0x05FF, Hebrew),
    (0x0600, 0x06FF, Arabic),
    (0x0750, 0x077F, Arabic),
    (0x0870, 0x08FF, Arabic),
    (0x0900, 0x097F, Devanagari),
    (0x0980, 0x09FF, Bengali),
    (0x0B80, 0x0BFF, Tamil),
    (0x0C00, 0x0C7F, Telugu),
    (0x0E00, 0x0E7F, Thai),
    (0x0E80, 0x0EFF, Lao),
    (0x1000, 0x109F, Myanmar),
    (0x10A0, 0x10FF, Georgian),
    (0x1100, 0x11FF, Hangul),
    (0x1200, 0x139F, Ethiopic),
    (0x1780, 0x17FF, Khmer),
    (0x1C80, 0x1C8F, Cyrillic),
    (0x1C90, 0x1CBF, Georgian),
    (0x1D00, 0x1DBF, Latin),
    (0x1E00, 0x1EFF, Latin),
    (0x1F00, 0x1FFF, Greek),
    (0x2C60, 0x2C7F, Latin),
    (0x2D00, 0x2D2F, Georgian),
    (0x2DE0, 0x2DFF, Cyrillic),
    (0x2E80, 0x2FDF, Han),
    (0x3005, 0x3007, Han),
    (0x3021, 0x3029, Han),
    (0x3041, 0x30FF, Kana),
    (0x3130, 0x318F, Hangul),
    (0x31F0, 0x31FF, Kana),
    (0x3400, 0x9FFF, Han),
    (0xA640, 0xA69F, Cyrillic),
    (0xA720, 0xA7FF, Latin),
    (0xA960, 0xA97F, Hangul),
    (0xAC00, 0xD7FF, Hangul),
    (0xF900, 0xFAFF, Han),
    (0xFB1D, 0xFB4F, Hebrew),
    (0xFB50, 0xFEFF, Arabic),
    (0xFF66, 0xFF9F, Kana),
    (0x20000, 0x3FFFF, Han),
];

impl Script {
    /// The script of a letter; none for what is no letter, or a letter of a script not known here.
    pub fn of(letter: char) -> Option<Self> {
        if !letter.is_alphabetic() {
            return None;
        }
        let code = letter.into();
        let block = BLOCKS.partition_point(|(_, last, _)| *last < code);
        BLOCKS.get(block).filter(|(first, ..)| *first <= code).map(|(.., script)| *script)
    }

    /// The share of a text's letters that are of this script; none if the text has no letter.
    pub fn share(self, text: &str) -> Option<f64> {
        let letters = text.chars().filter(|c| c.is_alphabetic());
        let (all, own) = letters.fold((0usize, 0usize), |(all, own), letter| {
            (all + 1, own + usize::from(Self::of(letter) == Some(self)))
        });
        (all > 0).then(|| own as f64 / all as f64)
    }
}

/// Whether the character belongs to a script that is written without blanks between words.
pub(crate) fn is_unspaced(c: char) -> bool {
    c > '\u{E00}' && matches!(Script::of(c), Some(Han | Kana | Thai | Lao | Khmer | Myanmar))
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, script)| script == self);
        f.write_str(name.expect("every script has a name").0)
    }
}

impl FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = NAMES.iter().find(|(name, _)| *name == text).map(|(_, script)| *script);
        known.ok_or_else(|| {
            let names: Vec<_> = NAMES.iter().map(|(name, _)| format!("`{name}`")).collect();
            format!("wanted a script: {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_ascend_and_do_not_overlap() {
        assert!(BLOCKS.iter().all(|(first, last, _)| first <= last));
        assert!(BLOCKS.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }

    #[test]
    fn letters_are_told_by_their_script() {
        let pairs = [
            ('a', Latin),
            ('ß', Latin),
            ('ế', Latin),
            ('λ', Greek),
            ('Ж', Cyrillic),
            ('א', Hebrew),
            ('ش', Arabic),
            ('ह', Devanagari),
            ('ไ', Thai),
            ('한', Hangul),
            ('の', Kana),
            ('漢', Han),
        ];
        for (letter, script) in pairs {
            assert_eq!(Script::of(letter), Some(script), "{letter}");
            assert_eq!(script.to_string().parse(), Ok(script));
        }
        assert_eq!(Script::of('7'), None);
        assert_eq!(Script::of('€'), None);
    }

    #[test]
    fn only_letters_are_counted() {
        assert_eq!(Latin.share("ab ж 12 !!"), Some(2.0 / 3.0));
        assert_eq!(Latin.share("12 !!"), None);
    }
}
