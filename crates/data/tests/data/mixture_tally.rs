//! How a mixture's losses are counted, and where one of them ends a stream.

use albacore_data::{BadRecords, Error, HeldOut, MixtureStream, SourceConfig, TooLong};

use crate::mixture::Room;
use crate::tasks::write_parquet;

#[test]
fn a_stream_gives_every_example_before_the_record_that_ends_it_wherever_it_begins() {
    let mut room = Room::new();
    let long = "x".repeat(150);
    let line = |n| match n {
        20 => format!("{{\"prompt\": \"{long}\", \"completion\": \"{n}\"}}\n"),
        _ => format!("{{\"prompt\": \"{n}\", \"completion\": \"{n}\"}}\n"),
    };
    std::fs::write(room.folder.path().join("prompts.jsonl"), (0..25).map(line).collect::<String>())
        .unwrap();
    (room.config.max_tokens, room.config.tokens_per_batch) = (150, 150);
    room.config.sources.remove(0);
    let of_example =
        |stream: &mut MixtureStream<'_>| stream.example().map(|(position, _)| position);
    let drawn: Vec<u64> =
        room.read(|stream| (0..300).map(|_| of_example(stream).unwrap()).collect());
    let left_out = (0..).zip(&drawn).find(|(place, position)| place != *position).unwrap().0;
    assert!((5..250).contains(&left_out), "in the middle of a block: {left_out}");
    room.config.too_long = TooLong::Error;
    for from in [0, left_out / 2, left_out] {
        room.read(|stream| {
            stream.seek(from);
            for position in from..left_out {
                assert_eq!(of_example(stream).unwrap(), position);
            }
            assert!(matches!(of_example(stream), Err(Error::TooLong { long: 1, .. })), "{from}");
            assert_eq!(stream.position(), left_out);
        });
    }
    // Of batches, all that end before it: one that may have had room for it is not cut short.
    let ends = |stream: &mut MixtureStream<'_>| -> Vec<u64> {
        let next = || stream.batch(3).ok().map(|_| stream.position());
        std::iter::from_fn(next).take(100).collect()
    };
    room.config.max_tokens = 2000;
    room.config.tokens_per_batch = 2000;
    let all = room.read(ends);
    room.config.max_tokens = 150;
    let before: Vec<u64> = all.into_iter().filter(|end| *end <= left_out).collect();
    assert!(before.len() > 1);
    assert_eq!(room.read(ends), before);
}

#[test]
fn a_check_counts_all_that_is_lost_by_reason_and_task_and_refuses_what_the_config_does() {
    let mut room = Room::new();
    let write = |name: &str, lines: Vec<String>| {
        std::fs::write(room.folder.path().join(name), lines.join("\n")).unwrap();
    };
    let long = "x".repeat(300);
    write(
        "prompts.jsonl",
        (1..=60)
            .map(|n| match n {
                1..=30 => r#"{"prompt": "a", "completion": ""}"#.to_owned(),
                31..=50 => format!(r#"{{"prompt": "{long}{}", "completion": "b"}}"#, "x".repeat(n)),
                _ => r#"{"prompt": "a", "completion": "b"}"#.to_owned(),
            })
            .collect(),
    );
    write("text-2.jsonl", vec![r#"{"text": 7}"#.into(), r#"{"text": "a"}"#.into()]);
    (room.config.max_tokens, room.config.bad_records) = (250, BadRecords::Drop);
    room.config.sources.remove(0);
    let mixture = room.open();
    let check = |room: &Room| {
        let preparation = room.preparation(3);
        preparation.check(&preparation.encoder().unwrap(), &mixture).unwrap()
    };
    let (report, forgiven) = check(&room);
    assert!(forgiven.is_ok(), "{forgiven:?}");
    assert_eq!((report.records, report.kept), (60 + 8 + 2, 10 + 8 + 1));
    let lost = report.dropped.iter().map(|of| (&*of.reason, of.count, of.first[0].line));
    let wanted = [("empty answer", 30, 1), ("too long", 20, 31), ("wrong type", 1, 1)];
    assert_eq!(lost.collect::<Vec<_>>(), wanted);
    let lines: Vec<_> = report.dropped[0].first.iter().map(|origin| origin.line).collect();
    assert_eq!(lines, (1..=10).collect::<Vec<_>>(), "the first, in the order of the file");
    let tasks = report.tasks.iter().map(|of| (&*of.task, of.drawn, of.lost));
    assert_eq!(tasks.collect::<Vec<_>>(), [("prompts", 60, 50), ("text-*", 10, 1)]);
    room.config.bad_records = BadRecords::Error;
    let (told, refused) = check(&room);
    assert_eq!(told, report);
    assert!(
        matches!(&refused, Err(Error::BadRecords { bad: 31, records: 70, shown })
        if shown.len() == 10),
        "{refused:?}"
    );
    (room.config.bad_records, room.config.too_long) = (BadRecords::Drop, TooLong::Error);
    let wanted = room.config.max_tokens;
    match check(&room).1 {
        Err(Error::TooLong { long: 20, records: 70, max_tokens, longest, shown }) => {
            assert_eq!((max_tokens, shown.len()), (wanted, 10));
            // The longest is not among those that are shown.
            assert!(longest >= 350 && shown.iter().all(|(_, tokens)| *tokens < longest));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_left_out_of_held_out_examples_and_of_those_trained_on_is_told_once() {
    let mut room = Room::new();
    let long = "x".repeat(300);
    let line = |n: usize| match n % 2 {
        0 => format!(r#"{{"prompt": "{long}{n}", "completion": "b"}}"#),
        _ => r#"{"prompt": "a", "completion": "b"}"#.to_owned(),
    };
    let lines: Vec<_> = (0..80).map(line).collect();
    std::fs::write(room.folder.path().join("prompts.jsonl"), lines.join("\n")).unwrap();
    (room.config.max_tokens, room.config.held_out) = (250, HeldOut::Count(20));
    room.config.sources = vec![room.config.sources[1].clone()];
    let dataset = room.preparation(3).run().unwrap();
    let report = dataset.report;
    // Of the held-out records some are too long, and so are some of those that are drawn.
    assert!(dataset.held_out.len() < 20 && report.tasks[0].lost > 0);
    let [lost] = &report.dropped[..] else { panic!("{:?}", report.dropped) };
    assert_eq!(lost.count, 20 - dataset.held_out.len() + report.tasks[0].lost);
    assert_eq!((lost.first.len(), report.records), (10, report.kept + lost.count));
}

#[test]
fn tasks_in_parquet_whose_last_rows_are_held_out_are_named() {
    let mut room = Room::new();
    let rows: Vec<_> = (0..10).map(|n| (format!("P{n} "), format!("c{n}"))).collect();
    write_parquet(&room.folder.path().join("rows.parquet"), &rows, 4);
    let path = room.folder.path().join("rows.parquet");
    room.config.sources = vec![
        room.config.sources[1].clone(),
        SourceConfig { weight: room.config.sources[1].weight, ..SourceConfig::new(path) },
    ];
    let named = |room: &Room| -> Vec<String> {
        room.open().held_out_last().map(|task| task.name().to_owned()).collect()
    };
    assert!(named(&room).is_empty());
    room.config.held_out = HeldOut::Count(6);
    assert_eq!(named(&room), ["rows"]);
    let held_out = room.preparation(3).run().unwrap().held_out;
    let lines = held_out.iter().map(|example| room.origin(example));
    assert_eq!(
        lines.filter(|at| at.starts_with("rows")).collect::<Vec<_>>(),
        ["rows.parquet:8", "rows.parquet:9", "rows.parquet:10"]
    );
    // What is held out whole is measured as it is.
    let whole = &mut room.config.sources[1];
    (whole.held_out, whole.weight) = (true, None);
    assert!(named(&room).is_empty());
}
