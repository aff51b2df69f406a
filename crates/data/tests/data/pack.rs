//! Plans and batches.

use albacore_data::{Batch, Encoded, Origin, Packing, Plan, Reason, Response, UNRIVALLED};
use proptest::prelude::*;

fn example(ids: Vec<u32>, learned: &[bool]) -> Encoded {
    let reasons = vec![Reason::Given; ids.len()];
    let origin = Origin::new("test.jsonl", 1);
    Encoded {
        ids,
        learned: learned.to_vec(),
        reasons,
        origin,
        eos_added: false,
        responses: Vec::new(),
    }
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
        is_response: vec![false, false],
        // the last prompt token predicts the first of the answer; nothing predicts 20
        rows: vec![1, 2, 4, 5],
        targets: vec![12, 1, 21, 1],
        examples: vec![0, 1],
        target_starts: vec![0, 2, 4],
        group_starts: vec![0, 1, 2],
        scores: vec![UNRIVALLED, UNRIVALLED],
    };
    assert_eq!(batch, expected);
}

/// A prompt of three ids and responses of so many.
fn group(first: u32, responses: &[usize]) -> Encoded {
    let mut ids = vec![first, first + 1, first + 2];
    let mut starts = Vec::new();
    for (index, &length) in responses.iter().enumerate() {
        starts.push(Response { start: ids.len(), score: index as f32 });
        ids.extend((0..length as u32).map(|token| first + 10 * (index as u32 + 1) + token));
    }
    let learned: Vec<_> = (0..ids.len()).map(|at| at >= 3).collect();
    Encoded { responses: starts, ..example(ids, &learned) }
}

#[test]
fn responses_share_their_prompt_whose_last_row_predicts_the_first_token_of_each() {
    let batch = Batch::of([(5, &group(100, &[2, 1])), (7, &example(vec![9, 8], &[false, true]))]);
    let expected = Batch {
        ids: vec![100, 101, 102, 110, 111, 120, 9, 8],
        starts: vec![0, 3, 5, 6, 8],
        is_response: vec![false, true, true, false],
        rows: vec![2, 3, 2, 6],
        targets: vec![110, 111, 120, 8],
        examples: vec![5, 7],
        target_starts: vec![0, 2, 3, 4],
        group_starts: vec![0, 2, 3],
        scores: vec![0.0, 1.0, UNRIVALLED],
    };
    assert_eq!(batch, expected);
    assert_eq!(batch.split(2).len(), 2);
    let copies = Batch {
        ids: vec![100, 101, 102, 110, 111, 100, 101, 102, 120, 9, 8],
        starts: vec![0, 5, 9, 11],
        is_response: vec![false; 3],
        rows: vec![2, 3, 7, 9],
        ..expected
    };
    assert_eq!(batch.with_copies(), copies);
    assert_eq!(copies.with_copies(), copies);
}

#[test]
fn steps_of_so_many_examples_end_a_batch_and_the_last_may_be_smaller() {
    let lengths = [4, 4, 4, 9, 1, 2, 3];
    let packing = Packing { examples_per_step: Some(3), ..Packing::alone(0, 8, false) };
    let plan = Plan::new(packing, 0, &lengths);
    let batches: Vec<_> = (0..plan.len()).map(|batch| plan.examples(batch)).collect();
    assert_eq!(batches, [&[0, 1][..], &[2], &[3], &[4, 5], &[6]]);
    assert_eq!(plan.steps(1), 3);
    assert_eq!([0, 1, 2, 3, 4].map(|batch| plan.step(batch, 1)), [0..2, 1..2, 2..4, 3..4, 4..5]);
    // Two workers end each step together.
    let shares = [0, 1].map(|rank| Plan::new(Packing { rank, world: 2, ..packing }, 0, &lengths));
    for plan in &shares {
        assert_eq!((plan.len(), plan.steps(1)), (3, 3));
    }
    assert_eq!([0, 1, 2].map(|batch| shares[0].examples(batch)), [&[0, 1][..], &[3], &[6]]);
    assert_eq!([0, 1, 2].map(|batch| shares[1].examples(batch)), [&[2][..], &[4, 5], &[]]);
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
    let groups = prop::collection::vec((any::<bool>(), prop::collection::vec(1usize..9, 2..5)), 40);
    (prop::collection::vec(flags, 1..40), groups).prop_map(|(all, groups)| {
        let ids = |number: usize, len: usize| (0..len).map(|i| (number * 100 + i) as u32).collect();
        let numbered = all.iter().enumerate();
        numbered
            .map(|(number, flags)| match &groups[number] {
                (true, responses) => group(number as u32 * 100, responses),
                _ => example(ids(number, flags.len()), flags),
            })
            .collect()
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
            let packing = Packing { rank, world, ..Packing::alone(seed, budget, shuffle) };
            let plan = Plan::new(packing, 3, &lengths);
            rounds.push(plan.len());
            for number in 0..plan.len() {
                let batch = plan.batch(number, &examples);
                prop_assert!(batch.tokens() <= budget || batch.examples.len() == 1);
                prop_assert_eq!(*batch.starts.last().unwrap() as usize, batch.tokens());
                let at = |list: &[u32], i: usize| list[i] as usize;
                let (mut prompt, mut scored) = (0..0, 0);
                for (sequence, &is_response) in batch.is_response.iter().enumerate() {
                    let range = at(&batch.starts, sequence)..at(&batch.starts, sequence + 1);
                    if !is_response {
                        prompt = range.clone();
                        if batch.is_response.get(sequence + 1) == Some(&true) {
                            continue;
                        }
                    }
                    let targets = at(&batch.target_starts, scored)..at(&batch.target_starts, scored + 1);
                    scored += 1;
                    for target in targets {
                        // the row's next token, inside the same sequence or behind its prompt
                        let row = at(&batch.rows, target);
                        let next = if range.contains(&row) { row + 1 } else { range.start };
                        prop_assert!(range.contains(&next));
                        prop_assert!(range.contains(&row) || (is_response && row + 1 == prompt.end));
                        prop_assert_eq!(batch.ids[next], batch.targets[target]);
                        met.push(batch.targets[target]);
                    }
                }
                prop_assert_eq!(scored, batch.scores.len());
                let ids = batch.examples.iter().flat_map(|&number| examples[number].ids.clone());
                prop_assert_eq!(&batch.ids, &ids.collect::<Vec<_>>());
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
