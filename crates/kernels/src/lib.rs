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
//! Each operation's file holds, in this order: the plain-loop reference in f64 that specifies it
//! (tests compare with it), the CPU kernels, and the function that records it on a tape.

mod add;
mod error;
mod heads;
mod linear;
pub mod matmul;
mod parallel;
mod parameter;
mod rms_norm;
mod sequences;
mod simd;
pub mod storage;
mod tape;

pub use add::add;
pub use error::{Error, Result};
pub use heads::Heads;
pub use linear::{linear, linear_add};
pub use parameter::{Parameter, Part};
pub use rms_norm::rms_norm;
pub use sequences::Sequences;
pub use tape::{Kept, Recompute, Slots, Tape, Value};
