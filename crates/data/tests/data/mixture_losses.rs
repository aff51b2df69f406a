//! What a mixture's user would lose without a word: changed templates, tasks of which nothing is left,
//! records that end a run, overlaps with a test.

use albacore_data::{
    BadRecords, Error, Format, HeldOut, Origin, Overlap, Questions, SourceConfig, TooLong, Weight,
    families,
};

use crate::mixture::Room;
use crate::tasks::write_parquet;

#[test]
fn the_fingerprint_changes_with_the_files_and_with_the_rates() {
    let mut room = Room::new();
    let first = room.open().fingerprint();
    assert_eq!(room.open().fingerprint(), first);
    room.config.sources[1].weight = Some(Weight::Parts(31.0));
    let weighed = room.open().fingerprint();
    assert_ne!(weighed, first);
    let path = room.folder.path().join("text-2.jsonl");
    let text = std::fs::read_to_string(&path).unwrap().replace("T9", "T0");
    std::fs::write(&path, text).unwrap();
    assert_ne!(room.open().fingerprint(), weighed);
}

/// A family of one template.
fn family(input: &str, comment: &str) -> String {
    format!(
        "{comment}\nabout = \"one\"\nfields = [\"question\", \"answer\"]\n[[templates]]\ninput = \"{input}\"\n\
         target = \"{{answer}}\"\n"
    )
}

#[test]
fn the_fingerprint_changes_with_the_words_of_a_template_and_not_with_its_comments() {
    let mut room = Room::new();
    let path = room.folder.path().join("mine.toml");
    room.config.sources[0].family = Some(path.display().to_string());
    let fingerprint = |text: String| {
        std::fs::write(&path, text).unwrap();
        room.open().fingerprint()
    };
    let first = fingerprint(family("{question}", ""));
    assert_eq!(fingerprint(family("{question}", "# Another comment")), first);
    assert_ne!(fingerprint(family("{question} So?", "")), first);
    room.config.sources[0].family = Some("closed_book".into());
    let shipped = room.open().fingerprint();
    room.config.sources[0].family = Some("cot".into());
    assert_ne!(room.open().fingerprint(), shipped);
}

fn told(error: &Error) -> String {
    let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("{error}{hint}")
}

#[test]
fn too_long_records_of_a_mixture_are_counted_before_the_first_step_where_they_are_errors() {
    let mut room = Room::new();
    let long = "x".repeat(150);
    let lines = (0..25).map(|n| match n {
        3 | 20 => format!("{{\"prompt\": \"{long}\", \"completion\": \"{n}\"}}\n"),
        _ => format!("{{\"prompt\": \"{n}\", \"completion\": \"{n}\"}}\n"),
    });
    let path = room.folder.path().join("prompts.jsonl");
    std::fs::write(&path, lines.collect::<String>()).unwrap();
    (room.config.max_tokens, room.config.tokens_per_batch) = (150, 2000);
    room.config.sources.remove(0);
    let preparation = room.preparation(3);
    let dataset = preparation.run().unwrap();
    let mixture = dataset.mixture.as_ref().unwrap();
    assert!(dataset.report.tasks.iter().all(|task| task.task == "prompts" && task.lost > 0));
    let (report, forgiven) = preparation.check(&preparation.encoder().unwrap(), mixture).unwrap();
    assert!(forgiven.is_ok());
    assert_eq!((report.records, report.kept), (25 + 16, 23 + 16));
    assert_eq!((&*report.dropped[0].reason, report.dropped[0].count), ("too long", 2));
    room.config.too_long = TooLong::Error;
    match room.preparation(3).run() {
        Err(Error::TooLong { long, records, shown, .. }) => {
            assert_eq!((long, records), (2, 25 + 16));
            let lines: Vec<_> = shown.iter().map(|(origin, _)| origin.line).collect();
            assert_eq!(lines, [4, 21], "in the order of the file");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_query_beside_which_no_exemplar_fits_is_told_with_what_would_have_to_be_allowed() {
    let mut room = Room::new();
    let path = room.folder.path().join("mine.toml");
    std::fs::write(&path, family("{question}", "")).unwrap();
    let question = |n| format!(r#"{{"question": "{n}{}", "answer": "a"}}"#, "x".repeat(74));
    let lines: Vec<String> = (0..5).map(question).collect();
    std::fs::write(room.folder.path().join("odd.jsonl"), lines.join("\n")).unwrap();
    room.config.sources.truncate(1);
    room.config.sources[0].family = Some(path.display().to_string());
    (room.config.max_tokens, room.config.too_long) = (140, TooLong::Error);
    let wanted = match room.preparation(3).run() {
        Err(Error::TooLong { long, longest, .. }) => {
            assert_eq!(long, 5);
            longest
        }
        other => panic!("{other:?}"),
    };
    // One less is refused, and so many are not for want of room.
    room.config.max_tokens = wanted - 1;
    assert!(room.preparation(3).run().is_err());
    room.config.max_tokens = wanted;
    let kept = room.preparation(3).run().map(|dataset| dataset.train.len());
    assert_eq!(kept.unwrap(), 5);
}

#[test]
fn tasks_of_which_no_example_is_left_are_refused_by_name() {
    let mut room = Room::new();
    let write = |name: &str, lines: Vec<String>| {
        std::fs::write(room.folder.path().join(name), lines.join("\n")).unwrap();
    };
    let long = |n: usize| format!(r#"{{"text": "{}{n}"}}"#, "x".repeat(300 + n));
    write("text-1.jsonl", (0..5).map(long).collect());
    write("text-2.jsonl", Vec::new());
    write("prompts.jsonl", vec![r#"{"prompt": "a", "completion": ""}"#.into(); 3]);
    (room.config.max_tokens, room.config.bad_records) = (250, BadRecords::Drop);
    let refused = room.preparation(3).run().unwrap_err();
    insta::assert_snapshot!(told(&refused), @"
    the task `prompts` has no example left: none of 3 can be used, 3 empty answer
    the task `text-*` has no example left: none of 5 can be used, 5 too long
    hint: take the task out (of several files, with `exclude` of its source)
    hint: set `data.max_tokens` to 303 or more, the tokens of the shortest, or take the task out (of several files, with `exclude` of its source)
    ");
    // One that is only measured on, too.
    let measured = &mut room.config.sources[2];
    (measured.held_out, measured.weight) = (true, None);
    room.config.sources.remove(1);
    room.config.held_out = HeldOut::Count(2);
    insta::assert_snapshot!(told(&room.preparation(3).run().unwrap_err()), @"
    the task `text-*` has no example left: none of 5 can be used, 5 too long
    hint: set `data.max_tokens` to 303 or more, the tokens of the shortest, or take the task out (of several files, with `exclude` of its source)
    ");
}

#[test]
fn a_task_without_an_example_is_refused_outside_a_mixture_too() {
    let mut room = Room::new();
    let folder = room.folder.path().join("tasks");
    std::fs::create_dir(&folder).unwrap();
    let task = |input: &str| {
        format!(
            r#"{{"Definition": ["D."], "Instances": [{{"id": "1", "input": "{input}", "output": ["b"]}}, {{"id": "2", "input": "{input}{input}", "output": ["b"]}}]}}"#
        )
    };
    std::fs::write(folder.join("short.json"), task("a")).unwrap();
    let path = folder.join("long.json");
    std::fs::write(&path, task(&"a".repeat(100))).unwrap();
    let source = SourceConfig { format: Some(Format::SuperNi), ..SourceConfig::new(&folder) };
    (room.config.sources, room.config.max_tokens) = (vec![source], 60);
    let error = room.preparation(3).run().unwrap_err();
    insta::assert_snapshot!(told(&error), @"
    the task `long` has no example left: none of 2 can be used, 2 too long
    hint: set `data.max_tokens` to 107 or more, the tokens of the shortest, or take the task out (of several files, with `exclude` of its source)
    ");
    std::fs::write(&path, task("b")).unwrap();
    assert_eq!(room.preparation(3).run().unwrap().train.len(), 4);
}

#[test]
fn file_order_and_a_cap_of_what_is_never_drawn_are_refused_in_a_mixture() {
    let mut room = Room::new();
    room.config.shuffle = false;
    let odd = &mut room.config.sources[0];
    (odd.held_out, odd.weight, odd.cap) = (true, None, Some(3));
    let problems = room.config.validate();
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(told.join("\n"), @"
    `data.shuffle` is false, and the data are a mixture, whose tasks are drawn
    hint: leave it out; without `weight` and `[data.groups]`, every epoch is in file order
    `data.sources[0].cap` is set, and nothing of the source is drawn: in a mixture a cap is for the rates alone
    hint: `limit` says how many of its records are measured on
    ");
    for source in &mut room.config.sources {
        source.weight = None;
    }
    assert!(room.config.validate().is_empty(), "both mean something without weights");
}

#[test]
fn what_each_rule_takes_out_is_counted_in_a_mixture_and_outside() {
    let mut room = Room::new();
    let task = |category: &str| {
        format!(
            r#"{{"Definition": ["D."], "Categories": ["{category}"], "Instances": [{{"id": "1", "input": "a", "output": ["b"]}}]}}"#
        )
    };
    let folder = room.folder.path().join("tasks");
    std::fs::create_dir(&folder).unwrap();
    for (name, category) in [("task1_a", "A"), ("task2_b", "B"), ("task3_b", "B"), ("task4_c", "C")]
    {
        std::fs::write(folder.join(format!("{name}.json")), task(category)).unwrap();
    }
    let source = SourceConfig {
        format: Some(Format::SuperNi),
        exclude: ["task[12]_*", "task2_b", "task9*"].map(String::from).to_vec(),
        exclude_categories: ["B", "Bee"].map(String::from).to_vec(),
        ..SourceConfig::new(folder)
    };
    room.config.sources.push(source);
    let counts = |room: &Room| {
        let excluded = room.preparation(3).run().unwrap().excluded;
        excluded.into_iter().map(|of| (of.rule, of.files)).collect::<Vec<_>>()
    };
    let wanted = [("task[12]_*", 2), ("task2_b", 0), ("task9*", 0), ("B", 1), ("Bee", 0)];
    let wanted = wanted.map(|(rule, files)| (rule.to_owned(), files));
    assert_eq!(counts(&room), wanted);
    for source in &mut room.config.sources {
        source.weight = None;
    }
    assert_eq!(counts(&room), wanted);
}

#[test]
fn every_shipped_family_is_listed_with_its_fields() {
    let families = families();
    let nli = families.iter().find(|family| family.name == "nli").unwrap();
    assert!(
        ["premise", "hypothesis", "answer"]
            .iter()
            .all(|field| nli.fields.iter().any(|f| f == field))
    );
    assert!(nli.templates >= 10 && families.len() >= 14);
    assert!(families.iter().all(|family| !family.about.is_empty() && !family.fields.is_empty()));
}

#[test]
fn records_that_share_thirteen_words_with_a_test_are_counted() {
    let mut room = Room::new();
    let long = "one two three four five six seven eight nine ten eleven twelve thirteen";
    let records = format!(
        "{{\"prompt\": \"So {long} fourteen\", \"completion\": \"x\"}}\n{{\"prompt\": \"one two\", \"completion\": \"{long}\"}}\n{{\"prompt\": \"one two three\", \"completion\": \"four\"}}\n"
    );
    std::fs::write(room.folder.path().join("prompts.jsonl"), records).unwrap();
    let test = room.folder.path().join("test.json");
    std::fs::write(
        &test,
        format!("{{\"examples\": [{{\"input\": \"{}!\"}}]}}", long.to_uppercase()),
    )
    .unwrap();
    room.config.sources.truncate(2);
    let overlap = Overlap::of_files(&[test]).unwrap();
    let found = overlap.with(&room.open()).unwrap();
    let counts: Vec<_> = found.iter().map(|task| (task.records, task.overlapping)).collect();
    assert_eq!(counts, [(40, 0), (3, 2)]);
    let lines: Vec<_> = found[1].first.iter().map(|origin| origin.line).collect();
    assert_eq!(lines, [1, 2]);
}

const LONG: &str = "one two three four five six seven eight nine ten eleven twelve thirteen";

#[test]
fn a_test_in_parquet_overlaps_as_its_lines_do_and_what_has_no_run_is_named() {
    let mut room = Room::new();
    let here = |name: &str| room.folder.path().join(name);
    std::fs::write(
        here("prompts.jsonl"),
        format!("{{\"prompt\": \"{LONG}\", \"completion\": \"x\"}}\n"),
    )
    .unwrap();
    write_parquet(&here("test.parquet"), &[(LONG.into(), "y".into())], 1);
    // By its first bytes alone, too.
    std::fs::copy(here("test.parquet"), here("renamed.bin")).unwrap();
    std::fs::write(here("short.txt"), "one two three\n").unwrap();
    let paths = ["test.parquet", "renamed.bin", "short.txt"].map(here);
    std::fs::write(here("packed.gz"), [0x1f, 0x8b, 8, 0, 0]).unwrap();
    let packed = Overlap::of_files(&[here("packed.gz")]).unwrap_err();
    assert!(matches!(packed, Error::NoText { .. }), "{packed}");
    room.config.sources = vec![room.config.sources[1].clone()];
    for path in &paths[..2] {
        let overlap = Overlap::of_files(std::slice::from_ref(path)).unwrap();
        assert!(overlap.without_runs().is_empty());
        let found = &overlap.with(&room.open()).unwrap()[0];
        assert_eq!((found.records, found.overlapping), (1, 1), "{}", path.display());
    }
    // As training files they are read by the same reader.
    let mut questions = Questions::default();
    questions.add(7, LONG);
    let found = questions.find_in(&paths);
    assert_eq!(found.first, [(7, Origin::new(&paths[0], 1))].into());
    assert_eq!(questions.find_in(&paths[1..]).first[&7], Origin::new(&paths[1], 1));
    assert_eq!((found.records, found.without), (3, vec![paths[2].clone()]));
    let overlap = Overlap::of_files(&paths).unwrap();
    assert_eq!(overlap.without_runs(), [paths[2].clone()]);
}

#[test]
fn a_definition_or_an_example_of_super_ni_that_is_the_test_is_in_every_record() {
    let mut room = Room::new();
    let task = |definition: &str, example: &str, input: &str| {
        format!(
            r#"{{"Definition": ["{definition}"], "Positive Examples": [{{"input": "a", "output": "b", "explanation": "{example}"}}], "Instances": [{{"id": "1", "input": "{input}", "output": ["x"]}}, {{"id": "2", "input": "y", "output": ["z"]}}]}}"#
        )
    };
    let folder = room.folder.path().join("tasks");
    std::fs::create_dir(&folder).unwrap();
    let tasks = [
        ("a", [LONG, "e", "i"]),
        ("b", ["d", LONG, LONG]),
        ("c", ["d", "e", LONG]),
        ("d", ["d", "e", "i"]),
    ];
    for (name, [definition, example, input]) in tasks {
        let text = task(definition, example, input);
        std::fs::write(folder.join(format!("{name}.json")), text).unwrap();
    }
    let test = room.folder.path().join("test.txt");
    std::fs::write(&test, LONG).unwrap();
    let source = SourceConfig { format: Some(Format::SuperNi), ..SourceConfig::new(folder) };
    room.config.sources = vec![SourceConfig { weight: room.config.sources[0].weight, ..source }];
    let found = Overlap::of_files(&[test]).unwrap().with(&room.open()).unwrap();
    let found: Vec<_> =
        found.iter().map(|task| (task.overlapping, task.own, task.shared.join(", "))).collect();
    let wanted = [(2, 0, "definition"), (2, 1, "positive example 1"), (1, 1, ""), (0, 0, "")];
    assert_eq!(found, wanted.map(|(all, own, shared)| (all, own, shared.to_owned())));
}
