//! Forward and backward of every operation that training needs.
//!
//! Values are Candle tensors; what stands here is what Candle lacks: fused operations with a
//! backward pass, a [`Tape`] that frees what it saved as soon as it was used, and gradients that
//! accumulate in place in their [`Parameter`].
//!
//! Legend, used for shapes in this crate: `T` tokens of a packed batch, `C` channels (hidden width),
//! `H` query heads, `G` key/value heads, `D` width of a head, `F` width of the feed-forward layer,
//! `V` vocabulary, `N` rows of a weight.
//!
//! Each operation's file holds, in this order: the function that records it on a tape, its CPU
//! kernels, and among its tests the plain-loop reference in f64 that specifies it.

mod adafactor;
mod adamw;
mod adamw_int8;
mod add;
mod attention;
mod cache;
mod device;
mod dropout;
mod dynamic_map;
mod engine;
mod error;
mod few_rows;
mod gated;
mod gather;
mod geglu;
mod global_norm;
mod head;
mod heads;
mod later;
mod launch;
mod linear;
pub mod matmul;
mod matrix;
mod memory;
mod optimize;
mod parallel;
mod parameter;
mod profile;
mod relu;
mod rms_norm;
mod rope;
mod sample;
mod scale;
mod sequences;
mod simd;
mod state;
pub mod storage;
mod swiglu;
mod tape;

// The unit tests and the integration tests share their proofs, which name this crate from outside.
#[cfg(test)]
extern crate self as albacore_kernels;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;

#[cfg(test)]
#[path = "../tests/emulator/mod.rs"]
mod emulator;

pub use adafactor::{AdafactorState, AdafactorStep, adafactor};
pub use adamw::{AdamWStep, adamw};
pub use adamw_int8::adamw_int8;
pub use add::add;
pub use attention::{
    BiasValues, Buckets, Crossing, RelativeBias, attention, biased_attention,
    biased_attention_with_dropout, bidirectional_attention, cross_attention,
};
pub use cache::{CachedHead, KeyValueCache};
pub use dropout::dropout;
pub use engine::gpu;
pub use error::{Error, Result};
pub use gather::{embedding, embedding_wide, select_rows};
pub use geglu::geglu;
pub use global_norm::squared_norm;
pub use head::{
    LOGIT_ROWS, Softened, Softening, linear_logits, linear_logprob, rows_at_once as gpu_logit_rows,
    softened_logprob,
};
pub use heads::Heads;
pub use later::Later;
pub use linear::{linear, linear_add, linear_add_with_dropout};
pub use memory::keep_freed_memory;
pub use optimize::{Factored, Trained, clip_and_adafactor, clip_and_update};
pub use parameter::{Parameter, Part};
pub use profile::{KernelTime, begin_profile, end_profile, unprofiled};
pub use relu::relu;
pub use rms_norm::rms_norm;
pub use rope::{Angles, Positions, rope};
pub use sample::{Choice, choose};
pub use scale::scale;
pub use sequences::Sequences;
pub use state::{Coded, Moments, StateBuffer, StateKind, StateNumbers};
pub use swiglu::swiglu;
pub use tape::{Kept, Recompute, Slots, Tape, Value};
