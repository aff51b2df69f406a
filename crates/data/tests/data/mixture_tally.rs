//! Where a record that ends a mixture's stream ends it.

use albacore_data::{Error, MixtureStream, TooLong};

use crate::mixture::Room;

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
