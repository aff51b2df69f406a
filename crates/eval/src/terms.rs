//! What was asked, and how: two evaluations of the same terms have comparable numbers.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{EvaluationConfig, LmentryCut, Task};

/// What was asked, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// The version of albacore.
    pub version: String,
    /// The folder of the benchmarks.
    pub data: String,
    /// Questions of each task; all where there is none.
    pub limit: Option<u64>,
    /// Whether prompts were messages in the models' chat templates.
    pub chat: bool,
    /// Answers drawn for each question of a suite that reasons.
    pub samples: usize,
    /// Their temperature, where there are several.
    pub temperature: Option<f64>,
    /// Longest answer in tokens, where it is not the suite's own.
    pub max_new_tokens: Option<usize>,
    /// Which replies to LMentry end with their first sentence.
    pub lmentry_cut: LmentryCut,
    /// Start of the random numbers.
    pub seed: u64,
    /// The suites, in order.
    pub suites: Vec<SuiteTerms>,
}

/// What was asked of a suite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuiteTerms {
    /// As the command named it: `bbh`, or `bbh/snarks,bbh/navigate`.
    pub name: String,
    /// Questions.
    pub questions: usize,
    /// Most exemplars of a question.
    pub shots: usize,
    /// Of the questions' texts and right answers.
    pub digest: String,
}

impl SuiteTerms {
    /// Of the examples of these numbers.
    pub fn new(name: &str, task: &dyn Task, examples: &[usize]) -> Self {
        let examples = examples.iter().map(|&number| &task.examples()[number]);
        let mut digest = Sha256::new();
        let mut add = |text: &str| {
            digest.update(text.len().to_le_bytes());
            digest.update(text);
        };
        let (mut questions, mut shots, mut before) = (0, 0, None);
        for example in examples {
            questions += 1;
            let question = &example.question;
            shots = shots.max(question.shots.len());
            [&example.task, &example.id, &question.tail].into_iter().for_each(|text| add(text));
            example.references.iter().for_each(|text| add(text));
            // Those of a task are the same most of the time, and long.
            if before != Some((&question.head, &question.shots)) {
                add(&question.head);
                question.shots.iter().for_each(|text| add(text));
            }
            before = Some((&question.head, &question.shots));
        }
        let digest = digest.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { name: name.to_owned(), questions, shots, digest }
    }
}

impl Terms {
    /// Of these settings.
    pub fn new(
        settings: &EvaluationConfig,
        seed: u64,
        data: String,
        limit: Option<u64>,
        suites: Vec<SuiteTerms>,
    ) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            data,
            limit,
            chat: settings.chat,
            samples: settings.samples,
            temperature: (settings.samples > 1).then_some(settings.temperature),
            max_new_tokens: settings.max_new_tokens,
            lmentry_cut: settings.lmentry_cut,
            seed,
            suites,
        }
    }

    /// In what the numbers of `before` are of other questions, or of others answers to them: each in words.
    pub fn differences(&self, before: &Self) -> Vec<String> {
        let mut told = Vec::new();
        let names = |terms: &Self| {
            let names = terms.suites.iter().map(|suite| suite.name.as_str());
            names.collect::<Vec<_>>().join(",")
        };
        let mut unless = |same: bool, what: &str, now: String, then: String| {
            if !same {
                told.push(format!("{what} is `{now}`, was `{then}`"));
            }
        };
        let (now, then) = (names(self), names(before));
        unless(now == then, "`--suite`", now, then);
        let limit = |terms: &Self| terms.limit.map_or("none".to_owned(), |limit| limit.to_string());
        unless(self.limit == before.limit, "`--limit`", limit(self), limit(before));
        let settings = |terms: &Self| {
            let number =
                |number: Option<usize>| number.map_or("none".into(), |number| number.to_string());
            [
                ("chat", terms.chat.to_string()),
                ("samples", terms.samples.to_string()),
                ("temperature", terms.temperature.unwrap_or_default().to_string()),
                ("max_new_tokens", number(terms.max_new_tokens)),
                ("lmentry_cut", terms.lmentry_cut.to_string()),
            ]
        };
        for ((key, now), (_, then)) in settings(self).into_iter().zip(settings(before)) {
            unless(now == then, &format!("`evaluation.{key}`"), now, then);
        }
        // What is drawn at random differs.
        let seeds = self.seed == before.seed || self.samples == 1;
        unless(seeds, "the seed", self.seed.to_string(), before.seed.to_string());
        for suite in &self.suites {
            let other = before.suites.iter().find(|other| other.name == suite.name);
            let Some(other) = other.filter(|_| self.limit == before.limit) else { continue };
            let (name, shots) = (&suite.name, suite.shots == other.shots);
            unless(
                shots,
                &format!("`evaluation.shots` of `{name}`"),
                suite.shots.to_string(),
                other.shots.to_string(),
            );
            let same = !shots || suite.digest == other.digest;
            let digests = (suite.digest.clone(), other.digest.clone());
            unless(same, &format!("the digest of the questions of `{name}`"), digests.0, digests.1);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::Adding;

    fn terms(count: usize, settings: &EvaluationConfig, seed: u64) -> Terms {
        let task = Adding::new(count);
        let all: Vec<_> = (0..count).collect();
        let suite = SuiteTerms::new("adding", &task, &all);
        Terms::new(settings, seed, "data".into(), None, vec![suite])
    }

    #[test]
    fn what_changes_the_numbers_is_told_and_nothing_else() {
        let usual = EvaluationConfig::default();
        let before = terms(3, &usual, 0);
        assert_eq!((before.suites[0].questions, before.suites[0].shots), (3, 2));
        // More draws for the intervals, or another seed of them, ask nothing else.
        let more = EvaluationConfig { resamples: 9, ..EvaluationConfig::default() };
        assert_eq!(terms(3, &more, 1).differences(&before), [] as [&str; 0]);
        let told = terms(4, &usual, 0).differences(&before);
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("the digest of the questions of `adding` is `"), "{told:?}");
        let voted = EvaluationConfig { samples: 5, chat: true, ..EvaluationConfig::default() };
        let told = terms(3, &voted, 1).differences(&before);
        assert_eq!(
            told[..2],
            ["`evaluation.chat` is `true`, was `false`", "`evaluation.samples` is `5`, was `1`"]
        );
        assert_eq!(told.last().unwrap(), "the seed is `1`, was `0`");
        let other = Terms { limit: Some(2), ..terms(2, &usual, 0) };
        assert_eq!(other.differences(&before), ["`--limit` is `2`, was `none`"]);
    }
}
