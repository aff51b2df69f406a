//! A language model behind HTTP: any server that speaks the OpenAI API.
//!
//! ```text
//!  requests ─► queue ─► workers ─► admit (paces, pauses) ─► POST ─► parse ─► replies ─► on_reply
//!                          └──────◄─ back-off ◄─ trouble ◄────┘
//! ```
//! The calling thread hands out requests and replies; each worker is a thread that waits for the
//! server. A failure is never an answer: what cannot be read, or was refused, is asked again or told
//! as [`NoCompletion`](crate::NoCompletion).

mod backoff;
mod config;
mod key;
mod limiter;
mod reply;
mod request;
mod server;
mod trouble;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use self::backoff::Stop;
pub use self::config::{Api, HttpConfig, NoKey};
use self::server::Server;
use crate::{
    CompletionRequest, Error, LanguageModel, NoCompletion, OnReply, Reply, Result, Statistics,
    Usage,
};

/// A model that a server runs.
#[derive(Debug)]
pub struct HttpModel {
    /// Shared with workers that are still waiting for an answer nobody wants any more.
    server: Arc<Server>,
    /// Becomes true when nobody wants any answer more.
    stop: Arc<AtomicBool>,
}

/// How long a stop may go unseen while no answer comes.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl HttpModel {
    /// A model of a server, not asked yet.
    ///
    /// # Errors
    /// Settings that cannot be used, all of them named; a key that is not in the environment.
    pub fn new(config: HttpConfig) -> Result<Self> {
        let problems = config.validate("http");
        if !problems.is_empty() {
            let problems = problems.iter().map(ToString::to_string);
            let message = problems.collect::<Vec<_>>().join("\n");
            return Err(Error::Endpoint { message, hint: None });
        }
        Ok(Self { server: Arc::new(Server::new(config)?), stop: Arc::default() })
    }

    /// Gives up what it waits for as soon as `stop` becomes true: a server may be silent for long.
    pub fn stop_when(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = stop;
        self
    }

    /// The next reply, however long it takes; `None` if the model is to stop.
    fn wait(&self, replies: &Receiver<(usize, Reply)>) -> Option<(usize, Reply)> {
        loop {
            match replies.recv_timeout(LOOK_EVERY) {
                Ok(reply) => return Some(reply),
                Err(RecvTimeoutError::Timeout) if !self.stop.load(Ordering::Relaxed) => {}
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => unreachable!("the crew holds a sender"),
            }
        }
    }

    /// Its settings.
    pub fn config(&self) -> &HttpConfig {
        &self.server.config
    }

    /// What all its requests took so far, while they run as well.
    pub fn statistics(&self) -> Statistics {
        self.server.statistics()
    }
}

impl LanguageModel for HttpModel {
    fn name(&self) -> &str {
        &self.server.config.model
    }

    fn identity(&self) -> String {
        self.server.config.identity()
    }

    fn cost(&self, usage: &Usage) -> Option<f64> {
        self.server.cost(usage)
    }

    fn complete(
        &self,
        requests: &mut dyn Iterator<Item = CompletionRequest>,
        on_reply: &mut OnReply<'_>,
    ) {
        let mut requests = requests.enumerate().fuse();
        let (jobs, queue) = mpsc::channel();
        let (answered, replies) = mpsc::channel();
        let mut crew = Crew::new(self.server.clone(), queue, answered);
        let mut waiting = 0;
        loop {
            while waiting < crew.room() {
                let Some(job) = requests.next() else { break };
                jobs.send(job).expect("the crew holds the queue");
                waiting += 1;
                if let Err(error) = crew.grow() {
                    let message = format!("no thread can be started: {error}");
                    let hint = Some("lower `concurrency`, or raise the limit of processes".into());
                    let _ = on_reply(
                        0,
                        Err(NoCompletion { message, hint, fatal: true, refused: false }),
                    );
                    return;
                }
            }
            if waiting == 0 {
                return;
            }
            let Some((number, reply)) = self.wait(&replies) else { return };
            waiting -= 1;
            let fatal = matches!(&reply, Err(failure) if failure.fatal);
            if on_reply(number, reply).is_break() || fatal {
                return;
            }
        }
    }
}

type Job = (usize, CompletionRequest);

/// The workers of one call of `complete`. Dropped, they are told to stop and not waited for: an
/// answer that is still to come is given up.
struct Crew {
    server: Arc<Server>,
    queue: Arc<Mutex<Receiver<Job>>>,
    answered: Sender<(usize, Reply)>,
    stop: Arc<Stop>,
    size: usize,
    most: usize,
}

impl Crew {
    fn new(server: Arc<Server>, queue: Receiver<Job>, answered: Sender<(usize, Reply)>) -> Self {
        let most = server.config.concurrency;
        let (queue, stop) = (Arc::new(Mutex::new(queue)), Arc::default());
        Self { server, queue, answered, stop, size: 0, most }
    }

    /// How many requests may be in hand: one for each worker, and the one that it takes next, so that
    /// none waits for the calling thread.
    fn room(&self) -> usize {
        2 * self.most
    }

    /// Adds a worker while there may be more.
    ///
    /// # Errors
    /// Not even one can be started.
    fn grow(&mut self) -> io::Result<()> {
        if self.size == self.most {
            return Ok(());
        }
        let (server, queue) = (self.server.clone(), self.queue.clone());
        let (answered, stop) = (self.answered.clone(), self.stop.clone());
        let work = move || work(&server, &queue, &answered, &stop);
        match thread::Builder::new().name("albacore-http".into()).spawn(work) {
            Ok(_) => self.size += 1,
            Err(error) if self.size == 0 => return Err(error),
            Err(_) => self.most = self.size,
        }
        Ok(())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

/// What a worker does until nothing is left to do.
fn work(
    server: &Server,
    queue: &Mutex<Receiver<Job>>,
    answered: &Sender<(usize, Reply)>,
    stop: &Stop,
) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, request)) = job else { return };
        if stop.is_stopped() {
            return;
        }
        // A thread that dies would leave its request waited for, for ever.
        let asked = AssertUnwindSafe(|| server.ask(number, &request, stop));
        let Some(reply) = catch_unwind(asked).unwrap_or_else(|_| Some(Err(bug()))) else { return };
        if answered.send((number, reply)).is_err() {
            return;
        }
    }
}

fn bug() -> NoCompletion {
    let hint = Some("the message above says where; please report it".into());
    let message = "the client broke: this is a bug".into();
    NoCompletion { message, hint, fatal: true, refused: false }
}
