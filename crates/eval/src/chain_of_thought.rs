//! What a reasoned answer comes to.

use std::sync::LazyLock;

use regex::Regex;

/// The answer at the end of some reasoning, as the Flan collection takes it.
///
/// One mark at the end of the text goes; then all up to the last `answer is`, the last `final answer`
/// (small or capital `F`), the last `answer:` and the last `Answer:` goes, in that order; then one mark
/// at either end, and the brackets of `(B)`.
pub fn reasoned_answer(text: &str) -> String {
    const MARKS: [char; 5] = ['.', ',', '?', ' ', '\n'];
    const LEADS: [&str; 5] = ["answer is", "final answer", "Final answer", "answer:", "Answer:"];
    let text = text.trim();
    let text = text.strip_suffix(MARKS).unwrap_or(text);
    let behind =
        |text, lead| str::rsplit_once(text, lead).map_or(text, |(_, rest): (_, &str)| rest);
    let text = LEADS.iter().fold(text, |text, lead| behind(text, lead));
    let text = text.strip_prefix(MARKS).unwrap_or(text);
    let text = text.strip_suffix(MARKS).unwrap_or(text);
    match text.as_bytes() {
        [b'(', letter, b')'] if letter.is_ascii_alphabetic() => text[1..2].to_owned(),
        _ => text.to_owned(),
    }
}

/// The first number behind `marker`, as it is written but for its commas: `-?[0-9.,]+`.
pub(crate) fn number_behind(text: &str, marker: &str) -> Option<String> {
    static NUMBER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("-?[0-9.,]+").expect("the pattern is valid"));
    let (_, rest) = text.rsplit_once(marker)?;
    Some(NUMBER.find(rest)?.as_str().replace(',', ""))
}

/// The last number of a text, without its commas.
pub(crate) fn last_number(text: &str) -> Option<String> {
    static NUMBER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"-?\d[\d,]*(\.\d+)?").expect("the pattern is valid"));
    Some(NUMBER.find_iter(text).last()?.as_str().replace(',', ""))
}

/// The answer that most of several answers are; of equals the one that came first. One that says
/// nothing counts only where all do.
pub fn majority(answers: &[String]) -> Option<usize> {
    let votes = |answer: &String| answers.iter().filter(|other| *other == answer).count();
    let ranked = answers.iter().map(|answer| (!answer.is_empty(), votes(answer))).enumerate();
    ranked.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_some_reasoning_is_what_follows_the_last_lead() {
        for (text, wanted) in [
            ("2 + 2 = 4. The answer is 4.", "4"),
            ("So the answer is (B).", "B"),
            ("The answer is (A). No: the answer is (C)", "C"),
            ("Final answer: yes?", ": yes"),
            ("I think\nAnswer: blue\n", "blue"),
            ("The answer is (ab).", "(ab)"),
            ("just this", "just this"),
            ("", ""),
        ] {
            assert_eq!(reasoned_answer(text), wanted, "{text}");
        }
    }

    #[test]
    fn numbers_are_found_and_lose_their_commas() {
        assert_eq!(number_behind("a 3\n#### -1,234", "#### ").as_deref(), Some("-1234"));
        assert_eq!(number_behind("#### 1\n#### 2", "#### ").as_deref(), Some("2"));
        assert_eq!(number_behind("#### none", "#### "), None);
        assert_eq!(number_behind("7", "#### "), None);
        assert_eq!(last_number("5 + 6 = 11.").as_deref(), Some("11"));
        assert_eq!(last_number("1,200.50 Euro").as_deref(), Some("1200.50"));
        assert_eq!(last_number("nothing"), None);
    }

    #[test]
    fn the_majority_wins_and_the_first_of_equals() {
        let of = |answers: &[&str]| {
            majority(&answers.iter().map(|&answer| answer.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(of(&["1", "2", "2", "3"]), Some(1));
        assert_eq!(of(&["1", "2"]), Some(0));
        assert_eq!(of(&["", "", "2"]), Some(2));
        assert_eq!(of(&["", ""]), Some(0));
        assert_eq!(of(&[]), None);
    }
}
