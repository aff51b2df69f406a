//! Which rules drop which records, and in what order.

use super::*;
use crate::Tokenization;

fn rules(names: &[&str]) -> Vec<Rule> {
    names.iter().flat_map(|name| name.parse::<Rules>().unwrap().rules).collect()
}

/// The rule and the value that drop each text.
fn dropped(names: &[&str], texts: &[&str]) -> Vec<Option<(String, Value)>> {
    let answers = Filter::new(rules(names)).judge(texts);
    answers.into_iter().map(|answer| answer.map(|found| (found.rule, found.value))).collect()
}

fn by(rule: &str, value: impl Into<Value>) -> Option<(String, Value)> {
    Some((rule.into(), value.into()))
}

#[test]
fn self_instructs_rules_are_asked_in_its_order() {
    let texts = [
        "",
        " \u{1F} ",
        "Draw an image.",
        "Describe the image in words.",
        "Write a program that draws a plot.",
        "Write a program to sort numbers.",
        "write a program to sort numbers.",
        "\"Sort\" these three numbers.",
        "Übersetze diesen einen Satz.",
        "Sort these three numbers.",
        "What is a mapping, a filename or a photograph?",
    ];
    let expected = [
        by("empty", 0),
        by("empty", 0),
        by("words=4..150", 3),
        by("keyword", "image"),
        by("keyword", "plot"),
        by("start", "Write a program"),
        None,
        by("punctuation-start", "\""),
        by("non-ascii-start", "Ü"),
        None,
        None,
    ];
    assert_eq!(dropped(&["self-instruct"], &texts), expected);
    let [enough, too_many] = [150, 151].map(|words| vec!["word"; words].join("\t"));
    assert_eq!(dropped(&["self-instruct"], &[&enough, &too_many])[..1], [None]);
    assert_eq!(dropped(&["self-instruct"], &[&too_many]), [by("words=4..150", 151)]);
}

#[test]
fn lengths_include_their_ends() {
    let texts = ["a", "a b", "a b c", "ä b c d"];
    let kept =
        |name: &str| dropped(&[name], &texts).iter().map(Option::is_none).collect::<Vec<_>>();
    assert_eq!(kept("words=2..3"), [false, true, true, false]);
    assert_eq!(kept("words=3.."), [false, false, true, true]);
    assert_eq!(kept("characters=..3"), [true, true, false, false]);
    assert_eq!(dropped(&["characters=..3"], &texts)[3], by("characters=..3", 7));
}

#[test]
fn letters_repetitions_and_refusals_are_found() {
    let script = ["script=latin:0.6"];
    assert_eq!(
        dropped(&script, &["abc где", "abcd где"]),
        [by(script[0], 0.5), by(script[0], 4.0 / 7.0)]
    );
    assert_eq!(dropped(&script, &["abcde где", "123 !"]), [None, None]);
    // 10 words, 8 runs of three, 3 of them said before
    let said = "na na na na na na hey hey hey goodbye";
    assert_eq!(dropped(&["repetition=3:0.2"], &[said]), [by("repetition=3:0.2", 3.0 / 8.0)]);
    assert_eq!(dropped(&["repetition=3:0.375"], &[said, "na na", ""]), [None, None, None]);
    let refused = ["I’m sorry, but no.", "Say sorry. But I cannot provide it", "As an aid"];
    let expected = [by("refusal", "i'm sorry, but"), by("refusal", "i cannot provide"), None];
    assert_eq!(dropped(&["refusal"], &refused), expected);
}

#[test]
fn the_first_rule_that_is_named_is_the_first_that_is_asked() {
    let text = ["!x"];
    assert_eq!(dropped(&["empty", "words=2..", "punctuation-start"], &text)[0], by("words=2..", 1));
    let turned = dropped(&["punctuation-start", "words=2.."], &text);
    assert_eq!(turned[0], by("punctuation-start", "!"));
}

#[test]
fn a_rule_is_named_as_it_was_typed() {
    let names = [
        "empty",
        "words=4..150",
        "words=4..",
        "characters=..9",
        "keyword",
        "keyword=video,audio",
        "start",
        "start=Write",
        "punctuation-start",
        "non-ascii-start",
        "script=han:0.25",
        "repetition=2:0.5",
        "refusal",
        "refusal=no way",
    ];
    for name in names {
        assert_eq!(rules(&[name])[0].to_string(), name);
    }
    assert_eq!(
        rules(&["script=han", "repetition"]),
        rules(&["script=han:0.5", "repetition=3:0.3"])
    );
    assert_eq!("duplicate=exact".parse::<Rules>().unwrap().duplicates, Some(Sameness::Exact));
    let wrong =
        ["word", "words", "words=..", "words=5..4", "words=a..", "keyword=a,,b", "script=elvish"];
    let worse = [
        "script=han:2",
        "repetition=0:0.5",
        "repetition=3",
        "duplicate=x",
        "empty=1",
        "rouge-l=0.7",
        "",
    ];
    for name in wrong.iter().chain(&worse) {
        let said = name.parse::<Rules>().unwrap_err();
        assert!(said.contains("wanted") || said.contains("takes no value"), "{name}: {said}");
    }
}

#[test]
fn duplicates_are_told_with_the_text_they_repeat() {
    let texts = ["Say  hi", "x", "say hi\n", "Say  hi", "say, hi"];
    let numbers = |sameness| {
        let mut filter = Filter::new(rules(&["characters=2.."])).without_duplicates(sameness);
        filter.know(&["SAY HI", "known"]);
        let answers = filter.judge(&texts);
        answers.into_iter().map(|a| a.and_then(|a| a.nearest.map(|n| n.index))).collect::<Vec<_>>()
    };
    assert_eq!(numbers(Sameness::Normalised), [Some(0), None, Some(0), Some(0), None]);
    assert_eq!(numbers(Sameness::Exact), [None, None, None, Some(2), None]);
}

#[test]
fn rules_that_know_other_texts_are_asked_last() {
    let filter = Filter::new(rules(&["refusal", "words=2.."]))
        .with_novelty(0.7, Tokenization::Ascii)
        .without_duplicates(Sameness::Exact);
    assert_eq!(filter.names(), ["refusal", "words=2..", "duplicate=exact", "rouge-l=0.7"]);
}

#[test]
fn novelty_is_judged_by_what_was_kept_and_known() {
    let pool = ["tell me a story about a cat"];
    let texts = [
        "Tell me a story about a CAT!",
        "x",
        "name the largest planet of all",
        "name the largest planet",
        "name the planet",
        "x x",
    ];
    let run = |cut: usize| {
        let mut filter = Filter::new(rules(&["words=2.."])).with_novelty(0.7, Tokenization::Ascii);
        filter.know(&pool);
        texts.chunks(cut).flat_map(|texts| filter.judge(texts)).collect::<Vec<_>>()
    };
    let answers = run(6);
    let nearest: Vec<_> =
        answers.iter().flatten().map(|a| a.nearest.map(|n| (n.index, n.score))).collect();
    // 4 of 4 and of 6 words are in common: F = 2 * 2/3 / (5/3)
    assert_eq!(nearest, [Some((0, 1.0)), None, Some((3, 2.0 * (4.0 / 6.0) / (1.0 + 4.0 / 6.0)))]);
    assert_eq!(answers[3].as_ref().unwrap().rule, "rouge-l=0.7");
    // 3 of 3 and of 6: 0.667, for the text of four words was dropped itself
    assert_eq!(answers[4], None);
    for cut in 1..6 {
        assert_eq!(run(cut), answers);
    }
}

#[test]
fn records_are_handed_out_as_they_stand_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    let lines = "\u{FEFF}{\"a\": \"x\",  \"n\":1.0e2}\r\n\n{\"b\": 1}\n{\"a\": 2}\nno\n {\"a\":\"\\u00e9\"}";
    std::fs::write(&path, lines).unwrap();
    let (file, bad) = TextFile::read(&path, "a").unwrap();
    assert!(!file.is_array());
    assert_eq!(file.texts(), ["x", "é"]);
    assert_eq!(file.bytes(0), b"{\"a\": \"x\",  \"n\":1.0e2}\r");
    assert_eq!(file.bytes(1), b" {\"a\":\"\\u00e9\"}");
    assert_eq!((file.origin(0).line, file.origin(1).line), (1, 6));
    let said: Vec<_> = bad.iter().map(|bad| (bad.origin.line, bad.defect.to_string())).collect();
    assert_eq!(said[0], (3, "the record has no field `a`, found `b`".into()));
    assert_eq!(said[1], (4, "`a` is a number, wanted text".into()));
    assert_eq!(said[2].0, 5);
    std::fs::write(&path, "[\n {\"a\": \"x\",\n \"b\": []},\n{\"a\": \"y\"}]").unwrap();
    let (file, bad) = TextFile::read(&path, "a").unwrap();
    assert!(file.is_array() && bad.is_empty());
    assert_eq!((file.bytes(0), file.origin(1).line), (&b"{\"a\": \"x\",\n \"b\": []}"[..], 4));
}
