//! Published reviews and annotations, and what they come to.

use std::collections::BTreeMap;

use albacore_eval::{
    JudgeAgreement, Judgement, both_verdicts, contests, parse_scores, read_annotations,
    read_contestants, read_questions, read_reviews, totals, win_rate,
};

use crate::data;

#[test]
fn published_reviews_are_read_as_they_were_and_total_the_same() {
    let Some(data) = data() else { return };
    let blog = data.join("vicuna-qa/blog_eval");
    let questions = read_questions(&blog.join("question.jsonl")).unwrap();
    assert_eq!(questions.len(), 80);
    let category: BTreeMap<_, _> =
        questions.iter().map(|question| (question.id, question.category.clone())).collect();
    // The sums of the scores that are stored beside the reviews.
    let stored = [
        ("others/review_llama_alpaca-13b.jsonl", [525.0, 605.0]),
        ("vicuna-7b_20230322-fp16/review_alpaca-13b_vicuna-7b.jsonl", [583.0, 684.5]),
        ("vicuna-7b_20230322-fp16/review_bard_vicuna-7b.jsonl", [660.0, 630.0]),
        ("vicuna-7b_20230322-fp16/review_gpt35_vicuna-7b.jsonl", [688.0, 604.0]),
        ("vicuna-7b_20230322-fp16/review_llama_vicuna-7b.jsonl", [513.0, 677.5]),
    ];
    for (file, wanted) in stored {
        let reviews = read_reviews(&blog.join("review").join(file)).unwrap();
        let (mut judgements, mut by_hand) = (Vec::new(), 0);
        for review in &reviews {
            match parse_scores(&review.text) {
                Some(scores) => assert_eq!(scores, review.score, "{file}: {}", review.text),
                // The judge solves problems before it judges; their scores were put in by people.
                None => {
                    assert_eq!(category[&review.question_id], "math", "{file}: {}", review.text);
                    by_hand += 1;
                }
            }
            let (id, scores) = (review.question_id, review.score);
            judgements.push(Judgement::from_scores(id.to_string(), category[&id].clone(), scores));
        }
        let (all, categories) = totals(&judgements);
        assert_eq!((all.scores, by_hand), (wanted, 3), "{file}");
        assert_eq!(categories.len(), 9);
        assert_eq!(
            categories["coding"].first + categories["coding"].second + categories["coding"].ties,
            7
        );
        let twice = both_verdicts(&judgements, &judgements);
        assert_eq!(JudgeAgreement::of(&twice).verdicts.same, Some(1.0));
        eprintln!("{file}: {all:?}");
    }
}

#[test]
fn the_published_answers_fit_the_questions() {
    let Some(data) = data() else { return };
    let blog = data.join("vicuna-qa/blog_eval");
    let questions = read_questions(&blog.join("question.jsonl")).unwrap();
    let newer =
        read_questions(&data.join("vicuna-qa/fastchat_vicuna_bench_question.jsonl")).unwrap();
    assert_eq!(newer.len(), 80);
    let answers = |name| read_contestants(&blog.join("answer").join(name), None).unwrap();
    let models = ["answer_llama-13b.jsonl", "answer_alpaca-13b.jsonl"].map(answers).concat();
    let contests = contests(&models, Some(&questions), None).unwrap();
    assert_eq!((contests.len(), contests[0].pairs.len()), (1, 80));
    // AlpacaEval's outputs tell their questions themselves.
    let outputs = data.join("alpaca-eval/model_outputs");
    let outputs = ["text_davinci_003.json", "alpaca-7b.json"]
        .map(|name| read_contestants(&outputs.join(name), None).unwrap());
    let contests = albacore_eval::contests(&outputs.concat(), None, Some(2)).unwrap();
    assert_eq!(contests[0].pairs.len(), 10, "two of each of five sets");
}

#[test]
fn win_rates_are_those_of_the_leaderboard() {
    let Some(data) = data() else { return };
    let folder = data.join("alpaca-eval");
    let board = csv::Reader::from_path(folder.join("alpaca_eval_gpt4_leaderboard.csv")).unwrap();
    let board: Vec<BTreeMap<String, String>> =
        board.into_deserialize().map(Result::unwrap).collect();
    for model in ["alpaca-7b", "vicuna-13b"] {
        let path = folder.join(format!("annotations_alpaca_eval_gpt4/{model}.json"));
        let found = win_rate(&read_annotations(&path).unwrap()).unwrap();
        let row = board.iter().find(|row| row[""] == model).unwrap();
        let wanted = |column: &str| row[column].parse::<f64>().unwrap();
        // Sums in another order.
        assert!((found.win_rate - wanted("win_rate")).abs() < 1e-9, "{found:?}");
        assert!((found.standard_error - wanted("standard_error")).abs() < 1e-9, "{found:?}");
        assert_eq!(
            [found.wins, found.losses, found.draws].map(|count| count as f64),
            ["n_wins", "n_wins_base", "n_draws"].map(wanted)
        );
        eprintln!("{model}: {found:?}");
    }
}
