//! The `[model]` table: what is trained.

use albacore_model::Dtype;
use serde::{Deserialize, Serialize};

/// `[model]`: what is trained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// A Hugging Face folder, a run folder (its newest complete checkpoint) or a hub id
    /// `org/name[@revision]`. No default.
    pub path: String,
    /// Where the weights come from. Default `pretrained`.
    pub init: Init,
    /// Type that weights are kept in while training. Default `f32`, the only one on the CPU.
    pub dtype: Dtype,
    /// Where the config says so, as `file:line:column`.
    #[serde(skip)]
    pub place: Option<String>,
}

/// Where the weights come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// The folder's safetensors.
    #[default]
    Pretrained,
    /// Fresh random numbers in the shapes of the folder's `config.json`: pretraining.
    Random,
}

impl ModelConfig {
    /// All that is wrong and can be seen without touching a file.
    pub(super) fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.path.is_empty() {
            problems.push(
                "`model.path` is missing, wanted a model to train\nhint: add `path = \"FOLDER\"` \
                 under `[model]`: a Hugging Face folder, a run folder or a hub id `org/name`"
                    .into(),
            );
        }
        if self.dtype != Dtype::F32 {
            problems.push(format!("`model.dtype` is `{}`, wanted `f32` on the CPU", self.dtype));
        }
        problems
    }
}
