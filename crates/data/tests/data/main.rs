//! Tests of the crate as a whole, on a tiny tokenizer whose every character is a token.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bootstrap;
mod corrupted;
mod dataset;
mod encode;
mod errors;
mod golden_chat;
mod golden_rouge;
mod held_out;
mod http;
mod http_limits;
mod journal;
mod journal_crashes;
mod mixture;
mod mixture_losses;
mod mixture_tally;
mod mock_server;
mod pack;
mod ranked;
mod ranking;
mod real_server;
mod records;
mod refusals;
mod self_instruct;
mod smollm2;
mod tasks;
mod tiny;
mod tokenizer;
