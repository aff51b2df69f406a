//! Requests a second through the HTTP language model with its journal on, against a server in another
//! process that answers at once: what the client itself costs, so that it never limits a teacher.
//!
//!     cargo bench -p albacore-data --bench teacher -- [--requests 100000] [--concurrency 16] [--prompt 2000] [--answer 300]
//!
//! `--prompt` and `--answer` are characters. Then the same requests again, answered from the journal. Both
//! processes share the machine; the seconds of CPU that each took stand beside.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use albacore_data::{
    CompletionRequest, Decoding, HttpConfig, HttpModel, Journal, Prompt, journaled,
};

#[path = "../crates/data/tests/data/mock_server.rs"]
mod mock_server;
use mock_server::{Act, serve};

fn main() {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return answer_at_once();
    }
    let (requests, concurrency) = (option("requests", 100_000), option("concurrency", 16));
    let (mut server, endpoint) = start_server();
    let config = HttpConfig { concurrency, retries: 0, ..HttpConfig::new(endpoint, "mock") };
    let model = HttpModel::new(config).expect("settings are good");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.jsonl");
    println!(
        "{requests} requests, {concurrency} at a time, prompts of {} and answers of {} characters",
        option("prompt", 2000),
        option("answer", 300)
    );
    println!(
        "{:<14} {:>9} {:>9} {:>11} {:>11} {:>14}",
        "", "seconds", "per s", "CPU client", "CPU server", "peak RSS (MiB)"
    );
    for from in ["the server", "the journal"] {
        let (own, other) = (cpu_seconds("self"), cpu_seconds(&server.id().to_string()));
        let start = Instant::now();
        let mut journal = Journal::open(&path).expect("a journal");
        let mut asked = (0..requests).map(|number| (format!("task/{number}"), request(number)));
        let mut answers = 0;
        let statistics = journaled(&model, &mut journal, &mut asked, &mut |_, reply| {
            answers +=
                usize::from(reply.is_ok_and(|answer| answer.text.len() == option("answer", 300)));
            ControlFlow::Continue(())
        });
        let statistics = statistics.expect("the journal can be written");
        let seconds = start.elapsed().as_secs_f64();
        assert_eq!((answers, statistics.answers as usize), (requests, requests), "{statistics:?}");
        assert_eq!(journal.len(), requests);
        println!(
            "{from:<14} {seconds:>9.2} {:>9.0} {:>11.2} {:>11.2} {:>14.1}",
            requests as f64 / seconds,
            cpu_seconds("self") - own,
            cpu_seconds(&server.id().to_string()) - other,
            peak_mib()
        );
    }
    assert_eq!(model.statistics().answers as usize, requests, "the second round asks nothing");
    println!(
        "journal: {:.1} MiB",
        path.metadata().expect("a file").len() as f64 / f64::from(1 << 20)
    );
    // Its end of input is its end.
    drop(server.stdin.take());
    server.wait().expect("the server ends");
}

fn request(number: usize) -> CompletionRequest {
    let prompt = format!("{number:0>width$}", width = option("prompt", 2000));
    let decoding = Decoding { stop: vec!["\n\n".into(), "Task".into()], ..Decoding::default() };
    CompletionRequest {
        prompt: Prompt::Text(prompt),
        decoding,
        seed: number as u64,
        logprobs: false,
    }
}

/// This program again, as the server; where it listens.
fn start_server() -> (Child, String) {
    let own = std::env::current_exe().expect("a program");
    let mut server = Command::new(own)
        .args(["serve", "--answer", &option("answer", 300).to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let mut line = String::new();
    let output = server.stdout.take().expect("a pipe");
    BufReader::new(output).read_line(&mut line).expect("the server tells its address");
    (server, line.trim().to_owned())
}

fn answer_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("http://{}/v1", listener.local_addr().expect("an address"));
    std::io::stdout().flush().expect("someone reads");
    let text = "x".repeat(option("answer", 300));
    let act = Act::text(&text);
    std::thread::spawn(move || {
        serve(&listener, Arc::new(move |_| act.clone()), Arc::default(), Arc::default());
    });
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Seconds of CPU that a process has taken, all threads together.
fn cpu_seconds(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("Linux");
    // After the name, which may hold anything: fields 3 and on; 14 and 15 are ticks of 10 ms.
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / 100.0
}

fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok());
    kib.expect("a number") / 1024.0
}

fn option(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| *argument != format!("--{name}"));
    arguments.nth(1).map_or(default, |value| value.parse().expect("a number"))
}
