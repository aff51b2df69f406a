//! `[data]` and `[sample]` of a config of `sample`: what is asked, and how.

use serde::{Deserialize, Serialize};

use crate::{BadRecords, DataConfig, Decoding, SourceConfig, TemplateChoice, Tokenization};

/// `[data]`: the prompts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromptsConfig {
    /// How a record becomes the text that is asked; default `"alpaca"`, as published. `"chat"` is the chat
    /// template of a model here, `"none"` the prompt as it is, anything else a TOML file as for `train`.
    pub template: TemplateChoice,
    /// What becomes of a record that cannot be asked (a missing field, a conversation without a question, a
    /// prompt as long as all that the model was made for); default `"error"`, which names them and asks
    /// nothing. `"drop"` leaves them out, counted.
    pub bad_records: BadRecords,
    /// The day that a chat template sees when it asks for today's; default `2024-07-26`, as for `train`.
    pub date: jiff::civil::Date,
    /// Where the records come from, at least one. Their answers are optional.
    pub sources: Vec<SourceConfig>,
}

impl Default for PromptsConfig {
    fn default() -> Self {
        let DataConfig { bad_records, date, sources, .. } = DataConfig::default();
        Self { template: TemplateChoice::Alpaca, bad_records, date, sources }
    }
}

impl PromptsConfig {
    /// Everything that is wrong with it: found and wanted.
    pub fn validate(&self) -> Vec<String> {
        let whole = DataConfig { sources: self.sources.clone(), ..DataConfig::default() };
        let mut problems: Vec<_> = whole.validate().iter().map(ToString::to_string).collect();
        for (index, source) in self.sources.iter().enumerate() {
            if source.repeat > 1 {
                problems.push(format!(
                    "`data.sources[{index}].repeat` is {}, wanted 1\nhint: `sample.responses` says how many \
                     answers each prompt gets",
                    source.repeat
                ));
            }
        }
        problems
    }
}

/// `[sample]`: how answers are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SampleConfig {
    /// Answers to each prompt. Default 4. More of them give more pairs to learn from, and cost as much
    /// more. Published name: `num_return_sequences`.
    pub responses: usize,
    /// Divides the logits in the first round. Default 1. Higher is more varied.
    pub temperature: f64,
    /// Keeps the most probable tokens whose probabilities together reach this. Default 1.
    pub top_p: f64,
    /// Most tokens of an answer. Default 512. Published name: `max_new_tokens`.
    pub max_tokens: usize,
    /// Texts that end an answer, and are no part of it. Default none.
    pub stop: Vec<String>,
    /// All pairs of a set must have a stemmed ROUGE-L F below this. Default 0.8. Lower wants more different
    /// answers, and asks more often. Published name: `rouge_threshold`.
    pub novelty: f64,
    /// How often a prompt is asked for a set at most. Default 3. Published name: `max_trials`.
    pub rounds: usize,
    /// Added to the temperature with each round. Default 0.1. Published name: `temperature_increment`.
    pub temperature_step: f64,
    /// Whether an answer that was cut off at `max_tokens` is an answer. Default true, as published. False
    /// treats it as an empty one.
    pub keep_truncated: bool,
    /// Count words of all scripts for ROUGE-L, and not only ASCII letters and digits; unstemmed. Default
    /// false, as published; without it texts in other scripts are never alike.
    pub unicode: bool,
    /// Ask for the log-probability of each token, by which `rank` can order the answers. Default true. They
    /// make the journal some times larger.
    pub logprobs: bool,
    /// At most so many prompts, from the first. Default all. A higher one goes on with the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl Default for SampleConfig {
    fn default() -> Self {
        Self {
            responses: 4,
            temperature: 1.0,
            top_p: 1.0,
            max_tokens: 512,
            stop: Vec::new(),
            novelty: 0.8,
            rounds: 3,
            temperature_step: 0.1,
            keep_truncated: true,
            unicode: false,
            logprobs: true,
            limit: None,
        }
    }
}

impl SampleConfig {
    /// Everything that is wrong with it: found and wanted.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut unless = |good: bool, key: &str, found: String, wanted: &str| {
            if !good {
                problems.push(format!("`sample.{key}` is {found}, wanted {wanted}"));
            }
        };
        unless(self.responses >= 2, "responses", self.responses.to_string(), "2 or more");
        unless(self.rounds >= 1, "rounds", self.rounds.to_string(), "1 or more");
        let novelty = self.novelty > 0.0 && self.novelty.is_finite();
        unless(novelty, "novelty", self.novelty.to_string(), "a number above 0");
        let step = self.temperature_step >= 0.0 && self.temperature_step.is_finite();
        unless(step, "temperature_step", self.temperature_step.to_string(), "0 or more");
        unless(self.limit != Some(0), "limit", "0".into(), "1 or more");
        if self.temperature == 0.0 {
            problems.push(
                "`sample.temperature` is 0, by which all answers are the same, wanted more than 0"
                    .into(),
            );
        }
        let decoding = self.decoding(0).problems();
        problems.extend(decoding.iter().map(|problem| format!("`sample`: {problem}")));
        problems
    }

    /// How the answers of a round are drawn.
    pub fn decoding(&self, round: usize) -> Decoding {
        Decoding {
            max_tokens: self.max_tokens,
            temperature: self.temperature + round as f64 * self.temperature_step,
            top_p: self.top_p,
            stop: self.stop.clone(),
            ..Decoding::default()
        }
    }

    /// What ROUGE-L takes for words.
    pub fn tokenization(&self) -> Tokenization {
        if self.unicode { Tokenization::Unicode } else { Tokenization::Stemmed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_is_hotter_than_the_one_before() {
        let config = SampleConfig::default();
        assert!(config.validate().is_empty());
        assert_eq!([0, 1, 2].map(|round| config.decoding(round).temperature), [1.0, 1.1, 1.2]);
    }

    #[test]
    fn every_problem_is_found_at_once() {
        let config = SampleConfig {
            responses: 1,
            rounds: 0,
            novelty: f64::NAN,
            temperature: 0.0,
            top_p: 2.0,
            limit: Some(0),
            ..SampleConfig::default()
        };
        let wanted = [
            "`sample.responses` is 1, wanted 2 or more",
            "`sample.rounds` is 0, wanted 1 or more",
            "`sample.novelty` is NaN, wanted a number above 0",
            "`sample.limit` is 0, wanted 1 or more",
            "`sample.temperature` is 0, by which all answers are the same, wanted more than 0",
            "`sample`: `top_p` is 2, wanted a number from 0 to 1",
        ];
        assert_eq!(config.validate(), wanted);
        let source = SourceConfig { repeat: 2, ..SourceConfig::new("a") };
        let data = PromptsConfig { sources: vec![source], ..PromptsConfig::default() };
        assert!(data.validate()[0].starts_with("`data.sources[0].repeat` is 2, wanted 1"));
        assert_eq!(PromptsConfig::default().validate().len(), 1);
    }
}
