//! Text in, ids out: everything between the user's files and the model's first tensor.
//!
//! ```text
//!  files ─read─► Record ─Encoder(template, tokenizer, learn)─► Encoded ─Plan─► Batch
//!                   └ prepare: all sources, in parallel, counted, split, cached ┘
//!
//!  texts ─Filter: rules, duplicates, Novelty(ROUGE-L)─► kept, and why the others are not
//!
//!  prompts ─sample─► CandidateSet ─rank─► RankedRecord: several answers to each, and their order
//! ```
//!
//! Legend: an *id* is a number of the vocabulary; a token is *learned* if the model is trained to
//! predict it; a *defect* is why one record cannot be used; a *row* is a place in a packed batch.
//!
//! Nothing here prints, and nothing here knows a tensor.

pub mod bootstrap;
mod byte_tokenizer;
mod cache;
pub mod candidates;
mod chat;
mod config;
mod dataset;
mod defect;
mod encode;
mod error;
mod filter;
mod format;
mod http;
mod journal;
mod language_model;
mod lines;
mod mixture;
mod novelty;
mod overlap;
mod pack;
mod preview;
mod random;
pub mod rank;
mod ranked;
mod read;
mod record;
mod report;
mod rouge;
pub mod sample;
mod script;
mod sentencepiece;
mod settings;
mod spans;
mod split;
mod statistics;
mod stream;
mod task;
mod template;
mod tokenizer;
mod turns;
mod verb_noun;
mod vocabulary;

pub use chat::{ChatTemplate, Rendering};
pub use config::{BadRecords, DataConfig, Problem, SourceConfig};
pub use dataset::{Dataset, Preparation, Progress};
pub use defect::{BadRecord, Defect};
pub use encode::{Encoded, Encoder, Learn, Reason, Response, TooLong};
pub use error::{Error, Result};
pub use filter::{Filter, Rejection, Rule, Rules, Sameness, TextFile};
pub use format::Format;
pub use http::{Api, HttpConfig, HttpModel, NoKey};
pub use journal::{Entry, Journal, Outcome, journaled};
pub use language_model::{
    Completion, CompletionRequest, Decoding, Effort, FinishReason, LanguageModel, NoCompletion,
    OnReply, Prompt, Reply, TokenLogprob, Usage,
};
pub use mixture::{
    Contamination, GroupConfig, Member, Mixture, MixtureSource, MixtureStream, Overlap, Position,
    StreamTally, TaskRate, Weight, rates,
};
pub use novelty::{Likeness, Novelty, Scores};
pub use overlap::{Overlapping, Questions, RUN_WORDS};
pub use pack::{Batch, Packing, Plan, UNRIVALLED};
pub use preview::{PreviewToken, preview};
pub use random::{Random, shuffled};
pub use ranked::{Asked, Candidate, Original, OriginalAnswer, Ranked, Said};
pub use read::{Objects, Records, read, read_objects};
pub use record::{Body, Message, Origin, Record};
pub use report::{Dropped, Report, TaskLoss};
pub use rouge::{
    RougeL, Tokenization, common_subsequence, for_each_token, is_python_space, is_wordless, stem,
    tokens,
};
pub use script::Script;
pub use spans::{NoSpans, Spans};
pub use split::HeldOut;
pub use statistics::Statistics;
pub use stream::TextStream;
pub use task::{Drawn, Excluded, FamilyCard, OptionStyle, Shots, Task, families};
pub use template::{Patterns, Template, TemplateChoice};
pub use tokenizer::{Tokenizer, Tokens};
pub use verb_noun::verb_and_object;
pub use vocabulary::Vocabulary;
