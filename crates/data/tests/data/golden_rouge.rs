//! ROUGE-L, words, stems and means are those of rouge-score, NLTK and numpy, to the last bit:
//! `scripts/golden_rouge.py` made the goldens.
use albacore_data::{Novelty, RougeL, Tokenization, common_subsequence, stem, tokens};
use serde::Deserialize;

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
