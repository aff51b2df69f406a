//! What a judge's reply says.

use super::{JudgeForm, Opinion, Verdict};

/// The two scores in the first line of a reply, with a blank or a comma between them.
///
/// ```
/// use albacore_eval::parse_scores;
/// assert_eq!(parse_scores("8 9.5\nThe second is better."), Some([8.0, 9.5]));
/// assert_eq!(parse_scores("Assistant 1: 8, assistant 2: 9"), None);
/// ```
pub fn parse_scores(reply: &str) -> Option<[f64; 2]> {
    // Strictly as published: what holds anything else is no review, and is looked at by hand.
    let line = reply.split('\n').next()?.replace(',', " ");
    let numbers: Vec<_> = line.split_whitespace().map(str::parse::<f64>).collect();
    match &numbers[..] {
        [Ok(first), Ok(second)] if first.is_finite() && second.is_finite() => {
            Some([*first, *second])
        }
        _ => None,
    }
}

/// The verdict of a reply: the mark that it holds, `[[A]]`, `[[B]]` or `[[C]]`, looked for in this order.
fn parse_verdict(reply: &str) -> Option<Verdict> {
    let marks = [("[[A]]", Verdict::First), ("[[B]]", Verdict::Second), ("[[C]]", Verdict::Tie)];
    marks.into_iter().find(|(mark, _)| reply.contains(mark)).map(|(_, verdict)| verdict)
}

/// The opinion in a reply, told of the answers as they were shown. Scores that are not in the first line
/// may be in the last one, where a judge of mathematics is to give them.
pub(super) fn opinion(reply: &str, form: JudgeForm) -> Option<Opinion> {
    match form {
        JudgeForm::Scores => {
            let last = || parse_scores(reply.trim_end().rsplit('\n').next()?);
            let scores = parse_scores(reply).or_else(last)?;
            Some(Opinion { verdict: Verdict::of(scores), scores: Some(scores) })
        }
        JudgeForm::Verdict => Some(Opinion { verdict: parse_verdict(reply)?, scores: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_holds_two_numbers_and_nothing_else() {
        assert_eq!(parse_scores("7,9"), Some([7.0, 9.0]));
        assert_eq!(parse_scores("7, 9\nReasons"), Some([7.0, 9.0]));
        for reply in ["", "7", "7 8 9", "\n7 8", "Scores: 7 8", "NaN 7", "7/10 8/10"] {
            assert_eq!(parse_scores(reply), None, "{reply:?}");
        }
    }

    #[test]
    fn the_first_kind_of_mark_counts_and_the_last_line_of_scores() {
        assert_eq!(parse_verdict("[[B]], not [[A]]"), Some(Verdict::First));
        assert_eq!(parse_verdict("Both are good. [[C]]"), Some(Verdict::Tie));
        assert_eq!(parse_verdict("A is better"), None);
        let last = opinion("It is 4.\n2 9\n", JudgeForm::Scores).unwrap();
        assert_eq!((last.verdict, last.scores), (Verdict::Second, Some([2.0, 9.0])));
        let verdict = opinion("so [[B]]", JudgeForm::Verdict).unwrap();
        assert_eq!((verdict.verdict, verdict.scores), (Verdict::Second, None));
    }
}
