//! Mixtures: rates by hand, and streams that go on as if they had never stopped.

use std::collections::{BTreeMap, BTreeSet};

use albacore_data::{
    Batch, DataConfig, Encoded, Error, Format, GroupConfig, HeldOut, Member, Mixture,
    MixtureSource, MixtureStream, Preparation, Shots, SourceConfig, TemplateChoice, Tokenizer,
    TooLong, Weight, rates,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::tiny::Tiny;

fn group(weight: f64, inside: Option<&str>, cap: Option<usize>) -> GroupConfig {
    let weight = Some(Weight::Parts(weight));
    GroupConfig { weight, cap, group: inside.map(String::from), ..GroupConfig::default() }
}

fn member(group: &str, weight: Option<Weight>, examples: usize) -> Member {
    Member { weight, cap: None, group: Some(group.into()), examples: vec![examples] }
}

/// Ten tasks in the nested sub-mixes of the Flan collection, with its fractions and caps. By hand:
///
/// ```text
///  flan 0.40, cap 30,000: half zero-shot, half few-shot; in each rte 2,500 and snli 550,000
///      0.40 / 2 * 2,500 / 32,500 and 0.40 / 2 * 30,000 / 32,500
///  t0 0.32, cap 20,000: half with options (5,000 and 45,000), half without (45,000)
///      0.32 / 2 * 5 / 25, 0.32 / 2 * 20 / 25 and 0.32 / 2
///  niv2 0.20, cap 5,000; cot 0.05, cap 100,000; dialog 0.03, cap 200,000: one task each
/// ```
#[test]
fn the_flan_collection_by_hand() {
    let groups = BTreeMap::from(
        [
            ("flan", group(0.40, None, Some(30_000))),
            ("flan_zs", group(0.25, Some("flan"), None)),
            ("flan_fs", group(0.25, Some("flan"), None)),
            ("t0", group(0.32, None, Some(20_000))),
            ("t0_opt", group(0.25, Some("t0"), None)),
            ("t0_noopt", group(0.25, Some("t0"), None)),
            ("niv2", group(0.20, None, Some(5_000))),
            ("cot", group(0.05, None, Some(100_000))),
            ("dialog", group(0.03, None, Some(200_000))),
        ]
        .map(|(name, group)| (name.to_owned(), group)),
    );
    let proportional = Some(Weight::Proportional);
    let members = [
        member("flan_zs", proportional, 2_500),
        member("flan_zs", proportional, 550_000),
        member("flan_fs", proportional, 2_500),
        member("flan_fs", proportional, 550_000),
        member("t0_opt", proportional, 5_000),
        member("t0_opt", proportional, 45_000),
        member("t0_noopt", proportional, 45_000),
        member("niv2", proportional, 5_000_000),
        member("cot", None, 7_473),
        member("dialog", None, 1_000_000),
    ];
    let found = rates(&members, &groups, 1.0).unwrap().concat();
    let wanted = [
        0.2 * 25.0 / 325.0,
        0.2 * 300.0 / 325.0,
        0.2 * 25.0 / 325.0,
        0.2 * 300.0 / 325.0,
        0.032,
        0.128,
        0.16,
        0.2,
        0.05,
        0.03,
    ];
    for (found, wanted) in found.iter().zip(wanted) {
        // Rounding of a few products.
        assert!((found - wanted).abs() < 1e-15, "{found} {wanted}");
    }
}

/// An input-inversion twin at 0.3 against 1, as the CoT and dialog sub-mixes have it, and a temperature.
#[test]
fn numbers_temperatures_and_a_task_for_each_file_by_hand() {
    let groups = BTreeMap::from([("cot".to_owned(), group(1.0, None, None))]);
    let members = [
        member("cot", Some(Weight::Parts(1.0)), 50),
        member("cot", Some(Weight::Parts(0.3)), 999),
        // A folder of two tasks, together three parts of four; 16 and 81 examples at temperature 2.
        Member {
            weight: Some(Weight::Parts(3.0)),
            cap: Some(81),
            group: None,
            examples: vec![16, 900],
        },
    ];
    let found = rates(&members, &groups, 2.0).unwrap().concat();
    let wanted = [0.25 / 1.3, 0.25 * 0.3 / 1.3, 0.75 * 4.0 / 13.0, 0.75 * 9.0 / 13.0];
    for (found, wanted) in found.iter().zip(wanted) {
        assert!((found - wanted).abs() < 1e-15, "{found} {wanted}");
    }
}

#[test]
fn rates_that_add_up_to_zero_are_told_with_their_place() {
    let told = |weights: [f64; 2], group_weight| {
        let groups = BTreeMap::from([("g".to_owned(), group(group_weight, None, None))]);
        let [a, b] = weights.map(|parts| member("g", Some(Weight::Parts(parts)), 5));
        rates(&[a, b], &groups, 1.0).unwrap_err().to_string()
    };
    insta::assert_snapshot!([told([0.0, 0.0], 1.0), told([1.0, 1.0], 0.0)].join("\n\n"));
}

proptest! {
    #[test]
    fn rates_add_up_to_one_and_neighbours_keep_their_proportion(
        sizes in prop::collection::vec((1usize..5000, 0usize..3), 1..30), cap in 1usize..4000,
        temperature in 0.5..4.0f64,
    ) {
        let names = ["a", "b", "c"];
        let groups = BTreeMap::from([
            ("a".to_owned(), group(2.0, None, Some(cap))),
            ("b".to_owned(), GroupConfig { cap: Some(cap), group: Some("a".into()), ..Default::default() }),
            ("c".to_owned(), group(1.0, None, Some(cap))),
        ]);
        let mut members: Vec<_> =
            sizes.iter().map(|(size, of)| member(names[*of], None, *size)).collect();
        // None of the groups is empty.
        members.extend(names.map(|name| member(name, None, 1)));
        let found = rates(&members, &groups, temperature).unwrap().concat();
        prop_assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let parts = |member: &Member| (member.examples[0].min(cap) as f64).powf(1.0 / temperature);
        for (one, rate) in members.iter().zip(&found) {
            for (other, other_rate) in members.iter().zip(&found) {
                if one.group == other.group {
                    let (a, b) = (rate * parts(other), other_rate * parts(one));
                    prop_assert!((a - b).abs() <= 1e-12 * a.max(b), "{a} {b}");
                }
            }
        }
    }
}

/// A model folder with files beside it, and a mixture of them.
pub(crate) struct Room {
    pub(crate) folder: TempDir,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) config: DataConfig,
}

impl Room {
    /// Three tasks: questions with options, few-shot; plain prompts; and a text each in two files.
    pub(crate) fn new() -> Self {
        let folder = Tiny::default().write();
        let write = |name: &str, lines: Vec<String>| {
            std::fs::write(folder.path().join(name), lines.join("\n")).unwrap();
        };
        let question = |number: usize| {
            format!(
                r#"{{"question": "Is {number} odd?", "answer": "{}", "options": ["yes", "no"]}}"#,
                ["no", "yes"][number % 2]
            )
        };
        write("odd.jsonl", (0..40).map(question).collect());
        let prompt = |number| format!(r#"{{"prompt": "P{number} ", "completion": "c{number}"}}"#);
        write("prompts.jsonl", (0..25).map(prompt).collect());
        let text = |number| format!(r#"{{"text": "T{number}"}}"#);
        write("text-1.jsonl", (0..8).map(text).collect());
        write("text-2.jsonl", (8..16).map(text).collect());
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        let at = |name: &str| SourceConfig::new(folder.path().join(name));
        let sources = vec![
            SourceConfig {
                format: Some(Format::Task),
                family: Some("closed_book".into()),
                shots: Shots::Both,
                weight: Some(Weight::Proportional),
                ..at("odd.jsonl")
            },
            SourceConfig { weight: Some(Weight::Parts(30.0)), ..at("prompts.jsonl") },
            SourceConfig { weight: Some(Weight::Parts(10.0)), ..at("text-*.jsonl") },
        ];
        let config = DataConfig {
            template: TemplateChoice::None,
            max_tokens: 2000,
            tokens_per_batch: 2000,
            sources,
            ..DataConfig::default()
        };
        Self { folder, tokenizer, config }
    }

    pub(crate) fn preparation(&self, seed: u64) -> Preparation<'_> {
        let (config, tokenizer) = (&self.config, &self.tokenizer);
        Preparation { config, tokenizer, seed, cache: None, progress: None }
    }

    pub(crate) fn open(&self) -> Mixture {
        Mixture::open(&self.config, 3).unwrap()
    }

    /// What `read` does with the stream from its start.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&mut MixtureStream<'_>) -> T) -> T {
        let (mixture, preparation) = (self.open(), self.preparation(3));
        let encoder = preparation.encoder().unwrap();
        let source = MixtureSource { mixture: &mixture, preparation, encoder: &encoder };
        read(&mut MixtureStream::new(source))
    }

    pub(crate) fn origin(&self, encoded: &Encoded) -> String {
        let origin = &encoded.origin;
        format!("{}:{}", origin.file.file_name().unwrap().to_string_lossy(), origin.line)
    }
}

#[test]
fn a_stream_that_is_resumed_anywhere_goes_on_as_if_it_had_never_stopped() {
    let room = Room::new();
    let whole: Vec<(u64, Batch)> = room.read(|stream| {
        let batch = |_| (stream.position(), stream.batch(usize::MAX).unwrap());
        (0..60).map(batch).collect()
    });
    assert!(whole.iter().all(|(_, batch)| batch.tokens() <= 2000 && !batch.examples.is_empty()));
    // Far beyond one block of draws, and passes over every task.
    assert!(whole[59].0 > 600, "{}", whole[59].0);
    for from in [0, 1, 7, 30, 59] {
        room.read(|stream| {
            stream.seek(whole[from].0);
            for (position, batch) in &whole[from..] {
                assert_eq!(stream.position(), *position);
                assert_eq!(stream.batch(usize::MAX).unwrap(), *batch);
            }
        });
    }
}

#[test]
fn every_pass_over_a_task_has_each_record_once_in_another_order() {
    let room = Room::new();
    let drawn = room.read(|stream| {
        let mut drawn = vec![Vec::new(); 3];
        for _ in 0..400 {
            let (position, example) = stream.example().unwrap();
            let task = stream.mixture().task_at(position);
            assert_eq!(stream.mixture().origin(position).unwrap(), example.origin);
            drawn[task].push(room.origin(&example));
        }
        drawn
    });
    for (drawn, len) in drawn.iter().zip([40, 25, 16]) {
        let passes: Vec<_> = drawn.chunks_exact(len).collect();
        assert!(passes.len() >= 2, "{len}");
        for pass in &passes {
            assert_eq!(pass.iter().collect::<BTreeSet<_>>().len(), len);
        }
        assert_ne!(passes[0], passes[1]);
    }
}

#[test]
fn held_out_examples_are_never_drawn_and_a_count_is_parted_by_the_rates() {
    let mut room = Room::new();
    room.config.held_out = HeldOut::Count(8);
    let dataset = room.preparation(3).run().unwrap();
    let mixture = dataset.mixture.as_ref().unwrap();
    let held_out: Vec<_> = mixture.rates().iter().map(|task| task.held_out).collect();
    // 40, 30 and 10 parts
    assert_eq!(held_out, [4, 3, 1]);
    let held_out: BTreeSet<_> =
        dataset.held_out.iter().map(|example| room.origin(example)).collect();
    assert_eq!(held_out.len(), 8);
    let drawn: BTreeSet<String> =
        room.read(|stream| (0..600).map(|_| room.origin(&stream.example().unwrap().1)).collect());
    assert!(drawn.is_disjoint(&held_out));
    assert_eq!(drawn.len() + held_out.len(), 40 + 25 + 16);
}

#[test]
fn a_task_that_is_held_out_is_measured_whole_with_exemplars_of_its_own_and_never_drawn() {
    let mut room = Room::new();
    let odd = &mut room.config.sources[0];
    (odd.held_out, odd.weight) = (true, None);
    assert!(room.config.validate().is_empty());
    let dataset = room.preparation(3).run().unwrap();
    let rates = dataset.mixture.as_ref().unwrap().rates();
    let found: Vec<_> =
        rates.iter().map(|task| (task.examples, task.held_out, task.rate)).collect();
    assert_eq!(found, [(25, 0, 0.75), (16, 0, 0.25), (0, 40, 0.0)]);
    assert_eq!(dataset.held_out.len(), 40);
    assert!(dataset.held_out.iter().all(|example| room.origin(example).starts_with("odd")));
    let drawn: BTreeSet<String> =
        room.read(|stream| (0..600).map(|_| room.origin(&stream.example().unwrap().1)).collect());
    assert_eq!(drawn.len(), 25 + 16);
    assert!(drawn.iter().all(|origin| !origin.starts_with("odd")));
}

#[test]
fn a_limit_leaves_records_out_and_a_cap_none_whatever_way_the_weight_is_left() {
    let mut room = Room::new();
    room.config.sources[0].cap = Some(10);
    room.config.sources[1].cap = Some(10);
    room.config.sources[1].weight = None;
    room.config.sources[2].limit = Some(5);
    let mixture = room.open();
    let rates = mixture.rates();
    assert_eq!(rates.iter().map(|task| task.examples).collect::<Vec<_>>(), [40, 25, 5]);
    for (found, wanted) in rates.iter().zip([1.0 / 3.0; 3]) {
        assert!((found.rate - wanted).abs() < 1e-15, "{found:?}");
    }
    let drawn: BTreeSet<String> =
        room.read(|stream| (0..600).map(|_| room.origin(&stream.example().unwrap().1)).collect());
    assert_eq!(drawn.len(), 40 + 25 + 5);
    // Where nothing is drawn, a cap cuts.
    for source in &mut room.config.sources {
        source.weight = None;
    }
    assert_eq!(room.preparation(3).run().unwrap().train.len(), 10 + 10 + 5);
}

#[test]
fn a_stream_from_which_nothing_comes_ends_instead_of_being_waited_for() {
    let mut room = Room::new();
    room.config.max_tokens = 2;
    room.config.too_long = TooLong::Drop;
    match room.read(|stream| stream.example()) {
        Err(Error::Dry { tried, found }) => {
            assert!(tried >= 16_384 && found.contains("too long"), "{tried} {found}");
        }
        other => panic!("{other:?}"),
    }
}
