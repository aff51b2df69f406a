//! Stopping a run by a signal, and going on.
#![cfg(unix)]

mod support;

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::Place;

/// Starts a run and waits until it has made a step.
fn started(place: &Place, arguments: &[&str]) -> Child {
    let size = || fs::metadata(place.path("runs/tiny/metrics.jsonl")).map_or(0, |file| file.len());
    let before = size();
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("albacore"))
        .current_dir(place.path(""))
        .args(["train", "config.toml", "--threads", "1"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    while size() == before {
        assert!(child.try_wait().expect("its state").is_none(), "it trains");
        sleep(Duration::from_millis(5));
    }
    child
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(status.expect("kill runs").success());
}

#[test]
fn a_stopped_run_saves_says_so_and_goes_on_to_the_same_bytes() {
    let place = Place::new();
    place.replace("config.toml", "steps = 4", "steps = 2000");
    place.replace("config.toml", "every = 2", "every = 0");
    for name in ["INT", "TERM"] {
        let child = started(&place, &[]);
        signal(&child, name);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(75), "{output:?}");
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(stdout.contains("stopped after step"), "{stdout}");
        assert!(stdout.contains("run the same command again to go on"), "{stdout}");
        assert!(stderr.contains("a second signal stops at once"), "{stderr}");
    }
    assert_eq!(place.train(&["--quiet"]).code, 0);

    let whole = ["--quiet", "--set", "run.name=whole"];
    assert_eq!(place.train(&whole).code, 0);
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let bytes =
            |run: &str| fs::read(place.path(&format!("runs/{run}/checkpoints/step-002000/{file}")));
        assert!(
            bytes("tiny").expect("it is there") == bytes("whole").expect("it is there"),
            "{file}"
        );
    }
}

#[test]
fn a_quiet_run_stops_quietly_and_one_that_speaks_json_says_so_in_json() {
    let place = Place::new();
    place.replace("config.toml", "steps = 4", "steps = 1000000");
    let stderr = |option: &str| {
        let child = started(&place, &[option]);
        signal(&child, "INT");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(75), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    assert_eq!(stderr("--quiet"), "");
    let told = stderr("--json");
    let told: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    let says_so = |line: &serde_json::Value| {
        line["note"].as_str().is_some_and(|text| text.starts_with("stopping"))
    };
    assert!(told.iter().any(says_so));
}

#[test]
fn a_second_signal_stops_at_once() {
    let place = Place::new();
    place.replace("config.toml", "steps = 4", "steps = 1000000");
    // A step that takes long: 4,000 batches.
    let child = started(
        &place,
        &[
            "--set",
            "train.batches_per_step=4000",
            "--set",
            "train.steps=1000000",
            "--set",
            "data.tokens_per_batch=64",
            "--set",
            "data.sources.0.repeat=4000",
        ],
    );
    signal(&child, "INT");
    sleep(Duration::from_millis(50));
    signal(&child, "INT");
    let status = child.wait_with_output().expect("it ends").status;
    assert_ne!(status.code(), Some(75), "it did not wait for the step");
    assert!(!status.success());
}

#[test]
fn a_data_run_stops_though_its_server_says_nothing() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = server.local_addr().expect("its address");
    let place = Place::new();
    place.write(
        "data.toml",
        &format!("[server]\nendpoint = \"http://{address}/v1\"\nmodel = \"m\"\n"),
    );
    let child = Command::new(assert_cmd::cargo::cargo_bin!("albacore"))
        .current_dir(place.path(""))
        .args(["bootstrap", "data.toml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let _asked = server.accept().expect("a question, which is never answered");
    let began = Instant::now();
    signal(&child, "INT");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    // A request is given up after 300 s.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
