//! What a judge is asked: templates in files, ours unless the user names a folder of others.

use std::fs;
use std::path::{Path, PathBuf};

use minijinja::Environment;
use minijinja::value::Serde;
use serde_json::json;

use crate::{Error, Message, Prompt, Result};

/// All templates, by the names of their files.
const OURS: [(&str, &str); 2] = [
    ("judge", include_str!("../../../../data/prompts/tuna/judge.jinja")),
    ("judge_system", include_str!("../../../../data/prompts/tuna/judge_system.jinja")),
];

/// What a judge is asked.
#[derive(Debug)]
pub struct JudgePrompts {
    templates: Environment<'static>,
    /// The user's folder.
    folder: PathBuf,
}

impl JudgePrompts {
    /// Our templates; those that `folder` has a file for are replaced.
    ///
    /// # Errors
    /// If the folder has a template of another name, or one that is malformed.
    pub fn load(folder: Option<&Path>) -> Result<Self> {
        let mut templates = Environment::new();
        for (name, text) in OURS {
            templates.add_template(name, text).expect("our templates are well formed");
        }
        let mut prompts = Self { templates, folder: folder.unwrap_or(Path::new("")).to_owned() };
        let Some(folder) = folder else { return Ok(prompts) };
        for entry in fs::read_dir(folder).map_err(|error| Error::read(folder, error))? {
            let path = entry.map_err(|error| Error::read(folder, error))?.path();
            if path.extension().is_none_or(|extension| extension != "jinja") {
                continue;
            }
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if !OURS.iter().any(|(name, _)| *name == stem) {
                return Err(Error::PromptName { path, names: OURS.map(|(name, _)| name).to_vec() });
            }
            let text = fs::read_to_string(&path).map_err(|error| Error::read(&path, error))?;
            let added = prompts.templates.add_template_owned(stem, text);
            added.map_err(|error| Error::Prompt { path, message: error.to_string() })?;
        }
        Ok(prompts)
    }

    /// Asks for an order of these responses: a conversation for a model that chats, else one text.
    ///
    /// # Errors
    /// If a template of the user's cannot be filled in.
    pub fn ask(&self, instruction: &str, responses: &[&str], chats: bool) -> Result<Prompt> {
        let system = self.fill("judge_system", json!({}))?;
        let question =
            self.fill("judge", json!({ "instruction": instruction, "responses": responses }))?;
        Ok(match (chats, system.trim()) {
            (true, "") => Prompt::Messages(vec![Message::new("user", question)]),
            (true, _) => Prompt::Messages(vec![
                Message::new("system", system),
                Message::new("user", question),
            ]),
            (false, "") => Prompt::Text(question),
            (false, _) => Prompt::Text(format!("{system}\n\n{question}\n")),
        })
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
        template.render(Serde(&values)).map_err(|error| Error::Prompt {
            path: self.folder.join(format!("{name}.jinja")),
            message: error.to_string(),
        })
    }
}

/// All the text of a prompt, for a look at it and to count it.
pub(super) fn text(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Messages(messages) => {
            let texts: Vec<_> = messages.iter().map(|message| message.content.as_str()).collect();
            texts.join("\n\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_responses_are_numbered_from_0_and_the_judge_s_own_comes_after_them() {
        let prompts = JudgePrompts::load(None).unwrap();
        let prompt =
            prompts.ask("Name {{ it }}.", &["One\n\nand {% x %}.", "Two."], false).unwrap();
        let shown = text(&prompt);
        let wanted = "\n\nName {{ it }}.\n\n###Response 0:\nOne\n\nand {% x %}.\n\n###Response 1:\nTwo.\n\nAbove stand";
        assert!(shown.contains(wanted), "{shown}");
        assert!(shown.contains("2 responses to it, numbered from 0 to 1."), "{shown}");
        assert!(shown.contains("\"###Response 2:\"") && shown.contains("\n5. "), "{shown}");
        let Prompt::Messages(messages) = prompts.ask("Go.", &["a", "b"], true).unwrap() else {
            panic!("it chats");
        };
        assert!(messages.iter().map(|message| message.role.as_str()).eq(["system", "user"]));
        assert!(messages[1].content.starts_with("Go.\n\n###Response 0:\na\n\n"));
    }

    #[test]
    fn a_folder_replaces_the_templates_that_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("judge.jinja", "{{ instruction }}: {{ responses | join('|') }}");
        write("judge_system.jinja", " ");
        let prompts = JudgePrompts::load(Some(folder.path())).unwrap();
        let asked = prompts.ask("I", &["a", "b"], true).unwrap();
        assert_eq!(asked, Prompt::Messages(vec![Message::new("user", "I: a|b")]));
        assert_eq!(prompts.ask("I", &["a"], false).unwrap(), Prompt::Text("I: a".into()));
        write("jugde.jinja", "");
        let error = JudgePrompts::load(Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("jugde.jinja") && error.contains("`judge_system`"), "{error}");
    }
}
