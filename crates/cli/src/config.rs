//! The configs: every crate's own table, read from TOML, `--set` and `--seed`.
//!
//! ```text
//! file ─► Tree ─ --set, --seed ─► Settings ─ validate ─ files exist ─► a command
//! ```
//! Everything that is wrong is said at once, each with its line, before anything is touched.

mod bootstrap;
mod evaluation;
mod judging;
mod load;
mod model;
#[cfg(test)]
mod objective;
mod rank;
mod recipe;
mod sample;
#[cfg(test)]
mod shipped;

use std::path::PathBuf;

use albacore_data::{DataConfig, TemplateChoice};
use albacore_eval::EvalConfig;
use albacore_trainer::{
    CheckpointConfig, NO_STEPS, ObjectiveConfig, OptimConfig, RunConfig, ScheduleConfig,
    TrainConfig, one_rate,
};
use serde::{Deserialize, Serialize};

pub use bootstrap::{Bootstrap, WriterConfig};
pub use evaluation::Evaluation;
pub use judging::Judging;
pub use load::Settings;
pub use model::{Init, ModelConfig};
pub use rank::Rank;
pub use recipe::{Planned, Recipe, StageCommand};
pub use sample::Sample;

/// The config of `train` as it takes effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Config {
    pub run: RunConfig,
    pub model: ModelConfig,
    pub data: DataConfig,
    pub objective: ObjectiveConfig,
    pub optim: OptimConfig,
    pub schedule: ScheduleConfig,
    pub train: TrainConfig,
    pub checkpoint: CheckpointConfig,
    pub eval: EvalConfig,
}

impl Settings for Config {
    const REFERENCE: &'static str = include_str!("reference.toml");

    fn run(&mut self) -> &mut RunConfig {
        &mut self.run
    }

    fn models(&self) -> Vec<(&'static str, &str)> {
        vec![("model.path", &self.model.path)]
    }

    fn placed(&mut self, _: &str, place: String) {
        self.model.place = Some(place);
    }

    fn validate(&self) -> Vec<String> {
        [
            self.run.validate(),
            self.model.validate(),
            self.data.validate().iter().map(ToString::to_string).collect(),
            self.objective.validate(),
            self.optim.validate(),
            self.schedule.validate(),
            one_rate(&self.optim, &self.schedule),
            self.train.validate(),
            self.checkpoint.validate(),
            self.eval.validate(),
            self.endless(),
        ]
        .concat()
    }

    fn files(&self) -> Vec<(String, PathBuf, &'static str)> {
        let sources = self.data.sources.iter().enumerate().filter(|(_, source)| !source.is_found());
        let sources = sources.map(|(index, source)| {
            let key = format!("data.sources[{index}].path");
            (key, source.path.clone(), "a file, a folder or a pattern of files")
        });
        let families = self.data.sources.iter().enumerate().filter_map(|(index, source)| {
            let family = source.family.as_ref().filter(|family| family.ends_with(".toml"))?;
            Some((format!("data.sources[{index}].family"), PathBuf::from(family), "a file"))
        });
        let template = match &self.data.template {
            TemplateChoice::File(path) => Some(path.clone()),
            _ => None,
        };
        let template = template
            .map(|path| ("data.template".to_owned(), path, "`chat`, `alpaca`, `none` or a file"));
        let suites = !self.eval.suites.is_empty();
        let suites = suites.then(|| {
            ("eval.data".to_owned(), self.eval.data.clone(), "the folder with the suites' files")
        });
        sources.chain(families).chain(template).chain(suites).collect()
    }
}

impl Config {
    /// A mixture has no epochs, so something must say where it ends.
    fn endless(&self) -> Vec<String> {
        let endless = self.data.is_mixture() && self.train.steps.is_none();
        endless.then(|| NO_STEPS.to_owned()).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::load::{keys, parse as parse_any};
    use super::*;
    use crate::decode::decode;
    use crate::diagnose::Origin;
    use crate::tree::Tree;

    fn parse(text: &str, sets: &[&str]) -> Result<Config, Vec<String>> {
        let sets = sets.iter().map(|set| (*set).to_owned()).collect();
        let origin = Origin { file: "configs/mine.toml".into(), sets };
        let problems = parse_any::<Config>(text, &origin, None, None);
        problems.map_err(|problems| {
            problems.into_iter().map(|problem| problem.refusal.message).collect()
        })
    }

    /// A config that is whole: this folder is a model, this file its data.
    const WHOLE: &str = "[model]\npath = \"src\"\n[[data.sources]]\npath = \"Cargo.toml\"\n";

    #[test]
    fn the_reference_holds_every_default() {
        let (config, mismatches) = decode::<Config>(&Tree::parse(Config::REFERENCE).unwrap());
        assert!(mismatches.is_empty(), "{mismatches:?}");
        assert_eq!(config.unwrap(), Config::default());
    }

    #[test]
    fn the_reference_names_every_key() {
        // Everything that may be missing is set here.
        let source = "{ path = \"a\", format = \"alpaca\", cap = 1, original = \"record\", fields = { output = \"b\" }, \
            name = \"a\", weight = 1, group = \"g\", limit = 1, task_each = true, exclude = [\"a\"], \
            exclude_categories = [\"a\"], family = \"nli\", inverted = true, options = [\"a\"], \
            option_style = \"random\", shots = \"both\", shot_tokens = 1 }";
        let group = "{ weight = 1, cap = 1, temperature = 1, group = \"h\" }";
        let text = format!(
            "data.sources = [{source}]\ndata.groups.g = {group}\ntrain = {{ steps = 1, epochs = 1, groups_per_step = 1 }}\n\
             eval = {{ limit = 1, suites_every = 1 }}\n"
        );
        let (config, mismatches) = decode::<Config>(&Tree::parse(&text).unwrap());
        assert!(mismatches.is_empty(), "{mismatches:?}");
        let known = keys(Config::REFERENCE);
        let value = serde_json::to_value(config.unwrap()).unwrap();
        for (table, values) in value.as_object().unwrap() {
            for key in values
                .as_object()
                .unwrap()
                .keys()
                .filter(|key| !["sources", "groups"].contains(&key.as_str()))
            {
                assert!(known.contains(&format!("{table}.{key}")), "{table}.{key}");
            }
        }
        for key in value["data"]["sources"][0].as_object().unwrap().keys() {
            assert!(known.contains(&format!("data.sources.{key}")), "data.sources.{key}");
        }
        for key in value["data"]["groups"]["g"].as_object().unwrap().keys() {
            assert!(known.contains(&format!("data.groups.NAME.{key}")), "data.groups.NAME.{key}");
        }
    }

    #[test]
    fn the_effective_config_reads_back_as_itself() {
        let sets =
            ["train.steps=3", "optim.learning_rate=1e-30", "data.held_out=0.5", "run.seed=7"];
        let mut config = parse(WHOLE, &sets).unwrap();
        assert_eq!(config.run.folder(), Path::new("runs/mine"));
        assert_eq!(config.model.place.as_deref(), Some("configs/mine.toml:2:8"));
        let again = parse(&config.to_toml(), &[]).unwrap();
        config.model.place.clone_from(&again.model.place);
        assert_eq!(again, config);
    }

    #[test]
    fn a_run_folder_is_named_by_what_is_given() {
        let folder = |sets: &[&str]| parse(WHOLE, sets).unwrap().run.folder();
        assert_eq!(folder(&[]), Path::new("runs/mine"));
        assert_eq!(folder(&["run.name=a"]), Path::new("runs/a"));
        assert_eq!(folder(&["run.dir=x/y"]), Path::new("x/y"));
        assert_eq!(folder(&["run.dir=x/y", "run.name=a"]), Path::new("x/y/a"));
    }

    #[test]
    fn all_problems_are_told_at_once_and_none_twice() {
        let text = "[model]\npth = \"src\"\n[optim]\nlearning_rate = \"1e-5\"\nepsilon = 0\n\
            [[data.sources]]\npath = \"nowhere.jsonl\"\n[train]\nbatches_per_step = 0\n";
        let problems = parse(text, &["schedule.kind=cosin", "train.step=3"]).unwrap_err();
        let starts = [
            "configs/mine.toml:2:1: unknown key `model.pth`",
            "configs/mine.toml:4:17: `optim.learning_rate` is the string `1e-5`, wanted a number",
            "--set schedule.kind=cosin: `schedule.kind` is `cosin`, wanted one of `constant`",
            "--set train.step=3: unknown key `train.step`",
            "configs/mine.toml: `model.path` is missing",
            "configs/mine.toml:5:11: `optim.epsilon` is 0, wanted",
            "configs/mine.toml:9:20: `train.batches_per_step` is 0, wanted",
            "configs/mine.toml:7:8: `data.sources[0].path` is `nowhere.jsonl`, which does not exist",
        ];
        assert_eq!(problems.len(), starts.len(), "{problems:#?}");
        for start in starts {
            assert!(
                problems.iter().any(|text| text.starts_with(start)),
                "{start} in {problems:#?}"
            );
        }
    }

    #[test]
    fn a_model_that_may_be_one_of_the_hub_is_told_with_the_other_problems() {
        let text = "[model]\npath = \"nobody/nothing\"\n[[data.sources]]\npath = \"Cargo.toml\"\n";
        assert!(parse(text, &[]).is_ok(), "the hub is asked later");
        let problems = parse(text, &["optim.epsilon=0"]).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        let wanted =
            "configs/mine.toml:2:8: `model.path` is `nobody/nothing`, which does not exist";
        assert!(problems[1].starts_with(wanted), "{problems:?}");
    }

    #[test]
    fn a_table_of_the_wrong_kind_is_a_problem_and_no_panic() {
        for text in
            ["run = 3", "data = []", "[data]\nsources = 3", "optim = [1]", "objective = \"sft\""]
        {
            assert!(!parse(text, &["run.seed=1"]).unwrap_err().is_empty(), "{text}");
        }
    }
}
