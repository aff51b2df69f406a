//! Which batches make up which step: a pure function of the data, the seed and the step.

use std::sync::Arc;

use albacore_data::{Batch, Encoded, MixtureSource, MixtureStream, Packing, Plan, Spans};
use serde::{Deserialize, Serialize};

use crate::Result;

/// How far a run has read its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Whole passes over the data.
    pub epoch: u64,
    /// Batches taken of the current pass; of a mixture, which has no passes, positions of its stream.
    pub batch: usize,
}

/// Passes that are planned to count their steps: more would take minutes, and their mean is known.
const PLANNED: u64 = 1000;

/// The batches of a run, step by step. A step never reaches across the end of a pass: the last step
/// of a pass may have fewer batches, and divides by what it has.
pub(crate) struct Course<'d> {
    examples: &'d [Arc<Encoded>],
    lengths: Vec<usize>,
    packing: Packing,
    batches_per_step: usize,
    cursor: Cursor,
    /// The batches of the current pass.
    plan: Plan,
    /// A mixture, if that is what is trained on.
    stream: Option<MixtureStream<'d>>,
    /// What takes other spans out of the texts in each pass.
    spans: Option<&'d Spans>,
}

impl<'d> Course<'d> {
    /// The start of a run.
    pub(crate) fn new(
        examples: &'d [Arc<Encoded>],
        packing: Packing,
        batches_per_step: usize,
    ) -> Self {
        let lengths = examples.iter().map(|example| example.len()).collect::<Vec<_>>();
        let plan = Plan::new(packing, 0, &lengths);
        let (cursor, stream, spans) = (Cursor::default(), None, None);
        Self { examples, lengths, packing, batches_per_step, cursor, plan, stream, spans }
    }

    /// The same of a mixture, which goes on without an end.
    pub(crate) fn of_mixture(self, source: MixtureSource<'d>) -> Self {
        Self { stream: Some(MixtureStream::new(source)), ..self }
    }

    /// The same over texts, of which each pass takes out other spans. That changes no length, and so no
    /// plan.
    pub(crate) fn with_spans(self, spans: Option<&'d Spans>) -> Self {
        Self { spans, ..self }
    }

    /// How far it has come.
    pub(crate) fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Goes on from a cursor of the same run. If the data have changed and this pass is now shorter,
    /// the next one begins.
    pub(crate) fn seek(&mut self, cursor: Cursor) {
        self.cursor = cursor;
        if let Some(stream) = &mut self.stream {
            return stream.seek(cursor.batch as u64);
        }
        self.plan = self.plan_of(cursor.epoch);
        if cursor.batch >= self.plan.len() {
            self.cursor = Cursor { epoch: cursor.epoch + 1, batch: 0 };
            self.plan = self.plan_of(self.cursor.epoch);
        }
    }

    /// The batches of the next step.
    ///
    /// # Errors
    /// If a mixture's records cannot be read or used.
    pub(crate) fn next_step(&mut self) -> Result<Vec<Batch>> {
        if self.stream.is_some() {
            return self.next_of_mixture();
        }
        let step = self.plan.step(self.cursor.batch, self.batches_per_step);
        let end = step.end;
        let batches = step.map(|batch| self.batch(batch)).collect();
        match end == self.plan.len() {
            true => self.seek(Cursor { epoch: self.cursor.epoch + 1, batch: 0 }),
            false => self.cursor.batch = end,
        }
        Ok(batches)
    }

    /// The batches of the next step of a mixture: this worker's turn of every round.
    fn next_of_mixture(&mut self) -> Result<Vec<Batch>> {
        let Packing { examples_per_step, rank, world, .. } = self.packing;
        let stream = self.stream.as_mut().expect("the caller has seen it");
        let (mut batches, mut examples) = (Vec::new(), examples_per_step.unwrap_or(usize::MAX));
        while match examples_per_step {
            Some(_) => examples > 0,
            None => batches.len() < self.batches_per_step,
        } {
            for turn in 0..world {
                let batch = match examples {
                    0 => Batch::of([]),
                    left => stream.batch(left)?,
                };
                if examples_per_step.is_some() {
                    examples -= batch.examples.len();
                }
                if turn == rank {
                    batches.push(batch);
                }
            }
        }
        self.cursor.batch = stream.position() as usize;
        Ok(batches)
    }

    /// Where an example stands that a batch names by its number.
    pub(crate) fn origin(&self, example: usize) -> String {
        match &self.stream {
            None => self.examples[example].origin.to_string(),
            Some(stream) => match stream.mixture().origin(example as u64) {
                Ok(origin) => origin.to_string(),
                Err(_) => format!("position {example} of the mixture"),
            },
        }
    }

    /// A batch of the current pass. The first pass has the examples as they are.
    fn batch(&self, batch: usize) -> Batch {
        let Some(spans) = self.spans.filter(|_| self.cursor.epoch > 0) else {
            return self.plan.batch(batch, self.examples);
        };
        let (seed, epoch) = (self.packing.seed, self.cursor.epoch);
        let numbers = self.plan.examples(batch).iter().map(|&number| number as usize);
        let drawn = numbers
            .map(|number| (number, spans.redrawn(&self.examples[number], seed, epoch, number)));
        let drawn = drawn.collect::<Vec<_>>();
        Batch::of(drawn.iter().map(|(number, example)| (*number, example)))
    }

    /// Passes over the data so far, with the part of the current one; of a mixture, as many as its examples
    /// would have been drawn in were there no rates.
    pub(crate) fn epochs(&self) -> f64 {
        if let Some(stream) = &self.stream {
            return stream.position() as f64 / stream.mixture().examples() as f64;
        }
        self.cursor.epoch as f64 + self.cursor.batch as f64 / self.plan.len() as f64
    }

    /// Steps in so many passes from the start. Packing differs from pass to pass where the order
    /// does, so each is planned; of a part of a pass, the step that completes it is the last. Passes
    /// beyond [`PLANNED`] count as many steps as the mean of those before.
    pub(crate) fn steps_in(&self, epochs: f64) -> u64 {
        let steps = |epoch: u64| self.plan_of(epoch).steps(self.batches_per_step) as u64;
        let planned = (epochs as u64).min(PLANNED);
        let whole = (0..planned).map(steps).sum::<u64>();
        if planned == PLANNED {
            return (whole as f64 * (epochs / PLANNED as f64)).ceil() as u64;
        }
        match epochs.fract() {
            0.0 => whole,
            part => whole + (steps(planned) as f64 * part).ceil() as u64,
        }
    }

    fn plan_of(&self, epoch: u64) -> Plan {
        Plan::new(self.packing, epoch, &self.lengths)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use albacore_data::{DataConfig, Origin, Preparation, SourceConfig, Tokenizer};

    use super::*;

    /// Seven examples of three tokens.
    fn examples() -> Vec<Arc<Encoded>> {
        let one = |line| {
            Arc::new(Encoded {
                ids: vec![line; 3],
                learned: vec![false, true, true],
                reasons: Vec::new(),
                origin: Origin::new("data.jsonl", line),
                eos_added: false,
                responses: Vec::new(),
            })
        };
        (1..=7).map(one).collect()
    }

    #[test]
    fn a_pass_takes_every_example_once_and_its_last_step_may_be_smaller() {
        let examples = examples();
        // Two examples a batch, so four batches a pass; three of them a step.
        let mut course = Course::new(&examples, Packing::alone(1, 6, true), 3);
        for pass in 1..=3 {
            let steps = [course.next_step().unwrap(), course.next_step().unwrap()];
            assert_eq!([steps[0].len(), steps[1].len()], [3, 1]);
            let mut seen =
                steps.iter().flatten().flat_map(|batch| batch.examples.clone()).collect::<Vec<_>>();
            seen.sort_unstable();
            assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
            assert_eq!(course.cursor(), Cursor { epoch: pass, batch: 0 });
        }
        assert_eq!(course.epochs(), 3.0);
        assert_eq!([1.0, 3.0, 0.25, 1.5].map(|epochs| course.steps_in(epochs)), [2, 6, 1, 3]);
    }

    #[test]
    fn a_step_of_so_many_groups_takes_as_many_batches_as_they_need() {
        let examples = examples();
        // Two examples a batch, three a step: a batch of two and one of one.
        let packing = Packing { examples_per_step: Some(3), ..Packing::alone(1, 6, true) };
        let mut course = Course::new(&examples, packing, 1);
        let steps = [(); 3].map(|()| course.next_step().unwrap());
        let sizes = steps
            .each_ref()
            .map(|step| step.iter().map(|batch| batch.examples.len()).collect::<Vec<_>>());
        assert_eq!(sizes, [vec![2, 1], vec![2, 1], vec![1]]);
        assert_eq!(course.cursor(), Cursor { epoch: 1, batch: 0 });
        assert_eq!([1.0, 2.0].map(|epochs| course.steps_in(epochs)), [3, 6]);
        let (mut resumed, cursor) =
            (Course::new(&examples, packing, 1), Cursor { epoch: 0, batch: 2 });
        resumed.seek(cursor);
        assert_eq!(resumed.next_step().unwrap(), steps[1]);
    }

    #[test]
    fn a_cursor_is_all_that_is_needed_to_go_on() {
        let examples = examples();
        let course = || Course::new(&examples, Packing::alone(1, 6, true), 3);
        let mut never_stopped = course();
        for _ in 0..5 {
            let mut resumed = course();
            resumed.seek(never_stopped.cursor());
            assert_eq!(resumed.next_step().unwrap(), never_stopped.next_step().unwrap());
        }
    }

    #[test]
    fn a_cursor_beyond_a_pass_that_has_become_shorter_goes_on_with_the_next() {
        let examples = examples();
        // Two batches are left of four.
        let fewer = &examples[..4];
        let course = || Course::new(fewer, Packing::alone(1, 6, true), 1);
        for batch in [2, 3] {
            let (mut beyond, mut next) = (course(), course());
            beyond.seek(Cursor { epoch: 5, batch });
            next.seek(Cursor { epoch: 6, batch: 0 });
            assert_eq!(beyond.cursor(), Cursor { epoch: 6, batch: 0 });
            let step = beyond.next_step().unwrap();
            assert_eq!((step.len(), &step), (1, &next.next_step().unwrap()));
        }
        let mut within = course();
        within.seek(Cursor { epoch: 5, batch: 1 });
        assert_eq!(within.cursor(), Cursor { epoch: 5, batch: 1 });
    }

    #[test]
    fn the_steps_of_ten_million_passes_are_counted_at_once() {
        let examples = examples();
        let course = Course::new(&examples, Packing::alone(1, 6, true), 3);
        let counted = [999.5, 1000.0, 1000.5, 1e7].map(|epochs| course.steps_in(epochs));
        assert_eq!(counted, [1999, 2000, 2001, 20_000_000]);
        assert_eq!(course.steps_in(1e300), u64::MAX);
    }

    #[test]
    fn each_pass_takes_other_spans_out_of_the_same_texts() {
        let tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/quickstart-t5");
        let tokenizer = Tokenizer::load(Path::new(tokenizer)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.jsonl");
        let line = |number: usize| {
            let text = ["The owl sees the old mole."; 3].join(" ").repeat(1 + number % 3);
            format!("{}\n", serde_json::json!({ "text": text }))
        };
        std::fs::write(&path, (0..5).map(line).collect::<String>()).unwrap();
        let config = DataConfig { sources: vec![SourceConfig::new(path)], ..DataConfig::default() };
        let spans = Spans::new(0.2, 2.0, 24, 64, &tokenizer).unwrap();
        let (cache, progress) = (None, None);
        let preparation =
            Preparation { config: &config, tokenizer: &tokenizer, seed: 1, cache, progress };
        let examples = preparation.run_corrupted(&spans).unwrap().train;
        assert!(examples.len() > 5, "long texts are cut into windows");
        let packing = Packing::alone(1, 64, false);
        let course = || Course::new(&examples, packing, 2).with_spans(Some(&spans));
        let mut never_stopped = course();
        let pass = |course: &mut Course<'_>| {
            let epoch = course.cursor().epoch;
            let mut batches = Vec::new();
            while course.cursor().epoch == epoch {
                batches.extend(course.next_step().unwrap());
            }
            batches
        };
        let [first, second, third] = [(); 3].map(|()| pass(&mut never_stopped));
        let whole = Course::new(&examples, packing, 2).next_step().unwrap();
        assert_eq!(first[..whole.len()], whole, "the first pass has the examples as they are");
        for (one, other) in [(&first, &second), (&second, &third)] {
            assert_ne!(one, other);
            let lengths = |batches: &[Batch]| {
                batches.iter().map(|batch| batch.starts.clone()).collect::<Vec<_>>()
            };
            assert_eq!(lengths(one), lengths(other));
        }
        let mut resumed = course();
        resumed.seek(Cursor { epoch: 1, batch: 2 });
        assert_eq!(resumed.next_step().unwrap(), second[2..second.len().min(4)]);
    }
}
