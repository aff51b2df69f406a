//! A small HTTP/1.1 server that answers as it is told, and misbehaves as it is told.
#![allow(dead_code, unreachable_pub, reason = "tests and the benchmark each use a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A request that has come.
#[derive(Clone, Debug)]
pub struct Asked {
    /// From 0, in the order in which they came.
    pub number: usize,
    pub path: String,
    pub authorization: Option<String>,
    pub body: Value,
    pub at: Instant,
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Status, further headers, body.
    Reply(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Nothing, until the client has gone.
    Stall,
    /// Ends the connection before a word.
    HangUp,
    /// Announces all of a body and ends the connection in the middle of it.
    Cut(Vec<u8>),
    /// Answers something that is not HTTP.
    Babble(&'static str),
    /// A body in pieces of so many bytes, with a wait before each.
    Drip(Vec<u8>, usize, Duration),
    /// First waits.
    After(Duration, Box<Act>),
}

impl Act {
    /// An answer with this text and these tokens.
    pub fn text(text: &str) -> Self {
        Self::body(answer(text).to_string())
    }

    /// A body with the status of success.
    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self::Reply(200, vec![], body.into())
    }

    /// A failure in OpenAI's form.
    pub fn error(status: u16, message: &str) -> Self {
        let body = json!({ "error": { "message": message, "type": "mock", "code": null } });
        Self::Reply(status, vec![], body.to_string().into())
    }

    /// The same with a header.
    pub fn with(self, name: &'static str, value: impl Into<String>) -> Self {
        let Self::Reply(status, mut headers, body) = self else {
            panic!("only replies have headers")
        };
        headers.push((name, value.into()));
        Self::Reply(status, headers, body)
    }
}

/// A body with one text, good for both APIs.
pub fn answer(text: &str) -> Value {
    let message = json!({ "role": "assistant", "content": text });
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13 });
    let choice = json!({ "index": 0, "text": text, "message": message, "finish_reason": "stop" });
    json!({ "id": "mock", "object": "any", "choices": [choice], "usage": usage })
}

/// A server in this process, on a port of its own, until it is dropped.
pub struct MockServer {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    closed: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
}

impl MockServer {
    /// Starts one that does with each request what `act` says.
    pub fn start(act: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, closed) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::<AtomicBool>::default());
        let connections = Arc::<AtomicUsize>::default();
        let all = asked.clone();
        let act = move |request: &Asked| {
            all.lock().unwrap().push(request.clone());
            act(request)
        };
        let (over, count) = (closed.clone(), connections.clone());
        thread::spawn(move || serve(&listener, Arc::new(act), over, count));
        Self { address, asked, closed, connections }
    }

    /// What the client's settings name.
    pub fn endpoint(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for MockServer {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

/// Serves each connection in a thread of its own.
pub fn serve(
    listener: &TcpListener,
    act: Arc<dyn Fn(&Asked) -> Act + Send + Sync>,
    closed: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
) {
    let count = Arc::new(AtomicUsize::new(0));
    for connection in listener.incoming().map_while(Result::ok) {
        if closed.load(Ordering::SeqCst) {
            return;
        }
        connections.fetch_add(1, Ordering::SeqCst);
        let (act, closed, count) = (act.clone(), closed.clone(), count.clone());
        // A client that goes away is what many tests are about.
        thread::spawn(move || converse(connection, &*act, &closed, &count).ok());
    }
}

fn converse(
    mut connection: TcpStream,
    act: &dyn Fn(&Asked) -> Act,
    closed: &AtomicBool,
    count: &AtomicUsize,
) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection.try_clone()?);
    while let Some((path, authorization, body)) = read(&mut reader)? {
        let number = count.fetch_add(1, Ordering::SeqCst);
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let asked = Asked { number, path, authorization, body, at: Instant::now() };
        if !perform(act(&asked), &mut connection, closed)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Path, key and body of the next request; none if the client has gone.
#[expect(clippy::type_complexity, reason = "read once, three lines above")]
fn read(reader: &mut impl BufRead) -> io::Result<Option<(String, Option<String>, Vec<u8>)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((path, authorization, body)))
}

/// Does it; whether the connection goes on.
fn perform(act: Act, connection: &mut TcpStream, closed: &AtomicBool) -> io::Result<bool> {
    match act {
        Act::Reply(status, headers, body) => {
            let mut reply = head(status, &headers, body.len());
            reply.extend(body);
            connection.write_all(&reply)?;
            Ok(true)
        }
        Act::Stall => {
            wait(Duration::from_secs(60), closed);
            Ok(false)
        }
        Act::HangUp => Ok(false),
        Act::Cut(body) => {
            connection.write_all(&head(200, &[], body.len()))?;
            connection.write_all(&body[..body.len() / 2])?;
            Ok(false)
        }
        Act::Babble(text) => {
            connection.write_all(text.as_bytes())?;
            Ok(false)
        }
        Act::Drip(body, bytes, every) => {
            connection.write_all(&head(200, &[], body.len()))?;
            for piece in body.chunks(bytes) {
                wait(every, closed);
                connection.write_all(piece)?;
            }
            Ok(true)
        }
        Act::After(time, act) => {
            wait(time, closed);
            perform(*act, connection, closed)
        }
    }
}

fn head(status: u16, headers: &[(&str, String)], length: usize) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {length}\r\n\r\n");
    head.into_bytes()
}

/// Sleeps, but not beyond the server's end.
fn wait(time: Duration, closed: &AtomicBool) {
    let end = Instant::now() + time;
    while Instant::now() < end && !closed.load(Ordering::SeqCst) {
        let left = end.saturating_duration_since(Instant::now());
        thread::sleep(left.min(Duration::from_millis(10)));
    }
}
