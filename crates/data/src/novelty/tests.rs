//! The filter against its definition: every pair compared.

use proptest::prelude::*;

use super::*;
use crate::common_subsequence;
use crate::rouge::tokens;

/// The specification: every text beside every accepted one.
fn greedy(texts: &[&str], threshold: f64) -> Vec<Result<usize, Likeness>> {
    let mut accepted: Vec<&str> = Vec::new();
    let mut answers = Vec::new();
    for text in texts {
        let mut best: Option<Likeness> = None;
        for (index, other) in accepted.iter().enumerate() {
            let score = RougeL::of(text, other, Tokenization::Ascii).f_measure;
            if score > threshold && best.is_none_or(|best| score > best.score) {
                best = Some(Likeness { index, score });
            }
        }
        answers.push(best.map_or(Ok(accepted.len()), Err));
        if best.is_none() {
            accepted.push(text);
        }
    }
    answers
}

/// Texts of few different words, so that many are alike; some empty, some the same.
fn texts(most: usize) -> impl Strategy<Value = Vec<String>> {
    (1u32..60, 1usize..40).prop_flat_map(move |(vocabulary, longest)| {
        let text = prop::collection::vec(0..vocabulary, 0..=longest);
        let text = text.prop_map(|words| {
            // The smaller the number, the more frequent the word.
            let words: Vec<_> = words.iter().map(|word| format!("w{}", word * word / 60)).collect();
            words.join(" ")
        });
        (prop::collection::vec(text, 1..most), prop::collection::vec(any::<(u16, u16)>(), 0..most))
            .prop_map(|(mut texts, copies)| {
                for (from, to) in copies {
                    let (from, to) = (from as usize % texts.len(), to as usize % texts.len());
                    let changed: Vec<_> = texts[from].split(' ').skip(from % 3).collect();
                    texts[to] = changed.join(" ");
                }
                texts
            })
    })
}

fn threshold() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.7), Just(0.5), Just(0.0), Just(1.0), Just(0.9), 0.0..=1.0f64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_accepted_is_what_the_plain_loop_accepts(texts in texts(60), threshold in threshold()) {
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let mut index = Novelty::new(threshold, Tokenization::Ascii);
        prop_assert_eq!(index.accept(&texts), greedy(&texts, threshold));
        let mut one_by_one = Novelty::new(threshold, Tokenization::Ascii);
        for (text, expected) in texts.iter().zip(greedy(&texts, threshold)) {
            prop_assert_eq!(one_by_one.is_novel(text), expected.is_ok());
            prop_assert_eq!(one_by_one.nearest(text), expected.err());
            if expected.is_ok() {
                one_by_one.insert(text);
            }
        }
    }

    #[test]
    fn all_pairs_are_all_pairs(texts in texts(40), threshold in threshold()) {
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let pairs = Novelty::new(threshold, Tokenization::Ascii).pairs(&texts);
        for (second, found) in pairs.iter().enumerate() {
            let scores = texts[..second].iter().enumerate().map(|(index, first)| {
                let score = RougeL::of(texts[second], first, Tokenization::Ascii).f_measure;
                Likeness { index, score }
            });
            let expected: Vec<_> = scores.filter(|pair| pair.score > threshold).collect();
            prop_assert_eq!(found, &expected);
        }
    }

    #[test]
    fn the_least_common_subsequence_is_the_least_one_above(
        a in 1usize..200, b in 1usize..200, threshold in threshold(),
    ) {
        let above = |common| RougeL::from_lengths(common, a, b).f_measure > threshold;
        prop_assert_eq!(least(a, b, threshold), (0..=a.min(b)).find(|common| above(*common)));
        // and lengths are those for which there is one
        let fits: Vec<_> = (0..=200).filter(|b| least(a, *b, threshold).is_some()).collect();
        let expected = fits.first().map(|first| (*first, fits[fits.len() - 1]));
        prop_assert_eq!(lengths(a, 200, threshold).map(|(first, last)| (first, last.min(200))), expected);
    }
}

/// Enough texts for several reorderings, with many near-duplicates.
fn many(count: usize) -> Vec<String> {
    let mut random = crate::Random::new(7, "novelty", 0);
    let mut texts: Vec<String> = Vec::new();
    for _ in 0..count {
        let mut words: Vec<String> = if texts.is_empty() || random.below(3) > 0 {
            let length = 3 + random.below(15);
            // New words keep coming: the vocabulary grows with the number of texts.
            let word = |random: &mut crate::Random| {
                let most = 1 + random.below(30 + texts.len());
                format!("w{}", random.below(most))
            };
            (0..length).map(|_| word(&mut random)).collect()
        } else {
            texts[random.below(texts.len())].split(' ').map(str::to_owned).collect()
        };
        for _ in 0..random.below(5) {
            let place = random.below(words.len());
            match random.below(3) {
                0 => words.insert(place, format!("w{}", random.below(50))),
                1 if words.len() > 1 => drop(words.remove(place)),
                _ => words.swap(place, 0),
            }
        }
        texts.push(words.join(" "));
    }
    texts
}

#[test]
fn reordering_and_batches_lose_no_pair() {
    let texts = many(4000);
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    for threshold in [0.7, 0.5] {
        let mut index = Novelty::new(threshold, Tokenization::Ascii);
        let found = index.accept(&texts);
        assert!(index.len() > 1000, "{} texts: the words are put into order twice", index.len());
        // The plain loop, on ids instead of strings: 4000 x 2000 pairs
        let ids: Vec<Vec<u32>> = texts.iter().map(|text| ids(text)).collect();
        let mut accepted: Vec<&[u32]> = Vec::new();
        for (tokens, found) in ids.iter().zip(found) {
            let mut expected: Option<Likeness> = None;
            for (index, other) in accepted.iter().enumerate() {
                let common = common_subsequence(tokens, other);
                let score = RougeL::from_lengths(common, tokens.len(), other.len()).f_measure;
                if score > threshold && expected.is_none_or(|best| score > best.score) {
                    expected = Some(Likeness { index, score });
                }
            }
            assert_eq!(found.err(), expected);
            if expected.is_none() {
                accepted.push(tokens);
            }
        }
    }
}

fn ids(text: &str) -> Vec<u32> {
    let words = tokens(text, Tokenization::Ascii);
    words.iter().map(|word| word[1..].parse().expect("a number")).collect()
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let texts = many(3000);
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Novelty::new(0.6, Tokenization::Ascii).accept(&texts))
    };
    let one = run(1);
    assert_eq!(run(2), one);
    assert_eq!(run(5), one);
}

#[test]
fn texts_of_tens_of_thousands_of_words_are_compared_too() {
    let long: Vec<_> = (0..40_000).map(|word| format!("w{word}")).collect();
    let mut index = Novelty::new(0.7, Tokenization::Ascii);
    let texts = [long.join(" "), long[..30_000].join(" "), long[..15_000].join(" ")];
    index.extend(texts[..1].iter().map(String::as_str));
    assert_eq!(index.nearest(&texts[1]), Some(Likeness { index: 0, score: 6.0 / 7.0 }));
    assert_eq!(index.insert(&texts[1]), 1);
    assert_eq!(index.nearest(&texts[2]), None);
    assert_eq!(index.nearest(&texts[0]), Some(Likeness { index: 0, score: 1.0 }));
    assert!(!index.is_novel(&long[..39_000].join(" ")));
}

#[test]
fn a_text_without_words_is_novel_and_scores_nothing() {
    let mut index = Novelty::new(0.0, Tokenization::Ascii);
    assert_eq!(index.accept(&["日本", "日本", "", "a"]), [Ok(0), Ok(1), Ok(2), Ok(3)]);
    assert_eq!(index.scores("日本", 10).mean, 0.0);
    let mut unicode = Novelty::new(0.0, Tokenization::Unicode);
    assert_eq!(unicode.accept(&["日本", "日本"])[1], Err(Likeness { index: 0, score: 1.0 }));
}

#[test]
fn scores_are_those_of_every_text_highest_first() {
    let texts = many(700);
    let mut index = Novelty::new(0.7, Tokenization::Ascii);
    index.extend(texts.iter().map(String::as_str));
    let text = format!("{} of something", texts[3]);
    let mut all: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(index, other)| {
            let score = RougeL::of(&text, other, Tokenization::Ascii).f_measure;
            Likeness { index, score }
        })
        .collect();
    let mean = all.iter().map(|likeness| likeness.score).sum::<f64>() / 700.0;
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index)));
    let scores = index.scores(&text, 10);
    assert_eq!(scores.nearest, all[..10]);
    assert!((scores.mean - mean).abs() < 1e-15, "{} {mean}", scores.mean);
    assert_eq!(index.scores(&text, 5000).nearest, all);
    assert_eq!(Novelty::new(0.7, Tokenization::Ascii).scores("a", 10).nearest, []);
}
