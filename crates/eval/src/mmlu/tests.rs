//! MMLU on files of our own.

use std::fs;

use super::*;

const TEST: &str =
    "\"What is 1, and what is 1 \"\"more\"\"?\",1,2,\"3, or 4\",5,B\nNext?,a,b,c,d,D\n";

/// Files of one subject; exemplars in the named form.
fn open(form: &str, options: &SuiteOptions, reasons: bool) -> Result<Mmlu> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("test/world_religions_test.csv", TEST);
    write("test/anatomy_test.csv", TEST);
    for subject in ["world_religions", "anatomy"] {
        match form {
            "dev" => write(&format!("dev/{subject}_dev.csv"), "Is it?,no,yes,maybe,never,B\n"),
            "sni" => write(
                &format!("sni_form/task1_mmmlu_answer_generation_{subject}.json"),
                r#"{"Positive Examples": [{"input": "Is it?\n(A)no (B)yes (C)maybe (D)never ", "output": "B"}]}"#,
            ),
            _ => {}
        }
    }
    if form == "broken" {
        write("mmlu-cot.json", "{\"anatomy\"");
    }
    if form == "cot" {
        let prompt = "About.\\n\\nQ: Is it?\\n(A) no (B) yes (C) maybe (D) never\\nA: Let's think step by step. \
                      It is. The answer is (B).";
        write(
            "mmlu-cot.json",
            &format!("{{\"anatomy\": \"{prompt}\", \"world_religions\": \"{prompt}\"}}"),
        );
    }
    Mmlu::open(folder.path(), options, reasons)
}

const DIRECT: &str = "The following are multiple choice questions (with answers) about  world religions.\n\n\
    Is it?\nA. no\nB. yes\nC. maybe\nD. never\nAnswer: B\n\n\
    What is 1, and what is 1 \"more\"?\nA. 1\nB. 2\nC. 3, or 4\nD. 5\nAnswer:";

#[test]
fn every_source_of_exemplars_makes_the_same_prompt() {
    for form in ["dev", "sni", "cot"] {
        let suite = open(form, &SuiteOptions::default(), false).unwrap();
        let examples = suite.examples();
        assert_eq!(examples.len(), 4);
        assert_eq!(examples[2].question.text(5), DIRECT, "{form}");
        assert_eq!(examples[2].question.options, [" A", " B", " C", " D"]);
        let named = (examples[3].id.as_str(), examples[3].category.as_str());
        assert_eq!(named, ("world_religions/1", "humanities"));
    }
    let error = open("none", &SuiteOptions::default(), false).unwrap_err().to_string();
    assert!(error.contains("`dev/SUBJECT_dev.csv` of `mmlu`"), "{error}");
    // A file that is there and broken is not said to be missing.
    let error = open("broken", &SuiteOptions::default(), true).unwrap_err().to_string();
    assert!(error.contains("mmlu-cot.json:1: "), "{error}");
}

#[test]
fn reasons_are_asked_for_in_the_words_of_their_exemplars() {
    let suite = open("cot", &SuiteOptions::default(), true).unwrap();
    // The file's own first line.
    let wanted = "About.\n\n\
        Q: Is it?\n(A) no (B) yes (C) maybe (D) never\nA: Let's think step by step. It is. The answer is (B).\n\n\
        Q: Next?\n(A) a (B) b (C) c (D) d\nA: Let's think step by step.";
    assert_eq!(suite.examples()[1].question.text(5), wanted);
    assert!(suite.examples()[1].question.options.is_empty());
    let right = |answer| suite.score(1, &suite.extract(1, answer))["accuracy"] == 1.0;
    assert!(right(" It is d. The answer is (D).") && !right("The answer is (C).") && !right("(D"));
}

#[test]
fn a_letter_is_right_alone_or_with_marks_about_it() {
    let options = SuiteOptions { shots: Some(0), ..SuiteOptions::default() };
    let suite = open("none", &options, false).unwrap();
    assert!(!suite.examples()[0].question.text(5).contains("Is it?"));
    let right = |answer| suite.score(0, &suite.extract(0, answer))["accuracy"] == 1.0;
    assert!(
        right(" B") && right("(B)") && right("B. 2") && !right("Both") && !right("A") && !right("")
    );
}
