//! A whole T5, old and new, with dropout and without; its answers, greedy and by beams.

use albacore_model::{Beams, Limits, Model, Packed, Rows, T5, T5Config, beam_search};
use candle_core::{DType, Device};
use serde_json::json;

use super::{answers, compare, compare_answers, gpu, passes};

/// `d_kv` times the heads is not `d_model`, as in mT5 and T5-11b.
fn model(feed_forward: &str, tied: bool, width: usize) -> Model {
    let config = json!({
        "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "vocab_size": 1003,
        "d_model": 128, "d_kv": width, "d_ff": 320, "num_layers": 3, "num_decoder_layers": 2,
        "num_heads": 3, "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128,
        "feed_forward_proj": feed_forward, "tie_word_embeddings": tied, "layer_norm_epsilon": 1e-6,
        "dropout_rate": 0.1, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1,
        "initializer_factor": 1.0,
    });
    let config = T5Config::from_json(config.as_object().unwrap().clone(), "the test").unwrap();
    Model::from(T5::random(config, 7, &Device::Cpu).unwrap())
}

/// Pairs of odd lengths, within a tile and beyond; two answers share a source.
fn batch(model: &Model) -> Packed {
    let ids = |first: u32, count: u32| (0..count).map(move |at| 3 + (first + at * 7919) % 1000);
    let mut rows = Rows { starts: vec![0], target_starts: vec![0], ..Rows::default() };
    for (source, answers) in [(1, vec![1]), (70, vec![5, 66]), (150, vec![33]), (9, vec![130])] {
        rows.ids.extend(ids(source, source));
        let last = rows.ids.len() as u32 - 1;
        let shared = answers.len() > 1;
        if shared {
            rows.starts.push(rows.ids.len() as u32);
            rows.is_response.push(false);
        }
        for answer in answers {
            let (first, answer) = (rows.ids.len() as u32, ids(answer, answer).collect::<Vec<_>>());
            rows.ids.extend(&answer);
            rows.rows.extend([last].into_iter().chain(first..).take(answer.len()));
            rows.targets.extend(&answer);
            rows.starts.push(rows.ids.len() as u32);
            rows.is_response.push(shared);
            rows.target_starts.push(rows.targets.len() as u32);
        }
    }
    model.pack(rows).unwrap()
}

/// The same numbers are dropped on both: that is what makes them comparable.
fn compare_t5s(dtype: DType, allowed: f64) {
    let Some(device) = gpu() else { return };
    for (feed_forward, tied, width) in
        [("relu", true, 64), ("gated-gelu", false, 64), ("gated-silu", false, 128)]
    {
        for dropout in [None, Some(5)] {
            let mut model = model(feed_forward, tied, width);
            let batch = batch(&model);
            let wanted = passes(&model, &batch, &Device::Cpu, true, dropout);
            model.place(&device, dtype, true).unwrap();
            for fused in [true, false] {
                model.parameters().iter().for_each(|parameter| parameter.clear_gradient());
                let found = passes(&model, &batch, &device, fused, dropout);
                let what = format!(
                    "t5 {dtype:?} {feed_forward} tied {tied} width {width} dropout {dropout:?} fused {fused}"
                );
                compare(&what, &found, &wanted, allowed);
            }
        }
    }
}

#[test]
fn in_f32_a_gpu_gives_the_numbers_of_the_cpu_for_a_t5() {
    compare_t5s(DType::F32, 1e-4);
}

/// As of LLaMA: random weights amplify rounding.
#[test]
fn in_bf16_a_gpu_gives_nearly_the_numbers_of_the_cpu_for_a_t5() {
    compare_t5s(DType::BF16, 0.2);
}

#[test]
fn a_t5_on_a_gpu_gives_the_answers_of_the_cpu_greedy_and_by_beams() {
    let Some(device) = gpu() else { return };
    let mut model = model("gated-gelu", false, 64);
    let prompts: Vec<Vec<u32>> =
        (1..5).map(|seed| (0..seed * 31).map(|at| 3 + at * seed * 37 % 1000).collect()).collect();
    let search = |model: &Model| {
        let limits = Limits { max_new_tokens: 12, stop_ids: vec![1] };
        let found = beam_search(model, &prompts, Beams::default(), &limits).unwrap();
        found.into_iter().map(|found| found.ids).collect::<Vec<_>>()
    };
    let (wanted, beams) = (answers(&model).0, search(&model));
    model.place(&device, DType::F32, false).unwrap();
    compare_answers(&answers(&model).0, &wanted);
    let found = search(&model);
    let same = found.iter().zip(&beams).filter(|(found, wanted)| found == wanted).count();
    println!("beam search on a GPU: {same} of {} answers are the CPU's", beams.len());
    // Two beams that are as probable as each other may change places by rounding.
    assert!(same + 1 >= beams.len(), "{found:?}, wanted {beams:?}");
}
