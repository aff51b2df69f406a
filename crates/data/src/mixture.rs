//! Mixtures: examples drawn from many tasks at rates, without a copy of any.
//!
//! ```text
//!  [[data.sources]] ─open─► Task ─┐ examples, weights, caps, groups ─rates─► Draw
//!                                 │
//!  position n of the stream ─Draw(seed, n)─► task, its draw number ─► Record ─Encoder─► Encoded ─► Batch
//! ```
//!
//! Which task stands at a position is a function of the seed and the position; which of its records, of how
//! often it stood before. So a position is all that a checkpoint keeps.

mod config;
mod contamination;
mod draw;
mod opened;
mod order;
mod rates;
mod stream;

pub use config::{GroupConfig, Weight};
pub use contamination::{Contamination, Overlap};
pub use opened::{Mixture, TaskRate};
pub use rates::{Member, rates};
pub use stream::{MixtureSource, MixtureStream, Position, Tally as StreamTally};

pub(crate) use order::Order;
pub(crate) use rates::{check_groups, is_temperature, wrong_temperature};
