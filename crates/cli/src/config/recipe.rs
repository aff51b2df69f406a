//! The config of `tuna`: stages, each a command with a config of its own, run one after the other.

use std::path::{Path, PathBuf};

use albacore_trainer::RunConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Settings;

/// The config of `tuna` as it takes effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Recipe {
    pub run: RunConfig,
    pub recipe: Rounds,
    pub stages: Vec<StageConfig>,
}

/// `[recipe]`: how often its stages are run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rounds {
    /// How often the stages from `again_from` on are run. Default 1. With more, each round samples from
    /// the model that the one before has trained.
    pub rounds: usize,
    /// The first stage that every round runs. Default: the first of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again_from: Option<String>,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { rounds: 1, again_from: None }
    }
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// Its name, and that of its folder in the run's. No default.
    pub name: String,
    /// What it does: `train`, `sample` or `rank`. No default.
    pub command: StageCommand,
    /// The config of that command. No default.
    pub config: PathBuf,
    /// What replaces some of its values, as `--set` does. `{NAME}` in a text stands for the folder of an
    /// earlier stage, `{model}` for that of the newest one that trained. Default none.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub set: Map<String, Value>,
}

/// What a stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageCommand {
    /// `albacore train`.
    Train,
    /// `albacore sample`.
    Sample,
    /// `albacore rank`.
    Rank,
}

impl StageCommand {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Sample => "sample",
            Self::Rank => "rank",
        }
    }

    /// What it leaves in its folder.
    pub fn result(self) -> &'static str {
        match self {
            Self::Train => "checkpoints",
            Self::Sample => "candidates.jsonl",
            Self::Rank => "ranked.jsonl",
        }
    }
}

/// A stage as it is run: every round has its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its name, with the round's number behind it from the second on.
    pub name: String,
    /// What it does.
    pub command: StageCommand,
    /// The config of that.
    pub config: PathBuf,
    /// What `--set` is given.
    pub set: Vec<String>,
}

impl Recipe {
    /// All stages of all rounds, with the folders that they name.
    ///
    /// # Errors
    /// Everything that names a stage that is not there yet.
    pub fn plan(&self) -> Result<Vec<Planned>, Vec<String>> {
        let folder = self.run.folder();
        let first = self.first_again().unwrap_or(0);
        let once = (0..first).map(|index| (index, 1));
        let rounds = (1..=self.recipe.rounds)
            .flat_map(|round| (first..self.stages.len()).map(move |index| (index, round)));
        let (mut plan, mut problems) = (Vec::<Planned>::new(), Vec::new());
        for (index, round) in once.chain(rounds) {
            let stage = &self.stages[index];
            let name = match round {
                1 => stage.name.clone(),
                round => format!("{}-round-{round}", stage.name),
            };
            let mut set = vec![
                assignment("run.dir", &Value::from(folder.to_string_lossy())),
                assignment("run.name", &Value::from(name.as_str())),
            ];
            for (key, value) in &stage.set {
                match filled(value, &|place| self.find(&plan, place)) {
                    Ok(value) => set.push(assignment(key, &value)),
                    Err(place) => problems.push(format!(
                        "`stages[{index}].set` has `{{{place}}}` in `{key}`, wanted the name of an earlier \
                         stage, or `{{model}}` after one that trains"
                    )),
                }
            }
            plan.push(Planned { name, command: stage.command, config: stage.config.clone(), set });
        }
        problems.dedup();
        if problems.is_empty() { Ok(plan) } else { Err(problems) }
    }

    fn first_again(&self) -> Option<usize> {
        let name = self.recipe.again_from.as_ref()?;
        self.stages.iter().position(|stage| stage.name == *name)
    }

    /// The folder that a place in a text stands for: of several rounds, the newest.
    fn find(&self, plan: &[Planned], place: &str) -> Option<PathBuf> {
        let named = |stage: &&Planned| match place {
            "model" => stage.command == StageCommand::Train,
            name => {
                let rest = stage.name.strip_prefix(name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("-round-"))
            }
        };
        plan.iter().rev().find(named).map(|stage| self.run.folder().join(&stage.name))
    }
}

/// `key=value`, the value as TOML.
fn assignment(key: &str, value: &Value) -> String {
    format!("{key}={}", toml_of(value))
}

/// A value as TOML on one line.
fn toml_of(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| {
                format!("{} = {}", Value::from(key.as_str()), toml_of(value))
            };
            format!("{{ {} }}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml_of).collect::<Vec<_>>().join(", "))
        }
        // Numbers, truth and text are written as in JSON.
        value => value.to_string(),
    }
}

/// A value with the places in its texts filled in; or the first place that nothing stands for.
fn filled(value: &Value, find: &dyn Fn(&str) -> Option<PathBuf>) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => Value::from(filled_text(text, find)?),
        Value::Array(items) => {
            let items = items.iter().map(|item| filled(item, find));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| Ok((key.clone(), filled(value, find)?)));
            Value::Object(fields.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

fn filled_text(text: &str, find: &dyn Fn(&str) -> Option<PathBuf>) -> Result<String, String> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        let Some((place, behind)) = after.split_once('}') else { break };
        let folder = find(place).ok_or_else(|| place.to_owned())?;
        filled += before;
        filled += &folder.to_string_lossy();
        rest = behind;
    }
    Ok(filled + rest)
}

impl Settings for Recipe {
    const REFERENCE: &'static str = include_str!("../reference_tuna.toml");

    fn run(&mut self) -> &mut RunConfig {
        &mut self.run
    }

    fn models(&self) -> Vec<(&'static str, &str)> {
        Vec::new()
    }

    fn validate(&self) -> Vec<String> {
        let mut problems = self.run.validate();
        if self.stages.is_empty() {
            problems.push(
                "`stages` is empty, wanted at least one\nhint: start from `configs/tuna/tuna.toml`"
                    .into(),
            );
        }
        for (index, stage) in self.stages.iter().enumerate() {
            let name = &stage.name;
            let plain = Path::new(name).file_name().is_some_and(|file| *file == **name);
            if !plain || name == "model" || name.contains(['{', '}']) || name.contains("-round-") {
                problems.push(format!(
                    "`stages[{index}].name` is `{name}`, wanted the name of a folder without braces or \
                     `-round-`, and not `model`"
                ));
            }
            if self.stages[..index].iter().any(|before| before.name == *name) {
                problems.push(format!(
                    "`stages[{index}].name` is `{name}` as an earlier one's, wanted another"
                ));
            }
            for key in ["run.dir", "run.name"].iter().filter(|key| stage.set.contains_key(**key)) {
                problems.push(format!(
                    "`stages[{index}].set` has `{key}`, which the recipe sets itself"
                ));
            }
        }
        if self.recipe.rounds == 0 {
            problems.push("`recipe.rounds` is 0, wanted 1 or more".into());
        }
        if let (Some(name), None) = (&self.recipe.again_from, self.first_again()) {
            problems.push(format!("`recipe.again_from` is `{name}`, wanted the name of a stage"));
        }
        if problems.is_empty() {
            problems.extend(self.plan().err().unwrap_or_default());
        }
        problems
    }

    fn files(&self) -> Vec<(String, PathBuf, &'static str)> {
        let stages = self.stages.iter().enumerate();
        let file = |(index, stage): (usize, &StageConfig)| {
            (format!("stages[{index}].config"), stage.config.clone(), "the config of a command")
        };
        stages.map(file).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stage(name: &str, command: StageCommand, set: Value) -> StageConfig {
        let Value::Object(set) = set else { panic!("a table") };
        StageConfig { name: name.into(), command, config: "a.toml".into(), set }
    }

    fn recipe(rounds: usize) -> Recipe {
        Recipe {
            run: RunConfig { name: "all".into(), ..RunConfig::default() },
            recipe: Rounds { rounds, again_from: Some("ask".into()) },
            stages: vec![
                stage("sft", StageCommand::Train, json!({})),
                stage("ask", StageCommand::Sample, json!({ "model.path": "{model}" })),
                stage(
                    "tune",
                    StageCommand::Train,
                    json!({ "model.path": "{model}", "data.sources": [{ "path": "{ask}/candidates.jsonl", "cap": 3 }] }),
                ),
            ],
        }
    }

    #[test]
    fn the_stages_of_each_round_name_the_folders_of_those_before() {
        let plan = recipe(2).plan().unwrap();
        let names: Vec<_> = plan.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(names, ["sft", "ask", "tune", "ask-round-2", "tune-round-2"]);
        assert_eq!(
            plan[1].set,
            ["run.dir=\"runs/all\"", "run.name=\"ask\"", "model.path=\"runs/all/sft\""]
        );
        assert_eq!(plan[3].set[2], "model.path=\"runs/all/tune\"");
        let sources =
            "data.sources=[{ \"path\" = \"runs/all/ask-round-2/candidates.jsonl\", \"cap\" = 3 }]";
        assert!(plan[4].set.iter().any(|set| set == sources), "{:?}", plan[4].set);
    }

    #[test]
    fn what_a_recipe_cannot_mean_is_told() {
        let mut wrong = recipe(1);
        wrong.stages[1].set = json!({ "model.path": "{tune}" }).as_object().unwrap().clone();
        let problems = wrong.validate();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("`{tune}` in `model.path`"), "{problems:?}");
        wrong.stages[2].name = "sft".into();
        wrong.recipe = Rounds { rounds: 0, again_from: Some("x".into()) };
        assert_eq!(wrong.validate().len(), 3, "{:?}", wrong.validate());
        assert!(recipe(3).validate().is_empty());
    }
}
