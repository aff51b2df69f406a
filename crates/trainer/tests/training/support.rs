//! A tiny model, tiny data, and a training of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use albacore_data::{Encoded, Origin, Packing, Response};
use albacore_model::{Llama, LlamaConfig, Model};
use albacore_trainer::{
    Checkpoint, CheckpointConfig, Evaluator, Event, Named, Objective, OptimConfig, Options,
    Outcome, Result, Resume, RunFolder, Saved, ScheduleConfig, ScheduleKind, Sft, TrainConfig,
    Training, TrainingData, When, find,
};
use candle_core::Device;
use serde_json::{Value, json};

/// Two layers, grouped-query attention, a head of its own: some 6,000 weights.
pub(crate) fn model() -> Model {
    sized(16)
}

/// The same with 64 channels: most of its weights are in matrices of 4096 numbers or more.
pub(crate) fn wide_model() -> Model {
    sized(64)
}

fn sized(channels: usize) -> Model {
    let config = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 40,
        "hidden_size": channels, "intermediate_size": channels * 3 / 2, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 64, "tie_word_embeddings": false, "hidden_act": "silu",
        "rope_theta": 10000.0, "initializer_range": 0.2,
    });
    let Value::Object(config) = config else { unreachable!() };
    let config = LlamaConfig::from_json(config, "the tests").unwrap();
    Llama::random(config, 7, &Device::Cpu).unwrap().into()
}

/// The configuration of a model, as the small file that a checkpoint needs.
fn files(model: &Model) -> Vec<(String, Vec<u8>)> {
    let config = model.config().to_json(albacore_model::Dtype::F32);
    vec![("config.json".into(), serde_json::to_vec(&config).unwrap())]
}

/// Example `n` has `lengths[n]` tokens, of which the last half is learned.
pub(crate) fn examples(lengths: &[usize]) -> Vec<Arc<Encoded>> {
    let one = |(number, &length): (usize, &usize)| {
        let ids = (0..length as u32).map(|i| (i * i + 5 * i + 11 * number as u32) % 40);
        Arc::new(Encoded {
            ids: ids.collect(),
            learned: (0..length).map(|i| i > 0 && i >= length / 2).collect(),
            reasons: Vec::new(),
            origin: Origin::new("data.jsonl", number as u32 + 1),
            eos_added: false,
            responses: Vec::new(),
        })
    };
    lengths.iter().enumerate().map(one).collect()
}

/// Groups, each of a prompt of so many tokens and responses of so many, the best of which is the first.
pub(crate) fn groups(all: &[(usize, &[usize])]) -> Vec<Arc<Encoded>> {
    let one = |(number, (prompt, responses)): (usize, &(usize, &[usize]))| {
        let length = prompt + responses.iter().sum::<usize>();
        let ids = (0..length as u32).map(|i| (i * i + 7 * i + 13 * number as u32) % 40);
        let mut start = *prompt;
        let responses = responses.iter().enumerate().map(|(rank, length)| {
            let response = Response { start, score: -(rank as f32) };
            start += length;
            response
        });
        Arc::new(Encoded {
            ids: ids.collect(),
            learned: (0..length).map(|at| at >= *prompt).collect(),
            reasons: Vec::new(),
            origin: Origin::new("data.jsonl", number as u32 + 1),
            eos_added: false,
            responses: responses.collect(),
        })
    };
    all.iter().enumerate().map(one).collect()
}

/// A training in a temporary folder, and what it needs.
pub(crate) struct Tiny {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) examples: Vec<Arc<Encoded>>,
    pub(crate) held_out: Vec<Arc<Encoded>>,
    pub(crate) packing: Packing,
    pub(crate) options: Options,
    pub(crate) objective: Box<dyn Objective>,
    pub(crate) resume: Resume,
    /// The run is asked to stop after this step.
    pub(crate) stop_after: Option<u64>,
    /// Makes the model that a run starts from.
    pub(crate) model: fn() -> Model,
    /// Evaluations of processes before this one.
    pub(crate) counted: f64,
    /// The step at which an evaluation is stopped before it has measured anything.
    pub(crate) evaluation_stopped_at: Option<u64>,
    /// The step at which an evaluation fails.
    pub(crate) evaluation_fails_at: Option<u64>,
    /// Changes the model before it is trained.
    pub(crate) prepare: fn(&Model),
    /// What the run has told.
    pub(crate) told: RefCell<Vec<Told>>,
}

/// An event, kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    Started { step: u64, steps: u64, set_aside: Option<PathBuf> },
    Referring { done: usize, total: usize },
    Stepped { loss: f64 },
    Evaluated { step: u64, values: Named },
    Saved(Saved),
    Warning(String),
}

impl Default for Tiny {
    /// Six examples in three batches; eight steps of one batch at a constant rate.
    fn default() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            examples: examples(&[9, 7, 8, 6, 10, 6]),
            held_out: Vec::new(),
            packing: Packing::alone(3, 16, true),
            options: Options {
                optim: OptimConfig { learning_rate: 1e-2, ..Default::default() },
                schedule: ScheduleConfig { kind: ScheduleKind::Constant, ..Default::default() },
                train: TrainConfig { steps: Some(8), ..Default::default() },
                checkpoint: CheckpointConfig { every: 0, keep_last: 9, keep_every: 0 },
                ..Default::default()
            },
            objective: Box::new(Sft::default()),
            resume: Resume::Auto,
            stop_after: None,
            counted: 0.0,
            evaluation_stopped_at: None,
            evaluation_fails_at: None,
            model,
            prepare: |_| {},
            told: RefCell::default(),
        }
    }
}

/// Counts its calls, and measures that; at one step it is stopped instead, or fails.
struct Counting {
    counted: Cell<f64>,
    stopped_at: Option<u64>,
    fails_at: Option<u64>,
}

impl Evaluator for Counting {
    fn evaluate(
        &mut self,
        _: &Model,
        when: When,
        step: u64,
    ) -> std::result::Result<Option<Named>, Box<dyn std::error::Error + Send + Sync>> {
        if self.stopped_at == Some(step) {
            return Ok(None);
        }
        if self.fails_at == Some(step) {
            return Err("no answer".into());
        }
        self.counted.set(self.counted.get() + if when == When::After { 100.0 } else { 1.0 });
        Ok(Some(vec![("held_out_loss".into(), self.counted.get())]))
    }
}

impl Tiny {
    /// Trains as the binary does: takes the folder, finds the checkpoint, loads it and goes on.
    pub(crate) fn run(&self) -> Result<Outcome> {
        let run = RunFolder::take(self.folder.path())?;
        let checkpoint = find(self.folder.path(), &self.resume)?.checkpoint;
        let mut model = match &checkpoint {
            Some(Checkpoint { folder, .. }) => Model::load(folder, &Device::Cpu)?,
            None => (self.model)(),
        };
        (self.prepare)(&model);
        let files = files(&model);
        let data = TrainingData {
            examples: &self.examples,
            mixture: None,
            held_out: &self.held_out,
            packing: self.packing,
            fingerprint: "of the data",
            spans: None,
        };
        let training = Training::new(
            &run,
            &mut model,
            data,
            self.objective.as_ref(),
            files,
            self.options(),
            checkpoint.as_ref(),
        )?;
        let done = Cell::new(0);
        let stop = || self.stop_after.is_some_and(|step| done.get() >= step);
        let mut tell = |event: Event<'_>| {
            self.told.borrow_mut().push(match event {
                Event::Started { step, steps, set_aside, .. } => {
                    Told::Started { step, steps, set_aside: set_aside.map(Path::to_owned) }
                }
                Event::Referring { done, total } => Told::Referring { done, total },
                Event::Stepped { line, .. } => {
                    done.set(line.step);
                    Told::Stepped { loss: line.loss }
                }
                Event::Evaluated { step, values, .. } => {
                    Told::Evaluated { step, values: values.clone() }
                }
                Event::Saved(saved) => Told::Saved(saved.clone()),
                Event::Warning(text) => Told::Warning(text.to_owned()),
            });
        };
        let mut counting = Counting {
            counted: Cell::new(self.counted),
            stopped_at: self.evaluation_stopped_at,
            fails_at: self.evaluation_fails_at,
        };
        training.run(Some(&mut counting), &stop, &mut tell)
    }

    /// Its options, with the configuration that they make up.
    pub(crate) fn options(&self) -> Options {
        let config = |options: &Options| {
            json!({
                "optim": options.optim, "schedule": options.schedule, "train": options.train,
                "checkpoint": options.checkpoint,
            })
        };
        let (config, defaults) = (config(&self.options), config(&Options::default()));
        Options { config, defaults, ..self.options.clone() }
    }

    /// The losses of the steps made so far by [`Self::run`].
    pub(crate) fn losses(&self) -> Vec<f64> {
        let told = self.told.borrow();
        let losses = told.iter().filter_map(|told| match told {
            Told::Stepped { loss } => Some(*loss),
            _ => None,
        });
        losses.collect()
    }

    pub(crate) fn checkpoint(&self, step: u64) -> PathBuf {
        self.folder.path().join(format!("checkpoints/step-{step:06}"))
    }

    /// What the run has warned of.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let told = self.told.borrow();
        let warnings = told.iter().filter_map(|told| match told {
            Told::Warning(text) => Some(text.clone()),
            _ => None,
        });
        warnings.collect()
    }

    /// Names of what lies in `checkpoints`, sorted.
    pub(crate) fn checkpoints(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("checkpoints")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names = names.collect::<Vec<_>>();
        names.sort();
        names
    }

    /// Weights and moments after `step`, to the bit.
    pub(crate) fn bytes(&self, step: u64) -> (Vec<u8>, Vec<u8>) {
        let read = |name: &str| fs::read(self.checkpoint(step).join(name)).unwrap();
        (read("model.safetensors"), read("optimizer.safetensors"))
    }

    /// The tensors in a file of the checkpoint after `step`.
    pub(crate) fn tensors(&self, step: u64, file: &str) -> BTreeMap<String, Vec<f32>> {
        let path = self.checkpoint(step).join(file);
        let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap().into_iter();
        tensors.map(|(name, t)| (name, t.flatten_all().unwrap().to_vec1().unwrap())).collect()
    }

    /// The lines of `metrics.jsonl`, without what depends on the clock.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("metrics.jsonl")).unwrap();
        let line = |line: &str| {
            let mut line = serde_json::from_str::<Value>(line).unwrap();
            for key in ["elapsed_s", "tokens_per_second"] {
                assert!(line.as_object_mut().unwrap().remove(key).is_some());
            }
            line
        };
        text.lines().map(line).collect()
    }
}
