//! `[bootstrap]`: what is written, from what, and by which rules.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Decoding, HeldOut, Rule, Rules, Tokenization};

/// How tasks are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Instructions first, then whether each is classification, then its instances: Wang et al., 2023.
    #[default]
    SelfInstruct,
    /// Instruction, input and output in one answer: Taori et al., 2023.
    Alpaca,
}

/// `[bootstrap]`: instruction data written by a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BootstrapConfig {
    /// How tasks are written: `self_instruct` or `alpaca`. Default `self_instruct`.
    pub method: Method,
    /// File of seed tasks. Default: the 175 that come with albacore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeds: Option<PathBuf>,
    /// Folder of prompt templates that replace ours, by the names of ours. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompts: Option<PathBuf>,
    /// New instructions that are wanted. Default 100.
    pub instructions: usize,
    /// Tasks that a prompt shows. Default 8 (3 for `alpaca`). More of them steer the model better and
    /// make prompts longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks_per_prompt: Option<usize>,
    /// Of these, so many that the model wrote itself, once there are any; the others are seeds. Default
    /// 2 (0 for `alpaca`). More of them vary the prompts and carry errors on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_tasks_per_prompt: Option<usize>,
    /// Prompts that are made from one state of the pool, and asked together. Default 5. More of them
    /// keep a server busy; what they bring is compared in their order, whenever it arrives.
    pub prompts_per_round: usize,
    /// Rounds without a new instruction after which the stage ends. Default 50; 0 goes on for ever.
    pub patience: usize,
    /// Ask for classification tasks only, and show classification seeds only. Default false.
    pub classification_only: bool,
    /// Highest ROUGE-L of a new instruction with any in the pool; one above it is rejected. Default 0.7.
    /// A lower one keeps fewer, more different ones.
    pub novelty: f64,
    /// What else a new instruction is asked, in this order, as `albacore filter --rule` names it. Default
    /// `["self-instruct"]`: not empty, 4 to 150 words, none of 13 keywords, no odd beginning; for `alpaca`
    /// `["alpaca"]`, with five more keywords.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<String>>,
    /// Count words of all scripts for ROUGE-L, and not only ASCII letters and digits. Default false, as
    /// published; without it a text in another script is like no other.
    pub unicode: bool,
    /// Most instances of a task. Default 5.
    pub instances_per_task: usize,
    /// Instructions whose instances are laid out for training, drawn at random. Default all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<usize>,
    /// Lay out the seeds' instances for training, too. Default false.
    pub include_seeds: bool,
    /// Text after each completion. Default none, since training adds the model's own end token; the
    /// published data has `<|endoftext|>`.
    pub completion_end: String,
    /// Tasks (with all their instances) that are held out from training: a count or a share. Default 0.
    pub held_out: HeldOut,
    /// How new instructions are drawn. Default: 1024 tokens, temperature 0.7, top_p 0.5, presence penalty
    /// 2, stops at item 16 (`alpaca`: 3072 tokens, temperature 1, stops at item 20).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instruction_decoding: Option<Decoding>,
    /// How it is told whether a task is classification. Default: 3 tokens, temperature 0.
    pub classification_decoding: Decoding,
    /// How instances are drawn. Default: 350 tokens (300 for classification), temperature 0, presence
    /// penalty 1.5, stops after the last instance that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_decoding: Option<Decoding>,
}

impl Default for BootstrapConfig {
    fn default() -> Self {
        Self {
            method: Method::default(),
            seeds: None,
            prompts: None,
            instructions: 100,
            tasks_per_prompt: None,
            machine_tasks_per_prompt: None,
            prompts_per_round: 5,
            patience: 50,
            classification_only: false,
            novelty: 0.7,
            rules: None,
            unicode: false,
            instances_per_task: 5,
            subset: None,
            include_seeds: false,
            completion_end: String::new(),
            held_out: HeldOut::Count(0),
            instruction_decoding: None,
            classification_decoding: Decoding {
                max_tokens: 3,
                stop: vec!["\n".into(), "Task".into()],
                ..Decoding::default()
            },
            instance_decoding: None,
        }
    }
}

impl BootstrapConfig {
    /// Everything that is wrong with it: found and wanted.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut unless = |good: bool, key: &str, found: String, wanted: &str| {
            if !good {
                problems.push(format!("`bootstrap.{key}` is {found}, wanted {wanted}"));
            }
        };
        let counts = [
            ("instructions", self.instructions),
            ("prompts_per_round", self.prompts_per_round),
            ("instances_per_task", self.instances_per_task),
            ("tasks_per_prompt", self.tasks_per_prompt()),
        ];
        for (key, count) in counts {
            unless(count > 0, key, count.to_string(), "1 or more");
        }
        let (machine, all) = (self.machine_tasks_per_prompt(), self.tasks_per_prompt());
        let wanted = format!("at most `bootstrap.tasks_per_prompt`, {all}");
        unless(machine <= all, "machine_tasks_per_prompt", machine.to_string(), &wanted);
        let share = (0.0..=1.0).contains(&self.novelty);
        unless(share, "novelty", self.novelty.to_string(), "a number from 0 to 1");
        for (number, rule) in self.rule_names().iter().enumerate() {
            if let Err(wanted) = parse_rule(rule) {
                problems.push(format!("`bootstrap.rules[{number}]` is `{rule}`: {wanted}"));
            }
        }
        for (key, decoding) in [
            ("instruction_decoding", self.instruction_decoding()),
            ("classification_decoding", self.classification_decoding.clone()),
            ("instance_decoding", self.instance_decoding(false)),
        ] {
            let wrong = decoding.problems();
            problems
                .extend(wrong.into_iter().map(|problem| format!("`bootstrap.{key}`: {problem}")));
        }
        problems
    }

    /// Tasks that a prompt shows.
    pub fn tasks_per_prompt(&self) -> usize {
        self.tasks_per_prompt.unwrap_or(match self.method {
            Method::SelfInstruct => 8,
            Method::Alpaca => 3,
        })
    }

    /// How many of them the model wrote itself.
    pub fn machine_tasks_per_prompt(&self) -> usize {
        self.machine_tasks_per_prompt.unwrap_or(match self.method {
            Method::SelfInstruct => 2,
            Method::Alpaca => 0,
        })
    }

    /// The rules on a single instruction. Those that are malformed, which
    /// [`validate`](Self::validate) tells of, are left out.
    pub fn rules(&self) -> Vec<Rule> {
        self.rule_names().iter().filter_map(|rule| parse_rule(rule).ok()).flatten().collect()
    }

    /// Their names.
    pub fn rule_names(&self) -> Vec<String> {
        self.rules.clone().unwrap_or_else(|| match self.method {
            Method::SelfInstruct => vec!["self-instruct".into()],
            Method::Alpaca => vec!["alpaca".into()],
        })
    }

    /// What ROUGE-L takes for words.
    pub fn tokenization(&self) -> Tokenization {
        if self.unicode { Tokenization::Unicode } else { Tokenization::Ascii }
    }

    /// How new instructions are drawn. Items are numbered on from those shown, so that 8 shown ones
    /// leave room for 7 until item 16 stops the model.
    pub fn instruction_decoding(&self) -> Decoding {
        let stops = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        self.instruction_decoding.clone().unwrap_or_else(|| match self.method {
            Method::SelfInstruct => Decoding {
                max_tokens: 1024,
                temperature: 0.7,
                top_p: 0.5,
                presence_penalty: 2.0,
                frequency_penalty: 0.0,
                stop: stops(&["\n\n", "\n16", "16.", "16 ."]),
                options: Vec::new(),
            },
            Method::Alpaca => Decoding {
                max_tokens: 3072,
                temperature: 1.0,
                stop: stops(&["\n20", "20.", "20 ."]),
                ..Decoding::default()
            },
        })
    }

    /// How the instances of a task are drawn.
    pub fn instance_decoding(&self, is_classification: bool) -> Decoding {
        self.instance_decoding.clone().unwrap_or_else(|| Decoding {
            max_tokens: if is_classification { 300 } else { 350 },
            presence_penalty: 1.5,
            stop: vec![format!("Example {}", self.instances_per_task + 1), "Task:".into()],
            ..Decoding::default()
        })
    }
}

fn parse_rule(text: &str) -> Result<Vec<Rule>, String> {
    let Rules { rules, duplicates } = text.parse()?;
    match duplicates {
        Some(_) => {
            Err("wanted a rule on one instruction: `bootstrap.novelty` finds duplicates".into())
        }
        None => Ok(rules),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_published_settings_and_valid() {
        let config = BootstrapConfig::default();
        assert!(config.validate().is_empty());
        assert_eq!((config.tasks_per_prompt(), config.machine_tasks_per_prompt()), (8, 2));
        assert_eq!(config.instruction_decoding().stop, ["\n\n", "\n16", "16.", "16 ."]);
        assert_eq!(config.instance_decoding(true).stop, ["Example 6", "Task:"]);
        assert_eq!(config.instance_decoding(true).max_tokens, 300);
        assert_eq!(config.rules(), Rule::self_instruct());
        let alpaca = BootstrapConfig { method: Method::Alpaca, ..config };
        assert_eq!((alpaca.tasks_per_prompt(), alpaca.machine_tasks_per_prompt()), (3, 0));
        let rejects = |config: &BootstrapConfig| {
            config
                .rules()
                .iter()
                .any(|rule| rule.rejects("Describe the music of Vienna.").is_some())
        };
        assert_eq!((rejects(&BootstrapConfig::default()), rejects(&alpaca)), (false, true));
    }

    #[test]
    fn every_problem_is_found_at_once() {
        let config = BootstrapConfig {
            instructions: 0,
            tasks_per_prompt: Some(1),
            novelty: 1.5,
            rules: Some(vec!["refusal".into(), "duplicate".into()]),
            instance_decoding: Some(Decoding { temperature: -1.0, ..Decoding::default() }),
            ..BootstrapConfig::default()
        };
        let wanted = [
            "`bootstrap.instructions` is 0, wanted 1 or more",
            "`bootstrap.machine_tasks_per_prompt` is 2, wanted at most `bootstrap.tasks_per_prompt`, 1",
            "`bootstrap.novelty` is 1.5, wanted a number from 0 to 1",
            "`bootstrap.rules[1]` is `duplicate`: wanted a rule on one instruction: \
             `bootstrap.novelty` finds duplicates",
            "`bootstrap.instance_decoding`: `temperature` is -1, wanted 0 or more",
        ];
        assert_eq!(config.validate(), wanted);
    }
}
