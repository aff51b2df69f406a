//! Characters replaced by rules, and spaces made one and visible.

use super::SPACE;
use super::model::Rules;

/// The longest text that a rule replaces, in bytes.
const LONGEST: usize = 64;

/// Rules for characters and spaces.
#[derive(Debug)]
pub(super) struct Normalizer {
    /// A double array (Aoe, 1989) over the bytes of what is replaced, in Darts-clone's layout.
    units: Vec<u32>,
    /// What it is replaced by, each ended by a zero byte.
    replacements: Vec<u8>,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
}

impl Normalizer {
    pub(super) fn new(rules: Rules) -> Result<Self, String> {
        let Rules { charsmap, add_dummy_prefix, remove_extra_whitespaces } = rules;
        let (mut units, mut replacements) = (Vec::new(), Vec::new());
        if !charsmap.is_empty() {
            let wrong = || "its table of characters is damaged".to_owned();
            let (size, rest) = charsmap.split_first_chunk::<4>().ok_or_else(wrong)?;
            let size = u32::from_le_bytes(*size) as usize;
            let (array, texts) = rest.split_at_checked(size).ok_or_else(wrong)?;
            let (words, odd) = array.as_chunks::<4>();
            if words.is_empty() || !odd.is_empty() {
                return Err(wrong());
            }
            units = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
            replacements = texts.to_vec();
        }
        Ok(Self { units, replacements, add_dummy_prefix, remove_extra_whitespaces })
    }

    /// The text as pieces spell it.
    pub(super) fn normalize(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + SPACE.len());
        let (mut rest, mut after_space) = (text, self.remove_extra_whitespaces);
        while let Some(character) = rest.chars().next() {
            let (length, replacement) = match self.longest_rule(rest.as_bytes()) {
                Some((length, replacement)) => (length, replacement),
                None => (character.len_utf8(), &rest[..character.len_utf8()]),
            };
            // A rule is made of whole characters; a damaged one is none.
            let Some((_, after)) = rest.split_at_checked(length) else { break };
            rest = after;
            let mut said = replacement;
            if after_space {
                said = said.trim_start_matches(' ');
            }
            if said.is_empty() {
                continue;
            }
            // What was there before the first of these is the text's own beginning.
            if out.is_empty() && self.add_dummy_prefix {
                out.push_str(SPACE);
            }
            for (index, part) in said.split(' ').enumerate() {
                if index > 0 {
                    out.push_str(SPACE);
                }
                out.push_str(part);
            }
            after_space = self.remove_extra_whitespaces && said.ends_with(' ');
        }
        if self.remove_extra_whitespaces {
            let kept = out.trim_end_matches(SPACE).len();
            out.truncate(kept);
        }
        out
    }

    /// The longest rule that `text` begins with, and what stands for it.
    fn longest_rule(&self, text: &[u8]) -> Option<(usize, &str)> {
        let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let mut found = None;
        let mut place = offset(*self.units.first()?);
        for (index, &byte) in text.iter().take(LONGEST).enumerate() {
            place ^= usize::from(byte);
            let Some(&unit) = self.units.get(place) else { break };
            // A leaf has its highest bit set, and is no byte's.
            if byte == 0 || unit & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            place ^= offset(unit);
            if unit >> 8 & 1 == 1 {
                let value = self.units.get(place).map(|leaf| (leaf & !(1 << 31)) as usize);
                found = value.map(|value| (index + 1, value)).or(found);
            }
        }
        let (length, value) = found?;
        let bytes = self.replacements.get(value..)?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        Some((length, std::str::from_utf8(&bytes[..end]).ok()?))
    }
}
