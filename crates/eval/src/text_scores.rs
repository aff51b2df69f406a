//! How far a text is one of its references: exact match and ROUGE-L as Super-NaturalInstructions
//! takes them, which the user-oriented tasks and others have taken over.

use albacore_data::{RougeL, Tokenization, is_python_space};

use crate::Scores;

/// `exact_match` and `rouge_l` of a text, each the best over its references.
///
/// Exact match: lower case, without ASCII punctuation, blanks collapsed. ROUGE-L: its F, over
/// Porter's stems.
pub fn text_scores(text: &str, references: &[String]) -> Scores {
    let found = normalized(text);
    let exact = references.iter().any(|reference| normalized(reference) == found);
    let references = references.iter().map(String::as_str);
    let rouge = RougeL::best(text, references, Tokenization::Stemmed);
    Scores::from([("exact_match", f64::from(u8::from(exact))), ("rouge_l", rouge.f_measure)])
}

/// A text as exact match compares it.
fn normalized(text: &str) -> String {
    let lower = text.to_lowercase();
    let bare: String = lower.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let words: Vec<_> = bare.split(is_python_space).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_reference_counts_for_each_score() {
        let references = ["The cat, sleeping".to_owned(), "dogs bark".to_owned()];
        let scores = |text| {
            let scores = text_scores(text, &references);
            (scores["exact_match"], scores["rouge_l"])
        };
        assert_eq!(scores("the cat\nsleeping!"), (1.0, 1.0));
        // `dog` and `dogs`, `barking` and `bark` have the same stems.
        assert_eq!(scores("dog barking"), (0.0, 1.0));
        // Two words of three on either side.
        assert_eq!(scores("the cat wakes"), (0.0, 2.0 * (2.0 / 3.0) * (2.0 / 3.0) / (4.0 / 3.0)));
        assert_eq!(scores(""), (0.0, 0.0));
    }
}
