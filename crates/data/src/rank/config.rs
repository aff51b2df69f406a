//! `[rank]`: what is ranked, by whom, and how.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Decoding, TemplateChoice};

/// What puts answers in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankKind {
    /// How probable a teacher finds them.
    #[default]
    Probabilistic,
    /// What a judge says who sees all of them.
    Contextual,
    /// How much they have in common with the original answer.
    Reference,
    /// The original answer above all others, which are not told apart (demonstrations over a model's own
    /// answers, as DITTO has it).
    Demonstration,
    /// Scores made elsewhere.
    Scores,
}

/// Whose log-probabilities count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Teacher {
    /// Those that were recorded when the answers were written.
    #[default]
    Own,
    /// Those of `[model]`, which reads every answer.
    Model,
}

/// What becomes of the answer that a prompt's record had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Original {
    /// It is left out.
    #[default]
    None,
    /// It is ranked with the others.
    Candidate,
    /// It is written beside them, in a field of its own, so that it can be learned as an example of its own.
    Record,
}

/// `[rank]`: answers put in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankConfig {
    /// What puts answers in order: `probabilistic`, `contextual`, `reference`, `demonstration` or
    /// `scores`. Default `probabilistic`.
    pub kind: RankKind,
    /// The file of candidates: what `sample` writes, `tuna` records with or without scores, the raw files of
    /// Tuna's authors, or pairs of a chosen and a rejected answer. No default.
    pub candidates: PathBuf,
    /// What makes a prompt of an instruction that has none yet (raw files, pairs): `alpaca`, `none` or a TOML
    /// file. Default `alpaca`. Prompts of the other files stay as they are.
    pub template: TemplateChoice,
    /// What becomes of the answer that a prompt's record had: `none`, `candidate` or `record`. Default
    /// `none`.
    pub original: Original,
    /// At most so many sets, from the first. Default all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// `probabilistic`: whose log-probabilities count, `own` or `model`. Default `own`.
    pub teacher: Teacher,
    /// `probabilistic`: the score is log p divided by the number of tokens to this power. Default 1, the mean,
    /// as in the published code; its paper has 1.3. Higher favours long answers.
    pub length_exponent: f64,
    /// `reference`: compare stems of words, so that `runs` is `running`. Default true.
    pub stemmed: bool,
    /// `scores`: a file of `{id, scores: [...]}`, or of `{id: "SET/NUMBER", score}`, or what `albacore score`
    /// wrote for such ids. Default: the scores that the candidates have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<PathBuf>,
    /// `contextual`: folder of templates that replace ours: `judge.jinja`, `judge_system.jinja`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompts: Option<PathBuf>,
    /// `contextual`: show the answers in random order, so that no place is favoured. Default true.
    pub shuffle: bool,
    /// `contextual`: keep the answer that the judge writes itself as one more candidate. Default true.
    pub keep_reference: bool,
    /// `contextual`: how often a judge is asked whose reply cannot be read. Default 2.
    pub attempts: usize,
    /// `contextual`: divides the judge's logits. Default 1, as published.
    pub temperature: f64,
    /// `contextual`: keeps the judge's most probable tokens that together reach this. Default 1.
    pub top_p: f64,
    /// `contextual`: most tokens of a reply. Default 2048, as published.
    pub max_tokens: usize,
    /// Another ranking of the same candidates, to be compared with. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<PathBuf>,
}

impl Default for RankConfig {
    fn default() -> Self {
        Self {
            kind: RankKind::default(),
            candidates: PathBuf::new(),
            template: TemplateChoice::Alpaca,
            original: Original::default(),
            limit: None,
            teacher: Teacher::default(),
            length_exponent: 1.0,
            stemmed: true,
            scores: None,
            prompts: None,
            shuffle: true,
            keep_reference: true,
            attempts: 2,
            temperature: 1.0,
            top_p: 1.0,
            max_tokens: 2048,
            against: None,
        }
    }
}

impl RankConfig {
    /// Everything that is wrong with it: found and wanted.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut unless = |good: bool, problem: String| {
            if !good {
                problems.push(problem);
            }
        };
        unless(
            !self.candidates.as_os_str().is_empty(),
            "`rank.candidates` is missing, wanted a file of candidates\nhint: `albacore sample CONFIG` writes \
             `RUN/candidates.jsonl`; `tuna` records and preference pairs are read as well"
                .into(),
        );
        unless(
            self.template != TemplateChoice::Chat,
            "`rank.template` is `chat`, wanted `alpaca`, `none` or a TOML file".into(),
        );
        let exponent = self.length_exponent.is_finite() && self.length_exponent >= 0.0;
        unless(
            exponent,
            format!("`rank.length_exponent` is {}, wanted 0 or more", self.length_exponent),
        );
        unless(self.attempts > 0, "`rank.attempts` is 0, wanted 1 or more".into());
        unless(self.limit != Some(0), "`rank.limit` is 0, wanted 1 or more".into());
        let own = self.kind == RankKind::Probabilistic && self.teacher == Teacher::Own;
        unless(
            !(own && self.original == Original::Candidate),
            "`rank.original` is `candidate`, and nobody has told how probable the original answers are\n\
             hint: let a model read them: `rank.teacher = \"model\"`; or set `rank.original = \"record\"`"
                .into(),
        );
        let decoding = self.decoding().problems();
        problems.extend(decoding.iter().map(|problem| format!("`rank`: {problem}")));
        problems
    }

    /// The keys that are set and belong to another kind: nothing looks at them.
    pub fn idle(&self) -> Vec<&'static str> {
        let unset = Self::default();
        let (likely, judged) = (RankKind::Probabilistic, RankKind::Contextual);
        let keys = [
            ("teacher", self.teacher != unset.teacher, likely),
            ("length_exponent", self.length_exponent != unset.length_exponent, likely),
            ("stemmed", self.stemmed != unset.stemmed, RankKind::Reference),
            ("scores", self.scores.is_some(), RankKind::Scores),
            ("prompts", self.prompts.is_some(), judged),
            ("shuffle", self.shuffle != unset.shuffle, judged),
            ("keep_reference", self.keep_reference != unset.keep_reference, judged),
            ("attempts", self.attempts != unset.attempts, judged),
            ("temperature", self.temperature != unset.temperature, judged),
            ("top_p", self.top_p != unset.top_p, judged),
            ("max_tokens", self.max_tokens != unset.max_tokens, judged),
        ];
        let idle = keys.into_iter().filter(|(_, is_set, of)| *is_set && *of != self.kind);
        idle.map(|(key, ..)| key).collect()
    }

    /// Whether a judge is asked.
    pub fn asks(&self) -> bool {
        self.kind == RankKind::Contextual
    }

    /// Whether a model here reads the answers.
    pub fn reads(&self) -> bool {
        self.kind == RankKind::Probabilistic && self.teacher == Teacher::Model
    }

    /// How a judge's reply is drawn.
    pub fn decoding(&self) -> Decoding {
        Decoding {
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            ..Decoding::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_found_at_once() {
        let config = RankConfig {
            template: TemplateChoice::Chat,
            original: Original::Candidate,
            length_exponent: -1.0,
            attempts: 0,
            limit: Some(0),
            max_tokens: 0,
            ..RankConfig::default()
        };
        let problems = config.validate();
        let wanted = [
            "`rank.candidates` is missing",
            "`rank.template` is `chat`",
            "`rank.length_exponent` is -1",
            "`rank.attempts` is 0",
            "`rank.limit` is 0",
            "`rank.original` is `candidate`",
            "`rank`: `max_tokens` is 0",
        ];
        assert_eq!(problems.len(), wanted.len(), "{problems:?}");
        assert!(problems.iter().zip(wanted).all(|(found, wanted)| found.starts_with(wanted)));
        let judged = RankConfig { kind: RankKind::Contextual, candidates: "a".into(), ..config };
        assert_eq!(judged.idle(), ["length_exponent"]);
        assert!(!judged.validate().iter().any(|problem| problem.contains("rank.original")));
    }
}
