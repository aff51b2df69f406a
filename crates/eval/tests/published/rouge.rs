//! ROUGE-L and exact match against published figures.

use std::collections::BTreeMap;

use albacore_data::stem;
use albacore_eval::{Task, UserOriented, text_scores};
use serde::Deserialize;
use serde_json::Value;

use crate::{data, lines};

#[derive(Deserialize)]
struct Figures {
    n: usize,
    #[serde(rename = "rougeL")]
    rouge_l: f64,
    exact_match: Option<f64>,
}

fn figures(name: &str) -> Option<BTreeMap<String, Figures>> {
    let text = std::fs::read_to_string(data()?.join("derived").join(name)).expect("it is there");
    Some(serde_json::from_str(&text).expect("it is JSON"))
}

/// A percentage as the figures have it.
fn percent(sum: f64, n: usize) -> f64 {
    format!("{:.4}", 100.0 * sum / n as f64).parse().expect("a number")
}

#[test]
fn the_figures_of_gisting_come_out_to_four_decimals() {
    let (Some(data), Some(figures)) = (data(), figures("gisting_llama_pos_expected.json")) else {
        return;
    };
    for (name, expected) in &figures {
        let (model, split) = name.split_once('/').unwrap();
        let file = format!("outputs-3000-validation_{split}.csv");
        let path = data.join("gisting-alpaca-plus/model_outputs").join(model).join(file);
        let rows = csv::Reader::from_path(path).unwrap().into_deserialize();
        let rows: Vec<BTreeMap<String, String>> = rows.map(Result::unwrap).collect();
        let scores = rows.iter().map(|row| text_scores(&row["y_pred"], &[row["y_true"].clone()]));
        let (mut rouge_l, mut exact) = (0.0, 0.0);
        for scores in scores {
            rouge_l += scores["rouge_l"];
            exact += scores["exact_match"];
        }
        let (rouge_l, exact) = (percent(rouge_l, rows.len()), percent(exact, rows.len()));
        assert_eq!((rows.len(), rouge_l), (expected.n, expected.rouge_l), "{name}");
        assert_eq!(Some(exact), expected.exact_match, "{name}");
        eprintln!("{name}: {rouge_l} {exact}");
    }
    assert_eq!(figures.len(), 3);
}

#[test]
fn all_stems_are_those_of_nltk() {
    let Some(data) = data() else { return };
    let mut stems = 0;
    for line in lines(&data.join("derived/porter_stems_nltk.tsv.gz")) {
        let Some((word, expected)) = line.split_once('\t') else { continue };
        assert_eq!(stem(word), expected, "{word}");
        stems += 1;
    }
    eprintln!("{stems} stems");
    assert_eq!(stems, 30_248);
}

/// The answers themselves are not among the files that the figures came with; they are published
/// beside the tasks.
#[test]
fn published_answers_to_the_user_oriented_tasks_have_the_rouge_that_is_derived_from_them() {
    let (Some(data), Some(figures)) = (data(), figures("self_instruct_252_rougeL.json")) else {
        return;
    };
    let suite = UserOriented::open(&data).unwrap();
    assert_eq!(suite.examples().len(), 252);
    for (file, expected) in &figures {
        let path = data.join("self-instruct/human_eval/predictions").join(file);
        if !path.is_file() {
            eprintln!("skipped: there is no `{}`", path.display());
            continue;
        }
        let mut sum = 0.0;
        for (number, line) in lines(&path).enumerate() {
            let line: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(suite.examples()[number].question.text(0), line["prompt"].as_str().unwrap());
            let response = &line["response"];
            let text = response["choices"][0]["text"].as_str().or(response.as_str()).unwrap();
            sum += suite.score(number, &suite.extract(number, text))["rouge_l"];
        }
        let rouge_l = percent(sum, expected.n);
        eprintln!("{file}: {rouge_l}, wanted {}", expected.rouge_l);
        assert_eq!(rouge_l, expected.rouge_l, "{file}");
    }
}
