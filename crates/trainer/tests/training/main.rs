//! Whole trainings of a tiny random LLaMA.

#![allow(clippy::unwrap_used)]

mod accumulation;
mod damage;
mod resuming;
mod stopping;
mod support;
mod weights;
