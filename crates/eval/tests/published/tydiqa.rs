//! TyDi QA's primary task, read as gold passages.

use albacore_eval::{SuiteOptions, Task, TydiQa};

use crate::data;

#[test]
fn published_lines_are_read_as_passages_with_their_answers() {
    let Some(data) = data() else { return };
    let suite = TydiQa::open(&data, &SuiteOptions::default()).unwrap();
    // Of eleven lines, the articles of two hold a minimal answer.
    assert!(suite.examples().len() >= 2);
    for (number, example) in suite.examples().iter().enumerate() {
        let answer = &example.references[0];
        assert!(example.question.tail.contains(answer.as_str()), "{answer}");
        assert_eq!(suite.score(number, answer)["f1"], 1.0);
        eprintln!("{}: {answer}", example.id);
    }
}
