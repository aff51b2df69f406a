//! Training: an objective, an optimizer, and a loop that can stop anywhere and go on.
//!
//! ```text
//!  examples ─Course─► batches ─accumulate(Model, Objective)─► gradient ─Optimizer─► weights
//!            Reference, once ─┘         └─► Line ─► metrics.jsonl, TensorBoard    └─► Writer ─► checkpoint
//! ```
//!
//! A run is made in this order, and each part can be looked at before the next:
//! [`RunFolder::take`] holds its folder, [`find`] its checkpoint, [`Training::new`] checks everything
//! and writes nothing, [`Training::run`] trains.
//!
//! Nothing here prints, and nothing here sees text: what a run tells, it tells as [`Event`]s.
//!
//! Legend: `B` sequences of a batch, `T` its tokens, `N` its supervised tokens. A *step* is one update
//! of the weights; its gradient comes from one or several *batches*.

mod checkpoint;
mod config;
mod course;
mod difference;
mod error;
mod event;
mod freeze;
mod held_out;
mod manifest;
mod metrics;
mod objective;
mod optimizer;
mod packed;
mod reference;
mod resume;
mod run;
mod schedule;
mod setup;
mod step;
mod tensorboard;
mod train;
mod train_config;
mod writer;

pub use checkpoint::{Checkpoint, CheckpointConfig, State};
pub use config::{one_rate, only_on_a_gpu};
pub use course::Cursor;
pub use difference::Difference;
pub use error::{Error, Result};
pub use event::{End, Evaluator, Event, Outcome, When};
pub use manifest::Scrutiny;
pub use metrics::{Line, METRICS, Named};
pub use objective::{
    Average, Counts, Cpo, Dpo, Gain, Groups, Ipo, Kto, LipoLambda, Loss, MleOver, Objective,
    ObjectiveConfig, Orpo, Pairs, PlackettLuce, ReferencePoint, Rrhf, Sft, Simpo, Slic,
    SpanCorruption, Term, Ties, Tuna, ranking_counts, ranking_terms,
};
pub use optimizer::{OptimConfig, OptimKind, Optimizer, StateConfig};
pub use resume::{Found, Resume, Skipped, find, newest};
pub use run::{RunConfig, RunFolder};
pub use schedule::{Schedule, ScheduleConfig, ScheduleKind};
pub use setup::{NO_STEPS, Options, Training, TrainingData, idle_examples, suits};
pub use train_config::{Precision, RecomputeConfig, TrainConfig};
pub use writer::{Saved, SmallFiles};
