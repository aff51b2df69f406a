//! How long ROUGE-L with stemming takes for pairs of texts, on one thread.
//!
//! ```sh
//! cargo bench -p albacore-data --bench rouge -- pairs.jsonl 5
//! ```
//!
//! A line is `{"prediction", "reference"}`. Prints the sum of F and the seconds of each round as JSON;
//! `benches/rouge.py` writes the pairs and compares with rouge-score.

use std::time::Instant;

use albacore_data::{RougeL, Tokenization};
use serde::Deserialize;

#[derive(Deserialize)]
struct Pair {
    prediction: String,
    reference: String,
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [path, rounds] = &arguments[..] else { panic!("a file of pairs and a number of rounds") };
    let text = std::fs::read_to_string(path).expect("a file that can be read");
    let pairs = text.lines().map(serde_json::from_str).collect::<Result<Vec<Pair>, _>>();
    let pairs = pairs.expect("lines of prediction and reference");
    let (mut seconds, mut sum) = (Vec::new(), 0.0);
    for _ in 0..rounds.parse().expect("a whole number") {
        let began = Instant::now();
        let score = |Pair { prediction, reference }: &Pair| {
            RougeL::of(prediction, reference, Tokenization::Stemmed).f_measure
        };
        sum = pairs.iter().map(score).sum::<f64>();
        seconds.push(began.elapsed().as_secs_f64());
    }
    println!("{}", serde_json::json!({"pairs": pairs.len(), "sum": sum, "seconds": seconds}));
}
