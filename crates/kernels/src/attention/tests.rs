//! Attention against its reference, against Candle, and against itself.
