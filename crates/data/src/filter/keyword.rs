//! Whole words in a text, as Python's `\bword\b` with `re.IGNORECASE` finds them.

/// The first of the keywords that the text has as whole words, whatever their case.
pub(super) fn find<'a>(text: &str, keywords: &'a [String]) -> Option<&'a str> {
    let text: String = text.chars().map(fold).collect();
    let has = |keyword: &&String| {
        let keyword: String = keyword.chars().map(fold).collect();
        contains(&text, &keyword)
    };
    keywords.iter().find(has).map(String::as_str)
}

fn contains(text: &str, keyword: &str) -> bool {
    let (Some(first), Some(last)) = (keyword.chars().next(), keyword.chars().next_back()) else {
        return false;
    };
    let mut from = 0;
    while let Some(place) = text[from..].find(keyword) {
        let start = from + place;
        let end = start + keyword.len();
        let before = text[..start].chars().next_back().is_some_and(is_word);
        let after = text[end..].chars().next().is_some_and(is_word);
        if before != is_word(first) && after != is_word(last) {
            return true;
        }
        from = start + first.len_utf8();
    }
    false
}

/// One character for one. Python matches these four with ASCII letters when case is ignored; the
/// typographic apostrophe is written for the plain one.
fn fold(c: char) -> char {
    match c {
        'A'..='Z' => c.to_ascii_lowercase(),
        '\0'..='\x7F' => c,
        'İ' | 'ı' => 'i',
        'ſ' => 's',
        '\u{212A}' => 'k',
        '’' => '\'',
        _ => {
            let mut lower = c.to_lowercase();
            lower.next().filter(|_| lower.next().is_none()).unwrap_or(c)
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_words_are_found() {
        let keywords = ["map", "go to", "c++"].map(String::from);
        let found = |text| find(text, &keywords);
        assert_eq!(found("Draw a MAP."), Some("map"));
        assert_eq!(found("mapping maps a_map map2"), None);
        assert_eq!(found("Go to the shop"), Some("go to"));
        assert_eq!(found("go  to, ego to, go tomorrow"), None);
        // As Python's \b: after a sign there must be a letter.
        assert_eq!(found("in c++ code"), None);
        assert_eq!(found("in c++11 code"), Some("c++"));
        assert_eq!(find("x", &[String::new()]), None);
    }

    #[test]
    fn a_later_place_is_found_too() {
        let keywords = ["a b a".to_owned()];
        assert_eq!(find("xa b a b a", &keywords), Some("a b a"));
    }

    #[test]
    fn letters_that_python_takes_for_the_same_are_found() {
        let keywords = ["image", "files"].map(String::from);
        assert_eq!(find("an ımage", &keywords), Some("image"));
        assert_eq!(find("fileſ", &keywords), Some("files"));
        assert_eq!(find("Éimage", &keywords), None);
    }
}
