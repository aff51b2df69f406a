//! Whole datasets.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use albacore_data::{
    BadRecords, DataConfig, Dataset, Error, HeldOut, Learn, Preparation, Result, SourceConfig,
    TemplateChoice, Tokenizer, TooLong,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::tiny::Tiny;

/// A model folder with files of records beside it.
struct Room {
    folder: TempDir,
    tokenizer: Tokenizer,
    config: DataConfig,
}

impl Room {
    /// One source with prompts of the given lengths: an example has three tokens more.
    fn new(prompts: &[&str]) -> Self {
        let folder = Tiny::default().write();
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        let config = DataConfig { template: TemplateChoice::None, ..DataConfig::default() };
        let mut room = Self { folder, tokenizer, config };
        room.add("a.jsonl", prompts);
        room
    }

    fn add(&mut self, name: &str, prompts: &[&str]) -> &mut SourceConfig {
        let lines = prompts
            .iter()
            .map(|prompt| format!("{{\"prompt\": \"{prompt}\", \"completion\": \"x\"}}\n"));
        let path = self.folder.path().join(name);
        std::fs::write(&path, lines.collect::<String>()).unwrap();
        self.config.sources.push(SourceConfig::new(path));
        self.config.sources.last_mut().unwrap()
    }

    fn prepare(&self, seed: u64, cache: Option<&Path>) -> Result<Dataset> {
        let (config, tokenizer, progress) = (&self.config, &self.tokenizer, None);
        Preparation { config, tokenizer, seed, cache, progress }.run()
    }

    fn run(&self) -> Dataset {
        self.prepare(0, None).unwrap()
    }
}

fn lines(examples: &[std::sync::Arc<albacore_data::Encoded>]) -> Vec<u32> {
    examples.iter().map(|example| example.origin.line).collect()
}

const TEN: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

#[test]
fn examples_are_counted_in_file_order() {
    let mut room = Room::new(&["one", "three"]);
    room.add("b.jsonl", &["a"]).repeat = 2;
    let Dataset { train, report, .. } = room.run();
    assert_eq!(lines(&train), [1, 2, 1, 1]);
    assert_eq!((report.records, report.kept, report.train, report.held_out), (3, 3, 4, 0));
    // BOS, the prompt, `x` and EOS; the last two are learned
    assert_eq!((report.tokens, report.supervised_tokens), (6 + 8 + 4 + 4, 8));
    assert_eq!((report.longest, report.longest_origin.unwrap().line), (8, 2));
    assert!(report.dropped.is_empty() && report.truncated.is_none());
}

#[test]
fn what_is_too_long_is_dropped_cut_or_refused() {
    let mut room = Room::new(&["a", "abcd", "abcdefgh"]);
    room.config.max_tokens = 6;
    let report = room.run().report;
    let dropped = &report.dropped[0];
    assert_eq!((report.kept, dropped.reason.as_str(), dropped.count), (1, "too long", 2));
    assert_eq!(dropped.first[0].line, 2);

    room.config.too_long = TooLong::Truncate;
    let Dataset { train, report, .. } = room.run();
    // of `abcd` the answer is left but not its end, of `abcdefgh` nothing that is learned
    assert_eq!((lines(&train), report.truncated.unwrap().count), (vec![1, 2], 1));
    assert_eq!((train[1].len(), train[1].supervised()), (6, 1));
    assert_eq!(report.dropped[0].reason, "truncated before anything learned");

    room.config.too_long = TooLong::Error;
    let error = room.prepare(0, None).unwrap_err();
    let text = error.to_string().replace(&format!("{}/", room.folder.path().display()), "");
    insta::assert_snapshot!(format!("{text}\nhint: {}", error.hint().unwrap()), @r#"
    2 of 3 records are longer than `data.max_tokens` = 6
      a.jsonl:2: 7 tokens
      a.jsonl:3: 11 tokens
    hint: set `data.max_tokens = 11` or more, or `data.too_long` to `"drop"` or `"truncate"`
    "#);
}

#[test]
fn bad_records_can_be_left_out_and_are_counted() {
    let mut room = Room::new(&["a"]);
    let path = room.folder.path().join("a.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text + "{\n{\"prompt\": \"b\"}\n").unwrap();
    assert!(matches!(room.prepare(0, None), Err(Error::BadRecords { bad: 2, records: 3, .. })));
    room.config.bad_records = BadRecords::Drop;
    let report = room.run().report;
    let dropped = report.dropped.iter().map(|dropped| (dropped.reason.as_str(), dropped.count));
    assert_eq!(dropped.collect::<Vec<_>>(), [("malformed JSON", 1), ("missing field", 1)]);
    room.config.learn = Learn::Role("tool".into());
    let error = room.prepare(0, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no record is left to train on: 1 malformed JSON, 1 missing field, 1 nothing to learn"
    );
    assert!(error.hint().unwrap().contains("`fields = {"), "{error:?}");
}

#[test]
fn when_no_record_is_left_the_hint_names_the_setting_that_took_them() {
    let mut room = Room::new(&["a", "bbb"]);
    let told = |room: &Room| {
        let error = room.prepare(0, None).unwrap_err();
        format!("{error}\nhint: {}", error.hint().unwrap())
            .replace(&format!("{}/", room.folder.path().display()), "")
    };
    room.config.max_tokens = 2;
    insta::assert_snapshot!(told(&room), @r#"
    no record is left to train on: 2 too long; the longest has 6 tokens, `data.max_tokens` is 2
    hint: set `data.max_tokens = 6` or more, or `data.too_long = "truncate"`
    "#);
    room.config.too_long = TooLong::Truncate;
    insta::assert_snapshot!(told(&room), @"
    no record is left to train on: 2 truncated before anything learned; the longest has 6 tokens, `data.max_tokens` is 2
    hint: set `data.max_tokens = 6` or more
    ");
    room.config.learn = Learn::Role("tool".into());
    let hint = "hint: `data.learn` says what is learned: `\"answers\"`, `\"last\"`, `\"all\"` or \
                `\"role:NAME\"`, the name of a role in the records";
    let text = told(&room);
    assert!(text.starts_with("2 of 2 records cannot be used\n") && text.ends_with(hint), "{text}");
    room.config.bad_records = BadRecords::Drop;
    let wanted = format!("no record is left to train on: 2 nothing to learn\n{hint}");
    assert_eq!(told(&room), wanted);
}

#[test]
fn a_cap_takes_so_many_by_seed_in_file_order() {
    let mut room = Room::new(&TEN);
    room.config.sources[0].cap = Some(4);
    let chosen = |seed| lines(&room.prepare(seed, None).unwrap().train);
    assert_eq!(chosen(1).len(), 4);
    assert!(chosen(1).is_sorted());
    assert_eq!(chosen(1), chosen(1));
    assert!((2..9).any(|seed| chosen(seed) != chosen(1)));
}

#[test]
fn the_held_out_examples_are_exactly_so_many_and_not_trained_on() {
    let mut room = Room::new(&TEN);
    room.config.sources[0].repeat = 3;
    for (held_out, count) in
        [(HeldOut::Count(3), 3), (HeldOut::Share(0.25), 3), (HeldOut::Share(0.01), 1)]
    {
        room.config.held_out = held_out;
        let Dataset { train, held_out, report, .. } = room.run();
        assert_eq!((held_out.len(), train.len()), (count, 3 * (10 - count)));
        assert_eq!((report.held_out, report.train), (held_out.len(), train.len()));
        assert!(lines(&held_out).iter().all(|line| !lines(&train).contains(line)));
    }
    room.config.held_out = HeldOut::Count(10);
    assert!(matches!(room.prepare(0, None), Err(Error::HeldOut { wanted: 10, found: 10 })));
}

#[test]
fn a_source_that_is_held_out_is_measured_whole_and_never_trained_on() {
    let mut room = Room::new(&TEN);
    room.add("b.jsonl", &["k", "l", "m"]).held_out = true;
    for (held_out, of_a) in [(0, 0), (2, 2)] {
        room.config.held_out = HeldOut::Count(held_out);
        let Dataset { train, held_out, report, .. } = room.run();
        assert_eq!((train.len(), held_out.len()), (10 - of_a, of_a + 3));
        assert_eq!((report.train, report.held_out, report.kept), (10 - of_a, of_a + 3, 13));
        let of_b = |example: &&std::sync::Arc<albacore_data::Encoded>| {
            example.origin.file.file_name().unwrap() == "b.jsonl"
        };
        assert_eq!(held_out.iter().filter(of_b).count(), 3);
        assert_eq!(train.iter().filter(of_b).count(), 0);
    }
    let twice = room.config.sources[0].clone();
    room.config.sources.push(SourceConfig { held_out: true, ..twice });
    let message = "is set, and another source trains on the same file";
    assert_eq!(room.config.validate()[0].message, message);
    room.config.sources.pop();
    room.config.sources[0].held_out = true;
    assert_eq!(room.config.validate()[0].message, "are all held out, wanted one to train on");
    room.config.sources[0].held_out = false;
    room.config.sources[1].repeat = 2;
    assert_eq!(room.config.validate()[0].key, "data.sources[1].held_out");
}

#[test]
fn equal_prompts_stay_on_one_side() {
    let mut room = Room::new(&["a", "b", "a", "b", "c", "d", "a", "e"]);
    room.config.held_out = HeldOut::Count(3);
    for seed in 0..20 {
        let Dataset { train, held_out, .. } = room.prepare(seed, None).unwrap();
        assert_eq!(held_out.len(), 3);
        let both =
            held_out.iter().filter(|one| train.iter().any(|other| one.prompt() == other.prompt()));
        assert_eq!(both.count(), 0, "seed {seed}");
    }
    // unless there is no other way to reach the count
    let mut room = Room::new(&["a", "a", "b", "b"]);
    room.config.held_out = HeldOut::Count(1);
    assert_eq!(room.run().held_out.len(), 1);
}

#[test]
fn what_is_held_out_by_default_is_frozen() {
    // The losses of two releases are those of the same examples.
    let mut room = Room::new(&["a", "b", "a", "c", "b", "d", "e", "f", "g", "a"]);
    room.config.held_out = HeldOut::Count(4);
    let held_out = |seed| lines(&room.prepare(seed, None).unwrap().held_out);
    assert_eq!([0, 1, 2].map(held_out), [[4, 6, 8, 9], [2, 5, 7, 9], [1, 3, 7, 10]]);
}

#[test]
fn a_group_that_must_be_divided_is_divided_at_random() {
    let mut room = Room::new(&["a"; 40]);
    room.config.held_out = HeldOut::Count(10);
    let held_out = |seed| lines(&room.prepare(seed, None).unwrap().held_out);
    assert_eq!(held_out(0), held_out(0));
    assert_ne!(held_out(0), held_out(1));
    // 5 of the 10 lie in the first half of the file, with a standard deviation of 1.4
    for seed in 0..5 {
        let first_half = held_out(seed).iter().filter(|line| **line <= 20).count();
        assert!((1..10).contains(&first_half), "seed {seed}: {first_half}");
    }
}

#[test]
fn equal_questions_stay_on_one_side_whatever_is_learned() {
    let mut room = Room::new(&[]);
    room.config.held_out = HeldOut::Count(4);
    let file = room.config.sources[0].path.clone();
    // Every question has two answers, one a line.
    let questions =
        || ["a", "b", "c", "d", "e", "f"].into_iter().flat_map(|one| [(one, 1), (one, 2)]);
    let pair = |(question, answer)| {
        format!("{{\"prompt\": \"{question}\", \"completion\": \"{answer}\"}}\n")
    };
    let conversation = |(question, answer): (&str, i32)| {
        let message = |role: &str, text: String| json!({"role": role, "content": text});
        let messages = [
            message("system", "Be brief.".into()),
            message("user", question.to_owned()),
            message("assistant", format!("{answer}")),
        ];
        json!({"messages": messages}).to_string() + "\n"
    };
    for (template, text, more) in [
        (TemplateChoice::None, questions().map(pair).collect::<String>(), None),
        (TemplateChoice::Chat, questions().map(conversation).collect(), Some("role:system")),
    ] {
        room.config.template = template;
        std::fs::write(&file, text).unwrap();
        let mut held_out = |learn: &str, seed| {
            room.config.learn = serde_json::from_value(learn.into()).unwrap();
            lines(&room.prepare(seed, None).unwrap().held_out)
        };
        for seed in 0..5 {
            let chosen = held_out("answers", seed);
            assert!(chosen.as_chunks().0.iter().all(|[one, two]| one % 2 == 1 && *two == one + 1));
            for learn in ["last", "all", "role:user", "role:assistant"].into_iter().chain(more) {
                assert_eq!(held_out(learn, seed), chosen, "{learn}");
            }
        }
    }
}

#[test]
fn the_fingerprint_sees_ids_and_masks() {
    let mut room = Room::new(&["a", "b"]);
    let before = room.run().fingerprint;
    assert_eq!((before.len(), room.run().fingerprint), (64, before.clone()));
    room.config.learn = Learn::All;
    assert_ne!(room.run().fingerprint, before);
    assert_ne!(Room::new(&["b", "a"]).run().fingerprint, before);
}

#[test]
fn the_cache_gives_the_same_dataset_and_sees_every_change() {
    let mut room = Room::new(&TEN);
    room.config.sources[0].repeat = 2;
    let cache = room.folder.path().join("cache");
    let files = || std::fs::read_dir(&cache).unwrap().count();
    let first = room.prepare(0, Some(&cache)).unwrap();
    assert!(!first.from_cache && first.cache_failure.is_none());
    let second = room.prepare(0, Some(&cache)).unwrap();
    assert!(second.from_cache);
    assert_eq!((&second.train, &second.report), (&first.train, &first.report));
    assert_eq!(second.fingerprint, first.fingerprint);
    // what is only used later does not matter
    room.config.held_out = HeldOut::Count(2);
    assert!(room.prepare(7, Some(&cache)).unwrap().from_cache);
    assert_eq!(files(), 1);
    room.config.learn = Learn::All;
    assert!(!room.prepare(0, Some(&cache)).unwrap().from_cache);
    room.config.learn = Learn::Answers;
    let path = room.config.sources[0].path.clone();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"x\"", "\"y\"")).unwrap();
    let changed = room.prepare(0, Some(&cache)).unwrap();
    assert!(!changed.from_cache);
    assert_ne!(changed.fingerprint, first.fingerprint);
}

#[test]
fn another_encoding_needs_another_revision() {
    let mut room = Room::new(&["a", " b"]);
    let cache = room.folder.path().join("cache");
    let mut write = |name: &str, text: &str| {
        let path = room.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        room.config.sources.push(SourceConfig::new(path));
    };
    write("b.jsonl", r#"{"instruction": "Add.", "input": "1 2", "output": "3\n"}"#);
    write("c.jsonl", r#"{"text": "plain"}"#);
    write("d.jsonl", r#"{"input_ids": [7, 8, 9], "labels": [-100, 8, -100]}"#);
    write(
        "e.jsonl",
        r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"},
            {"role": "assistant", "content": "b"}]}"#
            .replace('\n', "")
            .as_str(),
    );
    let mut hash = Sha256::new();
    for (template, sources) in
        [(TemplateChoice::Chat, 5), (TemplateChoice::Alpaca, 4), (TemplateChoice::None, 4)]
    {
        room.config.template = template;
        room.config.sources.truncate(sources);
        for learn in ["answers", "last", "all", "role:user"] {
            room.config.learn = serde_json::from_value(learn.into()).unwrap();
            for example in room.prepare(0, Some(&cache)).unwrap().train {
                hash.update(format!("{:?}", (&example.ids, &example.learned, &example.reasons)));
            }
        }
    }
    let files = std::fs::read_dir(&cache).unwrap();
    let name = files.last().unwrap().unwrap().file_name().into_string().unwrap();
    let revision = name.split('-').nth(1).unwrap();
    let hash: String = hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    // If the encoding changed, raise `REVISION` in `encode.rs`: the caches of users hold the old one.
    assert_eq!((revision, hash.as_str()), ("1", "abbf334716f466f7"));
}

/// A file that says something else whenever it is read: what is read is not what the cache is named
/// by.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_changes_between_two_readings_is_not_cached() {
    let mut room = Room::new(&TEN);
    room.config.sources.push(SourceConfig::new("/proc/sys/kernel/random/uuid"));
    room.config.bad_records = BadRecords::Drop;
    let cache = room.folder.path().join("cache");
    let dataset = room.prepare(0, Some(&cache)).unwrap();
    assert_eq!((dataset.report.records, dataset.report.kept), (11, 10));
    insta::assert_snapshot!(dataset.cache_failure.unwrap(), @"`/proc/sys/kernel/random/uuid` changed while it was read");
    assert!(!cache.exists());
}

#[test]
fn a_damaged_cache_is_made_again() {
    let room = Room::new(&TEN);
    let cache = room.folder.path().join("cache");
    let whole = room.prepare(0, Some(&cache)).unwrap().fingerprint;
    let path = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&path).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for damaged in [&bytes[..bytes.len() - 1], &bytes[..20], &[], &flipped] {
        std::fs::write(&path, damaged).unwrap();
        let dataset = room.prepare(0, Some(&cache)).unwrap();
        assert_eq!((dataset.from_cache, &dataset.fingerprint), (false, &whole));
    }
    assert!(room.prepare(0, Some(&cache)).unwrap().from_cache);
    // a place that cannot be written to is told, and stops nothing
    let dataset = room.prepare(0, Some(&room.config.sources[0].path)).unwrap();
    assert!(dataset.cache_failure.is_some());
}

#[test]
fn progress_reaches_the_end() {
    let room = Room::new(&TEN);
    let seen = AtomicUsize::new(0);
    let note = |progress: albacore_data::Progress| {
        assert_eq!(progress.total, 10);
        seen.fetch_max(progress.done, Ordering::Relaxed);
    };
    let (config, tokenizer) = (&room.config, &room.tokenizer);
    Preparation { config, tokenizer, seed: 0, cache: None, progress: Some(&note) }.run().unwrap();
    assert_eq!(seen.into_inner(), 10);
}
