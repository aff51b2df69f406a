//! Adafactor beside its formulas in f64, and what must never change its bits.

use super::*;
use crate::support::{assert_close, floats, on_threads, tensor, wider};

fn update(step: u64) -> AdafactorStep {
    AdafactorStep {
        step,
        learning_rate: 0.05,
        decay_rate: 0.8,
        epsilons: (1e-30, 1e-3),
        clip_threshold: 1.0,
        scale_parameter: true,
        momentum: 0.9,
        weight_decay: 0.1,
        gradient_scale: 0.5,
    }
}

/// The specification, of a tensor of `columns`; `factored` says how `second` is kept.
struct Reference {
    weights: Vec<f64>,
    first: Option<Vec<f64>>,
    rows: Vec<f64>,
    columns: Vec<f64>,
    full: Option<Vec<f64>>,
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

fn rms(numbers: &[f64]) -> f64 {
    mean(&numbers.iter().map(|number| number * number).collect::<Vec<_>>()).sqrt()
}

impl Reference {
    fn new(weights: Vec<f64>, columns: usize, factored: bool, momentum: bool) -> Self {
        let (rows, count) = (weights.len() / columns, weights.len());
        Self {
            weights,
            first: momentum.then(|| vec![0.0; count]),
            rows: vec![0.0; rows],
            columns: vec![0.0; columns],
            full: (!factored).then(|| vec![0.0; count]),
        }
    }

    fn step(&mut self, gradient: &[f64], update: &AdafactorStep) {
        let width = self.columns.len();
        let gradient: Vec<f64> =
            gradient.iter().map(|g| g * f64::from(update.gradient_scale)).collect();
        let squares: Vec<f64> = gradient.iter().map(|g| g * g + update.epsilons.0).collect();
        let kept = 1.0 - (update.step as f64).powf(-update.decay_rate);
        let mix = |mean: &mut f64, new: f64| *mean = kept * *mean + (1.0 - kept) * new;
        for (row, squares) in self.rows.iter_mut().zip(squares.chunks(width)) {
            mix(row, mean(squares));
        }
        for (place, column) in self.columns.iter_mut().enumerate() {
            let of_column = squares.iter().skip(place).step_by(width).copied().collect::<Vec<_>>();
            mix(column, mean(&of_column));
        }
        let mut second: Vec<f64> = Vec::new();
        match &mut self.full {
            Some(full) => {
                full.iter_mut().zip(&squares).for_each(|(full, square)| mix(full, *square));
                second.extend(full.iter());
            }
            None => {
                let of_all = mean(&self.rows);
                let products = self
                    .rows
                    .iter()
                    .flat_map(|row| self.columns.iter().map(move |column| row * column / of_all));
                second.extend(products);
            }
        }
        let steps: Vec<f64> = gradient.iter().zip(&second).map(|(g, v)| g / v.sqrt()).collect();
        let clipped = (rms(&steps) / update.clip_threshold).max(1.0);
        let scale =
            if update.scale_parameter { rms(&self.weights).max(update.epsilons.1) } else { 1.0 };
        let rate = update.learning_rate * scale;
        for (place, step) in steps.iter().enumerate() {
            let mut step = rate * step / clipped;
            if let Some(first) = &mut self.first {
                first[place] = update.momentum * first[place] + (1.0 - update.momentum) * step;
                step = first[place];
            }
            self.weights[place] -= rate * update.weight_decay * self.weights[place] + step;
        }
    }
}

/// Weights and everything kept after four updates.
fn four_updates(dims: &[usize], factor_from: usize, momentum: bool) -> Vec<Vec<f32>> {
    let weights = tensor(dims, 1);
    let state = AdafactorState::zeros(&weights, factor_from, momentum).unwrap();
    for step in 1..=4 {
        adafactor(&weights, &tensor(dims, 10 + step), &state, &update(step)).unwrap();
    }
    let kept = state.buffers().into_iter().map(|(_, buffer)| floats(buffer.tensor().unwrap()));
    [floats(&weights)].into_iter().chain(kept).collect()
}

#[test]
fn four_updates_equal_the_specification() {
    let shapes: [&[usize]; 7] =
        [&[1, 1], &[3, 5], &[40, 33], &[2000, 3], &[2, 1100], &[7], &[ROWS * CHUNK + 5]];
    for dims in shapes {
        for (factor_from, momentum) in [(1, false), (1, true), (10_000, false), (10_000, true)] {
            let factored = dims.len() == 2 && factor_from == 1;
            let weights = wider(&floats(&tensor(dims, 1)));
            let mut wanted = Reference::new(weights, dims[dims.len() - 1], factored, momentum);
            for step in 1..=4 {
                wanted.step(&wider(&floats(&tensor(dims, 10 + step))), &update(step));
            }
            let found = four_updates(dims, factor_from, momentum);
            // Four updates of about twenty operations, each rounded to 6e-8.
            let name = format!("adafactor {dims:?} {factored} {momentum}");
            assert_close(&name, &found[0], &wanted.weights, 1e-6);
            if factored {
                assert_close(&name, &found[1], &wanted.rows, 1e-6);
                assert_close(&name, &found[2], &wanted.columns, 1e-6);
            }
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    for (dims, factor_from) in [(vec![2100, 9], 1), (vec![3 * ROWS * CHUNK + 7], 1)] {
        let run = |threads| on_threads(threads, || four_updates(&dims, factor_from, true));
        assert!(run(1) == run(2) && run(1) == run(5), "{dims:?}");
    }
}

#[test]
fn a_matrix_is_factored_only_if_both_sides_are_long_enough() {
    let names = |dims: &[usize], factor_from, momentum| {
        let state = AdafactorState::zeros(&tensor(dims, 1), factor_from, momentum).unwrap();
        let bytes: u64 = state.buffers().iter().map(|(_, buffer)| buffer.bytes()).sum();
        assert_eq!(bytes, AdafactorState::bytes(dims, factor_from, momentum));
        state.buffers().iter().map(|(name, _)| *name).collect::<Vec<_>>()
    };
    assert_eq!(names(&[128, 128], 128, false), ["v_row", "v_col"]);
    assert_eq!(names(&[127, 4096], 128, false), ["v"]);
    assert_eq!(names(&[4096], 1, true), ["v", "m"]);
    assert_eq!(names(&[2, 3], 1, true), ["v_row", "v_col", "m"]);
}

/// A row of the embedding that no token has reached has a gradient of zero.
#[test]
fn a_row_without_gradient_stays_and_nothing_becomes_infinite() {
    let weights = tensor((3, 4), 1);
    let before = floats(&weights);
    let state = AdafactorState::zeros(&weights, 1, false).unwrap();
    let gradient = tensor((3, 4), 2);
    storage::write(&gradient, |numbers| {
        numbers[4..8].fill(0.0);
        Ok(())
    })
    .unwrap();
    for step in 1..=3 {
        let update = AdafactorStep { weight_decay: 0.0, ..update(step) };
        adafactor(&weights, &gradient, &state, &update).unwrap();
    }
    let after = floats(&weights);
    assert!(after.iter().all(|weight| weight.is_finite()));
    assert_eq!(after[4..8], before[4..8]);
    assert!(after[..4].iter().zip(&before).all(|(after, before)| after != before));
}

#[test]
fn a_step_moves_a_tensor_by_its_rate_and_root_mean_square() {
    let weights = (tensor(6, 1) * 0.0).unwrap();
    storage::write(&weights, |weights| {
        weights.fill(2.0);
        Ok(())
    })
    .unwrap();
    let state = AdafactorState::zeros(&weights, 1, false).unwrap();
    let update = AdafactorStep { weight_decay: 0.0, gradient_scale: 1.0, ..update(1) };
    adafactor(&weights, &tensor(6, 3), &state, &update).unwrap();
    // The first update is the gradient's sign; 2 · 0.05 = 0.1.
    assert!(floats(&weights).iter().all(|weight| ((weight - 2.0).abs() - 0.1).abs() < 1e-6));
}

#[test]
fn another_shape_is_refused() {
    let weights = tensor((3, 4), 1);
    let state = AdafactorState::zeros(&tensor((4, 3), 1), 1, false).unwrap();
    let error = adafactor(&weights, &weights, &state, &update(1)).unwrap_err();
    assert!(error.to_string().contains("state"), "{error}");
}
