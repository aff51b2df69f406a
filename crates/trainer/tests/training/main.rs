//! Whole trainings of a tiny random LLaMA.

#![allow(clippy::unwrap_used)]

mod accumulation;
mod damage;
mod narrow;
mod ranking;
mod resuming;
mod stopping;
mod support;
mod weights;
