//! Batches as a model takes them.

use albacore_data::Batch;
use albacore_model::{Model, Packed, Rows};

use crate::Result;

/// A batch as the model takes it.
pub(crate) fn packed(model: &Model, batch: Batch) -> Result<Packed> {
    let Batch { ids, starts, is_response, rows, targets, target_starts, .. } = batch;
    Ok(model.pack(Rows { ids, starts, is_response, rows, targets, target_starts })?)
}
