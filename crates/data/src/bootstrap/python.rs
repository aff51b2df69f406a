//! What Python's strings do, where the published rules rest on it.

/// Whether Python's `str.split` and `str.strip` take a character for white space: as Unicode does,
/// and the four separators below the blank as well.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

/// `text.strip()`.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `re.sub(r"\s+", " ", text).strip()`.
pub(super) fn one_line(text: &str) -> String {
    let words = text.split(is_space).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// `text.capitalize()`: the first letter upper, all others lower, so that `PhD` becomes `Phd`.
pub(super) fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        // Python makes a title letter of it; the few where that differs are dropped soon after, since
        // they are not ASCII.
        Some(first) => {
            first.to_uppercase().chain(letters.as_str().to_lowercase().chars()).collect()
        }
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_treated_as_python_treats_them() {
        assert_eq!(strip(" \u{a0}\x1ca b\n"), "a b");
        assert_eq!(one_line("\ta\u{2003} b\r\n\nc "), "a b c");
        assert_eq!(capitalize("write to a PhD about DNA"), "Write to a phd about dna");
        assert_eq!(capitalize("ärger"), "Ärger");
        assert_eq!(capitalize(""), "");
    }
}
