//! A model of the hub: downloaded, gone on with after a broken connection, found again offline.

mod support;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use support::Place;

/// A hub with the one model `org/tiny`, whose files lie in a folder.
struct Hub {
    address: String,
    /// Whether the next answer breaks off in the middle of the weights.
    breaks: Arc<AtomicBool>,
    /// Bytes of weights that were sent.
    sent: Arc<AtomicUsize>,
}

impl Hub {
    fn serve(folder: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let hub = Self { address, breaks: Arc::default(), sent: Arc::default() };
        let (breaks, sent) = (hub.breaks.clone(), hub.sent.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.expect("a connection"), &folder, &breaks, &sent);
            }
        });
        hub
    }
}

fn answer(
    mut stream: TcpStream,
    folder: &std::path::Path,
    breaks: &AtomicBool,
    sent: &AtomicUsize,
) {
    let lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
    let head: Vec<_> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let path = head[0].split(' ').nth(1).expect("a request").to_owned();
    let range = head.iter().find_map(|line| {
        line.to_lowercase().strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok()
    });
    let from: usize = range.unwrap_or(0);
    let (status, body) = if path == "/api/models/org/tiny/revision/main" {
        let names = fs::read_dir(folder).expect("the model");
        let names =
            names.map(|file| file.expect("a file").file_name().into_string().expect("text"));
        let files: Vec<_> = names.map(|name| serde_json::json!({ "rfilename": name })).collect();
        (
            "200 OK",
            serde_json::json!({ "sha": "abc123", "siblings": files }).to_string().into_bytes(),
        )
    } else if let Some(file) = path.strip_prefix("/org/tiny/resolve/abc123/") {
        let body = fs::read(folder.join(file)).expect("the file");
        (if from > 0 { "206 Partial Content" } else { "200 OK" }, body[from..].to_vec())
    } else {
        ("404 Not Found", Vec::new())
    };
    let weights = path.ends_with(".safetensors");
    let end =
        if weights && breaks.swap(false, Ordering::SeqCst) { body.len() / 2 } else { body.len() };
    if weights {
        sent.fetch_add(end, Ordering::SeqCst);
    }
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..end]));
}

#[test]
fn a_model_of_the_hub_is_downloaded_once() {
    let place = Place::new();
    let hub = Hub::serve(place.path("model"));
    let ask = |model: &str, endpoint: &str| {
        let mut command = place.command(&[
            "complete",
            model,
            "--prompt",
            "a",
            "--max-new-tokens",
            "4",
            "--quiet",
        ]);
        command.env("HF_ENDPOINT", endpoint).env("HF_HOME", place.path("cache"));
        command.env_remove("HF_HUB_CACHE").env_remove("HF_TOKEN");
        let output = command.output().expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };

    hub.breaks.store(true, Ordering::SeqCst);
    let (code, _, stderr) = ask("org/tiny", &hub.address);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("cannot download") && stderr.contains("again to go on"), "{stderr}");

    let (code, stdout, stderr) = ask("org/tiny", &hub.address);
    assert_eq!(code, Some(0), "{stderr}");
    let weights = fs::metadata(place.path("model/model.safetensors")).expect("it is there").len();
    assert_eq!(hub.sent.load(Ordering::SeqCst) as u64, weights, "no byte is sent twice");
    assert_eq!(stdout, ask("model", "").1, "the answer of the folder itself");

    let nowhere = "http://127.0.0.1:9";
    assert_eq!(ask("org/tiny", nowhere), (Some(0), stdout, String::new()), "found again offline");

    let (code, _, stderr) = ask("org/other", &hub.address);
    assert_eq!(code, Some(2));
    assert!(
        stderr
            .contains("no folder `org/other`, and as the name of a model the hub does not show it"),
        "{stderr}"
    );
}

#[test]
fn a_model_that_another_process_downloads_is_waited_for() {
    let place = Place::new();
    let hub = Hub::serve(place.path("model"));
    let locks = place.path("cache/hub/.locks/models--org--tiny");
    fs::create_dir_all(&locks).expect("a folder");
    let held = File::create(locks.join("abc123.lock")).expect("a file");
    held.lock().expect("a lock");

    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("albacore"))
        .args(["complete", "org/tiny", "--prompt", "a", "--max-new-tokens", "1"])
        .env("HF_ENDPOINT", &hub.address)
        .env("HF_HOME", place.path("cache"))
        .env_remove("HF_HUB_CACHE")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut told = String::new();
    stderr.read_line(&mut told).expect("a line");
    assert_eq!(told, "waiting for another process that downloads org/tiny\n");
    assert_eq!(hub.sent.load(Ordering::SeqCst), 0);
    drop(held);
    assert!(child.wait().expect("it ends").success());
    assert!(hub.sent.load(Ordering::SeqCst) > 0);
}
