//! Plans and batches.

use albacore_data::{Batch, Encoded, Origin, Packing, Plan, Reason};
use proptest::prelude::*;

fn example(ids: Vec<u32>, learned: &[bool]) -> Encoded {
    let reasons = vec![Reason::Given; ids.len()];
    let origin = Origin::new("test.jsonl", 1);
    Encoded { ids, learned: learned.to_vec(), reasons, origin, eos_added: false }
}

#[test]
fn a_batch_by_hand() {
    // prompt 10 11, answer 12, end 1; then prompt 20, answer 21, end 1
    let one = example(vec![10, 11, 12, 1], &[false, false, true, true]);
    let two = example(vec![20, 21, 1], &[false, true, true]);
    let plan = Plan::new(Packing::alone(0, 8, false), 0, &[4, 3]);
    assert_eq!(plan.len(), 1);
    let batch = plan.batch(0, &[one, two]);
    let expected = Batch {
        ids: vec![10, 11, 12, 1, 20, 21, 1],
        starts: vec![0, 4, 7],
        // the last prompt token predicts the first of the answer; nothing predicts 20
        rows: vec![1, 2, 4, 5],
        targets: vec![12, 1, 21, 1],
        examples: vec![0, 1],
        target_starts: vec![0, 2, 4],
    };
    assert_eq!(batch, expected);
}

#[test]
fn a_label_at_the_first_token_teaches_nothing() {
    let first = example(vec![10, 11], &[true, false]);
    let batch = Batch::of([(0, &first), (1, &first)]);
    assert_eq!((batch.tokens(), batch.supervised()), (4, 0));
    assert_eq!(batch.target_starts, [0, 0, 0]);
}

#[test]
fn examples_fill_batches_in_file_order() {
    let plan = Plan::new(Packing::alone(0, 10, false), 5, &[4, 6, 1, 10, 11, 3, 3, 3, 3]);
    let batches: Vec<_> = (0..plan.len()).map(|batch| plan.examples(batch)).collect();
    assert_eq!(batches, [&[0, 1][..], &[2], &[3], &[4], &[5, 6, 7], &[8]]);
}

#[test]
fn orders_are_frozen() {
    // A resumed run must meet the order of the run that it goes on with, in every release.
    let plan = |seed, epoch| Plan::new(Packing::alone(seed, 3, true), epoch, &[1; 9]);
    let order = |plan: Plan| -> Vec<u32> {
        (0..plan.len()).flat_map(|batch| plan.examples(batch).to_vec()).collect()
    };
    insta::assert_compact_debug_snapshot!(order(plan(0, 0)), @"[4, 5, 2, 6, 7, 1, 3, 0, 8]");
    insta::assert_compact_debug_snapshot!(order(plan(0, 1)), @"[6, 5, 8, 0, 7, 2, 3, 1, 4]");
    insta::assert_compact_debug_snapshot!(order(plan(1, 0)), @"[0, 1, 2, 8, 3, 4, 7, 6, 5]");
}

/// Examples with distinct ids, so that a target tells where it comes from.
fn examples() -> impl Strategy<Value = Vec<Encoded>> {
    let flags = prop::collection::vec(any::<bool>(), 1..30);
    prop::collection::vec(flags, 1..40).prop_map(|all| {
        let ids = |number: usize, len: usize| (0..len).map(|i| (number * 100 + i) as u32).collect();
        let numbered = all.iter().enumerate();
        numbered.map(|(number, flags)| example(ids(number, flags.len()), flags)).collect()
    })
}

proptest! {
    #[test]
    fn the_parts_of_a_batch_hold_its_examples_in_order_as_if_packed_alone(
        examples in examples(), parts in 1usize..6,
    ) {
        let batch = Batch::of(examples.iter().enumerate());
        let split = batch.split(parts);
        prop_assert!(split.len() <= parts.max(1));
        let mut next = 0;
        for part in split {
            let range = next..next + part.examples.len();
            next = range.end;
            let wanted = range.clone().map(|number| (number, &examples[number]));
            prop_assert_eq!(part, Batch::of(wanted));
        }
        prop_assert_eq!(next, examples.len());
    }

    #[test]
    fn every_learned_token_is_met_once_an_epoch(
        examples in examples(),
        budget in 1usize..80,
        seed in any::<u64>(),
        shuffle in any::<bool>(),
        world in 1usize..4,
    ) {
        let lengths: Vec<_> = examples.iter().map(Encoded::len).collect();
        let mut met = Vec::new();
        let mut rounds = Vec::new();
        for rank in 0..world {
            let packing = Packing { seed, tokens_per_batch: budget, shuffle, rank, world };
            let plan = Plan::new(packing, 3, &lengths);
            rounds.push(plan.len());
            for number in 0..plan.len() {
                let batch = plan.batch(number, &examples);
                prop_assert!(batch.tokens() <= budget || batch.examples.len() == 1);
                prop_assert_eq!(*batch.starts.last().unwrap() as usize, batch.tokens());
                for sequence in 0..batch.examples.len() {
                    let at = |list: &[u32], i: usize| list[i] as usize;
                    let start = at(&batch.starts, sequence);
                    let end = at(&batch.starts, sequence + 1);
                    let example = &examples[batch.examples[sequence]];
                    prop_assert_eq!(&batch.ids[start..end], &example.ids[..]);
                    let targets = at(&batch.target_starts, sequence)..at(&batch.target_starts, sequence + 1);
                    for target in targets {
                        // the row's next token, inside the same sequence
                        let row = at(&batch.rows, target);
                        prop_assert!(start <= row && row + 1 < end);
                        prop_assert_eq!(batch.ids[row + 1], batch.targets[target]);
                        met.push(batch.targets[target]);
                    }
                }
            }
        }
        prop_assert!(rounds.windows(2).all(|pair| pair[0] == pair[1]));
        met.sort_unstable();
        let learned = examples.iter().flat_map(|example| {
            let tokens = example.ids.iter().zip(&example.learned).skip(1);
            tokens.filter(|(_, learned)| **learned).map(|(id, _)| *id)
        });
        prop_assert_eq!(met, learned.collect::<Vec<_>>());
    }
}
