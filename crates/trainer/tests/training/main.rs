//! Whole trainings of a tiny random LLaMA.

#![allow(clippy::unwrap_used)]

mod accumulation;
mod damage;
mod narrow;
mod resuming;
mod stopping;
mod support;
mod weights;
