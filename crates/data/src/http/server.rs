//! One server: its limits, and a request on its way through all its attempts.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value};
use ureq::Agent;
use ureq::http::Uri;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};

use super::backoff::{Stop, backoff, retry_after};
use super::config::HttpConfig;
use super::key::Key;
use super::limiter::Limiter;
use super::reply::{NoAnswer, parse, prompt_tokens};
use super::request;
use super::trouble::{Cause, Remedy, Trouble};
use crate::{Completion, CompletionRequest, Error, NoCompletion, Random, Reply, Statistics, Usage};

/// How often a request that does not fit is asked for a shorter answer.
const MOST_SHORTENED: u32 = 3;

/// Retries before the first answer where the server cannot be reached or read: then the settings are
/// likely wrong, and that should be said soon.
const RETRIES_OF_FIRST_CONTACT: u32 = 3;

/// After how many seconds a request that waits for its turn looks again.
const LONGEST_SLEEP_S: f64 = 1.0;

/// What all workers share.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) config: HttpConfig,
    address: String,
    key: Option<Key>,
    agent: Agent,
    limiter: Mutex<Limiter>,
    /// The moment that the limiter counts its seconds from.
    start: Instant,
    statistics: Mutex<Statistics>,
    /// Requests given up since the last answer.
    failed_in_a_row: AtomicU32,
    /// Whether it ever gave an answer.
    has_answered: AtomicBool,
    /// Since when it says that it is asked too much, without any answer.
    throttled: Mutex<Option<Instant>>,
}

impl Server {
    /// Reads the key; asks nothing yet.
    pub(super) fn new(config: HttpConfig) -> Result<Self, Error> {
        let key = config.api_key_env.as_deref().map(Key::read).transpose()?;
        Ok(Self {
            address: config.address(),
            key,
            agent: agent(&config),
            limiter: Mutex::new(Limiter::new(config.requests_per_minute, config.tokens_per_minute)),
            start: Instant::now(),
            statistics: Mutex::default(),
            failed_in_a_row: AtomicU32::new(0),
            has_answered: AtomicBool::new(false),
            throttled: Mutex::default(),
            config,
        })
    }

    pub(super) fn statistics(&self) -> Statistics {
        lock(&self.statistics).clone()
    }

    /// What tokens cost, where a price is known.
    pub(super) fn cost(&self, usage: &Usage) -> Option<f64> {
        self.config.cost(usage)
    }

    /// Asks until there is an answer or no more sense in asking; `None` if stopped on the way.
    pub(super) fn ask(
        &self,
        number: usize,
        request: &CompletionRequest,
        stop: &Stop,
    ) -> Option<Reply> {
        let mut body = match request::body(&self.config, request) {
            Ok(body) => body,
            Err(refused) => return Some(Err(refused)),
        };
        let mut max_tokens = request.decoding.max_tokens as u64;
        let mut random = Random::new(self.config.backoff_seed, "backoff", number as u64);
        let (mut retries, mut throttled, mut shortened, mut begun) = (0, 0, 0, None);
        loop {
            let foretold = prompt_tokens(&request.prompt) + max_tokens;
            self.admit(foretold, stop)?;
            let begun = *begun.get_or_insert_with(Instant::now);
            let attempts = 1 + retries + throttled + shortened;
            let trouble = match self.attempt(&body, request, max_tokens) {
                Ok(mut answer) => {
                    let Usage { prompt_tokens, completion_tokens } = answer.usage;
                    self.limiter().correct(foretold, prompt_tokens + completion_tokens);
                    answer.effort.attempts = attempts;
                    answer.effort.seconds = begun.elapsed().as_secs_f64();
                    return Some(Ok(self.answered(answer)));
                }
                Err(trouble) => trouble,
            };
            // One that broke off may have been worked on: its tokens stay counted.
            if trouble.remedy != Remedy::Retry(Cause::NoReply) {
                self.limiter().correct(foretold, 0);
            }
            lock(&self.statistics).last_trouble = Some(self.without_key(&trouble.message));
            let wait = match trouble.remedy {
                Remedy::Shorten
                    if shortened < MOST_SHORTENED && body.contains_key("max_tokens") =>
                {
                    // As the code of Self-Instruct does: 0.8 of the tokens asked for.
                    max_tokens = (max_tokens * 4 / 5).max(1);
                    body.insert("max_tokens".into(), max_tokens.into());
                    shortened += 1;
                    continue;
                }
                Remedy::Retry(cause) => {
                    let tries = if cause.is_throttling() { &mut throttled } else { &mut retries };
                    if !self.may_retry(cause, *tries) {
                        return Some(Err(self.failed(trouble, attempts, begun)));
                    }
                    let HttpConfig { backoff_s, longest_backoff_s, .. } = self.config;
                    let spread = backoff(&mut random, backoff_s, longest_backoff_s, *tries);
                    *tries += 1;
                    match self.wait(cause, spread) {
                        Some(wait) => wait,
                        None => return Some(Err(self.waits_too_long(trouble, attempts))),
                    }
                }
                _ => return Some(Err(self.failed(trouble, attempts, begun))),
            };
            if !stop.sleep_until(Instant::now() + wait) {
                return None;
            }
        }
    }

    /// Waits for leave to begin a request of about so many tokens; `None` if stopped before.
    fn admit(&self, tokens: u64, stop: &Stop) -> Option<()> {
        loop {
            let now = self.start.elapsed().as_secs_f64();
            // The lock is held for the question alone.
            let Err(at) = self.limiter().take(now, tokens) else { return Some(()) };
            // An answer may give tokens back before that.
            let at = at.min(now + LONGEST_SLEEP_S);
            if !stop.sleep_until(self.start + Duration::from_secs_f64(at)) {
                return None;
            }
        }
    }

    /// Asks once.
    fn attempt(
        &self,
        body: &Map<String, Value>,
        request: &CompletionRequest,
        max_tokens: u64,
    ) -> Result<Completion, Trouble> {
        let (config, broken) = (&self.config, |error| Trouble::connection(&error, &self.config));
        let body = serde_json::to_vec(body).expect("a JSON value can be written");
        let mut post = self.agent.post(&self.address).header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            post = post.header(AUTHORIZATION, &key.header);
        }
        let reply = post.send(&body[..]).map_err(broken)?;
        let (head, reply) = reply.into_parts();
        let after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = after.and_then(|text| retry_after(text, SystemTime::now()));
        let reply = reply.into_with_config().limit(config.max_reply_mib << 20).read_to_vec();
        if !head.status.is_success() {
            // The status alone says enough where the rest is cut.
            let body = self.words(&reply.unwrap_or_default());
            return Err(Trouble::status(head.status, &body, after, config));
        }
        let reply = reply.map_err(broken)?;
        parse(&reply, request, max_tokens).map_err(|error| match error {
            NoAnswer::Broken(what) => Trouble::unreadable(&self.without_key(&what), config),
            NoAnswer::Error => Trouble::error_in_answer(&self.words(&reply), config),
            NoAnswer::Silent(what) => Trouble::silent(&self.without_key(&what), config),
        })
    }

    /// Whether a request that was asked again so often for such a cause may be so once more. A server that
    /// is asked too much is left the time that it may tell us to wait, however often it says so.
    fn may_retry(&self, cause: Cause, retries: u32) -> bool {
        let most = self.config.retries;
        if cause.is_throttling() {
            let since = lock(&self.throttled).get_or_insert_with(Instant::now).elapsed();
            return retries < most || since.as_secs_f64() <= self.config.longest_wait_s;
        }
        let no_word = matches!(cause, Cause::Unreachable | Cause::NoReply);
        let first_contact = no_word && !self.has_answered.load(Ordering::Relaxed);
        retries < if first_contact { most.min(RETRIES_OF_FIRST_CONTACT) } else { most }
    }

    /// How long to wait before the next attempt; all others wait too where it is us who ask too
    /// much. `None` if the server wants a longer wait than is allowed.
    fn wait(&self, cause: Cause, spread: Duration) -> Option<Duration> {
        let Cause::Refused { everyone, after } = cause else { return Some(spread) };
        if after.is_some_and(|after| after.as_secs_f64() > self.config.longest_wait_s) {
            return None;
        }
        if everyone {
            let pause = after.unwrap_or(spread).as_secs_f64();
            self.limiter().pause(self.start.elapsed().as_secs_f64() + pause);
        }
        // Those who were told the same time do not come back in the same moment.
        Some(after.unwrap_or_default() + spread)
    }

    fn answered(&self, mut answer: Completion) -> Completion {
        self.failed_in_a_row.store(0, Ordering::Relaxed);
        self.has_answered.store(true, Ordering::Relaxed);
        *lock(&self.throttled) = None;
        if let Some(key) = &self.key {
            answer.text = key.hidden_in_answer(answer.text);
        }
        lock(&self.statistics).add(&answer, self.cost(&answer.usage));
        answer
    }

    /// Why there is no answer, after the last attempt.
    fn failed(&self, trouble: Trouble, attempts: u32, begun: Instant) -> NoCompletion {
        let mut message = trouble.message;
        let in_a_row = match trouble.remedy {
            Remedy::Retry(_) | Remedy::Refuse => {
                self.failed_in_a_row.fetch_add(1, Ordering::Relaxed) + 1
            }
            _ => 0,
        };
        if attempts > 1 {
            let seconds = begun.elapsed().as_secs_f64();
            message = format!("no answer after {attempts} attempts in {seconds:.1} s: {message}");
        }
        let given_up = in_a_row >= self.config.give_up_after;
        if given_up {
            message = format!("{in_a_row} requests in a row have no answer; the last: {message}");
        }
        let gone = matches!(trouble.remedy, Remedy::Stop | Remedy::Retry(Cause::Unreachable));
        let own = matches!(trouble.remedy, Remedy::Silent | Remedy::Refuse | Remedy::Shorten);
        let hint = trouble.hint.or_else(|| {
            let each_for_itself = given_up && trouble.remedy == Remedy::Refuse;
            each_for_itself.then(|| {
                "if each is refused for what it asks, raise `give_up_after`; if all are, look at \
                 `extra` and `omit`"
                    .to_owned()
            })
        });
        let failure = self.no_completion(message, hint, gone || given_up, attempts);
        NoCompletion { refused: own && !failure.fatal, ..failure }
    }

    fn waits_too_long(&self, trouble: Trouble, attempts: u32) -> NoCompletion {
        let Trouble { message, remedy, .. } = trouble;
        let after = match remedy {
            Remedy::Retry(Cause::Refused { after: Some(after), .. }) => after.as_secs(),
            _ => 0,
        };
        let most = self.config.longest_wait_s;
        let message = format!(
            "the server wants a wait of {after} s, more than `longest_wait_s` = {most}: {message}"
        );
        let hint = "run the same command again later: it goes on where it stopped".to_owned();
        self.no_completion(message, Some(hint), true, attempts)
    }

    fn no_completion(
        &self,
        message: String,
        hint: Option<String>,
        fatal: bool,
        attempts: u32,
    ) -> NoCompletion {
        let mut statistics = lock(&self.statistics);
        statistics.failures += 1;
        statistics.retries += u64::from(attempts - 1);
        NoCompletion { message: self.without_key(&message), hint, fatal, refused: false }
    }

    /// What a server says in a failure. The key is hidden before anything is cut: half of it is too much.
    fn words(&self, body: &[u8]) -> String {
        self.without_key(&String::from_utf8_lossy(body))
    }

    fn without_key(&self, message: &str) -> String {
        match &self.key {
            Some(key) => key.hidden_in_message(message),
            None => message.to_owned(),
        }
    }

    fn limiter(&self) -> MutexGuard<'_, Limiter> {
        lock(&self.limiter)
    }
}

fn agent(config: &HttpConfig) -> Agent {
    let seconds = |seconds| Some(Duration::from_secs_f64(seconds));
    let builder = Agent::config_builder()
        .user_agent(concat!("albacore/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        // A key goes to no address that was not named.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(config.concurrency)
        .max_idle_connections_per_host(config.concurrency)
        .timeout_global(seconds(config.timeout_s))
        .timeout_connect(seconds(config.connect_timeout_s));
    // A proxy of the environment is for other machines.
    let builder = if is_this_machine(&config.endpoint) { builder.proxy(None) } else { builder };
    builder.build().new_agent()
}

fn is_this_machine(endpoint: &str) -> bool {
    let uri = endpoint.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    host == "localhost" || host == "[::1]" || host.starts_with("127.")
}

/// What is guarded here is whole after every statement, whoever panicked.
fn lock<T>(guarded: &Mutex<T>) -> MutexGuard<'_, T> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}
