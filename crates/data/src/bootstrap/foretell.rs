//! What a run will ask, before it asks anything.

use super::instructions::draw;
use super::{Method, Recipe, Stage};
use crate::Result;

/// What a stage will ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Foretold {
    /// Which.
    pub stage: Stage,
    /// One of its prompts, as it will be asked; of the later stages, one about a seed task.
    pub prompt: String,
    /// How many requests there will be, at least: more where some of what comes is rejected.
    pub requests: u64,
    /// Tokens of so many prompts like this one, by the model's own count.
    pub prompt_tokens: u64,
    /// Tokens of so many answers, at most.
    pub completion_tokens: u64,
}

/// What the published stop texts leave room for: tasks are numbered, and these are the last.
const LAST_TASK: usize = 15;
const LAST_TASK_OF_ALPACA: usize = 19;

impl Recipe<'_> {
    /// What each stage of a new run will ask. `count_tokens` counts as the model that writes does.
    ///
    /// # Errors
    /// If a template of the user's cannot be filled in.
    pub fn foretell(&self, count_tokens: &dyn Fn(&str) -> usize) -> Result<Vec<Foretold>> {
        let config = self.config;
        let seeds = self.eligible_seeds();
        let shown = draw(&seeds, &[], 0, 0, config.tasks_per_prompt(), 0, self.seed);
        let last = match config.method {
            Method::SelfInstruct => LAST_TASK,
            Method::Alpaca => LAST_TASK_OF_ALPACA,
        };
        let a_prompt = last.saturating_sub(shown.len()).max(1);
        let prompt = self.with_writer(|writer| writer.prompt(&shown))?;
        let requests = config.instructions.div_ceil(a_prompt);
        let stage_of = |stage, prompt: String, requests: usize, most: usize| {
            let requests = requests as u64;
            let prompt_tokens = requests * count_tokens(&prompt) as u64;
            let completion_tokens = requests * most as u64;
            Foretold { stage, prompt, requests, prompt_tokens, completion_tokens }
        };
        let most = config.instruction_decoding().max_tokens;
        let mut stages = vec![stage_of(Stage::Instructions, prompt, requests, most)];
        if let (Method::SelfInstruct, Some(seed)) = (config.method, seeds.first()) {
            let is_classification = self.prompts.is_classification(&seed.instruction)?;
            let instances = self.prompts.instances(&seed.instruction, seed.is_classification)?;
            let (one, many) = (
                config.classification_decoding.max_tokens,
                config.instance_decoding(seed.is_classification).max_tokens,
            );
            let all = config.instructions;
            stages.push(stage_of(Stage::Classification, is_classification, all, one));
            stages.push(stage_of(Stage::Instances, instances, all, many));
        }
        Ok(stages)
    }
}
