//! Records drawn at random, for a person to rate.

use albacore_data::bootstrap::RunFolder;
use albacore_data::{Random, shuffled};

use crate::progress::count;
use crate::report::{Question, Sample, Samples, Section, paragraph};

/// How many.
const SAMPLES: usize = 20;

/// What the people who reviewed Self-Instruct's data were asked, too.
fn questions() -> Vec<Question> {
    vec![
        Question { key: "valid_instruction", text: "Is the instruction a valid task?" },
        Question { key: "appropriate_input", text: "Does the input fit it?" },
        Question { key: "correct_output", text: "Is the output right?" },
    ]
}

/// Some records, the same for the same seed and the same records.
pub fn section(name: &str, folder: &RunFolder, seed: u64) -> Option<Section> {
    let records = folder.records.as_deref().filter(|records| !records.is_empty())?;
    let mut drawn = shuffled(records.len(), Random::new(seed, "samples of a report", 0));
    drawn.truncate(SAMPLES);
    let samples = drawn.into_iter().map(|at| {
        let record = &records[at as usize];
        let fields = [
            ("instruction", &record.instruction),
            ("input", &record.input),
            ("output", &record.output),
        ];
        let fields = fields.map(|(name, text)| (name, text.clone())).into();
        Sample { number: at as usize + 1, fields }
    });
    let samples = samples.collect::<Vec<_>>();
    let note = format!(
        "{} of {} records, drawn at random. Verdicts stay in this browser until they are saved as a file or \
         forgotten.",
        samples.len(),
        count(records.len())
    );
    let samples = Samples { name: name.into(), questions: questions(), samples };
    Some(Section::new("Samples to rate", vec![paragraph(&note), samples.markup()]))
}
