//! What every objective has in common, and what their tests share.

use proptest::prelude::*;

use super::*;

/// The better response has two tokens, the worse one.
pub(super) const PAIR: Groups = Groups {
    target_starts: &[0, 2, 3],
    group_starts: &[0, 2],
    scores: &[1.0, 0.0],
    reference: &[],
};

/// What an objective says of a step of one batch.
pub(super) fn evaluate(objective: &dyn Objective, logp: &[f32], groups: &Groups) -> Loss {
    objective.loss(logp, groups, &objective.count(groups))
}

/// The mean of a term.
pub(super) fn mean(loss: &Loss, name: &str) -> f64 {
    loss.terms.iter().find(|term| term.name == name).unwrap().mean()
}

/// Log-probabilities and gradients are f32.
pub(super) fn assert_close(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 3e-7, "found {found}, wanted {wanted}");
}

/// Every kind with its defaults, and every choice that alters a loss.
fn objectives() -> Vec<(String, Box<dyn Objective>)> {
    let texts = [
        r#"{"kind": "sft"}"#,
        r#"{"kind": "tuna"}"#,
        r#"{"kind": "tuna", "margin": 0.3, "mle_weight": 0.5, "mle_over": "best", "ties": "leave_out"}"#,
        r#"{"kind": "tuna", "margin": 0.3, "average": "groups"}"#,
        r#"{"kind": "rrhf", "rank_weight": 3.0}"#,
        r#"{"kind": "slic"}"#,
        r#"{"kind": "slic", "pairs": "all"}"#,
        r#"{"kind": "dpo"}"#,
        r#"{"kind": "dpo", "pairs": "all", "label_smoothing": 0.2}"#,
        r#"{"kind": "ipo"}"#,
        r#"{"kind": "ipo", "pairs": "all"}"#,
        r#"{"kind": "lipo_lambda", "beta": 0.5}"#,
        r#"{"kind": "lipo_lambda", "gain": "linear"}"#,
        r#"{"kind": "plackett_luce", "beta": 0.5}"#,
        r#"{"kind": "orpo"}"#,
        r#"{"kind": "orpo", "pairs": "all"}"#,
        r#"{"kind": "simpo"}"#,
        r#"{"kind": "simpo", "pairs": "all", "mle_weight": 0.5}"#,
        r#"{"kind": "kto", "reference_point": "zero", "undesirable_weight": 2.0}"#,
        r#"{"kind": "kto", "reference_point": "zero", "threshold": 1.5}"#,
        r#"{"kind": "kto"}"#,
        r#"{"kind": "cpo"}"#,
        r#"{"kind": "cpo", "pairs": "all", "label_smoothing": 0.2}"#,
    ];
    let build = |text: &str| {
        let config = serde_json::from_str::<ObjectiveConfig>(text).unwrap();
        (text.to_owned(), config.build())
    };
    texts.into_iter().map(build).collect()
}

/// Groups that own their numbers.
#[derive(Clone, Debug, Default)]
struct Owned {
    logp: Vec<f32>,
    target_starts: Vec<u32>,
    group_starts: Vec<u32>,
    scores: Vec<f32>,
    reference: Vec<f32>,
}

/// A response: its score, its tokens' log-probabilities, and what the reference gains over it.
type Response = (u8, Vec<f32>, f32);

impl Owned {
    fn of(groups: &[Vec<Response>]) -> Self {
        let mut owned = Self { target_starts: vec![0], group_starts: vec![0], ..Self::default() };
        for group in groups {
            for (score, logp, gain) in group {
                owned.logp.extend(logp);
                owned.target_starts.push(owned.logp.len() as u32);
                owned.scores.push(f32::from(*score));
                owned.reference.push(logp.iter().sum::<f32>() + gain);
            }
            owned.group_starts.push(owned.scores.len() as u32);
        }
        owned
    }

    fn groups(&self) -> Groups<'_> {
        let Self { target_starts, group_starts, scores, reference, .. } = self;
        Groups { target_starts, group_starts, scores, reference }
    }
}

/// Groups of up to five responses of up to four tokens: empty ones, ties and groups of one among them.
fn random_groups() -> impl Strategy<Value = Vec<Vec<Response>>> {
    let response = (0u8..4, prop::collection::vec(-4.0f32..-0.05, 0..5), -2.0f32..2.0);
    prop::collection::vec(prop::collection::vec(response, 1..6), 1..7)
}

/// Their sums differ in their order alone; `NaN` is a mean of nothing.
fn assert_same(found: f64, wanted: f64, what: &str) {
    let same =
        found.is_nan() && wanted.is_nan() || (found - wanted).abs() <= 1e-12 * (1.0 + wanted.abs());
    assert!(same, "{what}: found {found}, wanted {wanted}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn groups_spread_over_batches_give_the_loss_and_the_gradient_of_the_step(
        groups in random_groups(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(groups.len() + 1)).collect();
        cuts.extend([0, groups.len()]);
        cuts.sort_unstable();
        let whole = Owned::of(&groups);
        let batches: Vec<_> =
            cuts.windows(2).map(|cut| Owned::of(&groups[cut[0]..cut[1]])).collect();
        for (name, objective) in objectives() {
            let wanted = evaluate(objective.as_ref(), &whole.logp, &whole.groups());
            let mut step = Counts::default();
            batches.iter().for_each(|batch| step.add(&objective.count(&batch.groups())));
            assert_eq!(step, objective.count(&whole.groups()), "{name}");
            let losses: Vec<_> = batches
                .iter()
                .map(|batch| objective.loss(&batch.logp, &batch.groups(), &step))
                .collect();
            let gradient: Vec<_> = losses.iter().flat_map(|loss| loss.gradient.clone()).collect();
            assert_eq!(gradient, wanted.gradient, "{name}");
            for (at, term) in wanted.terms.iter().enumerate() {
                assert!(losses.iter().all(|loss| loss.terms[at].name == term.name));
                let sum = losses.iter().map(|loss| loss.terms[at].mean()).sum::<f64>();
                assert_same(sum, term.mean(), &format!("{name}: {}", term.name));
            }
        }
    }

    /// Whatever the groups: loss and gradient are finite, and what is reported is finite or nothing.
    #[test]
    fn no_group_breaks_an_objective(groups in random_groups()) {
        let owned = Owned::of(&groups);
        for (name, objective) in objectives().into_iter().skip(1) {
            let loss = evaluate(objective.as_ref(), &owned.logp, &owned.groups());
            assert!(loss.terms[0].mean().is_finite(), "{name}: {loss:?}");
            assert!(loss.gradient.iter().all(|slope| slope.is_finite()), "{name}: {loss:?}");
            let said = loss.terms.iter().all(|term| term.count == 0.0 || term.mean().is_finite());
            assert!(said, "{name}: {loss:?}");
        }
    }
}

/// Central differences in f64 at steps of 2^-9 and 2^-10, which are exact on these numbers, and from
/// both (Richardson) a slope whose error is of the fourth power of the step. `kto` is left out where its
/// point of reference moves, through which no gradient goes.
#[test]
fn every_gradient_is_the_slope_of_its_loss() {
    let mut numbers = 1u64;
    let mut next = |below: u64| {
        numbers = numbers.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (numbers >> 33) % below
    };
    let mut response = |score: u8, tokens: usize| {
        let logp = (0..tokens).map(|_| -0.25 - next(2000) as f32 / 1024.0).collect();
        (score, logp, next(2048) as f32 / 1024.0 - 1.0)
    };
    let groups = [
        vec![response(3, 2), response(1, 3), response(2, 1), response(1, 4)],
        vec![response(0, 2), response(1, 2)],
        vec![response(1, 2)],
        vec![response(1, 3), response(2, 0), response(2, 1), response(2, 2)],
    ];
    let owned = Owned::of(&groups);
    for (name, objective) in objectives() {
        if name == r#"{"kind": "kto"}"# {
            continue;
        }
        let loss = |at: usize, by: f32| {
            let mut logp = owned.logp.clone();
            logp[at] += by;
            mean(&evaluate(objective.as_ref(), &logp, &owned.groups()), "loss")
        };
        let found = evaluate(objective.as_ref(), &owned.logp, &owned.groups()).gradient;
        for (at, &found) in found.iter().enumerate() {
            let slope = |step: f32| (loss(at, step) - loss(at, -step)) / (2.0 * f64::from(step));
            let wanted = (4.0 * slope(1.0 / 1024.0) - slope(1.0 / 512.0)) / 3.0;
            let error = (f64::from(found) - wanted).abs();
            // The gradient is rounded to f32, to 6e-8 of itself.
            assert!(error <= 1e-9 + 1e-7 * wanted.abs(), "{name} {at}: {found}, wanted {wanted}");
        }
    }
}

/// The first has one response; of the second a response is empty, and without it one is left; the
/// third is empty altogether; the fourth is tied.
#[test]
fn groups_in_which_nothing_can_be_ranked_have_their_cross_entropy_alone() {
    let groups = [
        vec![(3, vec![-1.0, -2.0], 0.5)],
        vec![(1, vec![], 0.5), (0, vec![-3.0], 0.5)],
        vec![(1, vec![], 0.5), (0, vec![], 0.5)],
        vec![(2, vec![-0.5], 0.5), (2, vec![-0.25], -0.5)],
    ];
    let (all, untied) = (Owned::of(&groups), Owned::of(&groups[..3]));
    for (name, objective) in objectives().into_iter().skip(1) {
        if name.contains("threshold") {
            continue; // It does not rank.
        }
        // The best of each group: 3 nats on two tokens, 3 on one, 0.5 on one (the first of two). These
        // compare ties by the order of the file, and have the cross entropy of both.
        let by_file = name.contains("tuna") && !name.contains("leave_out");
        let (owned, wanted) = if by_file { (&untied, 6.0 / 3.0) } else { (&all, 6.5 / 4.0) };
        let loss = evaluate(objective.as_ref(), &owned.logp, &owned.groups());
        let mle = loss.terms.iter().find(|term| term.name == "loss_mle").map(Term::mean);
        assert_eq!(mean(&loss, "loss_ranking"), 0.0, "{name}");
        assert_eq!(mle.unwrap_or(wanted), wanted, "{name}");
        assert!(mle.is_some() || mean(&loss, "loss") == 0.0, "{name}");
        let learned = loss.gradient.iter().any(|slope| *slope != 0.0);
        assert_eq!(learned, mean(&loss, "loss") != 0.0, "{name}: {:?}", loss.gradient);
        assert!(mean(&loss, "ranking_accuracy").is_nan(), "{name}: nothing was measured");
    }
}

#[test]
fn ranking_objectives_ask_for_groups_and_some_for_a_reference() {
    for (name, objective) in objectives() {
        assert_eq!(objective.needs_groups(), !name.contains("sft"), "{name}");
        let referring = ["dpo", "ipo", "lipo_lambda", "plackett_luce", "kto"];
        let wanted = referring.iter().any(|kind| name.contains(&format!("\"{kind}\"")));
        assert_eq!(objective.needs_reference(), wanted, "{name}");
    }
}

#[test]
fn every_problem_of_a_config_is_told() {
    let problems = |text: &str| serde_json::from_str::<ObjectiveConfig>(text).unwrap().validate();
    let found = problems(
        r#"{"kind": "cpo", "beta": 0, "label_smoothing": 0.5, "mle_weight": -1, "pairs": "all"}"#,
    );
    let wanted = [
        "`objective.beta` is 0, wanted a number above 0",
        "`objective.label_smoothing` is 0.5, wanted a share from 0 to below 0.5",
        "`objective.mle_weight` is -1, wanted 0 or more",
    ];
    assert_eq!(found, wanted);
    assert_eq!(problems(r#"{"kind": "tuna", "margin": -0.1, "mle_weight": -1}"#).len(), 2);
    assert!(problems(r#"{"kind": "sft"}"#).is_empty());
}

#[test]
fn a_kind_may_be_spelt_with_a_hyphen() {
    let read = |text: &str| serde_json::from_str::<ObjectiveConfig>(text).unwrap();
    let hyphens = [r#"{"kind": "lipo-lambda"}"#, r#"{"kind": "plackett-luce"}"#].map(read);
    let defaults = [
        ObjectiveConfig::LipoLambda(LipoLambda::default()),
        ObjectiveConfig::PlackettLuce(PlackettLuce::default()),
    ];
    assert_eq!(hyphens, defaults);
    assert_eq!(serde_json::to_value(&hyphens[0]).unwrap()["kind"], "lipo_lambda");
}

#[test]
fn counts_of_batches_add_up() {
    let mut step = Counts::default();
    step.add(&Counts(vec![3, 1]));
    step.add(&Counts(vec![4, 0]));
    assert_eq!(step, Counts(vec![7, 1]));
}

#[test]
fn responses_lie_in_groups_and_tokens_in_responses() {
    let logp = [-1.0, -2.0, -3.0, -4.0, -0.5];
    let groups =
        Groups { target_starts: &[0, 2, 2, 5], group_starts: &[0, 2, 3], ..Groups::default() };
    assert_eq!((groups.targets(), groups.len(), groups.is_empty()), (5, 2, false));
    assert_eq!(groups.groups().collect::<Vec<_>>(), [0..2, 2..3]);
    assert_eq!(groups.sequences().collect::<Vec<_>>(), [0..2, 2..2, 2..5]);
    assert_eq!((groups.sum(&logp, 0), groups.mean(&logp, 0)), (-3.0, Some(-1.5)));
    // A response without supervised tokens has no mean.
    assert_eq!((groups.sum(&logp, 1), groups.mean(&logp, 1)), (0.0, None));
    assert_eq!((groups.sum(&logp, 2), groups.mean(&logp, 2)), (-7.5, Some(-2.5)));
}

#[test]
fn sequences_alone_are_groups_of_one() {
    let groups = Groups::alone(&[0, 2, 5]);
    assert_eq!(groups.groups().collect::<Vec<_>>(), [0..1, 1..2]);
    assert!(Groups::alone(&[0]).is_empty() && Groups::default().is_empty());
}

#[test]
fn the_config_names_its_kind_and_refuses_unknown_keys() {
    let read = serde_json::from_str::<ObjectiveConfig>;
    assert_eq!(read(r#"{"kind": "sft"}"#).unwrap(), ObjectiveConfig::default());
    let error = read(r#"{"kind": "sft", "margin": 1}"#).unwrap_err().to_string();
    assert!(error.contains("unknown field `margin`"), "{error}");
}
