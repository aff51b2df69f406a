//! The config of `rank`: what is ranked, and by whom.

use std::path::PathBuf;

use albacore_data::rank::{RankConfig, RankKind};
use albacore_data::{HttpConfig, TemplateChoice};
use albacore_trainer::RunConfig;
use serde::{Deserialize, Serialize};

use super::bootstrap::{WriterConfig, writer_problems};
use super::load::Settings;

/// The config of `rank` as it takes effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Rank {
    pub run: RunConfig,
    pub model: WriterConfig,
    /// In place of `model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<HttpConfig>,
    pub rank: RankConfig,
}

impl Rank {
    /// A model that nobody asks is no mistake, since one file may serve several kinds; it is told of.
    pub fn idle_model(&self) -> bool {
        let given = !self.model.path.is_empty() || self.server.is_some();
        given && !self.rank.asks() && !self.rank.reads()
    }

    fn model_problems(&self) -> Vec<String> {
        if self.rank.asks() {
            return writer_problems(&self.model, self.server.as_ref());
        }
        if !self.rank.reads() {
            return Vec::new();
        }
        let mut problems = Vec::new();
        if self.server.is_some() {
            problems.push(
                "`server` is given, and a server tells no log-probabilities of answers that it did not write, \
                 wanted `model.path`"
                    .to_owned(),
            );
        } else if self.model.path.is_empty() {
            problems.push(
                "`model.path` is missing, wanted the teacher\nhint: add `path = \"FOLDER\"` under `[model]`; or \
                 `rank.teacher = \"own\"` ranks by what was recorded when the answers were written"
                    .to_owned(),
            );
        }
        problems
    }
}

impl Settings for Rank {
    const REFERENCE: &'static str = include_str!("../reference_rank.toml");

    fn run(&mut self) -> &mut RunConfig {
        &mut self.run
    }

    fn models(&self) -> Vec<(&'static str, &str)> {
        vec![("model.path", &self.model.path)]
    }

    fn placed(&mut self, _: &str, place: String) {
        self.model.place = Some(place);
    }

    fn defaults() -> Self {
        Self { server: Some(HttpConfig::default()), ..Self::default() }
    }

    fn validate(&self) -> Vec<String> {
        [self.run.validate(), self.model_problems(), self.rank.validate()].concat()
    }

    fn files(&self) -> Vec<(String, PathBuf, &'static str)> {
        let rank = &self.rank;
        let template = match &rank.template {
            TemplateChoice::File(path) => Some(path.clone()),
            _ => None,
        };
        let candidates = Some(rank.candidates.clone()).filter(|path| !path.as_os_str().is_empty());
        let named = [
            ("rank.candidates", candidates, "a file of candidates"),
            ("rank.template", template, "`alpaca`, `none` or a file"),
            (
                "rank.scores",
                rank.scores.clone().filter(|_| rank.kind == RankKind::Scores),
                "a file of scores",
            ),
            ("rank.prompts", rank.prompts.clone(), "a folder of templates"),
            ("rank.against", rank.against.clone(), "a file of ranked answers"),
        ];
        let given = named.into_iter();
        given.filter_map(|(key, path, wanted)| Some((key.to_owned(), path?, wanted))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::keys;
    use super::*;
    use crate::decode::decode;
    use crate::tree::Tree;

    fn problems(text: &str) -> Vec<String> {
        super::super::load::problems::<Rank>(text)
    }

    #[test]
    fn the_reference_holds_every_default_and_names_every_key() {
        let (config, mismatches) = decode::<Rank>(&Tree::parse(Rank::REFERENCE).unwrap());
        assert!(mismatches.is_empty(), "{mismatches:?}");
        assert_eq!(config.unwrap(), Rank::default());

        let text = "[rank]\nlimit = 1\nscores = \"a\"\nprompts = \"b\"\nagainst = \"c\"\n[model]\nconcurrency = 1\n";
        let (config, mismatches) = decode::<Rank>(&Tree::parse(text).unwrap());
        assert!(mismatches.is_empty(), "{mismatches:?}");
        let known = keys(Rank::REFERENCE);
        for (table, values) in serde_json::to_value(config.unwrap()).unwrap().as_object().unwrap() {
            for key in values.as_object().unwrap().keys() {
                assert!(known.contains(&format!("{table}.{key}")), "{table}.{key}");
            }
        }
    }

    #[test]
    fn each_kind_wants_its_own_model() {
        let rank = |keys: &str| format!("[rank]\ncandidates = \"Cargo.toml\"\n{keys}");
        let server = "[server]\nendpoint = \"http://h/v1\"\nmodel = \"m\"\n";
        assert!(problems(&rank("")).is_empty());
        assert!(problems(&rank("kind = \"reference\"")).is_empty());
        assert!(problems(&rank("kind = \"contextual\""))[0].contains("`model.path` is missing"));
        assert!(problems(&rank("teacher = \"model\""))[0].contains("wanted the teacher"));
        let both = format!("{server}{}", rank("teacher = \"model\""));
        assert!(problems(&both)[0].contains("`server` is given"), "{:?}", problems(&both));
        assert!(problems(&format!("{server}{}", rank("kind = \"contextual\""))).is_empty());
    }
}
