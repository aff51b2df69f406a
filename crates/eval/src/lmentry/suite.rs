//! LMentry as a suite.

use std::collections::BTreeMap;
use std::path::Path;

use albacore_data::Decoding;

use super::{LmentryExample, LmentryFile, Mark, TASKS, Tally, files, lmentry_score};
use crate::{Example, Mean, Question, Result, Scores, SuiteOptions, Task};

/// All files of a folder, or one of them.
pub struct Lmentry {
    files: Vec<LmentryFile>,
    examples: Vec<Example>,
    /// For each example its file, and its place there.
    places: Vec<(usize, usize)>,
}

impl Lmentry {
    /// Reads the files that are in `data`, or those that are chosen.
    ///
    /// # Errors
    /// If there are none, or one is malformed.
    pub fn open(data: &Path, options: &SuiteOptions) -> Result<Self> {
        let (folder, names) = files(data)?;
        let names = options.chosen("lmentry", &folder, names)?;
        let read = |name: &String| LmentryFile::read(&folder.join(format!("{name}.json")));
        let files = names.iter().map(read).collect::<Result<Vec<_>>>()?;
        let (mut examples, mut places) = (Vec::new(), Vec::new());
        for (number, file) in files.iter().enumerate() {
            for (place, LmentryExample { id, input, .. }) in file.examples.iter().enumerate() {
                examples.push(Example {
                    id: id.clone(),
                    task: file.name.clone(),
                    question: Question::plain(input),
                    texts: vec![input.clone()],
                    ..Example::default()
                });
                places.push((number, place));
            }
        }
        Ok(Self { files, examples, places })
    }

    fn example(&self, number: usize) -> (&LmentryFile, &LmentryExample) {
        let (file, place) = self.places[number];
        (&self.files[file], &self.files[file].examples[place])
    }

    fn mark(&self, example: usize, reply: &str, cut: bool) -> Scores {
        let mark = self.example(example).1.mark(reply, cut);
        let number = |yes| f64::from(u8::from(yes));
        Scores::from([("accuracy", number(mark.right)), ("certainty", number(mark.certain))])
    }
}

impl Task for Lmentry {
    fn name(&self) -> &'static str {
        "lmentry"
    }

    fn examples(&self) -> &[Example] {
        &self.examples
    }

    fn decoding(&self) -> Decoding {
        Decoding { max_tokens: 50, ..Decoding::default() }
    }

    /// The whole reply: the rules normalise it.
    fn extract(&self, _: usize, answer: &str) -> String {
        answer.to_owned()
    }

    fn score(&self, example: usize, extracted: &str) -> Scores {
        self.mark(example, extracted, false)
    }

    /// Of a model that writes on, the first sentence of the first line counts.
    fn score_unstopped(&self, example: usize, extracted: &str) -> Scores {
        self.mark(example, extracted, true)
    }

    /// The accuracy is of the 25 tasks: the other files are parts of them, and only for robustness.
    fn counts(&self, example: usize) -> bool {
        let is_task = |file: &LmentryFile| TASKS.contains(&file.name.as_str());
        is_task(self.example(example).0) || !self.files.iter().any(is_task)
    }

    fn headline(&self, _: &str) -> &'static str {
        "accuracy"
    }

    fn mean(&self) -> Mean {
        Mean::OfTasks
    }

    /// With all 41 files, and a reply to every example: accuracy, robustness in its four kinds, and the LMentry
    /// score. They are shares of all examples, so some of these say nothing.
    fn summary(&self, scored: &BTreeMap<usize, Scores>) -> BTreeMap<String, f64> {
        if scored.len() < self.examples.len() {
            return BTreeMap::new();
        }
        let mut tallies = BTreeMap::new();
        for (&number, scores) in scored {
            let (file, example) = self.example(number);
            let is = |metric| scores.get(metric).is_some_and(|score| *score == 1.0);
            let mark = Mark { right: is("accuracy"), certain: is("certainty") };
            let tally = tallies.entry(file.name.clone()).or_insert_with(|| Tally::new(file));
            tally.add(example.template, example.answer_index, mark);
        }
        let Ok(score) = lmentry_score(&tallies) else { return BTreeMap::new() };
        let numbers = [
            ("accuracy_of_25_tasks", score.accuracy),
            ("robustness", score.robustness),
            ("robustness_argument_order", score.argument_order),
            ("robustness_argument_content", score.argument_content),
            ("robustness_template", score.template),
            ("robustness_adjacent_tasks", score.adjacent_tasks),
            ("lmentry_score", score.score),
        ];
        numbers.map(|(name, number)| (name.to_owned(), number)).into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(folder: &Path, name: &str, file: &str) {
        fs::write(folder.join(format!("{name}.json")), file).unwrap();
    }

    const NUMBERS: &str = r#"{
        "settings": {"num_examples_per_template": 1, "input_templates": ["a {n1} {n2}", "b"]},
        "examples": {
            "7": {"input": "Which is bigger, 30 or 12?", "metadata": {"n1": 30, "n2": 12, "answer": 30,
                "distractor": 12, "answer_index": 0, "template_id": 0}},
            "2": {"input": "Of 11 and 40, which is bigger?", "metadata": {"n1": 11, "n2": 40,
                "answer": 40, "distractor": 11, "answer_index": 1, "template_id": 1}}
        }}"#;

    #[test]
    fn examples_come_in_file_order_under_their_keys() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("lmentry/data");
        fs::create_dir_all(&folder).unwrap();
        write(&folder, "bigger_number", NUMBERS);
        let options =
            SuiteOptions { tasks: vec!["bigger_number".into()], ..SuiteOptions::default() };
        let suite = Lmentry::open(data.path(), &options).unwrap();
        let ids: Vec<_> = suite.examples().iter().map(|example| example.id.as_str()).collect();
        assert_eq!(ids, ["7", "2"]);
        assert_eq!(suite.examples()[0].question.text(0), "Which is bigger, 30 or 12?");
        let scores = suite.score(1, &suite.extract(1, " The answer is  forty.\n"));
        assert_eq!(scores, Scores::from([("accuracy", 1.0), ("certainty", 1.0)]));
        assert_eq!(suite.score(0, "12")["accuracy"], 0.0);
        assert!(suite.summary(&BTreeMap::from([(1, scores)])).is_empty(), "40 files are missing");
        // A model that goes on after its answer.
        assert_eq!(suite.score_unstopped(1, "40\nQ: Which")["accuracy"], 1.0);
        assert_eq!(suite.score(1, "40\nQ: Which")["accuracy"], 0.0);
    }

    #[test]
    fn files_of_a_part_count_by_themselves_but_not_in_the_accuracy() {
        const LETTERS: &str = r#"{"settings": {"num_examples_per_template": 1, "input_templates": ["a"]},
            "examples": {"1": {"input": "Which word has more letters, \"cat\" or \"horse\"?", "metadata":
            {"word1": "cat", "word2": "horse", "answer": "horse", "distractor": "cat", "word_lengths": [3, 5],
             "num_letters_answer": 5, "num_letters_distractor": 3, "answer_index": 1, "template_id": 0}}}}"#;
        let data = tempfile::tempdir().unwrap();
        write(data.path(), "bigger_number", NUMBERS);
        write(data.path(), "more_letters_length_diff_1", LETTERS);
        let suite = Lmentry::open(data.path(), &SuiteOptions::default()).unwrap();
        let counted: Vec<_> = (0..3).map(|example| suite.counts(example)).collect();
        assert_eq!(counted, [true, true, false]);
        let tasks = vec!["more_letters_length_diff_1".into()];
        let alone = SuiteOptions { tasks, ..SuiteOptions::default() };
        assert!(Lmentry::open(data.path(), &alone).unwrap().counts(0), "asked by its name");
    }

    #[test]
    fn a_missing_folder_a_missing_file_and_a_bad_example_are_told() {
        let data = tempfile::tempdir().unwrap();
        let error = |task: Option<&str>| {
            let tasks = task.map(str::to_owned).into_iter().collect();
            let options = SuiteOptions { tasks, ..SuiteOptions::default() };
            Lmentry::open(data.path(), &options).err().unwrap().to_string()
        };
        assert!(error(None).starts_with("there is no `NAME.json` of `lmentry` in `"));
        write(data.path(), "bigger_number", NUMBERS);
        assert!(error(Some("homophones")).starts_with("`lmentry` has no task `homophones` in `"));
        write(data.path(), "bigger_number", &NUMBERS.replace("\"n1\": 11", "\"m1\": 11"));
        assert!(error(None).ends_with("bigger_number.json: example `2`: missing field `n1`"));
    }
}
