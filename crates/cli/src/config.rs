//! The whole config: every crate's own table, read from TOML, `--set` and `--seed`.
//!
//! ```text
//! file ─► Tree ─ --set, --seed ─► Config ─ validate ─ files exist ─► a command
//! ```
//! Everything that is wrong is said at once, each with its line, before anything is touched.

mod model;

use std::fs;
use std::path::{Path, PathBuf};

use albacore_data::{DataConfig, TemplateChoice};
use albacore_eval::EvalConfig;
use albacore_trainer::{
    CheckpointConfig, ObjectiveConfig, OptimConfig, RunConfig, ScheduleConfig, TrainConfig,
};
use serde::{Deserialize, Serialize};

use crate::args::Configured;
use crate::decode::decode;
use crate::diagnose::{Origin, Problem, nearest};
use crate::failure::{Failure, OrRefuse, Refusal, Result};
use crate::hub;
use crate::model_folder::is_hub_id;
use crate::program::program;
use crate::tree::{Place, Tree, spell};

pub use model::{Init, ModelConfig};

/// Every key with its default and what it does; `albacore config` prints it.
pub const REFERENCE: &str = include_str!("reference.toml");

/// A config as it takes effect.
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

impl Config {
    /// Reads a config and refuses it if anything is wrong with it.
    ///
    /// # Errors
    /// Everything that is wrong, each problem an error of its own.
    pub fn load(configured: &Configured, seed: Option<u64>) -> Result<Self> {
        let file = configured.config.as_path();
        let text =
            fs::read_to_string(file).map_err(|error| unreadable(file, &error)).or_refuse()?;
        let origin = Origin { file: file.to_owned(), sets: configured.set.clone() };
        Self::parse(&text, &origin, seed).map_err(|mut problems| {
            // In the order of the file; those of no place are last.
            problems.sort_by_key(|problem| (problem.place.is_none(), problem.place));
            let errors = problems.into_iter().map(|problem| problem.refusal.into());
            Failure::Problems(errors.collect())
        })
    }

    /// As [`Config::load`], from text.
    fn parse(text: &str, origin: &Origin, seed: Option<u64>) -> Result<Self, Vec<Problem>> {
        let mut tree = Tree::parse(text).map_err(|errors| {
            let problem =
                |(place, message): (_, String)| origin.problem(Some(place), &message, None);
            errors.into_iter().map(problem).collect::<Vec<_>>()
        })?;
        let mut problems = Vec::new();
        let seed = seed.map(|seed| (Place::Seed, format!("run.seed={seed}")));
        let sets = origin.sets.iter().cloned().enumerate();
        for (place, assignment) in sets.map(|(index, set)| (Place::Set(index), set)).chain(seed) {
            if let Err(message) = tree.set(&assignment, place) {
                problems.push(origin.problem(Some(place), &message, None));
            }
        }

        let (config, mismatches) = decode::<Self>(&tree);
        let known = keys();
        problems.extend(mismatches.iter().map(|mismatch| origin.explain(mismatch, &known)));
        let Some(mut config) = config else { return Err(problems) };
        config.name_run(&tree, &origin.file);

        // A key whose value did not fit has its default here: nothing is to be said of it twice.
        let reported = mismatches.iter().map(|mismatch| format!("`{}`", spell(&mismatch.path)));
        let reported: Vec<_> = reported.collect();
        let fresh = |problem: &String| !reported.iter().any(|key| problem.contains(key));
        let found = config.validate().into_iter().chain(config.missing_files()).filter(fresh);
        problems.extend(found.map(|problem| origin.locate(&problem, &tree)));
        if !problems.is_empty() {
            problems.extend(config.unknown_model().map(|problem| origin.locate(&problem, &tree)));
            return Err(problems);
        }
        config.model.place = tree.get("model.path").map(|path| origin.name(path.place));
        Ok(config)
    }

    /// The run's folder is `run.dir/run.name`. Without a name, a given `run.dir` is the folder
    /// itself; without either, it is `runs/` and the config file's name.
    fn name_run(&mut self, tree: &Tree, file: &Path) {
        if tree.get("run.name").is_some() {
            return;
        }
        let own = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let folder = self.run.dir.clone();
        match (tree.get("run.dir"), own(&folder)) {
            (Some(_), Some(name)) => {
                self.run.dir = folder.parent().unwrap_or(Path::new("")).to_owned();
                self.run.name = name;
            }
            _ => self.run.name = own(&file.with_extension("")).unwrap_or_default(),
        }
    }

    /// All that is wrong and can be seen without touching a file.
    fn validate(&self) -> Vec<String> {
        [
            self.run.validate(),
            self.model.validate(),
            self.data.validate().iter().map(ToString::to_string).collect(),
            self.optim.validate(),
            self.schedule.validate(),
            self.train.validate(),
            self.checkpoint.validate(),
            self.eval.validate(),
        ]
        .concat()
    }

    /// The files that the config names and that are not there.
    fn missing_files(&self) -> Vec<String> {
        let mut named = Vec::new();
        if !self.model.path.is_empty() && !is_hub_id(&self.model.path) {
            named.push(("model.path".to_owned(), PathBuf::from(&self.model.path), "a folder"));
        }
        for (index, source) in self.data.sources.iter().enumerate() {
            named.push((format!("data.sources[{index}].path"), source.path.clone(), "a file"));
        }
        if let TemplateChoice::File(path) = &self.data.template {
            named.push((
                "data.template".into(),
                path.clone(),
                "`chat`, `alpaca`, `none` or a file",
            ));
        }
        let missing = named.into_iter().filter(|(_, path, _)| !path.exists());
        missing.map(|(key, path, wanted)| absent(&key, &path, wanted)).collect()
    }

    /// A model that is no folder here, and may yet be one of the hub: that is asked only once all
    /// else is right.
    fn unknown_model(&self) -> Option<String> {
        let path = &self.model.path;
        let unknown = !Path::new(path).exists() && is_hub_id(path) && !hub::is_downloaded(path);
        unknown.then(|| {
            format!(
                "`model.path` is `{path}`, which does not exist, wanted a folder\n\
                 hint: as the name of a model on the hub it is looked up once the rest is right"
            )
        })
    }

    /// The values that are not the defaults, one a line.
    pub fn changed(&self) -> String {
        let tables = |config: &Self| match serde_json::to_value(config) {
            Ok(serde_json::Value::Object(tables)) => tables,
            _ => unreachable!("a config is a table of tables"),
        };
        let defaults = tables(&Self::default());
        let mut lines = vec!["config, where it is not the default:".to_owned()];
        for (table, values) in tables(self) {
            for (key, value) in values.as_object().into_iter().flatten() {
                if defaults[&table].get(key) != Some(value) {
                    lines.push(format!("  {table}.{key} = {value}"));
                }
            }
        }
        lines.join("\n")
    }

    /// The config as TOML that [`Config::load`] reads back.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("every config is TOML")
    }
}

/// A path in the config that leads nowhere.
fn absent(key: &str, path: &Path, wanted: &str) -> String {
    let hint = nearest_path(path).unwrap_or_else(|| {
        let here = std::env::current_dir().unwrap_or_default();
        format!("paths start from the folder that albacore is run in, `{}`", here.display())
    });
    let path = path.display();
    format!("`{key}` is `{path}`, which does not exist, wanted {wanted}\nhint: {hint}")
}

/// The name beside a missing path that is most like it.
fn nearest_path(path: &Path) -> Option<String> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let files = fs::read_dir(parent.unwrap_or(Path::new("."))).ok()?;
    let mut names: Vec<_> =
        files.filter_map(|file| file.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let name = nearest(&path.file_name()?.to_string_lossy(), &names)?;
    Some(format!("the nearest name there is `{}`", path.with_file_name(name).display()))
}

fn unreadable(file: &Path, error: &std::io::Error) -> Refusal {
    let message = format!("cannot read the config `{}`: {error}", file.display());
    let hint = format!("`{} config > my.toml` writes a config to start from", program());
    Refusal::new(message, hint)
}

/// Every key of the reference, those that are commented out included.
fn keys() -> Vec<String> {
    let (mut table, mut keys) = (String::new(), Vec::new());
    for line in REFERENCE.lines().map(|line| line.trim_start_matches("# ")) {
        if let Some(name) = line.strip_prefix('[') {
            table = name.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            keys.push(format!("{table}.{key}"));
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, sets: &[&str]) -> Result<Config, Vec<String>> {
        let sets = sets.iter().map(|set| (*set).to_owned()).collect();
        let origin = Origin { file: "configs/mine.toml".into(), sets };
        let problems = Config::parse(text, &origin, None);
        problems.map_err(|problems| {
            problems.into_iter().map(|problem| problem.refusal.message).collect()
        })
    }

    /// A config that is whole: this folder is a model, this file its data.
    const WHOLE: &str = "[model]\npath = \"src\"\n[[data.sources]]\npath = \"Cargo.toml\"\n";

    #[test]
    fn the_reference_holds_every_default() {
        let (config, mismatches) = decode::<Config>(&Tree::parse(REFERENCE).unwrap());
        assert!(mismatches.is_empty(), "{mismatches:?}");
        assert_eq!(config.unwrap(), Config::default());
    }

    #[test]
    fn the_reference_names_every_key() {
        // Everything that may be missing is set here.
        let source = "{ path = \"a\", format = \"alpaca\", cap = 1, fields = { output = \"b\" } }";
        let text = format!("data.sources = [{source}]\ntrain = {{ steps = 1, epochs = 1 }}\n");
        let (config, mismatches) = decode::<Config>(&Tree::parse(&text).unwrap());
        assert!(mismatches.is_empty(), "{mismatches:?}");
        let known = keys();
        let value = serde_json::to_value(config.unwrap()).unwrap();
        for (table, values) in value.as_object().unwrap() {
            for key in values.as_object().unwrap().keys().filter(|key| *key != "sources") {
                assert!(known.contains(&format!("{table}.{key}")), "{table}.{key}");
            }
        }
        for key in value["data"]["sources"][0].as_object().unwrap().keys() {
            assert!(known.contains(&format!("data.sources.{key}")), "data.sources.{key}");
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
    fn every_config_that_is_shipped_is_understood() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let files: Vec<_> =
            files.filter(|file| file.extension() == Some("toml".as_ref())).collect();
        assert!(!files.is_empty());
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let (config, mismatches) = decode::<Config>(&Tree::parse(&text).unwrap());
            let file = file.display();
            assert!(mismatches.is_empty(), "{file}: {mismatches:?}");
            let mut config = config.unwrap();
            config.run.name = "named by its file".into();
            assert!(config.validate().is_empty(), "{file}: {:?}", config.validate());
        }
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
