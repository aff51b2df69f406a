//! What is held out stays held out, whatever path leads to a file and however many sources have it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use albacore_data::{
    DataConfig, Dataset, Error, Format, HeldOut, Mixture, Result, Shots, SourceConfig, Weight,
};

use crate::mixture::Room;
use crate::tasks::write_parquet;

/// A folder with three tasks of four records, in a room.
fn three_tasks(room: &Room) -> PathBuf {
    let folder = room.folder.path().join("tasks");
    std::fs::create_dir(&folder).unwrap();
    for task in ["t1", "t2", "t3"] {
        let line = |n| format!("{{\"prompt\": \"{task} {n}\", \"completion\": \"c\"}}\n");
        std::fs::write(
            folder.join(task).with_extension("jsonl"),
            (0..4).map(line).collect::<String>(),
        )
        .unwrap();
    }
    folder
}

fn each(path: impl AsRef<Path>, weight: Option<Weight>) -> SourceConfig {
    SourceConfig { task_each: Some(true), weight, ..SourceConfig::new(path.as_ref()) }
}

fn held(path: impl AsRef<Path>) -> SourceConfig {
    SourceConfig { held_out: true, ..SourceConfig::new(path.as_ref()) }
}

#[test]
fn a_file_that_is_held_out_is_trained_on_by_no_path() {
    let mut room = Room::new();
    let tasks = three_tasks(&room);
    let link = room.folder.path().join("link.jsonl");
    std::os::unix::fs::symlink(tasks.join("t1.jsonl"), &link).unwrap();
    let other_spelling = tasks.join("../tasks/t1.jsonl");
    let t1 = tasks.join("t1.jsonl");
    let pairs = [
        (tasks.clone(), t1.clone()),
        (tasks.join("t*.jsonl"), t1.clone()),
        (tasks.clone(), link.clone()),
        (t1.clone(), link),
        (other_spelling, t1.clone()),
        (t1.clone(), tasks.clone()),
    ];
    let here = room.folder.path().display().to_string();
    let cache = tempfile::tempdir().unwrap();
    let mut told = BTreeSet::new();
    for (trained, held_out) in pairs {
        // Of a mixture, and of epochs; there with tasks of their own and as parts of one.
        for source in [
            each(&trained, Some(Weight::Proportional)),
            each(&trained, None),
            SourceConfig::new(&trained),
        ] {
            room.config.sources = vec![source, held(&held_out)];
            assert!(room.config.validate().is_empty());
            let mut preparation = room.preparation(3);
            preparation.cache = Some(cache.path());
            let error = preparation.run().unwrap_err();
            let hint = error.hint().unwrap();
            told.insert(format!("{error}\nhint: {hint}").replace(&here, "HERE"));
        }
    }
    let told: Vec<_> = told.into_iter().collect();
    insta::assert_snapshot!(told.join("\n\n"));

    for weight in [Some(Weight::Proportional), None] {
        let without = SourceConfig { exclude: vec!["t1".into()], ..each(&tasks, weight) };
        room.config.sources = vec![without, held(&t1)];
        let Dataset { train, held_out, .. } = room.preparation(3).run().unwrap();
        assert_eq!((train.len(), held_out.len()), (8, 4));
        let only = SourceConfig {
            exclude: vec!["t2".into(), "t3".into()],
            task_each: Some(true),
            ..held(&tasks)
        };
        room.config.sources[1] = only;
        assert!(room.config.validate().is_empty(), "the same folder, and no file of it twice");
        assert_eq!(room.preparation(3).run().unwrap().held_out.len(), 4);
    }
}

/// Lines that are held out, and lines that are drawn, of each source.
type Sides = (Vec<BTreeSet<u32>>, Vec<BTreeSet<u32>>);

/// Of each task the records that it holds out and those that are drawn of it, by their lines.
fn sides(room: &Room) -> Result<Sides> {
    let Dataset { held_out, mixture, .. } = room.preparation(3).run()?;
    let mut left = held_out.iter().map(|example| example.origin.line);
    let rates = mixture.unwrap().rates();
    let held_out: Vec<_> =
        rates.iter().map(|task| left.by_ref().take(task.held_out).collect()).collect();
    let mut drawn = vec![BTreeSet::new(); rates.len()];
    room.read(|stream| {
        for _ in 0..1500 {
            let (position, example) = stream.example().unwrap();
            drawn[stream.mixture().task_at(position)].insert(example.origin.line);
        }
    });
    Ok((held_out, drawn))
}

/// The file of questions in three sources: with other exemplars, another name, and as a copy.
fn thrice(room: &mut Room) {
    let odd = room.config.sources[0].clone();
    let copy = room.folder.path().join("copy.jsonl");
    std::fs::copy(&odd.path, &copy).unwrap();
    let of = |path: &Path, shots, weight| SourceConfig {
        path: path.into(),
        shots,
        weight: Some(Weight::Parts(weight)),
        ..odd.clone()
    };
    room.config.sources = vec![
        of(&odd.path, Shots::Zero, 3.0),
        of(&odd.path, Shots::Both, 2.0),
        SourceConfig { name: Some("ii".into()), ..of(&copy, Shots::Zero, 1.0) },
    ];
}

#[test]
fn a_record_that_one_source_holds_out_is_drawn_of_no_source_of_the_same_file() {
    let mut room = Room::new();
    thrice(&mut room);
    for limit in [None, Some(30)] {
        room.config.sources.iter_mut().for_each(|source| source.limit = limit);
        room.config.held_out = HeldOut::Count(12);
        let (held_out, drawn) = sides(&room).unwrap();
        assert_eq!(held_out.iter().map(BTreeSet::len).collect::<Vec<_>>(), [6, 4, 2]);
        assert!(held_out[1].is_subset(&held_out[0]) && held_out[2].is_subset(&held_out[1]));
        for drawn in &drawn {
            assert!(drawn.is_disjoint(&held_out[0]));
            assert_eq!(drawn.len(), limit.unwrap_or(40) - 6);
        }
        assert!(drawn.iter().all(|of| *of == drawn[0]), "a limit leaves all the same");
    }
}

#[test]
fn what_is_held_out_of_a_file_does_not_hang_on_the_sources_beside_it() {
    let mut room = Room::new();
    thrice(&mut room);
    room.config.held_out = HeldOut::Share(0.2);
    let (among, _) = sides(&room).unwrap();
    room.config.sources.truncate(1);
    let (alone, _) = sides(&room).unwrap();
    assert_eq!(alone[0], among[0]);
    assert!(among.iter().all(|held_out| *held_out == among[0] && held_out.len() == 8));
}

#[test]
fn row_groups_of_one_file_in_two_sources_are_held_out_of_both() {
    let mut room = Room::new();
    let path = room.folder.path().join("rows.parquet");
    let rows: Vec<_> = (0..40).map(|n| (format!("p{n} "), format!("c{n}"))).collect();
    write_parquet(&path, &rows, 16);
    let of = |parts| SourceConfig {
        weight: Some(Weight::Parts(parts)),
        ..SourceConfig::new(path.as_path())
    };
    room.config.sources = vec![of(3.0), of(1.0)];
    room.config.held_out = HeldOut::Count(8);
    let (held_out, drawn) = sides(&room).unwrap();
    assert_eq!(held_out.iter().map(BTreeSet::len).collect::<Vec<_>>(), [6, 2]);
    assert!(held_out[1].is_subset(&held_out[0]));
    assert!(drawn.iter().all(|drawn| drawn.is_disjoint(&held_out[0]) && drawn.len() == 34));
}

#[test]
fn tasks_that_share_only_some_records_are_refused_if_some_are_to_be_held_out() {
    let mut room = Room::new();
    thrice(&mut room);
    room.config.sources[1].limit = Some(10);
    let told = |config: &DataConfig| match Mixture::open(config, 3) {
        Err(error @ Error::Config(_)) => format!("{error}\nhint: {}", error.hint().unwrap()),
        other => panic!("{other:?}"),
    };
    assert!(Mixture::open(&room.config, 3).is_ok(), "nothing is held out");
    room.config.held_out = HeldOut::Count(4);
    let limits = told(&room.config);
    // One file, and the same among others.
    let text = |name: &str| SourceConfig {
        format: Some(Format::Text),
        weight: Some(Weight::Parts(1.0)),
        ..SourceConfig::new(room.folder.path().join(name))
    };
    room.config.sources = vec![text("text-1.jsonl"), text("text-*.jsonl")];
    insta::assert_snapshot!([limits, told(&room.config)].join("\n\n"));
}
