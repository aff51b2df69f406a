//! What a crash leaves behind, and what becomes of it.

use std::fs::{self, OpenOptions};
use std::path::Path;

use albacore_trainer::{End, Error, Resume, find};

use crate::support::{Tiny, Told};

/// A run stopped after step 6, with checkpoints of steps 2, 4 and 6.
fn stopped() -> Tiny {
    let mut tiny = Tiny { stop_after: Some(6), ..Default::default() };
    tiny.options.checkpoint.every = 2;
    tiny.run().unwrap();
    tiny.stop_after = None;
    tiny
}

fn truncate(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length / 2).unwrap();
}

/// Changes one byte in the middle, so that the size stays.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn whatever_is_damaged_is_named_and_the_newest_whole_checkpoint_goes_on() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 7] = [
        ("is not sealed: `manifest.json`", |f| fs::remove_file(f.join("manifest.json")).unwrap()),
        ("is corrupt: `manifest.json`", |f| truncate(&f.join("manifest.json"))),
        ("is corrupt: `model.safetensors` has", |f| truncate(&f.join("model.safetensors"))),
        ("is corrupt: `model.safetensors` has SHA-256", |f| flip(&f.join("model.safetensors"))),
        ("is corrupt: `optimizer.safetensors` has SHA-256", |f| {
            flip(&f.join("optimizer.safetensors"));
        }),
        ("is incomplete: `state.json`", |f| fs::remove_file(f.join("state.json")).unwrap()),
        ("is corrupt: `config.json` has", |f| fs::write(f.join("config.json"), "{}").unwrap()),
    ];
    let never = Tiny::default();
    never.run().unwrap();
    for (reason, damage) in damages {
        let mut tiny = stopped();
        damage(&tiny.checkpoint(6));
        let found = find(tiny.folder.path(), &Resume::Auto).unwrap();
        assert_eq!(found.checkpoint.unwrap().state.step, 4, "{reason}");
        let [skipped] = &found.skipped[..] else { panic!("{:?}", found.skipped) };
        assert_eq!(skipped.folder, tiny.checkpoint(6));
        assert!(skipped.reason.starts_with(reason), "{}", skipped.reason);

        // Asked for by its path, it is an error.
        tiny.resume = Resume::From(tiny.checkpoint(6));
        let error = tiny.run().unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");

        tiny.resume = Resume::Auto;
        assert_eq!(tiny.run().unwrap().end, End::Finished);
        assert!(tiny.bytes(8) == never.bytes(8), "{reason}");
    }
}

#[test]
fn a_save_that_was_interrupted_at_any_stage_is_as_if_it_had_never_begun() {
    let never = Tiny::default();
    never.run().unwrap();
    let stages: [&[&str]; 4] = [
        &[],
        &["config.json"],
        &["config.json", "model.safetensors"],
        &[
            "config.json",
            "model.safetensors",
            "optimizer.safetensors",
            "state.json",
            "manifest.json",
        ],
    ];
    for stage in stages {
        let tiny = stopped();
        let partial = tiny.checkpoint(8).with_extension("partial");
        fs::create_dir(&partial).unwrap();
        for name in stage {
            fs::copy(tiny.checkpoint(6).join(name), partial.join(name)).unwrap();
        }
        if let Some(last) = stage.last() {
            truncate(&partial.join(last));
        }
        let found = find(tiny.folder.path(), &Resume::Auto).unwrap();
        assert_eq!((found.checkpoint.unwrap().state.step, found.skipped.len()), (6, 0));
        tiny.run().unwrap();
        let wanted = ["step-000002", "step-000004", "step-000006", "step-000008"];
        assert_eq!(tiny.checkpoints(), wanted, "{stage:?}");
        assert!(tiny.bytes(8) == never.bytes(8), "{stage:?}");
    }
}

#[test]
fn without_any_whole_checkpoint_the_run_starts_afresh_and_keeps_the_damaged_ones() {
    let tiny = stopped();
    (2..=6).step_by(2).for_each(|step| truncate(&tiny.checkpoint(step).join("state.json")));
    let found = find(tiny.folder.path(), &Resume::Auto).unwrap();
    assert_eq!((found.checkpoint, found.skipped.len()), (None, 3));
    tiny.told.take();
    tiny.run().unwrap();
    let aside = tiny.folder.path().join("previous-1");
    let wanted = Told::Started { step: 0, steps: 8, set_aside: Some(aside.clone()) };
    assert_eq!(tiny.told.borrow()[0], wanted);
    assert_eq!(fs::read_dir(aside.join("checkpoints")).unwrap().count(), 3);
}

#[test]
fn a_checkpoint_that_is_not_there_is_an_error() {
    let mut tiny = stopped();
    tiny.resume = Resume::From("no/such/folder".into());
    let error = tiny.run().unwrap_err();
    assert_eq!(error.to_string(), "checkpoint `no/such/folder` does not exist");
    assert!(error.hint().is_some());
    // A run folder stands for its newest.
    tiny.resume = Resume::From(tiny.folder.path().to_owned());
    tiny.told.take();
    tiny.run().unwrap();
    assert_eq!(tiny.losses().len(), 2);
}

#[test]
fn what_cannot_be_removed_is_told_and_ends_no_training() {
    let mut tiny = stopped();
    // A file in the place of a folder cannot be removed as one; a folder not as a file.
    fs::write(tiny.checkpoint(4).with_extension("partial"), "").unwrap();
    fs::write(tiny.checkpoint(1), "").unwrap();
    let curves = fs::read_dir(tiny.folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let is_curves = |path: &Path| path.file_name().unwrap().to_string_lossy().contains("tfevents");
    let curves = curves.into_iter().find(|path| is_curves(path)).unwrap();
    fs::remove_file(&curves).unwrap();
    fs::create_dir(&curves).unwrap();
    tiny.options.checkpoint.keep_last = 2;
    assert_eq!(tiny.run().unwrap().end, End::Finished);

    let warnings = tiny.warnings();
    let starts =
        ["", "no curves are drawn for TensorBoard any more: cannot remove", "cannot remove"];
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(
        warnings.iter().zip(starts).all(|(text, start)| text.starts_with(start)),
        "{warnings:?}"
    );
    assert!(warnings[0].contains("step-000004.partial` is left over"), "{warnings:?}");
    assert!(warnings[2].contains("checkpoints/step-000001`"), "{warnings:?}");
    let left = ["step-000001.partial", "step-000004.partial", "step-000006", "step-000008"];
    assert_eq!(tiny.checkpoints(), left);
    assert_eq!(tiny.lines().len(), 8);
}
