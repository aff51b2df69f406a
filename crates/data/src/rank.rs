//! Several answers to one prompt, put in order: by likelihood, by a judge, by a reference, or by scores made
//! elsewhere. After Tuna (Li et al., 2023).
//!
//! ```text
//!  CandidateSet ─ original? duplicates? ─► Group ─ a kind of ranking ─► Group with scores ─► RankedRecord
//!                                            └──────────────────────────────► Unranked, and why
//! ```

mod agreement;
mod config;
mod group;
mod judge;
mod likelihood;
mod outcome;
mod prompts;
mod recorded;
mod reference;
mod reply;
mod scores;

pub use agreement::{Agreement, agreement, kendall_tau_b};
pub use config::{Original, RankConfig, RankKind, Teacher};
pub use group::{Group, Unranked, groups};
pub use judge::{Judge, Judged, Judgement, Progress};
pub use likelihood::{Likelihood, by_likelihood, by_own_likelihood};
pub use outcome::{Counts, Outcome, Summary, write, write_unranked};
pub use prompts::JudgePrompts;
pub use recorded::{Recorded, check_settings, hold_settings, plain_settings, teacher_settings};
pub use reference::{by_demonstration, by_reference};
pub use reply::{Order, parse_reply};
pub use scores::{by_scores, read_scores};
