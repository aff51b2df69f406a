//! A tiny model and a tiny suite for tests.

use std::fs;

use albacore_data::Decoding;
use albacore_model::{Llama, LlamaConfig, Model};
use candle_core::Device;

use crate::{Example, Mean, Question, Scores, Task};

/// Two layers, random weights, ten tokens, a head of its own.
pub(crate) fn model() -> Model {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"{
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 10,
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 64, "tie_word_embeddings": false, "hidden_act": "silu",
        "rope_theta": 10000.0, "initializer_range": 0.2
    }"#;
    fs::write(folder.path().join("config.json"), config).unwrap();
    let config = LlamaConfig::load(folder.path()).unwrap();
    Llama::random(config, 7, &Device::Cpu).unwrap().into()
}

/// A suite that asks for `N + N`, in one task or several.
#[derive(Clone, Debug)]
pub(crate) struct Adding {
    pub(crate) examples: Vec<Example>,
    pub(crate) mean: Mean,
    pub(crate) reasons: bool,
    pub(crate) most_prompt_tokens: Option<usize>,
}

impl Adding {
    pub(crate) fn new(count: usize) -> Self {
        Self::of_tasks(&["adding"], count)
    }

    pub(crate) fn of_tasks(tasks: &[&str], count: usize) -> Self {
        let examples = tasks.iter().flat_map(|task| (0..count).map(move |number| (task, number)));
        let examples = examples.map(|(task, number)| Example {
            id: number.to_string(),
            task: (*task).to_owned(),
            question: Question {
                head: "Add. ".into(),
                shots: ["5 + 5 = 10. ".into(), "7 + 7 = 14. ".into()].into(),
                tail: format!("{number} + {number} ="),
                ..Question::default()
            },
            texts: vec![format!("{number} + {number}")],
            references: vec![(2 * number).to_string()],
            ..Example::default()
        });
        let examples = examples.collect();
        Self { examples, mean: Mean::OfExamples, reasons: false, most_prompt_tokens: None }
    }
}

impl Task for Adding {
    fn name(&self) -> &'static str {
        "adding"
    }

    fn examples(&self) -> &[Example] {
        &self.examples
    }

    fn decoding(&self) -> Decoding {
        Decoding { max_tokens: 8, ..Decoding::default() }
    }

    fn score(&self, example: usize, extracted: &str) -> Scores {
        let right = extracted == self.examples[example].references[0];
        Scores::from([("accuracy", f64::from(right))])
    }

    fn headline(&self, _: &str) -> &'static str {
        "accuracy"
    }

    fn mean(&self) -> Mean {
        self.mean
    }

    fn reasons(&self) -> bool {
        self.reasons
    }

    fn most_prompt_tokens(&self) -> Option<usize> {
        self.most_prompt_tokens
    }
}
