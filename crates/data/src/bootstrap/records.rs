//! Stage 4: instances are parsed, sifted, and laid out as records to train on.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::python::strip;
use super::{
    BootstrapConfig, Instance, PromptRecord, SeedTask, Unused, lay_out, parse_classification,
    parse_generation,
};
use crate::random::shuffled;
use crate::{FinishReason, Random};

/// What a model wrote for one instruction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawInstances {
    /// The instruction.
    pub instruction: String,
    /// Whether it was held to be classification.
    pub is_classification: bool,
    /// The completion.
    pub raw_instances: String,
    /// Why the completion ended.
    pub finish_reason: FinishReason,
    /// Whether there is none, because it was refused for good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
}

/// A task with the instances that are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Task {
    /// What is to be done.
    pub instruction: String,
    /// Examples of it; never none.
    pub instances: Vec<Instance>,
}

/// Parses what was written; at most `most` instances of a task are kept, drawn at random.
///
/// `number` counts the tasks: what is drawn for one does not depend on the others.
pub fn parse_task(
    raw: &RawInstances,
    most: usize,
    seed: u64,
    number: u64,
    unused: &mut BTreeMap<Unused, usize>,
) -> Option<Task> {
    let parse = if raw.is_classification { parse_classification } else { parse_generation };
    let parsed = parse(&raw.raw_instances, &raw.finish_reason);
    for (reason, count) in parsed.unused {
        *unused.entry(reason).or_default() += count;
    }
    let mut instances = parsed.instances;
    if instances.len() > most {
        *unused.entry(Unused::TooMany).or_default() += instances.len() - most;
        let mut kept = shuffled(instances.len(), Random::new(seed, "instances of a task", number));
        kept.truncate(most);
        kept.sort_unstable();
        instances = kept.iter().map(|&index| instances[index as usize].clone()).collect();
    }
    let instruction = strip(&raw.instruction).to_owned();
    (!instances.is_empty()).then_some(Task { instruction, instances })
}

/// Records to train on, and those that are held out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// To train on, in random order.
    pub train: Vec<PromptRecord>,
    /// To measure on: no task of theirs is among the others.
    pub held_out: Vec<PromptRecord>,
    /// Records that were the same as others.
    pub repeated: usize,
}

/// Lays out the instances of tasks, and of the seeds if they are included.
pub fn finetuning_records(
    tasks: &[Task],
    seeds: &[SeedTask],
    config: &BootstrapConfig,
    seed: u64,
) -> Split {
    let mut chosen: Vec<usize> = (0..tasks.len()).collect();
    if let Some(subset) = config.subset.filter(|&subset| subset < tasks.len()) {
        let order = shuffled(tasks.len(), Random::new(seed, "subset of the tasks", 0));
        chosen = order[..subset].iter().map(|&index| index as usize).collect();
        chosen.sort_unstable();
    }
    let tasks = chosen.iter().map(|&index| (&tasks[index].instruction, &tasks[index].instances));
    let seeds = seeds.iter().map(|seed| (&seed.instruction, &seed.instances));
    let all: Vec<_> = tasks.chain(seeds.filter(|_| config.include_seeds)).collect();

    let held_out = config.held_out.of(all.len()).min(all.len().saturating_sub(1));
    let order = shuffled(all.len(), Random::new(seed, "tasks held out", 0));
    let held: HashSet<u32> = order[..held_out].iter().copied().collect();

    let (mut split, mut seen) = (Split::default(), HashSet::new());
    for (number, (instruction, instances)) in (0u32..).zip(all) {
        let mut random = Random::new(seed, "layout", u64::from(number));
        for instance in instances {
            let record = lay_out(instruction, instance, &config.completion_end, &mut random);
            if !seen.insert(record.clone()) {
                split.repeated += 1;
            } else if held.contains(&number) {
                split.held_out.push(record);
            } else {
                split.train.push(record);
            }
        }
    }
    Random::new(seed, "order of the records", 0).shuffle(&mut split.train);
    split
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HeldOut;

    fn raw(text: &str) -> RawInstances {
        RawInstances {
            instruction: " Name a number. ".into(),
            is_classification: false,
            raw_instances: text.into(),
            finish_reason: FinishReason::Stop,
            refused: false,
        }
    }

    #[test]
    fn of_many_instances_some_are_drawn_and_stay_in_order() {
        let text: String =
            (0..9).map(|number| format!("Example {number}\nOutput: {number}\n")).collect();
        let mut unused = BTreeMap::new();
        let task = parse_task(&raw(&text), 5, 1, 0, &mut unused).unwrap();
        assert_eq!(task.instruction, "Name a number.");
        let outputs = task.instances.iter().map(|instance| instance.output.as_str());
        let outputs = outputs.collect::<Vec<_>>();
        assert!(outputs.len() == 5 && outputs.is_sorted(), "{outputs:?}");
        assert_eq!(unused, BTreeMap::from([(Unused::TooMany, 4)]));
        assert_eq!(parse_task(&raw("nothing"), 5, 1, 0, &mut unused), None);
        assert_eq!(unused[&Unused::NoInstance], 1);
    }

    fn tasks(count: usize) -> Vec<Task> {
        let task = |number: usize| Task {
            instruction: format!("Say {number}."),
            instances: (0..3)
                .map(|copy| Instance { input: format!("{copy}"), output: format!("{number}") })
                .collect(),
        };
        (0..count).map(task).collect()
    }

    #[test]
    fn a_task_is_on_one_side_with_all_its_instances() {
        let config = BootstrapConfig { held_out: HeldOut::Count(4), ..BootstrapConfig::default() };
        let split = finetuning_records(&tasks(20), &[], &config, 3);
        assert_eq!((split.train.len(), split.held_out.len(), split.repeated), (48, 12, 0));
        let outputs = |records: &[PromptRecord]| {
            let outputs = records.iter().map(|record| record.completion.trim().to_owned());
            outputs.collect::<HashSet<_>>()
        };
        assert!(outputs(&split.train).is_disjoint(&outputs(&split.held_out)));
        assert_eq!(finetuning_records(&tasks(20), &[], &config, 3), split);
        assert_ne!(finetuning_records(&tasks(20), &[], &config, 4), split);
    }

    #[test]
    fn a_subset_and_the_seeds_count_by_task() {
        let seed = SeedTask {
            id: "s".into(),
            name: "s".into(),
            instruction: "Greet.".into(),
            instances: vec![Instance { input: String::new(), output: "Hello".into() }; 2],
            is_classification: false,
        };
        let config = BootstrapConfig {
            subset: Some(5),
            include_seeds: true,
            completion_end: "<|endoftext|>".into(),
            ..BootstrapConfig::default()
        };
        let split = finetuning_records(&tasks(20), &[seed], &config, 3);
        // The two instances of the seed may be laid out alike.
        assert_eq!(split.train.len() + split.repeated, 17);
        assert!(split.train.iter().all(|record| record.completion.ends_with("<|endoftext|>")));
        assert!(split.train.iter().any(|record| record.completion.contains("Hello")));
    }
}
