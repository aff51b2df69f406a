//! What is wrong with a `[data]` table, as far as that is seen without touching a file.

use super::{DataConfig, Problem, SourceConfig, is_default};
use crate::mixture::{check_groups, is_temperature, wrong_temperature};
use crate::{Format, HeldOut};

impl DataConfig {
    /// What only a task can have.
    fn check_task(
        &self,
        source: &SourceConfig,
        tell: &mut dyn FnMut(&str, String, Option<String>),
    ) {
        let of_templates = [
            ("family", source.family.is_some()),
            ("inverted", source.inverted),
            ("options", !source.options.is_empty()),
            ("option_style", !is_default(&source.option_style)),
            ("shots", !is_default(&source.shots)),
            ("shot_tokens", source.shot_tokens.is_some()),
        ];
        let of_task_each = [
            ("exclude", !source.exclude.is_empty() && !source.is_task_each()),
            (
                "exclude_categories",
                !source.exclude_categories.is_empty() && source.format != Some(Format::SuperNi),
            ),
        ];
        for (key, _) in of_templates.iter().filter(|(_, set)| *set && !source.is_task()) {
            let hint = "say `format = \"task\"`, or `super_ni`, `cot`, `mmlu` or `bbh`".to_owned();
            tell(key, "is set, wanted only for tasks".into(), Some(hint));
        }
        for (key, _) in of_task_each.iter().filter(|(_, set)| *set) {
            let (what, hint) = match *key {
                "exclude" => ("where each file is a task", "say `task_each = true`"),
                _ => ("for `format = \"super_ni\"`", "name the tasks in `exclude`"),
            };
            tell(key, format!("is set, wanted only {what}"), Some(hint.into()));
        }
    }

    /// All problems that can be seen without touching a file.
    pub fn validate(&self) -> Vec<Problem> {
        let sources = self.sources.iter();
        let weighed: Vec<_> =
            sources.map(|source| (source.weight, source.group.as_ref())).collect();
        let mut problems = check_groups(&weighed, &self.groups);
        if !is_temperature(self.temperature) {
            let message = wrong_temperature(self.temperature);
            problems.push(Problem { key: "data.temperature".into(), message, hint: None });
        }
        let mut unless = |fits: bool, key: String, message: String, hint: Option<String>| {
            if !fits {
                problems.push(Problem { key: format!("data.{key}"), message, hint });
            }
        };
        let at_least = |least: usize, found: usize| format!("is {found}, wanted {least} or more");
        unless(self.max_tokens >= 2, "max_tokens".into(), at_least(2, self.max_tokens), None);
        unless(
            self.tokens_per_batch >= self.max_tokens,
            "tokens_per_batch".into(),
            format!("is {}, less than `data.max_tokens`", self.tokens_per_batch),
            Some(format!(
                "an example must fit into a batch: raise it to {}, or lower `data.max_tokens`",
                self.max_tokens
            )),
        );
        if let HeldOut::Share(share) = self.held_out {
            unless(
                (0.0..1.0).contains(&share),
                "held_out".into(),
                format!("is {share:?}, wanted a count (`100`) or a share below 1 (`0.05`)"),
                None,
            );
        }
        unless(
            self.shuffle || !self.is_mixture(),
            "shuffle".into(),
            "is false, and the data are a mixture, whose tasks are drawn".into(),
            Some(
                "leave it out; without `weight` and `[data.groups]`, every epoch is in file order"
                    .into(),
            ),
        );
        unless(
            !self.sources.is_empty(),
            "sources".into(),
            "is empty, wanted at least one file".into(),
            Some("add `[[data.sources]]` with `path = \"records.jsonl\"`".into()),
        );
        unless(
            self.sources.is_empty() || self.sources.iter().any(|source| !source.held_out),
            "sources".into(),
            "are all held out, wanted one to train on".into(),
            None,
        );
        for (index, source) in self.sources.iter().enumerate() {
            let key = |name: &str| format!("sources[{index}].{name}");
            // What is left of a path whose tasks are excluded is looked at when they are opened.
            let is_whole = |source: &SourceConfig| {
                source.exclude.is_empty() && source.exclude_categories.is_empty()
            };
            let same = |other: &SourceConfig| {
                other.path == source.path && !other.held_out && is_whole(other) && is_whole(source)
            };
            unless(
                !(source.held_out && self.sources.iter().any(same)),
                key("held_out"),
                "is set, and another source trains on the same file".into(),
                Some("take the file out of one of them".into()),
            );
            let weighed = source.weight.is_some() || source.group.is_some();
            unless(
                !(source.held_out && (weighed || source.repeat > 1)),
                key("held_out"),
                "is set, and so is how often it is trained on".into(),
                Some("leave out its `weight`, `group` and `repeat`".into()),
            );
            unless(
                !(source.held_out && self.is_mixture() && source.cap.is_some()),
                key("cap"),
                "is set, and nothing of the source is drawn: in a mixture a cap is for the rates alone"
                    .into(),
                Some("`limit` says how many of its records are measured on".into()),
            );
            unless(source.repeat >= 1, key("repeat"), at_least(1, source.repeat), None);
            unless(source.cap != Some(0), key("cap"), at_least(1, 0), None);
            unless(
                source.original.is_none() || matches!(source.format, None | Some(Format::Tuna)),
                key("original"),
                "is set, wanted only for `format = \"tuna\"`".into(),
                Some(
                    "leave it out: records of this format have one answer, or two ranked ones"
                        .into(),
                ),
            );
            unless(source.limit != Some(0), key("limit"), at_least(1, 0), None);
            unless(source.shot_tokens != Some(0), key("shot_tokens"), at_least(1, 0), None);
            unless(
                source.repeat == 1 || !self.is_mixture(),
                key("repeat"),
                format!("is {}, and the data are a mixture", source.repeat),
                Some("say it with `weight`".into()),
            );
            self.check_task(source, &mut |name, message, hint| {
                unless(false, key(name), message, hint);
            });
            let known = Format::fields(source.format);
            let fields = source.fields.keys().filter(|_| !source.is_task());
            for field in fields.filter(|field| !known.contains(&field.as_str())) {
                unless(
                    false,
                    key("fields"),
                    format!("names `{field}`, which the format does not have"),
                    Some(format!(
                        "write our name first: `fields = {{ OURS = \"{field}\" }}`; known: {}",
                        crate::defect::in_backticks(&known)
                    )),
                );
            }
        }
        problems
    }
}
