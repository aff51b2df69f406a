//! Config mistakes in words: where, what was found, what was wanted, and the nearest known name.

use std::path::PathBuf;

use crate::decode::{Kind, Mismatch};
use crate::failure::Refusal;
use crate::tree::{Place, Tree, spell};

/// What a config was read from: the names that places stand for.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The config file.
    pub file: PathBuf,
    /// What was given with `--set`.
    pub sets: Vec<String>,
}

/// Something wrong with a config.
#[derive(Debug)]
pub struct Problem {
    /// Where, if that is known.
    pub place: Option<Place>,
    /// What.
    pub refusal: Refusal,
}

impl Origin {
    /// `file:line:column`, or the option.
    pub fn name(&self, place: Place) -> String {
        match place {
            Place::File { line, column } => format!("{}:{line}:{column}", self.file.display()),
            Place::Set(index) => format!("--set {}", self.sets[index]),
            Place::Seed => "--seed".into(),
        }
    }

    /// An error at a place; the file as a whole if no place is known.
    pub fn problem(&self, place: Option<Place>, message: &str, hint: Option<String>) -> Problem {
        let name = place.map_or_else(|| self.file.display().to_string(), |place| self.name(place));
        Problem { place, refusal: Refusal { message: format!("{name}: {message}"), hint } }
    }

    /// Says what does not fit. `keys` are all keys that a config may have.
    pub fn explain(&self, mismatch: &Mismatch, keys: &[String]) -> Problem {
        let key = spell(&mismatch.path);
        let (message, hint) = match &mismatch.kind {
            Kind::UnknownKey { known, .. } => {
                (format!("unknown key `{key}`"), Some(nearest_key(&key, known, keys)))
            }
            Kind::UnknownChoice { found, known } => {
                let hint = nearest(found, known).map(|name| format!("the nearest is `{name}`"));
                (format!("`{key}` is `{found}`, wanted {}", one_of(known)), hint)
            }
            Kind::Wrong { found, wanted } => {
                (format!("`{key}` is {found}, wanted {wanted}"), unquoted(found, wanted))
            }
            Kind::Missing { key: missing } if key.is_empty() => {
                (format!("`{missing}` is missing"), None)
            }
            Kind::Missing { key: missing } => (format!("`{key}.{missing}` is missing"), None),
            Kind::Other(message) => (format!("`{key}`: {message}"), None),
        };
        self.problem(mismatch.place, &message, hint)
    }

    /// Finds the place of a problem that a struct's `validate` names by its key in backticks.
    pub fn locate(&self, problem: &str, tree: &Tree) -> Problem {
        let names = problem.split('`').skip(1).step_by(2);
        let place = names.filter_map(|name| tree.get(name)).map(|value| value.place).next();
        let (message, hint) = match problem.split_once("\nhint: ") {
            Some((message, hint)) => (message, Some(hint.to_owned())),
            None => (problem, None),
        };
        self.problem(place, message, hint)
    }
}

/// Names that other trainers use for what is meant.
const ELSEWHERE: [(&str, &str); 19] = [
    ("lr", "optim.learning_rate"),
    ("learning_rate", "optim.learning_rate"),
    ("weight_decay", "optim.weight_decay"),
    ("max_grad_norm", "optim.max_grad_norm"),
    ("optim_bits", "optim.state"),
    ("label_smoothing_factor", "objective.label_smoothing"),
    ("lr_scheduler", "schedule.kind"),
    ("lr_scheduler_type", "schedule.kind"),
    ("warmup_steps", "schedule.warmup_steps"),
    ("num_train_epochs", "train.epochs"),
    ("num_epochs", "train.epochs"),
    ("max_steps", "train.steps"),
    ("gradient_accumulation_steps", "train.batches_per_step"),
    ("gradient_checkpointing", "train.recompute"),
    ("max_length", "data.max_tokens"),
    ("max_seq_length", "data.max_tokens"),
    ("sequence_len", "data.max_tokens"),
    ("output_dir", "run.dir"),
    ("model_name_or_path", "model.path"),
];

/// What was probably meant by an unknown key.
fn nearest_key(key: &str, known: &[&str], keys: &[String]) -> String {
    let (parent, name) = key.rsplit_once('.').map_or(("", key), |(parent, name)| (parent, name));
    let under =
        |name: &str| if parent.is_empty() { name.into() } else { format!("{parent}.{name}") };
    if let Some(near) = nearest(name, known) {
        return format!("the nearest known key is `{}`", under(near));
    }
    let elsewhere = ELSEWHERE.iter().find(|(foreign, _)| *foreign == name).map(|(_, ours)| *ours);
    let same_name = || keys.iter().find(|key| key.rsplit('.').next() == Some(name));
    if let Some(ours) = elsewhere.or_else(|| same_name().map(String::as_str)) {
        return format!("this is `{ours}`");
    }
    let known: Vec<String> = known.iter().map(|name| under(name)).collect();
    format!("known here: {}", list(&known))
}

/// The known name that is most like `name`, if any is.
pub fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let likeness = |known: &str| strsim::jaro_winkler(name, known);
    let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= 0.85).then_some(*best)
}

/// A number in quotes is a common slip.
fn unquoted(found: &str, wanted: &str) -> Option<String> {
    let text = found.strip_prefix("the string `")?.strip_suffix('`')?;
    let is_plain = text.parse::<f64>().is_ok() || matches!(text, "true" | "false");
    (is_plain && !wanted.contains("string")).then(|| "leave out the quotes".into())
}

fn one_of(names: &[&str]) -> String {
    match names {
        [only] => format!("`{only}`"),
        _ => format!("one of {}", list(names)),
    }
}

fn list<S: AsRef<str>>(names: &[S]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_known_by_its_nearest_name() {
        let known = ["learning_rate", "betas", "epsilon"];
        assert_eq!(
            nearest_key("optim.learnin_rate", &known, &[]),
            "the nearest known key is `optim.learning_rate`"
        );
        assert_eq!(
            nearest_key("optim.learning-rate", &known, &[]),
            "the nearest known key is `optim.learning_rate`"
        );
    }

    #[test]
    fn a_key_of_another_table_or_trainer_is_found_there() {
        let keys = ["checkpoint.keep_last".to_owned()];
        assert_eq!(
            nearest_key("train.keep_last", &["steps"], &keys),
            "this is `checkpoint.keep_last`"
        );
        assert_eq!(nearest_key("lr", &["run", "train"], &keys), "this is `optim.learning_rate`");
        assert_eq!(
            nearest_key("train.zzz", &["steps", "epochs"], &keys),
            "known here: `train.steps`, `train.epochs`"
        );
    }

    #[test]
    fn a_problem_is_placed_at_the_key_that_it_names() {
        let origin = Origin { file: "a.toml".into(), sets: vec!["train.steps=0".into()] };
        let mut tree = Tree::parse("[optim]\nepsilon = 0\n").unwrap();
        tree.set(&origin.sets[0], Place::Set(0)).unwrap();
        let text = |problem: &str| origin.locate(problem, &tree).refusal.message;
        assert_eq!(
            text("`optim.epsilon` is 0, wanted more"),
            "a.toml:2:11: `optim.epsilon` is 0, wanted more"
        );
        assert_eq!(text("`train.steps` is 0"), "--set train.steps=0: `train.steps` is 0");
        assert_eq!(text("`data.sources` is empty"), "a.toml: `data.sources` is empty");
    }
}
