//! The commands, one file each.

pub mod bootstrap;
pub mod complete;
pub mod config;
pub mod data;
pub mod dry_run;
pub mod eval;
pub mod export;
pub mod filter;
pub mod import;
pub mod mixture;
pub mod prepare;
pub mod preview;
pub mod rank;
pub mod report;
pub mod sample;
pub mod score;
pub mod seeds;
pub mod train;
pub mod tuna;
