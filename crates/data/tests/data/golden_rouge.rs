//! ROUGE-L, words, stems and means are those of rouge-score, NLTK and numpy, to the last bit:
//! `scripts/golden_rouge.py` made the goldens.

use std::collections::BTreeMap;

use albacore_data::{Novelty, RougeL, Tokenization, common_subsequence, stem, tokens};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Golden {
    tokens: Vec<(String, Vec<String>)>,
    scores: Vec<(String, String, Bits, Bits, Bits, Bits)>,
    seven_tenths: Vec<(usize, usize, usize, String)>,
    texts: Vec<String>,
    means: Vec<(String, usize, String)>,
}

/// Precision, recall and F, as the hexadecimal digits of their bits.
type Bits = [String; 3];

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/rouge.json")).unwrap()
}

fn bits(number: f64) -> String {
    format!("{:016x}", number.to_bits())
}

#[test]
fn words_are_those_of_rouge_score() {
    for (text, expected) in golden().tokens {
        assert_eq!(tokens(&text, Tokenization::Ascii), expected, "{text}");
    }
}

#[test]
fn scores_are_those_of_rouge_score_to_the_last_bit() {
    let scores = golden().scores;
    for (first, second, plain, plain_back, stemmed, stemmed_back) in &scores {
        let cases = [
            (second, first, Tokenization::Ascii, plain),
            (first, second, Tokenization::Ascii, plain_back),
            (second, first, Tokenization::Stemmed, stemmed),
            (first, second, Tokenization::Stemmed, stemmed_back),
        ];
        for (prediction, reference, tokenization, expected) in cases {
            let score = RougeL::of(prediction, reference, tokenization);
            let found = [score.precision, score.recall, score.f_measure].map(bits);
            assert_eq!(&found, expected, "{prediction} | {reference} | {tokenization:?}");
        }
    }
    assert!(scores.iter().filter(|row| row.2 != row.4).count() > 20, "stems make a difference");
}

#[test]
fn around_seven_tenths_f_is_that_of_rouge_score_to_the_last_bit() {
    for (common, a, b, expected) in golden().seven_tenths {
        let score = RougeL::from_lengths(common, a, b);
        assert_eq!(bits(score.f_measure), expected, "{common} of {a} and {b}");
        // and so does the decision that the index makes of it: `a` words, of which `common` are
        // the first of the `b` words of the other
        let text = |own: char, words: usize| {
            let own = (common..words).map(|word| format!("{own}{word}"));
            (0..common).map(|word| format!("c{word}")).chain(own).collect::<Vec<_>>().join(" ")
        };
        let mut index = Novelty::new(0.7, Tokenization::Ascii);
        index.insert(&text('a', a));
        assert_eq!(index.is_novel(&text('b', b)), score.f_measure <= 0.7);
    }
}

#[test]
fn means_are_those_of_numpy_to_the_last_bit() {
    let Golden { texts, means, .. } = golden();
    for (text, count, expected) in means {
        let mut index = Novelty::new(0.7, Tokenization::Ascii);
        index.extend(texts[..count].iter().map(String::as_str));
        assert_eq!(bits(index.scores(&text, 10).mean), expected, "of {count}");
    }
}

fn assert_stems(pairs: &str, least: usize) {
    let pairs: Vec<_> = pairs.lines().filter_map(|line| line.split_once('\t')).collect();
    assert!(pairs.len() >= least, "{} stems", pairs.len());
    for (word, expected) in pairs {
        assert_eq!(stem(word), expected, "{word}");
    }
}

#[test]
fn stems_are_those_of_nltk() {
    assert_stems(include_str!("../golden/porter.tsv"), 6000);
}

#[test]
#[ignore = "needs a list of words and their stems: ALBACORE_PORTER_STEMS=FILE.tsv cargo test --release -p albacore-data -- --ignored"]
fn stems_of_a_long_list_are_those_of_nltk() {
    let path = std::env::var("ALBACORE_PORTER_STEMS").expect("ALBACORE_PORTER_STEMS names a file");
    assert_stems(&std::fs::read_to_string(path).unwrap(), 1);
}

#[test]
fn a_common_subsequence_need_not_be_contiguous() {
    assert_eq!(common_subsequence(&[1, 2, 3, 4, 5], &[5, 1, 9, 3, 9, 5]), 3);
}

/// A line of Self-Instruct's `machine_generated_instances.jsonl`. Scores are read as text:
/// `serde_json` may read the last bit of a number otherwise than it was written.
#[derive(Deserialize)]
struct Recorded {
    instruction: String,
    most_similar: BTreeMap<String, Box<RawValue>>,
    avg_similarity_score: Box<RawValue>,
}

#[derive(Deserialize)]
struct Seed {
    instruction: String,
}

fn lines<T: DeserializeOwned>(variable: &str) -> Vec<T> {
    let path = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} names a file"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
#[ignore = "needs a recorded run: ALBACORE_SELF_INSTRUCT_SEEDS=seed_tasks.jsonl ALBACORE_SELF_INSTRUCT_RUN=machine_generated_instances.jsonl cargo test --release -p albacore-data -- --ignored"]
fn similarities_of_a_run_of_self_instruct_are_those_it_recorded() {
    let mut index = Novelty::new(0.7, Tokenization::Ascii);
    for Seed { instruction } in lines("ALBACORE_SELF_INSTRUCT_SEEDS") {
        index.insert(&instruction);
    }
    let recorded: Vec<Recorded> = lines("ALBACORE_SELF_INSTRUCT_RUN");
    for Recorded { instruction, most_similar, avg_similarity_score } in &recorded {
        assert!(index.is_novel(instruction), "{instruction}");
        let scores = index.scores(instruction, 10);
        let number = |text: &RawValue| text.get().parse::<f64>().unwrap();
        assert_eq!(bits(scores.mean), bits(number(avg_similarity_score)), "{instruction}");
        // Which of equal scores are among the ten is left to chance by numpy's `argsort`; and texts
        // that occur twice are one entry of the map.
        let mut expected: Vec<_> = most_similar.values().map(|score| bits(number(score))).collect();
        expected.sort_by(|a, b| b.cmp(a));
        let found: Vec<_> = scores.nearest.iter().map(|likeness| bits(likeness.score)).collect();
        assert_eq!(found[..expected.len()], expected, "{instruction}");
        index.insert(instruction);
    }
    assert!(!recorded.is_empty());
}
