//! An encoder-decoder as a user meets it: trained, stopped, gone on with, asked, scored, exported, refused.

mod support;

use std::fs;

use albacore_model::{Dtype, FeedForward, T5, T5Config, save};
use candle_core::Device;
use serde_json::{Value, json};
use support::Place;

/// A T5 with ByT5's tokenizer, and twelve records of prompt and answer.
fn place() -> Place {
    let place = Place::new();
    let folder = place.path("model");
    fs::remove_dir_all(&folder).expect("it is there");
    fs::create_dir(&folder).expect("a folder");
    let shape = T5Config {
        vocab_size: 384,
        d_model: 16,
        d_kv: 6,
        d_ff: 24,
        num_layers: 1,
        num_decoder_layers: 2,
        num_heads: 2,
        dropout_rate: 0.1,
        feed_forward: FeedForward::GatedGelu,
        initializer_factor: 0.3,
        ..T5Config::default()
    };
    let model = T5::random(shape, 0, &Device::Cpu).expect("a model");
    let entries = save::entries(model.parameters(), Dtype::F32).expect("entries");
    save::write_weights(&folder, entries, save::SHARD_BYTES).expect("weights");
    let mut config = model.config().to_json(Dtype::F32);
    config.insert("dropout_rate".into(), json!(0.1));
    save::write_json(&folder.join("config.json"), &Value::Object(config)).expect("a file");
    let tokenizer = json!({ "tokenizer_class": "ByT5Tokenizer", "eos_token": "</s>" });
    save::write_json(&folder.join("tokenizer_config.json"), &tokenizer).expect("a file");
    let record = |number: usize| json!({ "prompt": format!("Say {number}"), "completion": format!("{number}!") });
    let lines = (0..12).map(|number| format!("{}\n", record(number))).collect::<String>();
    place.write("data.jsonl", &lines);
    place.replace("config.toml", "[[data.sources]]", "template = \"none\"\n[[data.sources]]");
    place
}

const LAST: &str = "runs/tiny/checkpoints/step-000004";

#[test]
fn the_prompt_is_read_with_its_end_and_the_answer_alone_is_learned() {
    let place = place();
    let shown = place.run(&["preview", "config.toml", "-n", "1", "--json"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    let tokens = shown["tokens"].as_array().expect("a list").iter();
    let tokens: Vec<_> = tokens.map(|token| (token["id"].as_u64(), &token["learned"])).collect();
    let wanted = [86, 100, 124, 35, 51, 1].map(|id| (Some(id), &Value::Bool(false)));
    assert_eq!(tokens[..6], wanted);
    assert_eq!(tokens[6..], [51, 36, 1].map(|id| (Some(id), &Value::Bool(true))));
    let refused = place.train(&["--set", "data.learn=\"all\""]);
    assert_eq!(refused.code, 2);
    assert!(
        refused.stderr.contains("the model reads prompts with an encoder"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_run_goes_on_to_the_same_bytes_dropout_and_all() {
    let place = place();
    let run = place.train(&[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let weights = || fs::read(place.path(LAST).join("model.safetensors")).ok();
    let whole = weights();
    fs::remove_dir_all(place.path(LAST)).expect("it is there");
    let again = place.train(&[]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(again.stderr.contains("step 2 of 4"), "{}", again.stderr);
    assert!(whole.is_some() && weights() == whole, "the weights differ");
    let other = place.train(&["--set", "train.dropout=0.0", "--set", "run.name=\"other\""]);
    assert_eq!(other.code, 0, "{}", other.stderr);
    let other = fs::read(place.path("runs/other/checkpoints/step-000004/model.safetensors")).ok();
    assert!(other.is_some() && other != whole, "dropout changes nothing");
}

#[test]
fn a_trained_one_answers_scores_and_is_exported() {
    let place = place();
    let set = [
        "--set",
        "train.steps=60",
        "--set",
        "train.dropout=0.0",
        "--set",
        "optim.learning_rate=0.02",
    ];
    let run = place.train(&[&set[..], &["--set", "data.held_out=2"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let metrics = place.read("runs/tiny/metrics.jsonl");
    let losses: Vec<f64> = metrics
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["loss"].as_f64().expect("a loss")
        })
        .collect();
    assert!(losses[59] < 0.5 * losses[0], "{losses:?}");
    let told = place.run(&["export", "runs/tiny", "out"]);
    assert_eq!(told.code, 0, "{}", told.stderr);
    let lines = [
        json!({ "id": 1, "prompt": "Say 3", "response": "3!" }),
        json!({ "id": 2, "prompt_ids": [86, 100, 124, 35, 54, 1], "response_ids": [54, 36, 1] }),
    ];
    place.write("in.jsonl", &lines.map(|line| format!("{line}\n")).concat());
    for model in ["runs/tiny", "out"] {
        let scored =
            place.run(&["score", model, "--input", "in.jsonl", "--output", "scores.jsonl"]);
        assert_eq!(scored.code, 0, "{}", scored.stderr);
        let scores = place.read("scores.jsonl");
        let scores: Vec<Value> =
            scores.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(scores[0]["tokens"], 3);
        assert_eq!(scores[0]["token_logprobs"], scores[1]["token_logprobs"]);
        let asked = place.run(&["complete", model, "--prompt", "Say 3", "--max-new-tokens", "4"]);
        assert_eq!(asked.code, 0, "{}", asked.stderr);
        assert!(asked.stdout.contains('!'), "{}", asked.stdout);
        let beams = ["--beams", "4", "--max-new-tokens", "4"];
        let asked = place.run(&[&["complete", model, "--prompt", "Say 3"], &beams[..]].concat());
        assert_eq!(asked.code, 0, "{}", asked.stderr);
        assert!(asked.stdout.contains('!'), "{}", asked.stdout);
    }
    let config: Value = serde_json::from_str(&place.read("out/config.json")).expect("JSON");
    assert_eq!(
        (&config["model_type"], &config["decoder_start_token_id"]),
        (&json!("t5"), &json!(0))
    );
    assert!(place.path("out/tokenizer_config.json").is_file());
}

#[test]
fn what_a_llama_has_no_place_for_and_half_a_t5_are_refused() {
    let llama = Place::new();
    let run = llama.train(&["--set", "train.dropout=0.1"]);
    assert_eq!(run.code, 2);
    assert!(
        run.stderr.contains("`train.dropout` is 0.1, and the model has no dropout"),
        "{}",
        run.stderr
    );
    let place = place();
    place.replace("model/config.json", "T5ForConditionalGeneration", "T5EncoderModel");
    let run = place.train(&[]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("it is an encoder alone (`T5EncoderModel`)"), "{}", run.stderr);
}

#[test]
fn ranked_answers_train_it_as_they_train_a_llama() {
    let place = place();
    let record = |number: usize| {
        json!({
            "id": format!("n{number}"), "instruction": format!("Say {number}:"),
            "output": [format!("{number}"), "what", "no"], "score": [1.0, 0.5, -2],
        })
    };
    let lines = (0..8).map(|number| format!("{}\n", record(number))).collect::<String>();
    place.write("data.jsonl", &lines);
    place.replace("config.toml", "steps = 4", "steps = 4\ngroups_per_step = 4\ndropout = 0.0");
    place.replace("config.toml", "[optim]", "[objective]\nkind = \"dpo\"\n[optim]");
    let losses = |place: &Place, name: &str| -> Vec<f64> {
        let run = place.train(&[
            "--set",
            &format!("run.name=\"{name}\""),
            "--set",
            &format!("train.share_prompts={}", name == "shared"),
        ]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let lines = place.read(&format!("runs/{name}/metrics.jsonl"));
        let loss = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["loss"].as_f64();
        lines.lines().map(|line| loss(line).expect("a loss")).collect()
    };
    let shared = losses(&place, "shared");
    // Against itself as the reference, every preference is even at first.
    assert!((shared[0] - 2f64.ln()).abs() < 1e-6, "{shared:?}");
    assert!(shared[3] < shared[0], "{shared:?}");
    assert_eq!(shared, losses(&place, "copied"));
}

#[test]
fn span_corruption_learns_from_text_alone_and_goes_on_to_the_bit() {
    let place = place();
    let page =
        |number: usize| format!("{}. ", "The owl sees the sea and the mole".repeat(1 + number % 4));
    let lines = (0..8).map(|number| format!("{}\n", json!({ "text": page(number) })));
    place.write("text.jsonl", &lines.collect::<String>());
    let text = [
        "--set",
        "objective.kind=\"span_corruption\"",
        "--set",
        "objective.inputs_length=40",
        "--set",
        "objective.z_loss=0.001",
        "--set",
        "data.sources=[{path=\"text.jsonl\"}]",
        "--set",
        "optim.kind=\"adafactor\"",
        "--set",
        "optim.learning_rate=0.02",
        "--set",
        "train.steps=12",
        "--set",
        "checkpoint.every=7",
    ];
    let shown = place.run(&[&["preview", "config.toml", "-n", "1", "--json"], &text[..]].concat());
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let shown: Value =
        serde_json::from_str(shown.stdout.lines().next().expect("a line")).expect("JSON");
    let tokens = shown["tokens"].as_array().expect("a list");
    // ByT5's `<extra_id_0>` is 259: once in the source, once in the target.
    let sentinels = tokens.iter().filter(|token| token["id"] == 259).collect::<Vec<_>>();
    assert_eq!(sentinels.len(), 2);
    assert_eq!([&sentinels[0]["learned"], &sentinels[1]["learned"]], [false, true]);

    let run = place.train(&text);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let last = "runs/tiny/checkpoints/step-000012";
    let bytes = |name: &str| fs::read(place.path(&format!("{last}/{name}"))).expect("a file");
    let wanted = [bytes("model.safetensors"), bytes("optimizer.safetensors")];
    let metrics = fs::read_to_string(place.path("runs/tiny/metrics.jsonl")).expect("a file");
    let line = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
    let (first, end) = (
        line(metrics.lines().next().expect("a line")),
        line(metrics.lines().last().expect("a line")),
    );
    assert!(end["epoch"].as_f64() > Some(1.0), "other spans are drawn: {end}");
    let number =
        |line: &Value, key: &str| line[key].as_f64().unwrap_or_else(|| panic!("{key} in {line}"));
    assert!(number(&end, "loss") < number(&first, "loss"));
    let parts = number(&first, "loss_mle") + number(&first, "loss_z");
    assert!((number(&first, "loss") - parts).abs() < 1e-5, "{first}");
    fs::remove_dir_all(place.path(last)).expect("it is there");
    let run = place.train(&text);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!([bytes("model.safetensors"), bytes("optimizer.safetensors")] == wanted);
}

#[test]
fn span_corruption_refuses_records_that_are_no_text_and_windows_that_are_too_long() {
    let place = place();
    let kind = ["--set", "objective.kind=\"span_corruption\""];
    let refused = place.train(&kind);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("objective.inputs_length"), "{}", refused.stderr);
    let refused = place.train(&[&kind[..], &["--set", "objective.inputs_length=20"]].concat());
    assert_eq!(refused.code, 2);
    assert!(
        refused.stderr.contains("span corruption learns from `format = \"text\"`"),
        "{}",
        refused.stderr
    );
}

#[test]
fn an_encoder_decoder_in_training_is_asked_suites_as_its_checkpoint_is() {
    let place = place();
    fs::create_dir_all(place.path("gsm8k")).expect("a folder");
    let line = |number: usize| json!({ "question": format!("{number}?"), "answer": "#### 1" });
    let lines: String = (0..8).map(|number| format!("{}\n", line(number))).collect();
    place.write("gsm8k/test.jsonl", &lines);
    place.write("gsm8k/train.jsonl", &lines);
    let eval = "[eval]\nsuites = [\"gsm8k\"]\ndata = \"gsm8k\"\nlimit = 2\n";
    place.write("config.toml", &(place.read("config.toml") + eval));
    let run = place.train(&[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let asked = ["eval", LAST, "--suite", "gsm8k", "--data", "gsm8k", "--limit", "2"];
    let run = place.run(&[&asked[..], &["--threads", "1"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let answers = |name: &str| -> Vec<Value> {
        let lines = place.read(name);
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.filter(|line| line["model"] != "step 0").map(|line| line["answer"].clone()).collect()
    };
    let alone = answers("runs/eval/answers.jsonl");
    assert_eq!(answers("runs/tiny/evaluation/answers.jsonl"), alone);
    assert!(alone.len() == 2 && alone[0].is_string());
}
