//! Instruction data written by a model: Self-Instruct (Wang et al., 2023), as its published code does it.
//!
//! ```text
//!  SeedTask ─┐
//!            ├─ instructions ─► classification ─► instances ─► filter ─► records to train on
//!  accepted ─┘   (stage 1)        (stage 2)       (stage 3)   (stage 4)
//! ```

mod config;
mod finetuning;
mod folder;
mod foretell;
mod instances;
mod instructions;
mod parquet;
mod prompts;
mod python;
mod records;
mod run;
mod seeds;
mod settings;
mod stages;
mod writer;

pub use config::{BootstrapConfig, Method};
pub use finetuning::{PromptRecord, lay_out};
pub use folder::RunFolder;
pub use foretell::Foretold;
pub use instances::{Instance, Parsed, Unused, parse_classification, parse_generation};
pub use instructions::{NewInstruction, Rejected};
pub use parquet::{Row, write_parquet};
pub use prompts::{Prompts, Shown};
pub use records::{RawInstances, Split, Task, finetuning_records, parse_task};
pub use run::{AlpacaRecord, Classified, Ended, Funnel, Progress, Recipe, Run, Stage};
pub use seeds::{SeedProblem, SeedTask, our_seeds, read_seeds};
pub use writer::{Alpaca, Candidate, Instructions, Writer};
