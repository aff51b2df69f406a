//! The instruction set: every fact is asked for once, in one of its ways, so that whatever records
//! are held out, their facts appear in no other record.

use std::collections::HashSet;

use serde::Serialize;

use crate::random::Random;
use crate::topic::{Topic, fill};

/// An Alpaca record.
#[derive(Serialize)]
pub struct Record {
    pub instruction: String,
    pub input: String,
    pub output: String,
}

impl Record {
    /// Everything that is said.
    pub fn text(&self) -> String {
        [&*self.instruction, &*self.input, &*self.output].join("\n\n")
    }
}

/// All records, in random order.
pub fn records(topics: &[Topic], random: &mut Random) -> Vec<Record> {
    let mut records = Vec::new();
    let mut asked = HashSet::new();
    for topic in topics {
        // The ways to ask are dealt out like cards: each about as often as every other.
        let mut rows: Vec<usize> = (0..topic.size).collect();
        random.shuffle(&mut rows);
        for (position, index) in rows.into_iter().enumerate() {
            let task = &topic.tasks[position % topic.tasks.len()];
            let row = (topic.row)(index, random);
            let record = Record {
                instruction: fill(task.instruction, &row),
                input: fill(task.input, &row),
                output: fill(task.output, &row),
            };
            if asked.insert((record.instruction.clone(), record.input.clone())) {
                records.push(record);
            }
        }
    }
    random.shuffle(&mut records);
    records
}
