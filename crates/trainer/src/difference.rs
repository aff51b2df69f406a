//! What differs between the configuration of a checkpoint and that of now, and whether it matters.
//!
//! A run that is resumed must go the way of one that never stopped. So a change that would bend the
//! way is refused unless the user insists; a change of anything else is accepted.

use serde_json::Value;

/// One key whose value has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The key, such as `optim.learning_rate`.
    pub key: String,
    /// Its value in the checkpoint, if it was there.
    pub was: Option<Value>,
    /// Its value now, if it is there.
    pub now: Option<Value>,
    /// Why it alters the training; `None` if it does not.
    pub alters: Option<&'static str>,
}

/// Keys, and tables of keys, that the numbers of a run do not depend on.
const HARMLESS: [&str; 8] = [
    "run.dir",
    "run.name",
    "checkpoint",
    "eval",
    "optim.offload",
    "train.recompute",
    "device",
    "threads",
];

/// Keys that say how long to train.
const LENGTH: [&str; 2] = ["train.steps", "train.epochs"];

/// Compares two effective configurations. A key that one of them lacks has its value in `defaults`,
/// if it is there: the version that saved the configuration did not know it.
///
/// `same_rates` says that the steps made so far had the learning rates that they would have had in
/// a run of the new length: then a run may be made longer or shorter.
pub(crate) fn differences(
    was: &Value,
    now: &Value,
    defaults: &Value,
    same_rates: bool,
) -> Vec<Difference> {
    let [was, now] = [was, now].map(|config| {
        let mut values = flatten(defaults);
        values.extend(flatten(config));
        values
    });
    let keys = was.keys().chain(now.keys()).collect::<std::collections::BTreeSet<_>>();
    let changed = keys.into_iter().filter(|key| !same(was.get(*key), now.get(*key)));
    let differences = changed.map(|key| Difference {
        alters: alters(key, same_rates),
        was: was.get(key).cloned(),
        now: now.get(key).cloned(),
        key: key.clone(),
    });
    differences.collect()
}

/// Why a change of `key` alters the training, if it does.
fn alters(key: &str, same_rates: bool) -> Option<&'static str> {
    let under = |table: &str| {
        key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if HARMLESS.iter().any(|table| under(table)) || (same_rates && LENGTH.contains(&key)) {
        return None;
    }
    Some(match key.split('.').next().unwrap_or(key) {
        "train" if LENGTH.contains(&key) => {
            "the learning rate falls towards the end of the run, so the steps made so far would \
             have had other rates"
        }
        "train" if under("train.freeze") || under("train.train_only") => {
            "other weights would be trained"
        }
        "train" if key == "train.precision" || key == "train.master_weights" => {
            "the numbers would be rounded otherwise"
        }
        "train" if key == "train.share_prompts" => "the numbers would be rounded otherwise",
        "train" => "steps would be made of other batches",
        "run" => "the examples would come in another order",
        "data" => "the examples would be others",
        "model" | "adapter" => "the weights would be others",
        "objective" => "something else would be minimised",
        "optim" | "schedule" => "the updates would be others",
        _ => "the run would go another way",
    })
}

/// `2` and `2.0` are the same number.
fn same(was: Option<&Value>, now: Option<&Value>) -> bool {
    match (was, now) {
        (Some(Value::Number(was)), Some(Value::Number(now))) => {
            was == now || was.as_f64() == now.as_f64()
        }
        _ => was == now,
    }
}

/// The values by their dotted keys; items of arrays are numbered. A `null` is an absent value.
fn flatten(value: &Value) -> std::collections::BTreeMap<String, Value> {
    fn walk(key: &str, value: &Value, out: &mut std::collections::BTreeMap<String, Value>) {
        let under = |name: &str| if key.is_empty() { name.into() } else { format!("{key}.{name}") };
        match value {
            Value::Null => {}
            Value::Object(table) => {
                table.iter().for_each(|(name, value)| walk(&under(name), value, out));
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                items.iter().enumerate().for_each(|(i, v)| walk(&under(&i.to_string()), v, out));
            }
            _ => drop(out.insert(key.to_owned(), value.clone())),
        }
    }
    let mut out = std::collections::BTreeMap::new();
    walk("", value, &mut out);
    out
}

/// One line a difference, each after a line break.
pub(crate) fn listing(differences: &[Difference]) -> String {
    differences.iter().map(|difference| format!("\n  {difference}")).collect()
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |value: &Option<Value>| match value {
            Some(value) => format!("`{value}`"),
            None => "not set".to_owned(),
        };
        write!(f, "`{}` was {}, is now {}", self.key, text(&self.was), text(&self.now))?;
        self.alters.map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changed(was: Value, now: Value, same_rates: bool) -> Vec<(String, bool)> {
        let found = differences(&was, &now, &Value::Null, same_rates);
        found.into_iter().map(|found| (found.key, found.alters.is_some())).collect()
    }

    #[test]
    fn what_alters_the_training_is_told_from_what_does_not() {
        let was = json!({
            "run": {"name": "a", "seed": 0}, "optim": {"learning_rate": 1e-5, "betas": [0.9, 0.99]},
            "checkpoint": {"every": 10}, "data": {"sources": [{"path": "a"}], "held_out": null},
            "train": {"steps": 10, "recompute": "none"}, "eval": {"every": 0},
        });
        let now = json!({
            "run": {"name": "b", "seed": 1}, "optim": {"learning_rate": 1e-5, "betas": [0.9, 0.9]},
            "checkpoint": {"every": 20}, "data": {"sources": [{"path": "b"}, {"path": "c"}]},
            "train": {"steps": 10.0, "recompute": "block"}, "eval": {"every": 5},
        });
        let wanted = [
            ("checkpoint.every", false),
            ("data.sources.0.path", true),
            ("data.sources.1.path", true),
            ("eval.every", false),
            ("optim.betas", true),
            ("run.name", false),
            ("run.seed", true),
            ("train.recompute", false),
        ];
        let wanted = wanted.map(|(key, alters)| (key.to_owned(), alters));
        assert_eq!(changed(was, now, false), wanted);
    }

    #[test]
    fn a_run_may_be_made_longer_where_the_rates_stay() {
        let (was, now) = (json!({"train": {"steps": 10}}), json!({"train": {"epochs": 2}}));
        let wanted =
            |alters| [("train.epochs".to_owned(), alters), ("train.steps".to_owned(), alters)];
        assert_eq!(changed(was.clone(), now.clone(), true), wanted(false));
        assert_eq!(changed(was, now, false), wanted(true));
    }

    #[test]
    fn a_key_that_the_checkpoint_does_not_know_had_its_default() {
        let defaults = json!({
            "optim": {"learning_rate": 2e-5, "new": 0.0}, "data": {"sources": []},
            "train": {"freeze": []},
        });
        let sources = json!([{"path": "a"}]);
        let was = json!({"optim": {"learning_rate": 1e-5}, "data": {"sources": sources}});
        let now = |new: f64| {
            json!({
                "optim": {"learning_rate": 1e-5, "new": new}, "data": {"sources": sources},
                "train": {"freeze": []},
            })
        };
        assert_eq!(differences(&was, &now(0.0), &defaults, false), []);
        let found = differences(&was, &now(0.5), &defaults, false);
        assert_eq!(
            listing(&found),
            "\n  `optim.new` was `0.0`, is now `0.5`: the updates would be others"
        );
    }

    #[test]
    fn every_key_of_train_has_its_own_reason() {
        let reason = |key| alters(key, false).unwrap();
        assert_eq!(reason("train.freeze"), "other weights would be trained");
        assert_eq!(reason("train.train_only"), "other weights would be trained");
        assert_eq!(reason("train.master_weights"), "the numbers would be rounded otherwise");
        assert_eq!(reason("train.batches_per_step"), "steps would be made of other batches");
        assert!(reason("train.epochs").starts_with("the learning rate falls"));
    }

    #[test]
    fn other_rounding_of_the_state_alters_the_training_and_its_place_does_not() {
        assert_eq!(alters("optim.state", false), Some("the updates would be others"));
        assert_eq!(alters("optim.offload", false), None);
    }

    #[test]
    fn a_difference_reads_as_a_sentence() {
        let now = json!({"optim": {"epsilon": 1e-6}});
        let found = differences(&json!({}), &now, &Value::Null, false);
        assert_eq!(
            listing(&found),
            "\n  `optim.epsilon` was not set, is now `1e-6`: the updates would be others"
        );
    }
}
