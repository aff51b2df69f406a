//! Reading a config of any command: the file, `--set` and `--seed`; everything that is wrong at once.

use std::fs;
use std::path::{Path, PathBuf};

use albacore_trainer::RunConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::args::Configured;
use crate::decode::decode;
use crate::diagnose::{Origin, Problem, nearest};
use crate::failure::{Failure, OrRefuse, Refusal, Result};
use crate::hub;
use crate::model_folder::is_hub_id;
use crate::program::program;
use crate::tree::{Place, Tree, spell};

/// The config of a command: tables of the crates below.
pub trait Settings: Clone + Default + Serialize + DeserializeOwned {
    /// Every key with its default and what it does, as TOML.
    const REFERENCE: &'static str;

    /// Where its run is written.
    fn run(&mut self) -> &mut RunConfig;

    /// The models that it names, each by its key: a folder, or an id of the hub.
    fn models(&self) -> Vec<(&'static str, &str)>;

    /// Told where the config names the model of this key.
    fn placed(&mut self, _key: &str, _place: String) {}

    /// The defaults, those of tables that may be missing included.
    fn defaults() -> Self {
        Self::default()
    }

    /// All that is wrong and can be seen without touching a file.
    fn validate(&self) -> Vec<String>;

    /// The files that it names, each by its key, and what is wanted there.
    fn files(&self) -> Vec<(String, PathBuf, &'static str)>;

    /// Reads a config and refuses it if anything is wrong with it.
    ///
    /// # Errors
    /// Everything that is wrong, each problem an error of its own.
    fn load(configured: &Configured, seed: Option<u64>) -> Result<Self> {
        Self::load_with(configured, seed, None)
    }

    /// As [`load`](Self::load); what it names inside the folder `promised` need not be there yet.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    fn load_with(
        configured: &Configured,
        seed: Option<u64>,
        promised: Option<&Path>,
    ) -> Result<Self> {
        let file = configured.config.as_path();
        let text =
            fs::read_to_string(file).map_err(|error| unreadable(file, &error)).or_refuse()?;
        let origin = Origin { file: file.to_owned(), sets: configured.set.clone() };
        parse(&text, &origin, seed, promised).map_err(refused)
    }

    /// As [`load`](Self::load), from a text in place of the file that it is called by.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    fn load_text(text: &str, file: &Path, set: &[String], seed: Option<u64>) -> Result<Self> {
        let origin = Origin { file: file.to_owned(), sets: set.to_vec() };
        parse(text, &origin, seed, None).map_err(refused)
    }

    /// The values that are not the defaults, one a line.
    fn changed(&self) -> String {
        let tables = |config: &Self| match serde_json::to_value(config) {
            Ok(serde_json::Value::Object(tables)) => tables,
            _ => unreachable!("a config is a table of tables"),
        };
        let defaults = tables(&Self::defaults());
        let mut lines = vec!["config, where it is not the default:".to_owned()];
        for (table, values) in tables(self) {
            for (key, value) in values.as_object().into_iter().flatten() {
                let default = defaults.get(&table).and_then(|values| values.get(key));
                if default != Some(value) {
                    lines.push(format!("  {table}.{key} = {value}"));
                }
            }
        }
        lines.join("\n")
    }

    /// The config as TOML that [`Settings::load`] reads back.
    fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("every config is TOML")
    }
}

/// Everything that is wrong, in the order of the file; what has no place there is last.
fn refused(mut problems: Vec<Problem>) -> Failure {
    problems.sort_by_key(|problem| (problem.place.is_none(), problem.place));
    Failure::Problems(problems.into_iter().map(|problem| problem.refusal.into()).collect())
}

/// As [`Settings::load_with`], from text.
pub(super) fn parse<S: Settings>(
    text: &str,
    origin: &Origin,
    seed: Option<u64>,
    promised: Option<&Path>,
) -> Result<S, Vec<Problem>> {
    let mut tree = Tree::parse(text).map_err(|errors| {
        let problem = |(place, message): (_, String)| origin.problem(Some(place), &message, None);
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

    let (config, mismatches) = decode::<S>(&tree);
    let known = keys(S::REFERENCE);
    problems.extend(mismatches.iter().map(|mismatch| origin.explain(mismatch, &known)));
    let Some(mut config) = config else { return Err(problems) };
    name_run(config.run(), &tree, &origin.file);

    // A key whose value did not fit has its default here: nothing is to be said of it twice.
    let reported = mismatches.iter().map(|mismatch| format!("`{}`", spell(&mismatch.path)));
    let reported: Vec<_> = reported.collect();
    let fresh = |problem: &String| !reported.iter().any(|key| problem.contains(key));
    let found = config.validate().into_iter().chain(missing_files(&config, promised)).filter(fresh);
    problems.extend(found.map(|problem| origin.locate(&problem, &tree)));
    if !problems.is_empty() {
        problems.extend(unknown_models(&config).map(|problem| origin.locate(&problem, &tree)));
        return Err(problems);
    }
    let keys: Vec<_> = config.models().into_iter().map(|(key, _)| key).collect();
    for key in keys {
        if let Some(path) = tree.get(key) {
            config.placed(key, origin.name(path.place));
        }
    }
    Ok(config)
}

/// The run's folder is `run.dir/run.name`. Without a name, a given `run.dir` is the folder
/// itself; without either, it is `runs/` and the config file's name.
fn name_run(run: &mut RunConfig, tree: &Tree, file: &Path) {
    if tree.get("run.name").is_some() {
        return;
    }
    let own = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let folder = run.dir.clone();
    match (tree.get("run.dir"), own(&folder)) {
        (Some(_), Some(name)) => {
            run.dir = folder.parent().unwrap_or(Path::new("")).to_owned();
            run.name = name;
        }
        _ => run.name = own(&file.with_extension("")).unwrap_or_default(),
    }
}

/// The files that the config names and that are not there, nor promised.
fn missing_files(config: &impl Settings, promised: Option<&Path>) -> Vec<String> {
    let named = config.models().into_iter().filter(|(_, path)| !path.is_empty());
    let folders = named.filter(|(_, path)| !is_hub_id(path));
    let folders = folders.map(|(key, path)| (key.to_owned(), PathBuf::from(path), "a folder"));
    let missing = folders.chain(config.files()).filter(|(_, path, _)| {
        !path.exists() && !promised.is_some_and(|folder| path.starts_with(folder))
    });
    missing.map(|(key, path, wanted)| absent(&key, &path, wanted)).collect()
}

/// Models that are no folder here, and may yet be on the hub: that is asked only once all else is
/// right.
fn unknown_models(config: &impl Settings) -> impl Iterator<Item = String> {
    let unknown =
        |path: &str| !Path::new(path).exists() && is_hub_id(path) && !hub::is_downloaded(path);
    let models = config.models().into_iter().filter(move |(_, path)| unknown(path));
    models.map(|(key, path)| {
        format!(
            "`{key}` is `{path}`, which does not exist, wanted a folder\n\
             hint: as the name of a model on the hub it is looked up once the rest is right"
        )
    })
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
pub(super) fn keys(reference: &str) -> Vec<String> {
    let (mut table, mut keys) = (String::new(), Vec::new());
    for line in reference.lines().map(|line| line.trim_start_matches("# ")) {
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

/// What is wrong with a config, as it is told: for tests.
#[cfg(test)]
pub(super) fn problems<S: Settings>(text: &str) -> Vec<String> {
    let origin = Origin { file: "mine.toml".into(), sets: Vec::new() };
    let problems = parse::<S>(text, &origin, None, None).err().unwrap_or_default();
    problems.into_iter().map(|problem| problem.refusal.message).collect()
}
