//! Stems of English words: Porter (1980), with the extensions of NLTK's `PorterStemmer`, which is
//! what `rouge-score` stems with.
//!
//! Five steps, each of which takes off or replaces at most one suffix; the first suffix of a list
//! that fits decides, whether its condition holds or not. *m*, the measure of a stem, is the number
//! of times that a vowel is followed by a consonant in it.

/// The stem of a word of lower-case ASCII letters and digits.
///
/// ```
/// assert_eq!(albacore_data::stem("relational"), "relat");
/// assert_eq!(albacore_data::stem("dying"), "die");
/// ```
pub fn stem(word: &str) -> String {
    if let Some((_, stem)) = IRREGULAR.iter().find(|(form, _)| *form == word) {
        return (*stem).to_owned();
    }
    if word.len() <= 2 {
        return word.to_owned();
    }
    let steps = [plural, past, final_y, double_suffix, step_3, step_4, final_e, final_l];
    steps.iter().fold(word.to_owned(), |word, step| step(word))
}

/// Words that the rules would get wrong.
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// For each letter, whether it is a consonant: all but `aeiou`, and `y` unless it follows one.
fn consonants(word: &str) -> Vec<bool> {
    let mut flags: Vec<bool> = Vec::with_capacity(word.len());
    for letter in word.bytes() {
        let consonant = match letter {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => flags.last().is_none_or(|consonant| !consonant),
            _ => true,
        };
        flags.push(consonant);
    }
    flags
}

fn measure(stem: &str) -> usize {
    consonants(stem).windows(2).filter(|pair| !pair[0] && pair[1]).count()
}

fn has_measure(stem: &str) -> bool {
    measure(stem) > 0
}

fn has_vowel(stem: &str) -> bool {
    consonants(stem).contains(&false)
}

fn ends_with_consonant(stem: &str) -> bool {
    consonants(stem).last() == Some(&true)
}

/// Whether the word ends in the same consonant twice.
fn ends_double(word: &str) -> bool {
    let bytes = word.as_bytes();
    matches!(bytes, [.., a, b] if a == b) && ends_with_consonant(word)
}

/// Whether the word ends as `hop` does: consonant, vowel, consonant other than `w`, `x`, `y`. NLTK
/// adds words of a vowel and a consonant.
fn ends_short(word: &str) -> bool {
    match *consonants(word) {
        [.., true, false, true] => !word.ends_with(['w', 'x', 'y']),
        [false, true] => true,
        _ => false,
    }
}

/// Replaces the first suffix of the list that the word ends in, if the stem before it fulfils the
/// condition.
fn replace(word: String, rules: &[(&str, &str)], condition: impl Fn(&str) -> bool) -> String {
    for (suffix, replacement) in rules {
        if let Some(stem) = word.strip_suffix(suffix) {
            return if condition(stem) { format!("{stem}{replacement}") } else { word };
        }
    }
    word
}

/// Step 1a.
fn plural(word: String) -> String {
    if word.len() == 4 && word.ends_with("ies") {
        return word[..3].to_owned();
    }
    replace(word, &[("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")], |_| true)
}

/// Step 1b.
fn past(word: String) -> String {
    if word.ends_with("ied") {
        let left = if word.len() == 4 { 1 } else { 2 };
        return word[..word.len() - left].to_owned();
    }
    if word.ends_with("eed") {
        return replace(word, &[("eed", "ee")], has_measure);
    }
    let stem = ["ed", "ing"].iter().find_map(|suffix| {
        word.strip_suffix(suffix).filter(|stem| has_vowel(stem)).map(str::to_owned)
    });
    let Some(mut stem) = stem else { return word };
    if ["at", "bl", "iz"].iter().any(|end| stem.ends_with(end)) {
        stem.push('e');
    } else if ends_double(&stem) {
        if !stem.ends_with(['l', 's', 'z']) {
            stem.pop();
        }
    } else if measure(&stem) == 1 && ends_short(&stem) {
        stem.push('e');
    }
    stem
}

/// Step 1c, in NLTK's form: `happy` becomes `happi`, `enjoy` and `by` stay.
fn final_y(word: String) -> String {
    replace(word, &[("y", "i")], |stem| stem.len() > 1 && ends_with_consonant(stem))
}

/// Step 2.
fn double_suffix(word: String) -> String {
    // NLTK: `alli` first, and then the step once more.
    if let Some(stem) = word.strip_suffix("alli").filter(|stem| has_measure(stem)) {
        return double_suffix(format!("{stem}al"));
    }
    // The `l` of `logi` counts as a part of the stem, so that `geologi` works as `archaeologi`.
    if word.ends_with("logi") {
        return replace(word, &[("ogi", "og")], has_measure);
    }
    replace(word, &STEP_2, has_measure)
}

const STEP_2: [(&str, &str); 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
];

fn step_3(word: String) -> String {
    const RULES: [(&str, &str); 7] = [
        ("icate", "ic"),
        ("ative", ""),
        ("alize", "al"),
        ("iciti", "ic"),
        ("ical", "ic"),
        ("ful", ""),
        ("ness", ""),
    ];
    replace(word, &RULES, has_measure)
}

fn step_4(word: String) -> String {
    const SUFFIXES: [&str; 19] = [
        "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion",
        "ou", "ism", "ate", "iti", "ous", "ive", "ize",
    ];
    let Some(suffix) = SUFFIXES.iter().find(|suffix| word.ends_with(**suffix)) else {
        return word;
    };
    replace(word, &[(suffix, "")], |stem| {
        measure(stem) > 1 && (*suffix != "ion" || stem.ends_with(['s', 't']))
    })
}

/// Step 5a.
fn final_e(word: String) -> String {
    replace(word, &[("e", "")], |stem| match measure(stem) {
        0 => false,
        1 => !ends_short(stem),
        _ => true,
    })
}

/// Step 5b.
fn final_l(mut word: String) -> String {
    if word.ends_with("ll") && measure(&word[..word.len() - 1]) > 1 {
        word.pop();
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_reached() {
        let pairs = [
            ("caresses", "caress"),
            ("ponies", "poni"),
            ("dies", "die"),
            ("cats", "cat"),
            ("agreed", "agre"),
            ("feed", "feed"),
            ("died", "die"),
            ("spied", "spi"),
            ("conflated", "conflat"),
            ("hopping", "hop"),
            ("falling", "fall"),
            ("filing", "file"),
            ("happy", "happi"),
            ("enjoy", "enjoy"),
            ("radically", "radic"),
            ("geology", "geolog"),
            ("hopefully", "hope"),
            ("formalize", "formal"),
            ("adoption", "adopt"),
            ("onion", "onion"),
            ("probate", "probat"),
            ("rate", "rate"),
            ("controlling", "control"),
            ("rolling", "roll"),
        ];
        for (word, expected) in pairs {
            assert_eq!(stem(word), expected, "{word}");
        }
    }

    #[test]
    fn a_run_of_y_takes_no_more_than_a_moment() {
        assert_eq!(stem(&"y".repeat(100_000)).len(), 100_000);
    }
}
