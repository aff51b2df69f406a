//! Several answers to each prompt, different enough from each other to be ranked: Tuna (Li et al., 2023), as
//! its published code samples them.
//!
//! ```text
//!  records ─prompts─► round 0 ─ all pairs below `novelty`? ─► kept
//!                                └ no ─► round 1, hotter ─► … ─► after the last: the most diverse
//! ```

mod config;
mod diversity;
mod prompts;
mod run;

pub use config::{PromptsConfig, SampleConfig};
pub use diversity::Diversity;
pub use prompts::{Asked, Prompts};
pub use run::{Ended, Foretold, Progress, Run, Sampled};
