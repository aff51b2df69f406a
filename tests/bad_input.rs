//! What is wrong is said in full, with what was found, what was wanted and what to do; and nothing
//! is lost by it. The snapshots hold the messages word for word.

mod support;

use std::fs;
use std::path::Path;

use support::{Place, Run};

/// What was said, with the exit code.
fn told(run: &Run) -> String {
    format!("exit code {}\n{}{}", run.code, run.stdout, run.stderr)
}

/// Runs `train` on a changed place, which must be refused without leaving a trace, and so must
/// `--dry-run`.
fn refused(change: impl FnOnce(&Place)) -> String {
    let place = Place::new();
    change(&place);
    let run = place.train(&[]);
    assert_eq!(run.code, 2, "{}", told(&run));
    let dry = place.train(&["--dry-run"]);
    assert_eq!((dry.code, &dry.stderr), (2, &run.stderr), "a dry run says what a run does");
    assert!(!place.path("runs").exists(), "a refusal touches nothing");
    told(&run)
}

macro_rules! said {
    ($change:expr) => {
        insta::assert_snapshot!(refused($change))
    };
}

#[test]
fn misspelt_keys_wrong_types_and_missing_files_all_at_once() {
    said!(|place| {
        place.write(
        "config.toml",
        "[model]\npath = \"modle\"\n[data]\nmax_token = 64\n[[data.sources]]\npath = \"date.jsonl\"\n\
         format = \"alpacca\"\n[optim]\nlearning_rate = \"1e-4\"\n[train]\nsteps = -1\n\
         gradient_accumulation_steps = 2\n[checkpoints]\nevery = 5\n",
    )
    });
}

#[test]
fn a_model_that_is_neither_here_nor_on_the_hub_is_named_with_its_line() {
    let place = Place::new();
    place.replace("config.toml", "path = \"model\"", "path = \"models/base\"");
    let train = |options: &[&str]| {
        let mut command = place.command(&[&["train", "config.toml"], options].concat());
        let output = command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", place.path("hub")).output();
        let output = output.expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).expect("text")
    };
    let told = [train(&[]), train(&["--set", "optim.epsilon=0"])];
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_config_that_is_no_toml() {
    said!(|place| place.replace("config.toml", "steps = 4", "steps = = 4\nevery"));
}

#[test]
fn a_config_that_is_not_there() {
    let place = Place::new();
    let run = place.run(&["train", "nowhere.toml"]);
    assert_eq!(run.code, 2);
    insta::assert_snapshot!(told(&run));
}

#[test]
fn a_malformed_line() {
    said!(|place| place.replace(
        "data.jsonl",
        "{\"instruction\":\"Say 2\",",
        "{\"instruction\" \"Say 2\","
    ));
}

#[test]
fn a_record_without_its_answer_and_one_with_an_empty_one() {
    said!(|place| {
        place.replace("data.jsonl", "\"output\":\"3!\"", "\"outptu\":\"3!\"");
        place.replace("data.jsonl", "\"output\":\"5!\"", "\"output\":\"\"");
    });
}

#[test]
fn a_record_of_no_known_format() {
    said!(|place| place.write("data.jsonl", "{\"question\": \"2 + 2\", \"solution\": \"4\"}\n"));
}

#[test]
fn nothing_to_learn() {
    said!(|place| place.replace(
        "config.toml",
        "max_tokens",
        "learn = \"role:system\"\nmax_tokens"
    ));
}

#[test]
fn no_chat_template() {
    said!(|place| place.replace("model/tokenizer_config.json", "chat_template", "other"));
}

#[test]
fn a_broken_chat_template() {
    said!(|place| place.replace("model/tokenizer_config.json", "{% endfor %}", ""));
}

#[test]
fn everything_is_too_long() {
    said!(|place| place.replace("config.toml", "max_tokens = 64", "max_tokens = 8"));
}

#[test]
fn a_folder_that_is_no_model() {
    said!(|place| fs::remove_file(place.path("model/config.json")).unwrap());
}

#[test]
fn a_model_without_a_tokenizer() {
    said!(|place| fs::remove_file(place.path("model/tokenizer.json")).unwrap());
}

#[test]
fn a_tokenizer_of_another_model() {
    said!(|place| support::write_tokenizer(
        &place.path("model"),
        &["<|begin|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|tool|>"],
    ));
}

#[test]
fn a_model_of_another_kind() {
    said!(|place| place.replace("model/config.json", "LlamaForCausalLM", "MambaForCausalLM"));
}

#[test]
fn no_weights() {
    said!(|place| fs::remove_file(place.path("model/model.safetensors")).unwrap());
}

#[test]
fn truncated_weights() {
    said!(|place| edit(&place.path("model/model.safetensors"), |bytes| bytes.truncate(9_000)));
}

#[test]
fn weights_whose_header_claims_too_much() {
    said!(|place| edit(&place.path("model/model.safetensors"), |bytes| bytes[..8].fill(0x7F)));
}

#[test]
fn missing_extra_and_misshapen_tensors() {
    said!(|place| {
        place.replace("model/config.json", "\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2");
        place.replace(
            "model/config.json",
            "\"intermediate_size\": 32",
            "\"intermediate_size\": 48",
        );
        edit(&place.path("model/model.safetensors"), |bytes| {
            let name = b"model.norm.weight";
            let at = bytes.windows(name.len()).position(|part| part == name).expect("it is there");
            bytes[at..at + name.len()].copy_from_slice(b"model.nrom.weight");
        });
    });
}

#[test]
fn patterns_that_fit_no_tensor() {
    said!(|place| place.replace("config.toml", "steps = 4", "steps = 4\nfreeze = [\"layers.*\"]"));
}

#[test]
fn what_only_a_gpu_can_do() {
    let place = Place::new();
    place.replace(
        "config.toml",
        "steps = 4",
        "steps = 4\nmaster_weights = false\nprecision = \"bf16\"",
    );
    place.replace("config.toml", "[optim]", "[optim]\noffload = true");
    let run = place.train(&["--profile"]);
    assert!(!place.path("runs").exists(), "a refusal touches nothing");
    insta::assert_snapshot!(told(&run));
}

#[test]
fn a_device_that_this_build_has_not() {
    let run = Place::new().train(&["--device", "cuda:1"]);
    assert_eq!(run.code, 2);
    insta::assert_snapshot!(told(&run));
}

#[test]
fn a_gguf_that_is_none() {
    let place = Place::new();
    let import = |bytes: &[u8]| {
        fs::write(place.path("model.gguf"), bytes).unwrap();
        let run = place.run(&["import", "model.gguf", "out"]);
        assert_eq!(run.code, 2);
        assert!(!place.path("out").exists());
        told(&run)
    };
    let claims = |tensors: u64, pairs: u64| {
        [b"GGUF".as_slice(), &3u32.to_le_bytes(), &tensors.to_le_bytes(), &pairs.to_le_bytes()]
            .concat()
    };
    let told = [
        import(b"PK\x03\x04"),
        import(b"GGUF"),
        import(&claims(1 << 60, 0)),
        import(&claims(0, 1 << 60)),
    ];
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn lines_that_cannot_be_scored() {
    let place = Place::new();
    place.write("in.jsonl", "{\"id\": 1, \"prompt\": \"a\"}\nnot json\n{\"id\": 3, \"prompt_ids\": [1], \"response_ids\": [999]}\n\
        {\"id\": 4, \"prompt\": \"a\", \"response\": 5}\n{\"id\": 5, \"messages\": [{\"role\": \"user\"}]}\n\
        {\"id\": 6, \"prompt_ids\": [1], \"response_ids\": [-2]}\n{\"prompt\": \"a\", \"response\": \"b\"}\n");
    let run = place.run(&["score", "model", "--input", "in.jsonl", "--output", "out.jsonl"]);
    assert_eq!(run.code, 2);
    assert!(!place.path("out.jsonl").exists());
    insta::assert_snapshot!(told(&run));
}

#[test]
fn models_that_are_none() {
    let place = Place::new();
    let complete = |model: &str| told(&place.run(&["complete", model, "--prompt", "a"]));
    insta::assert_snapshot!(
        [complete("nowhere"), complete("data.jsonl"), complete("model.gguf"), complete(".")]
            .join("\n")
    );
}

#[test]
fn sampling_that_makes_no_sense() {
    let run = Place::new().run(&[
        "complete",
        "model",
        "--prompt",
        "a",
        "--temperature=-1",
        "--top-p",
        "2",
    ]);
    assert_eq!(run.code, 2);
    insta::assert_snapshot!(told(&run));
}

#[test]
fn a_corrupted_checkpoint_is_named_and_the_one_before_it_is_used() {
    let place = Place::new();
    assert_eq!(place.train(&["--quiet"]).code, 0);
    let wanted =
        fs::read(place.path("runs/tiny/checkpoints/step-000004/model.safetensors")).unwrap();
    edit(&place.path("runs/tiny/checkpoints/step-000004/optimizer.safetensors"), |bytes| {
        *bytes.last_mut().unwrap() ^= 1;
    });
    let dry = place.train(&["--dry-run"]);
    assert_eq!(dry.code, 0, "{}", told(&dry));
    assert!(
        dry.stderr.contains("passed over `runs/tiny/checkpoints/step-000004`"),
        "{}",
        dry.stderr
    );
    assert!(dry.stdout.contains("step-000002`, step 2 of 4"), "{}", dry.stdout);
    let run = place.train(&[]);
    assert_eq!(run.code, 0, "{}", told(&run));
    assert!(
        run.stderr.contains("passed over `runs/tiny/checkpoints/step-000004`: it is corrupt"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("going on from `runs/tiny/checkpoints/step-000002`, step 2 of 4"),
        "{}",
        run.stderr
    );
    let found =
        fs::read(place.path("runs/tiny/checkpoints/step-000004/model.safetensors")).unwrap();
    assert!(found == wanted, "the same bytes as before");

    edit(&place.path("runs/tiny/checkpoints/step-000004/model.safetensors"), |bytes| {
        bytes.truncate(10)
    });
    let run = place.train(&["--resume", "runs/tiny/checkpoints/step-000004"]);
    assert_eq!(run.code, 2);
    insta::assert_snapshot!(told(&run));
}

#[test]
fn a_changed_config_is_shown_and_refused() {
    let place = Place::new();
    assert_eq!(place.train(&["--quiet", "--set", "train.steps=2"]).code, 0);
    let change = ["--set", "optim.learning_rate=2e-2", "--set", "checkpoint.every=1"];
    let run = place.train(&change);
    assert_eq!(run.code, 2);
    insta::assert_snapshot!(told(&run));
    let dry = place.train(&[&change[..], &["--dry-run"]].concat());
    assert_eq!((dry.code, &dry.stderr), (2, &run.stderr));
    let accepted = place.train(&[&change[..], &["--accept-changes"]].concat());
    assert_eq!(accepted.code, 0, "{}", told(&accepted));
    assert!(
        accepted.stderr.contains("warning: changed: `optim.learning_rate` was"),
        "{}",
        accepted.stderr
    );
}

#[test]
fn a_run_in_use_by_another_process() {
    let place = Place::new();
    let long =
        ["train", "config.toml", "--set", "train.steps=1000000", "--set", "checkpoint.every=0"];
    let mut other = std::process::Command::new(assert_cmd::cargo::cargo_bin!("albacore"))
        .current_dir(place.path(""))
        .args(long)
        .args(["--quiet", "--threads", "1"])
        .spawn()
        .expect("it starts");
    let begun =
        || fs::metadata(place.path("runs/tiny/metrics.jsonl")).is_ok_and(|file| file.len() > 0);
    while !begun() {
        assert!(other.try_wait().expect("its state").is_none(), "it trains");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let run = place.train(&[]);
    other.kill().expect("it ends");
    other.wait().expect("it has ended");
    assert_eq!(run.code, 2);
    insta::assert_snapshot!(told(&run).replace(&other.id().to_string(), "ID"));
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("the file is there");
    change(&mut bytes);
    fs::write(path, bytes).expect("the file can be written");
}

/// Runs on a file system of 200 KiB, where one checkpoint fits and two do not. Where the system does
/// not let a test mount one, nothing is proved here (the trainer's own tests remain).
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_while_saving_leaves_the_last_good_checkpoint() {
    let place = Place::new();
    fs::create_dir(place.path("runs")).unwrap();
    let binary = assert_cmd::cargo::cargo_bin!("albacore").display().to_string();
    let script = format!(
        "mount -t tmpfs -o size=200k none runs || exit 99
         '{binary}' train config.toml --threads 1 --set checkpoint.every=1; code=$?
         ls runs/tiny/checkpoints; '{binary}' complete runs/tiny --prompt a --max-new-tokens 1 --quiet >&2 || exit 98
         exit $code"
    );
    let mut command = assert_cmd::Command::new("unshare");
    command.current_dir(place.path("")).args([
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        &script,
    ]);
    let Ok(output) = command.output() else { return };
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(99) || stderr.contains("unshare failed") {
        eprintln!("skipped: no file system can be mounted here");
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("no room to save in `runs/tiny/checkpoints`"), "{stderr}");
    assert!(stderr.contains("the last good checkpoint is untouched"), "{stderr}");
    let left = String::from_utf8_lossy(&output.stdout);
    assert!(left.starts_with("step-0") && !left.contains("partial"), "{left}");
}
