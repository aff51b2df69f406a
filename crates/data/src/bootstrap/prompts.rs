//! The prompts: templates in files, ours unless the user names a folder of others.

use std::fs;
use std::path::{Path, PathBuf};

use minijinja::Environment;
use serde::Serialize;
use serde_json::json;

use super::Instance;
use super::python::{one_line, strip};
use crate::{Error, Result};

/// A prompt's file, and what is in ours.
macro_rules! prompts {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../../../data/prompts/self_instruct/", $name, ".jinja")))),*]
    };
}

/// All prompts, by the names of their files.
const OURS: [(&str, &str); 6] = prompts!(
    "instructions",
    "instructions_classification",
    "is_classification",
    "input_first",
    "output_first",
    "alpaca"
);

/// A task as a prompt shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    instruction: String,
    input: String,
    output: String,
}

impl Shown {
    /// A task with its instruction on one line and without a colon at its end.
    pub fn new(instruction: &str, instance: Option<&Instance>) -> Self {
        let line = one_line(instruction);
        let Instance { input, output } = instance.cloned().unwrap_or_default();
        Self { instruction: line.trim_end_matches(':').to_owned(), input, output }
    }
}

/// The prompts of all stages.
#[derive(Debug)]
pub struct Prompts {
    templates: Environment<'static>,
    /// The user's folder.
    folder: Option<PathBuf>,
}

impl Prompts {
    /// Our prompts; those that `folder` has a file for (`instructions.jinja`, …) are replaced.
    ///
    /// # Errors
    /// If the folder has a file of another name, or a template that is malformed.
    pub fn load(folder: Option<&Path>) -> Result<Self> {
        let mut templates = Environment::new();
        for (name, text) in OURS {
            templates.add_template(name, text).expect("our templates are well formed");
        }
        let mut prompts = Self { templates, folder: folder.map(Path::to_owned) };
        if let Some(folder) = folder {
            prompts.replace(folder)?;
        }
        Ok(prompts)
    }

    fn replace(&mut self, folder: &Path) -> Result<()> {
        let entries = fs::read_dir(folder).map_err(|error| Error::read(folder, error))?;
        for entry in entries {
            let path = entry.map_err(|error| Error::read(folder, error))?.path();
            if path.extension().is_none_or(|extension| extension != "jinja") {
                continue;
            }
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if !OURS.iter().any(|(name, _)| *name == stem) {
                return Err(Error::PromptName { path, names: OURS.map(|(name, _)| name).to_vec() });
            }
            let text = fs::read_to_string(&path).map_err(|error| Error::read(&path, error))?;
            let added = self.templates.add_template_owned(stem, text);
            added.map_err(|error| Error::Prompt {
                path: path.clone(),
                message: error.to_string(),
            })?;
        }
        Ok(())
    }

    /// Asks for new instructions, after these.
    ///
    /// # Errors
    /// If a template of the user's cannot be filled in.
    pub fn instructions(&self, tasks: &[Shown], classification_only: bool) -> Result<String> {
        let name = if classification_only { "instructions_classification" } else { "instructions" };
        let tasks = tasks.iter().map(|task| &task.instruction).collect::<Vec<_>>();
        self.fill(name, json!({ "tasks": tasks }))
    }

    /// Asks for new tasks with input and output, after these.
    ///
    /// # Errors
    /// If a template of the user's cannot be filled in.
    pub fn alpaca(&self, tasks: &[Shown]) -> Result<String> {
        self.fill("alpaca", json!({ "tasks": tasks }))
    }

    /// Asks whether a task is one of classification.
    ///
    /// # Errors
    /// If a template of the user's cannot be filled in.
    pub fn is_classification(&self, instruction: &str) -> Result<String> {
        self.fill("is_classification", json!({ "instruction": strip(instruction) }))
    }

    /// Asks for instances of a task: labels first for one of classification.
    ///
    /// # Errors
    /// If a template of the user's cannot be filled in.
    pub fn instances(&self, instruction: &str, is_classification: bool) -> Result<String> {
        let name = if is_classification { "output_first" } else { "input_first" };
        self.fill(name, json!({ "instruction": strip(instruction) }))
    }

    /// All templates, as they are.
    pub(super) fn texts(&self) -> Vec<String> {
        let text = |(name, _): &(&str, _)| {
            let template = self.templates.get_template(name).expect("each name has a template");
            template.source().to_owned()
        };
        OURS.iter().map(text).collect()
    }

    fn fill(&self, name: &str, values: serde_json::Value) -> Result<String> {
        let template = self.templates.get_template(name).expect("each name has a template");
        template.render(minijinja::value::Serde(&values)).map_err(|error| Error::Prompt {
            path: self.folder.clone().unwrap_or_default().join(format!("{name}.jinja")),
            message: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Prompts {
        Prompts::load(None).unwrap()
    }

    fn end(text: &str, lines: usize) -> String {
        let lines = text.split('\n').rev().take(lines).collect::<Vec<_>>();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_prompts_end_where_the_model_goes_on() {
        let instance = Instance { input: String::new(), output: "Ciao.".into() };
        let tasks = [Shown::new(" Say\nhello: ", None), Shown::new("Greet.", Some(&instance))];
        let text = ours().instructions(&tasks, false).unwrap();
        assert_eq!(end(&text, 3), "1. Say hello\n2. Greet.\n3.");
        let text = ours().instructions(&tasks, true).unwrap();
        assert_eq!(end(&text, 2), "2. Greet.\n3.");
        let text = ours().alpaca(&tasks[1..]).unwrap();
        let wanted = "###\n1. Instruction: Greet.\n1. Input:\n<noinput>\n1. Output:\nCiao.\n###\n2. Instruction:";
        assert_eq!(end(&text, 8), wanted);
        let text = ours().is_classification("Sort {{ it }}. ").unwrap();
        assert_eq!(end(&text, 3), "\nTask: Sort {{ it }}.\nIs it classification?");
        for is_classification in [false, true] {
            let text = ours().instances(" Sort it.", is_classification).unwrap();
            assert_eq!(end(&text, 3), "\nTask: Sort it.\n");
        }
    }

    #[test]
    fn our_demonstrations_are_as_many_as_the_published_ones() {
        let text = ours().is_classification("x").unwrap();
        let count = |what: &str| text.matches(what).count();
        assert_eq!(
            (count("\nIs it classification? Yes"), count("\nIs it classification? No")),
            (12, 19)
        );
        let tasks = |text: String| text.matches("\nTask: ").count() - 1;
        assert_eq!(tasks(ours().instances("x", false).unwrap()), 11);
        assert_eq!(tasks(ours().instances("x", true).unwrap()), 16);
    }

    #[test]
    fn a_folder_replaces_the_prompts_that_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("is_classification.jinja", "{{ instruction }}?");
        write("notes.txt", "not a template");
        let prompts = Prompts::load(Some(folder.path())).unwrap();
        assert_eq!(prompts.is_classification("Label it").unwrap(), "Label it?");
        assert!(prompts.instances("x", true).unwrap().len() > 100);
        write("is_clasification.jinja", "");
        let error = Prompts::load(Some(folder.path())).unwrap_err().to_string();
        assert!(
            error.contains("is_clasification.jinja") && error.contains("`is_classification`"),
            "{error}"
        );
        fs::remove_file(folder.path().join("is_clasification.jinja")).unwrap();
        write("alpaca.jinja", "{% for %}");
        let error = Prompts::load(Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("alpaca.jinja"), "{error}");
    }
}
