//! Models: weights and token ids in, log-probabilities and token ids out.
//!
//! This crate never sees text. It reads a Hugging Face folder ([`ModelConfig`], [`Weights`]) or a
//! GGUF file, which [`import()`] turns into such a folder, and writes checkpoints ([`save`]).
//!
//! ```text
//!  config.json ───► ModelConfig ─────────────────┐
//!  *.safetensors ─► Weights ───────► Parameters ─┴─► Model (Llama, T5) ──► log-probs, new tokens
//!  model.gguf ────► Gguf ─ import ─► folder            └─► save ──► *.safetensors
//! ```
//!
//! Legend, used for shapes in this crate: `T` tokens of a packed batch, `S` of its sources, `C` hidden width, `F` width
//! of the feed-forward layer, `H` query heads, `G` key/value heads, `D` width of a head, `V`
//! vocabulary, `P` positions.

mod config;
mod dtype;
mod error;
mod generate;
mod gguf;
mod import;
mod initial;
mod llama;
mod model;
mod packed;
mod reader;
mod rope;
mod sampling;
pub mod save;
mod staging;
mod t5;
mod t5_config;
mod weights;

pub use config::LlamaConfig;
pub use dtype::Dtype;
pub use error::{Error, Result};
pub use generate::{
    Beams, Capacity, Event, Finish, Generated, Generator, Limits, Request, beam_search, generate,
};
pub use gguf::{Gguf, GgufTensor, Metadata};
pub use import::{Imported, import};
pub use llama::Llama;
pub use model::{Model, ModelConfig};
pub use packed::{Packed, Rows};
pub use rope::{Rope, RopeScaling, rope_angles};
pub use sampling::Sampling;
pub use staging::Staging;
pub use t5::T5;
pub use t5_config::{FeedForward, T5Config};
pub use weights::{Misfit, Weights};
