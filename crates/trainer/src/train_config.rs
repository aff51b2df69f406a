//! `[train]`: how long, with which batches, and which weights.

use albacore_kernels::Recompute;
use albacore_model::Model;
use serde::{Deserialize, Serialize};

use crate::config::Problems;
use crate::freeze::{fits, is_trained};
use crate::{Error, Result};

/// What the backward pass computes again instead of keeping it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecomputeConfig {
    /// Nothing: the most memory.
    None,
    /// The outputs of norms, activations and attention, which cost little.
    #[default]
    Selective,
    /// Whole blocks: the least memory, and a third more work.
    Block,
}

impl From<RecomputeConfig> for Recompute {
    fn from(config: RecomputeConfig) -> Self {
        match config {
            RecomputeConfig::None => Self::None,
            RecomputeConfig::Selective => Self::Selective,
            RecomputeConfig::Block => Self::Block,
        }
    }
}

/// The numbers that a model computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    F32,
    /// 16 bits with the range of 32, over master weights in f32. Needs a CUDA device.
    Bf16,
}

/// `[train]`: how long, with which batches, and which weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Updates of the weights. Default: as many as `epochs` takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Passes over the data, 1.5 for one and a half. Default 1 where `steps` is not set. More of
    /// them fit the data better, in the end too well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Batches, each of up to `data.tokens_per_batch` tokens, whose gradients make up one step.
    /// Default 1. More of them steady a step and take no memory.
    pub batches_per_step: usize,
    /// Groups, each a prompt with the responses that are ranked, that make up one step, in as many
    /// batches as they need; an example without responses counts as one. Set instead of
    /// `batches_per_step`. More of them steady a step and take no memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_per_step: Option<usize>,
    /// Whether the responses of a group are computed behind one copy of their prompt. Default true. False
    /// gives each a copy of its own: the same up to rounding, slower by what sharing saves.
    pub share_prompts: bool,
    /// The share of numbers that dropout drops in training, of a model that has dropout (T5). Default what
    /// the model says itself (`dropout_rate`). More of it learns slower and overfits later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// What the backward pass computes again instead of keeping it: `none`, `selective` (the outputs of
    /// norms, activations and attention) or `block` (all but the input of each block). Default
    /// `selective`. Later ones take less memory and more time; the results are the same.
    pub recompute: RecomputeConfig,
    /// Numbers that the model computes with: `f32` or `bf16`. Default `bf16` on a GPU, where it takes
    /// half the memory and a fraction of the time, and `f32` on the CPU, which has nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Keep the trained weights in f32 beside the bf16 ones that the model computes with. Default true.
    /// Without, 4 bytes less for each weight, in bf16 on a GPU only: each update rounds a weight to one
    /// of its two neighbours by chance, in proportion to the distance, so that small updates add up on
    /// average; the loss falls a little less evenly. Checkpoints hold the bf16 numbers, frozen tensors
    /// too.
    pub master_weights: bool,
    /// On a GPU whose memory runs out: run each batch in twice as many parts from then on, instead of
    /// stopping. The mathematics is the same, and the bits differ from those of whole batches.
    pub auto_micro_batch: bool,
    /// Tensors that are not trained, by patterns such as `model.embed_tokens.*`, in which `*` is any
    /// text and `?` any character. Default none. Frozen ones take no memory for moments.
    pub freeze: Vec<String>,
    /// If there are any: only tensors that fit one of these patterns are trained, without those of
    /// `freeze`. Default none.
    pub train_only: Vec<String>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: None,
            epochs: None,
            batches_per_step: 1,
            groups_per_step: None,
            share_prompts: true,
            dropout: None,
            recompute: RecomputeConfig::default(),
            precision: None,
            master_weights: true,
            auto_micro_batch: false,
            freeze: Vec::new(),
            train_only: Vec::new(),
        }
    }
}

impl TrainConfig {
    /// Everything that is wrong with it.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Problems::default();
        problems.unless(self.steps != Some(0), "train.steps", 0, "1 or more");
        if let Some(epochs) = self.epochs {
            let positive = epochs.is_finite() && epochs > 0.0;
            problems.unless(positive, "train.epochs", epochs, "a number above 0");
        }
        if self.steps.is_some() && self.epochs.is_some() {
            problems.0.push("`train.steps` and `train.epochs` are both set, wanted one".to_owned());
        }
        problems.unless(self.batches_per_step > 0, "train.batches_per_step", 0, "1 or more");
        problems.unless(self.groups_per_step != Some(0), "train.groups_per_step", 0, "1 or more");
        if self.groups_per_step.is_some() && self.batches_per_step != 1 {
            problems.0.push(
                "`train.batches_per_step` and `train.groups_per_step` are both set, wanted one"
                    .to_owned(),
            );
        }
        if let Some(rate) = self.dropout {
            let below = (0.0..1.0).contains(&rate);
            problems.unless(below, "train.dropout", rate, "a number from 0 to less than 1");
        }
        if !self.master_weights && self.precision == Some(Precision::F32) {
            problems.0.push(
                "`train.master_weights` is false, wanted true where `train.precision` is `f32`\n\
                 hint: weights in f32 have no others beside them: leave it out"
                    .to_owned(),
            );
        }
        problems.0
    }

    /// Sets the rate of dropout, if it says one.
    pub(crate) fn choose_dropout(&self, model: &mut Model) -> Result<()> {
        match (self.dropout, model.dropout()) {
            (Some(rate), Some(_)) => model.set_dropout(rate),
            (None, _) | (Some(0.0), None) => {}
            (Some(rate), None) => {
                let problem = format!(
                    "`train.dropout` is {rate}, and the model has no dropout\n\
                     hint: leave it out: LLaMA is trained without"
                );
                return Err(Error::Config { problems: vec![problem] });
            }
        }
        Ok(())
    }

    /// Freezes what it says; the patterns must fit.
    pub(crate) fn choose_weights(&self, model: &mut Model) -> Result<()> {
        let parameters = model.parameters();
        let parts = parameters.iter().flat_map(|parameter| parameter.parts());
        let names = parts.map(|part| part.name.clone()).collect::<Vec<_>>();
        let mut problems = Vec::new();
        for (key, patterns) in [("freeze", &self.freeze), ("train_only", &self.train_only)] {
            for pattern in patterns {
                if !names.iter().any(|name| fits(pattern, name)) {
                    let like = &names[names.len() / 2];
                    problems.push(format!(
                        "`train.{key}` has `{pattern}`, which fits no tensor of the model\n\
                         hint: its tensors have names like `{like}`; `*` is any text"
                    ));
                }
            }
        }
        let trained = |name: &str| is_trained(name, &self.freeze, &self.train_only);
        if problems.is_empty() && !names.iter().any(|name| trained(name)) {
            problems
                .push("`train.freeze` leaves no tensor to train, wanted one or more".to_owned());
        }
        if !problems.is_empty() {
            return Err(Error::Config { problems });
        }
        model.parameters_mut().into_iter().for_each(|parameter| parameter.set_trainable(trained));
        Ok(())
    }
}
