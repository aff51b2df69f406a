//! `albacore data`: benchmarks from a server of our own, by a list of our own.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sha2::{Digest, Sha256};
use support::Place;

const BODY: &str = "{\"question\": \"1?\", \"answer\": \"#### 1\"}\n";

/// A server that has one file under every name that does not say `missing`.
struct Server {
    address: String,
    /// Whether the next answer breaks off in the middle.
    breaks: Arc<AtomicBool>,
    /// Bytes that were sent.
    sent: Arc<AtomicUsize>,
}

impl Server {
    fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let server = Self { address, breaks: Arc::default(), sent: Arc::default() };
        let (breaks, sent) = (server.breaks.clone(), server.sent.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
                let head = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
                let head: Vec<_> = head.collect();
                let from = head.iter().find_map(|line| {
                    let line = line.to_lowercase();
                    line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
                });
                let (status, body) = match (head[0].contains("missing"), from) {
                    (true, _) => ("404 Not Found", ""),
                    (_, Some(from)) if from >= BODY.len() => ("416 Range Not Satisfiable", ""),
                    (_, Some(from)) => ("206 Partial Content", &BODY[from..]),
                    (_, None) => ("200 OK", BODY),
                };
                let half = breaks.swap(false, Ordering::SeqCst);
                let end = if half { body.len() / 2 } else { body.len() };
                sent.fetch_add(end, Ordering::SeqCst);
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream
                    .write_all(head.as_bytes())
                    .and_then(|()| stream.write_all(&body.as_bytes()[..end]));
            }
        });
        server
    }
}

/// A list with one benchmark of these files.
fn list(address: &str, files: &str) -> String {
    format!(
        "[[benchmark]]\nname = \"gsm8k\"\nabout = \"two problems\"\nlicence = \"MIT\"\n\
         home = \"https://example.org\"\nnote = \"Train on something else.\"\n\
         [[benchmark.parts]]\nurl = \"{address}/commit\"\nfolder = \"gsm8k\"\nfiles = [{files}]\n"
    )
}

fn file(name: &str, sum: &str) -> String {
    format!("{{ name = \"{name}\", bytes = {}, sha256 = \"{sum}\" }}, ", BODY.len())
}

fn sum() -> String {
    Sha256::digest(BODY).iter().map(|byte| format!("{byte:02x}")).collect()
}

const GET: [&str; 7] = ["data", "get", "gsm8k", "--data", "benchmarks", "--registry", "list.toml"];

#[test]
fn a_benchmark_is_shown_then_downloaded_at_the_users_word_and_can_be_asked() {
    let (place, server) = (Place::new(), Server::serve());
    let files = file("test.jsonl", &sum()) + "{ name = \"train.jsonl\" }";
    place.write("list.toml", &list(&server.address, &files));
    // Nobody at a terminal, and no `--yes`.
    let run = place.run(&GET);
    assert_eq!((run.code, server.sent.load(Ordering::SeqCst)), (2, 0), "{}", run.stderr);
    let shown = run.stdout.replace(&server.address, "ADDRESS").replace(&sum(), "SUM");
    insta::assert_snapshot!(format!("{shown}{}", run.stderr));
    assert!(!place.path("benchmarks").exists());

    let run = place.run(&[&GET[..], &["--yes"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("downloaded 2 files\nof 1 no checksum is known"), "{}", run.stdout);
    assert_eq!(place.read("benchmarks/gsm8k/test.jsonl"), BODY);
    let eval = ["eval", "model", "--suite", "gsm8k", "--data", "benchmarks", "--quiet"];
    assert_eq!(place.run(&[&eval[..], &["--set", "evaluation.max_new_tokens=1"]].concat()).code, 0);

    // Again there is nothing to do, nor to ask.
    let run = place.run(&GET);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("downloaded 0 files, 2 were there"), "{}", run.stdout);
    assert_eq!(server.sent.load(Ordering::SeqCst), 2 * BODY.len());
}

#[test]
fn a_download_that_breaks_off_is_gone_on_with_and_no_half_file_has_a_name() {
    let (place, server) = (Place::new(), Server::serve());
    place.write("list.toml", &list(&server.address, &file("test.jsonl", &sum())));
    let get = [&GET[..], &["--yes"]].concat();
    server.breaks.store(true, Ordering::SeqCst);
    let run = place.run(&get);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("hint: run the same command again to go on"), "{}", run.stderr);
    assert!(!place.path("benchmarks/gsm8k/test.jsonl").exists());
    assert_eq!(place.run(&get).code, 0);
    assert_eq!(place.read("benchmarks/gsm8k/test.jsonl"), BODY);
    assert_eq!(server.sent.load(Ordering::SeqCst), BODY.len(), "no byte is sent twice");
    // Whole but for its name: a kill before the last step.
    std::fs::rename(
        place.path("benchmarks/gsm8k/test.jsonl"),
        place.path("benchmarks/gsm8k/test.jsonl.partial"),
    )
    .expect("it is there");
    assert_eq!(place.run(&get).code, 0);
    assert_eq!(place.read("benchmarks/gsm8k/test.jsonl"), BODY);
}

#[test]
fn what_is_not_what_was_published_is_not_kept_and_what_is_there_is_not_written_over() {
    let (place, server) = (Place::new(), Server::serve());
    let get = [&GET[..], &["--yes"]].concat();
    place.write("list.toml", &list(&server.address, &file("test.jsonl", &"0".repeat(64))));
    let run = place.run(&get);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains(&format!("has SHA-256 {}, wanted 000", sum())), "{}", run.stderr);
    assert_eq!(std::fs::read_dir(place.path("benchmarks/gsm8k")).expect("it").count(), 0);

    place.write("list.toml", &list(&server.address, &file("missing.jsonl", &sum())));
    let run = place.run(&get);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("missing.jsonl` answers 404"), "{}", run.stderr);

    place.write("list.toml", &list(&server.address, &file("test.jsonl", &sum())));
    place.write("benchmarks/gsm8k/test.jsonl", "mine");
    let run = place.run(&get);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("is there and is not what is published"), "{}", run.stderr);
    assert_eq!(place.read("benchmarks/gsm8k/test.jsonl"), "mine");
}

#[test]
fn the_list_that_comes_along_is_shown_with_sizes_and_licences() {
    let run = Place::new().run(&["data", "list"]);
    assert_eq!(run.code, 0);
    insta::assert_snapshot!(run.stdout);
}
