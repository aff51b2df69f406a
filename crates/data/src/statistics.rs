//! What a run of requests took.

use serde::{Deserialize, Serialize};

use crate::{Completion, Effort, Usage};

/// Counts of requests and of what they took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// Requests that have an answer.
    pub answers: u64,
    /// Requests that have none, all attempts included.
    pub failures: u64,
    /// Requests that were refused for good, for what they ask: they are not asked again.
    #[serde(skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// Attempts beside the first of each request.
    pub retries: u64,
    /// Tokens of the prompts of answered requests.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub completion_tokens: u64,
    /// Answers whose tokens are estimated, because the model did not tell them.
    pub estimated: u64,
    /// Time from first attempt to answer, summed over the answers: requests that run side by side
    /// each count in full.
    pub seconds: f64,
    /// What the tokens cost, in the currency of the prices; `None` if no price is known.
    pub cost: Option<f64>,
    /// What went wrong last, for whoever looks on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_trouble: Option<String>,
}

impl Statistics {
    /// Counts an answer that has come, and its cost if that is known.
    pub fn add(&mut self, answer: &Completion, cost: Option<f64>) {
        self.count(&answer.usage, &answer.effort);
        if let Some(cost) = cost {
            *self.cost.get_or_insert(0.0) += cost;
        }
    }

    /// Counts an answer of which only this is known.
    pub(crate) fn count(&mut self, usage: &Usage, effort: &Effort) {
        self.answers += 1;
        self.retries += u64::from(effort.attempts.saturating_sub(1));
        self.prompt_tokens += usage.prompt_tokens;
        self.completion_tokens += usage.completion_tokens;
        self.estimated += u64::from(effort.usage_is_estimated);
        self.seconds += effort.seconds;
    }

    /// Adds what another run of requests took.
    pub fn join(&mut self, other: &Self) {
        self.answers += other.answers;
        self.failures += other.failures;
        self.refused += other.refused;
        self.retries += other.retries;
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.estimated += other.estimated;
        self.seconds += other.seconds;
        if let Some(cost) = other.cost {
            *self.cost.get_or_insert(0.0) += cost;
        }
        if other.last_trouble.is_some() {
            self.last_trouble.clone_from(&other.last_trouble);
        }
    }
}

pub(crate) fn is_zero(number: &u64) -> bool {
    *number == 0
}
