//! What a generator promises, on small random models.

use std::cell::{Cell, RefCell};

use albacore_kernels::storage;
use candle_core::Device;
use serde_json::json;

use super::*;
use crate::{Llama, LlamaConfig};

fn model(scaling: serde_json::Value) -> Model {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 211,
        "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 128, "tie_word_embeddings": true, "initializer_range": 0.15,
        "hidden_act": "silu", "rope_theta": 10000.0, "rope_scaling": scaling,
    });
    let config = LlamaConfig::from_json(config.as_object().unwrap().clone(), "the test").unwrap();
    Llama::random(config, 7, &Device::Cpu).unwrap().into()
}

fn plain() -> Model {
    model(serde_json::Value::Null)
}

/// `head` tokens that all these prompts begin with, and `tail` of its own.
fn prompt(number: u32, head: u32, tail: u32) -> Vec<u32> {
    let head = (0..head).map(|token| token * 37 % 211);
    head.chain((0..tail).map(|token| (number * 59 + token * 7 + 1) % 211)).collect()
}

fn request(prompt: Vec<u32>, max_new_tokens: usize, temperature: f32) -> Request {
    let sampling = Sampling { temperature, seed: max_new_tokens as u64, ..Sampling::default() };
    let limits = Limits { max_new_tokens, stop_ids: (0..9).collect() };
    Request { prompt, sampling, times: 0, limits, logprobs: true, compare: Vec::new() }
}

/// Requests of different lengths and limits, cold and warm in turn.
fn mixed(count: u32, head: u32) -> Vec<Request> {
    let one = |number| {
        let (tail, new) = (1 + number * 5 % 23, 1 + number as usize * 7 % 19);
        request(prompt(number, head, tail), new, [0.0, 0.9][number as usize % 2])
    };
    (0..count).map(one).collect()
}

/// What came of each request: its tokens with their log-probabilities, and how it ended.
type Outcome = (Vec<(u32, f64)>, Generated);

fn run(generator: &mut Generator<'_>, requests: Vec<Request>) -> Vec<Outcome> {
    let mut tokens = vec![Vec::new(); requests.len()];
    let mut results = vec![None; requests.len()];
    let events = &mut |index: usize, event| {
        match event {
            Event::Token { id, logprob } => tokens[index].push((id, logprob.unwrap())),
            Event::Ended(generated) => assert!(results[index].replace(generated).is_none()),
        }
        ControlFlow::Continue(())
    };
    generator.run(&mut requests.into_iter(), events).unwrap();
    tokens.into_iter().zip(results).map(|(tokens, result)| (tokens, result.unwrap())).collect()
}

/// The same tokens, and the same log-probabilities to 1e-5 of them: sums of products of up to 96 terms
/// in three layers are rounded in another order.
fn assert_same(found: &[Outcome], wanted: &[Outcome]) {
    assert_eq!(found.len(), wanted.len());
    for (index, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert_eq!(found.1.ids, wanted.1.ids, "request {index}");
        assert_eq!(found.1.finish, wanted.1.finish, "request {index}");
        for (found, wanted) in found.0.iter().zip(&wanted.0) {
            let off = (found.1 - wanted.1).abs();
            assert!(off < 1e-5 * wanted.1.abs().max(1.0), "request {index}: {found:?}, {wanted:?}");
        }
    }
}

fn alone(model: &Model, requests: Vec<Request>) -> Vec<Outcome> {
    let capacity = Capacity { head_tokens: 0, ..Capacity::default() };
    let alone = |request| run(&mut Generator::new(model, capacity), vec![request]).remove(0);
    requests.into_iter().map(alone).collect()
}

#[test]
fn whatever_grows_beside_it_a_request_has_the_same_answer() {
    let model = plain();
    let wanted = alone(&model, mixed(23, 3));
    let ends = wanted.iter().map(|(_, generated)| generated.finish).collect::<Vec<_>>();
    assert!(ends.contains(&Finish::Stop) && ends.contains(&Finish::Length), "{ends:?}");
    for (slots, tokens) in [(1, 1), (4, usize::MAX), (5, 60), (64, usize::MAX)] {
        let capacity = Capacity { slots, tokens, ..Capacity::default() };
        assert_same(&run(&mut Generator::new(&model, capacity), mixed(23, 3)), &wanted);
    }
}

#[test]
fn prompts_that_begin_alike_compute_their_head_once_and_have_the_same_answers() {
    let model = plain();
    let wanted = alone(&model, mixed(9, 70));
    let tails = |wanted: &[Outcome]| {
        let new = wanted.iter().map(|(_, generated)| generated.ids.len() - 1).sum::<usize>();
        let tails = (0..9u32).map(|number| 1 + number * 5 % 23).sum::<u32>();
        new + tails as usize
    };
    for slots in [1, 2, 4, 16] {
        let mut generator = Generator::new(&model, Capacity { slots, ..Capacity::default() });
        assert_same(&run(&mut generator, mixed(9, 70)), &wanted);
        // 64 tokens are four blocks; the other 6 are computed each time. Where none grows beside
        // another, the second prompt computes the head again, for those that follow.
        let heads = if slots == 1 { 2 } else { 1 } * 64 + 9 * 6;
        assert_eq!(generator.computed_tokens(), (heads + tails(&wanted)) as u64, "{slots} slots");
        // The next run finds it.
        let before = generator.computed_tokens();
        assert_same(&run(&mut generator, mixed(9, 70)), &wanted);
        let spared = (9 * 6 + tails(&wanted)) as u64;
        assert_eq!(generator.computed_tokens() - before, spared, "{slots} slots");
    }
}

#[test]
fn logits_after_a_shared_head_equal_those_without() {
    let model = plain();
    let (first, second) = (prompt(1, 90, 9), prompt(2, 90, 20));
    let next = |caches: &RefCell<_>, member: usize, ids: &[u32], cached| {
        let held = std::iter::once((ids, cached));
        let step = Step::new(&model, member..member + 1, held).unwrap();
        storage::to_vec(&model.next_logits(&step, caches).unwrap()).unwrap()
    };
    let fresh = || {
        let mut caches = model.new_caches();
        caches.iter_mut().for_each(|cache| cache.admit(None).unwrap());
        RefCell::new(caches)
    };
    let wanted = next(&fresh(), 0, &second, 0);
    let caches = fresh();
    next(&caches, 0, &first, 0);
    for cache in caches.borrow_mut().iter_mut() {
        let head = cache.share(0, 80).unwrap();
        cache.admit(Some((&head, 80))).unwrap();
    }
    let found = next(&caches, 1, &second, 80);
    let square = |x: f64| x * x;
    let off = found.iter().zip(&wanted).map(|(a, b)| square(f64::from(*a) - f64::from(*b)));
    let norm = wanted.iter().map(|&b| square(f64::from(b))).sum::<f64>();
    let error = (off.sum::<f64>() / norm).sqrt();
    println!("logits after a shared head: {error:.1e}");
    assert!(error < 1e-5, "{error:e}");
}

#[test]
fn where_keys_depend_on_the_length_of_their_prompt_they_are_not_shared() {
    let model = model(json!({ "rope_type": "dynamic", "factor": 4.0 }));
    let requests = || (0..3).map(|number| request(prompt(number, 100, 40), 3, 0.0)).collect();
    let wanted = alone(&model, requests());
    let mut generator = Generator::new(&model, Capacity::default());
    assert_same(&run(&mut generator, requests()), &wanted);
    let new = wanted.iter().map(|(_, generated)| generated.ids.len() - 1).sum::<usize>();
    assert_eq!(generator.computed_tokens(), (3 * 140 + new) as u64);
}

#[test]
fn requests_are_taken_as_others_end_and_as_far_as_tokens_go() {
    let model = plain();
    // 10 + 10 tokens each: three fit at a time, whatever the slots say.
    for (capacity, most) in [
        (Capacity { slots: 2, ..Capacity::default() }, 2),
        (Capacity { slots: 16, tokens: 65, ..Capacity::default() }, 3),
    ] {
        let (taken, running) = (Cell::new(0), Cell::new(0));
        let requests = (0..9).map(|number| {
            taken.set(taken.get() + 1);
            let (prompt, limits) =
                (prompt(number, 0, 10), Limits { max_new_tokens: 10, stop_ids: vec![] });
            let sampling = Sampling::default();
            Request { prompt, sampling, times: 0, limits, logprobs: false, compare: Vec::new() }
        });
        let (mut ended, mut beside) = (Vec::new(), 0);
        let events = &mut |index, event| {
            match event {
                // One may have been taken that has to wait.
                Event::Token { .. } => {
                    assert!(taken.get() <= ended.len() + most + 1);
                    running.set(taken.get() - ended.len());
                    beside = beside.max(running.get());
                }
                Event::Ended(_) => ended.push(index),
            }
            ControlFlow::Continue(())
        };
        Generator::new(&model, capacity).run(&mut requests.into_iter(), events).unwrap();
        assert!(beside >= most, "{beside} beside each other");
        ended.sort_unstable();
        assert_eq!(ended, (0..9).collect::<Vec<_>>());
    }
}

#[test]
fn a_limit_that_is_never_reached_keeps_no_other_request_waiting() {
    let model = plain();
    // 10 tokens and at most 118 more: two fit.
    let capacity = Capacity { tokens: 256, ..Capacity::default() };
    let requests = (0..4).map(|number| request(prompt(number, 0, 10), usize::MAX, 0.0));
    let mut first_tokens = Vec::new();
    let events = &mut |index: usize, event| match event {
        Event::Token { .. } => {
            first_tokens.push(index);
            if first_tokens.len() < 8 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        }
        Event::Ended(_) => ControlFlow::Break(()),
    };
    let requests = &mut requests.map(|mut request| {
        request.limits.stop_ids.clear();
        request
    });
    Generator::new(&model, capacity).run(requests, events).unwrap();
    assert_eq!(first_tokens, [0, 1, 0, 1, 0, 1, 0, 1]);
}

#[test]
fn having_enough_of_one_answer_ends_it_and_of_all_ends_the_run_at_once() {
    let model = plain();
    let mut generator = Generator::new(&model, Capacity { slots: 3, ..Capacity::default() });
    let (mut ended, mut tokens_after) = (Vec::new(), 0);
    let requests = (0..9).map(|number| {
        let mut request = request(prompt(number, 0, 5), 20, 0.0);
        request.limits.stop_ids.clear();
        request
    });
    let events = &mut |index: usize, event| match event {
        Event::Token { .. } => {
            tokens_after += ended.len();
            if index == 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
        Event::Ended(generated) => {
            ended.push((index, generated.ids.len(), generated.finish));
            if ended.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    };
    generator.run(&mut requests.into_iter(), events).unwrap();
    // The second ends with its first token; the first and the third go on to their limit, and the
    // run ends with the first of these.
    assert_eq!(ended, [(1, 1, Finish::Caller), (0, 20, Finish::Length)]);
    assert!(tokens_after > 0);
    // Nothing of it is left.
    assert_same(&run(&mut generator, mixed(5, 3)), &alone(&model, mixed(5, 3)));
}

#[test]
fn a_request_that_cannot_be_run_ends_the_run_with_its_number_and_the_next_run_is_sound() {
    let model = plain();
    let mut generator = Generator::new(&model, Capacity::default());
    let mut requests = vec![request(prompt(1, 40, 4), 5, 0.0), request(vec![], 5, 0.0)];
    let mut go_on = |_, _| ControlFlow::Continue(());
    let error = generator.run(&mut requests.drain(..), &mut go_on).unwrap_err().to_string();
    assert_eq!(error, "prompt 1 has no tokens, wanted at least one");
    let error = generator.run(&mut [request(vec![211], 5, 0.0)].into_iter(), &mut go_on);
    assert_eq!(
        error.unwrap_err().to_string(),
        "token id 211 is not in the vocabulary of 211 tokens"
    );
    assert_same(&run(&mut generator, mixed(5, 40)), &alone(&model, mixed(5, 40)));
    let nothing = run(&mut generator, vec![request(prompt(1, 0, 4), 0, 0.0)]);
    assert_eq!((nothing[0].1.ids.len(), nothing[0].1.finish), (0, Finish::Length));
}

/// The sum of the log-probabilities of an answer.
fn worth(model: &Model, prompt: &[u32], answer: &[u32]) -> f64 {
    let caches = &RefCell::new(model.new_caches());
    caches.borrow_mut().iter_mut().for_each(|cache| cache.admit(None).unwrap());
    let mut ids = prompt.to_vec();
    let mut cached = 0;
    let terms = answer.iter().map(|&id| {
        let step = Step::new(model, 0..1, std::iter::once((ids.as_slice(), cached))).unwrap();
        let logits = storage::to_vec(&model.next_logits(&step, caches).unwrap()).unwrap();
        (cached, _) = (ids.len(), ids.push(id));
        let sum = logits.iter().map(|&logit| f64::from(logit).exp()).sum::<f64>();
        f64::from(logits[id as usize]) - sum.ln()
    });
    terms.sum()
}

#[test]
fn answers_are_compared_by_their_first_token_after_a_shared_head_too() {
    let model = plain();
    let asked = [7, 200, 31];
    let prompts: Vec<_> = (0..4).map(|number| prompt(number, 80, 10)).collect();
    let requests = prompts
        .iter()
        .map(|prompt| Request { compare: asked.to_vec(), ..request(prompt.clone(), 1, 0.0) });
    let found = run(&mut Generator::new(&model, Capacity::default()), requests.collect());
    for (prompt, (_, generated)) in prompts.iter().zip(found) {
        for (&id, &logprob) in asked.iter().zip(&generated.compared) {
            let wanted = worth(&model, prompt, &[id]);
            assert!((logprob - wanted).abs() < 1e-5, "{logprob} {wanted}");
        }
        assert_eq!(generated.compared.len(), asked.len());
    }
}

#[test]
fn beams_search_a_llama_too_and_find_nothing_less_likely_than_one_beam_does() {
    let model = plain();
    let prompts = [vec![5, 9, 2], vec![7], (0..50).collect()];
    let limits = Limits { max_new_tokens: 6, stop_ids: Vec::new() };
    let go_on = |_, _| ControlFlow::Continue(());
    let greedy = generate(&model, &prompts, Sampling::default(), &limits, go_on).unwrap();
    let search = |count| {
        let beams = Beams { count, ..Beams::default() };
        beam_search(&model, &prompts, beams, &limits).unwrap()
    };
    let (one, many) = (search(1), search(8));
    let mut better = 0;
    for (index, prompt) in prompts.iter().enumerate() {
        assert_eq!(one[index].ids, greedy[index].ids);
        assert_eq!(many[index].finish, Finish::Length);
        let [least, found] = [&greedy, &many].map(|all| worth(&model, prompt, &all[index].ids));
        // Rounding in f32 may let an answer pass that is as likely.
        assert!(found > least - 1e-4, "{found} and {least}");
        better += usize::from(found > least + 1e-3);
    }
    assert!(better > 0, "no answer is better");
}
