//! The CUDA twins of the operations: which kernels they launch, on what.
//!
//! One file an operation, beside its kernels' `.cu`. Sizes are checked by the operation's public
//! function before it comes here.

pub(crate) mod adafactor;
pub(crate) mod attention;
pub(crate) mod bias;
pub(crate) mod decode;
pub(crate) mod points;
pub(crate) mod rows;
pub(crate) mod sample;
pub(crate) mod tiles;
pub(crate) mod update;

#[cfg(test)]
mod tests;
