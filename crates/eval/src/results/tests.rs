//! Means and differences of models that answer by rule.

use super::*;
use crate::tiny::Adding;

const FEW: Bootstrap = Bootstrap { resamples: 200, confidence: 0.95, seed: 0 };

fn scores(rights: &[(usize, bool)]) -> BTreeMap<usize, Scores> {
    let score = |right| Scores::from([("accuracy", f64::from(right))]);
    rights.iter().map(|&(number, right)| (number, score(right))).collect()
}

fn results(task: &Adding, models: &[(&str, BTreeMap<usize, Scores>, BTreeSet<usize>)]) -> Results {
    let mut results = Results::new(&FEW);
    let scored: Vec<_> = models
        .iter()
        .map(|(model, scores, unanswered)| Scored { model, scores, unanswered })
        .collect();
    results.add(task, &scored);
    results
}

#[test]
fn the_unanswered_are_counted_and_are_not_wrong() {
    let task = Adding::new(4);
    let found = results(&task, &[("a", scores(&[(0, true), (1, false)]), [2, 3].into())]);
    let row = &found.rows[0];
    assert_eq!((row.n, row.unanswered, row.percent), (2, 2, Some(50.0)));
    assert!(row.is_headline && row.part == Part::Suite && found.rows.len() == 1);
}

#[test]
fn a_model_without_answers_has_its_rows_without_a_number() {
    let mut task = Adding::of_tasks(&["easy", "hard"], 1);
    task.mean = Mean::OfTasks;
    let first = scores(&[(0, true)]);
    let found = results(&task, &[("a", first, [1].into()), ("b", BTreeMap::new(), [0, 1].into())]);
    let rows: Vec<_> = found.rows.iter().map(|row| (&*row.model, row.n, row.unanswered)).collect();
    assert_eq!(
        rows,
        [("a", 1, 1), ("a", 1, 0), ("a", 0, 1), ("b", 0, 2), ("b", 0, 1), ("b", 0, 1)]
    );
    let told: Vec<_> = found.rows.iter().map(Row::told).collect();
    assert_eq!(told, ["100.0 [–]", "100.0 [–]", "–", "–", "–", "–"]);
    // The mean of `a` is one of one task, not of two.
    assert_eq!(found.rows[0].tasks, Some(1));
    assert!(found.differences.is_empty());
    let nobody = results(&task, &[("b", BTreeMap::new(), [0, 1].into())]);
    assert_eq!((nobody.rows[0].metric.as_str(), nobody.rows[0].percent), ("accuracy", None));
}

#[test]
fn a_handful_of_questions_makes_nothing_clear() {
    let task = Adding::new(20);
    let of =
        |count: usize, right| scores(&(0..count).map(|number| (number, right)).collect::<Vec<_>>());
    let is_clear = |count| {
        let models = [("a", of(count, false), [].into()), ("b", of(count, true), [].into())];
        results(&task, &models).differences[0].is_clear()
    };
    assert!(!is_clear(1) && !is_clear(19) && is_clear(20));
}

#[test]
fn tasks_count_the_same_where_the_suite_says_so() {
    let mut task = Adding::of_tasks(&["easy", "hard"], 3);
    let rights = scores(&[(0, true), (1, true), (2, true), (3, false)]);
    let percent =
        |task: &Adding| results(task, &[("a", rights.clone(), [].into())]).rows[0].percent.unwrap();
    assert_eq!(percent(&task), 75.0);
    task.mean = Mean::OfTasks;
    assert_eq!(percent(&task), 50.0);
    let found = results(&task, &[("a", rights.clone(), [].into())]);
    let tasks: Vec<_> = found.rows[1..].iter().map(|row| (row.part.clone(), row.percent)).collect();
    let task = |name: &str, percent| (Part::Task(name.into()), Some(percent));
    assert_eq!(tasks, [task("easy", 100.0), task("hard", 0.0)]);
    assert_eq!((found.rows[0].tasks, found.rows[1].tasks), (Some(2), None));
    // Of one answer no interval is known.
    assert_eq!(found.rows[2].told(), "0.0 [–]");
}

#[test]
fn two_models_are_compared_on_what_both_have_answered() {
    let task = Adding::new(40);
    let first = (0..40).map(|number| (number, number < 10)).collect::<Vec<_>>();
    let second = (5..40).map(|number| (number, number < 30)).collect::<Vec<_>>();
    let found = results(
        &task,
        &[("a", scores(&first), [].into()), ("b", scores(&second), (0..5).collect())],
    );
    let [difference] = &found.differences[..] else { panic!("{:?}", found.differences) };
    assert_eq!((difference.n, difference.first.as_str()), (35, "a"));
    // Of the 35, 5 and 25 are right.
    assert!((difference.points - 100.0 * 20.0 / 35.0).abs() < 1e-9);
    assert!(difference.is_clear() && difference.low < difference.points);
}
