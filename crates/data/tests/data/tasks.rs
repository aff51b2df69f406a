//! Tasks: what each kind of file becomes, by hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use albacore_data::{
    BadRecords, DataConfig, Dataset, Format, Mixture, OptionStyle, Preparation, Result, Shots,
    SourceConfig, TemplateChoice, Tokenizer, Weight,
};
use tempfile::TempDir;

use crate::tiny::Tiny;

/// A model folder with files beside it.
struct Room {
    folder: TempDir,
    tokenizer: Tokenizer,
}

impl Room {
    fn new() -> Self {
        let folder = Tiny::default().write();
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        Self { folder, tokenizer }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn try_prepare(&self, source: SourceConfig) -> Result<Dataset> {
        let config = DataConfig {
            template: TemplateChoice::None,
            max_tokens: 4000,
            tokens_per_batch: 4000,
            sources: vec![source],
            ..DataConfig::default()
        };
        let (config, tokenizer) = (&config, &self.tokenizer);
        Preparation { config, tokenizer, seed: 1, cache: None, progress: None }.run()
    }

    /// The prompts and answers of a source's examples.
    fn prepare(&self, source: SourceConfig) -> Vec<(String, String)> {
        let dataset = self.try_prepare(source).unwrap_or_else(|error| panic!("{error}"));
        let text = |ids: &[u32]| self.tokenizer.decode(ids, true).unwrap();
        dataset
            .train
            .iter()
            .map(|example| {
                let prompt = example.prompt().len();
                (text(&example.ids[..prompt]), text(&example.ids[prompt..]))
            })
            .collect()
    }

    fn refused(&self, source: SourceConfig) -> String {
        let error = self.try_prepare(source).unwrap_err();
        let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        let folder = self.folder.path().display().to_string();
        format!("{error}{hint}").replace(&folder, "HERE")
    }
}

fn task(path: impl AsRef<Path>, format: Format, family: Option<&str>) -> SourceConfig {
    let family = family.map(String::from);
    SourceConfig { format: Some(format), family, ..SourceConfig::new(path.as_ref()) }
}

fn shown(examples: &[(String, String)]) -> String {
    let one = |(prompt, answer): &(String, String)| format!("{prompt}⟦{answer}⟧");
    examples.iter().map(one).collect::<Vec<_>>().join("\n~~~\n")
}

const NLI: &str = r#"{"sentence1": "A man sleeps.", "sentence2": "He is awake.", "label": 2}
{"sentence1": "A dog runs.", "sentence2": "An animal moves.", "label": 0}
"#;

fn nli(room: &Room) -> SourceConfig {
    let names = [("premise", "sentence1"), ("hypothesis", "sentence2"), ("answer", "label")];
    SourceConfig {
        fields: names.map(|(ours, theirs)| (ours.to_owned(), theirs.to_owned())).into(),
        options: ["yes", "maybe", "no"].map(String::from).to_vec(),
        ..task(room.write("nli.jsonl", NLI), Format::Task, Some("nli"))
    }
}

#[test]
fn records_with_numbered_labels_go_through_the_templates_in_turn() {
    let room = Room::new();
    insta::assert_snapshot!(shown(&room.prepare(nli(&room))));
}

#[test]
fn hidden_options_random_options_and_inversions() {
    let room = Room::new();
    let hidden = SourceConfig { option_style: OptionStyle::None, ..nli(&room) };
    let random = SourceConfig { option_style: OptionStyle::Random, ..nli(&room) };
    let inverted = SourceConfig { inverted: true, ..nli(&room) };
    let all = [hidden, random, inverted].map(|source| shown(&room.prepare(source)));
    insta::assert_snapshot!(all.join("\n=====\n"));
}

#[test]
fn exemplars_stand_before_the_query_and_are_cut_to_the_budget() {
    let room = Room::new();
    let lines = (0..30).map(|n| format!("{{\"question\": \"q{n}\", \"answer\": \"a{n}\"}}\n"));
    let path = room.write("qa.jsonl", &lines.collect::<String>());
    let family = room.write(
        "mine.toml",
        "about = \"one\"\nfields = [\"question\", \"answer\"]\n[[templates]]\ninput = \"{question}?\"\n\
         target = \"{answer}!\"\ninput_prefix = \"Q: \"\ntarget_prefix = \"A: \"\ndelimiter = \"\\n\"\n\
         separator = \"\\n--\\n\"\nwrap = \"<{input}>\"\nfinal_suffix = \" \"\n",
    );
    let source = |shots, shot_tokens| SourceConfig {
        shots,
        shot_tokens,
        ..task(&path, Format::Task, Some(family.to_str().unwrap()))
    };
    let same = room.prepare(source(Shots::Same, None));
    insta::assert_snapshot!(shown(&same[..2]));
    let mixed = room.prepare(source(Shots::Mixed, None));
    assert!(mixed.iter().all(|(prompt, _)| (5..=6).contains(&prompt.matches("Q: ").count())));
    // A character is a token. A query `q9?` has 3, an exemplar `q8?` with `a8!` 6, one of two digits 8.
    let fits = |budget| {
        let examples = room.prepare(source(Shots::Mixed, Some(budget)));
        examples.iter().map(|(prompt, _)| prompt.matches("Q: ").count() - 1).collect::<Vec<_>>()
    };
    assert!(fits(4 + 8).iter().all(|kept| *kept == 1));
    assert!(fits(4 + 16).iter().all(|kept| (1..=3).contains(kept)));
    let none = room.refused(source(Shots::Mixed, Some(5)));
    assert!(none.contains("no record is left"), "{none}");
}

#[test]
fn an_example_has_an_exemplar_if_its_task_has_another_record_that_can_be_one() {
    let room = Room::new();
    let line = |n: usize| match n {
        8 | 21 => format!("{{\"question\": \"q{n}\", \"answer\": \"a{n}\"}}\n"),
        _ => format!("{{\"question\": \"q{n}\"}}\n"),
    };
    let path = room.write("qa.jsonl", &(0..30).map(line).collect::<String>());
    let alone = room.write("alone.jsonl", &line(8));
    let few = |path: &Path, shots| SourceConfig {
        shots,
        ..task(path, Format::Task, Some("closed_book"))
    };
    for shots in [Shots::Same, Shots::Mixed] {
        let config = DataConfig {
            template: TemplateChoice::None,
            max_tokens: 4000,
            tokens_per_batch: 4000,
            bad_records: BadRecords::Drop,
            sources: vec![few(&path, shots)],
            ..DataConfig::default()
        };
        let (config, tokenizer) = (&config, &room.tokenizer);
        // As they are drawn, one record has few chances in the 5 places of a row; what is drawn further has 64.
        for seed in 0..8 {
            let preparation = Preparation { config, tokenizer, seed, cache: None, progress: None };
            let Dataset { train, report, .. } = preparation.run().unwrap();
            assert_eq!((train.len(), report.dropped.len()), (2, 1), "{:?}", report.dropped);
            for (example, other) in train.iter().zip(["a21", "a8"]) {
                let prompt = room.tokenizer.decode(example.prompt(), true).unwrap();
                assert!(prompt.contains(other), "{prompt}");
            }
        }
    }
    insta::assert_snapshot!(room.refused(few(&alone, Shots::Same)));
}

const SUPER_NI: &str = r#"{"Definition": ["Say the opposite of a word."], "Categories": ["Antonyms"],
 "Positive Examples": [{"input": "hot", "output": "cold", "explanation": "They are opposites."},
                       {"input": "Up!", "output": "down", "explanation": "So are these."}],
 "Instances": [
  {"id": "task9-1", "input": "big", "output": ["small", "little"]},
  {"id": "task9-2", "input": "dark.", "output": ["light"]}]}"#;

#[test]
fn super_natural_instructions_by_definition_by_example_and_as_tk_instruct_has_them() {
    let room = Room::new();
    let path = room.write("task9_antonyms.json", SUPER_NI);
    let families = [None, Some("instruction_example"), Some("tk_instruct")];
    let mut all =
        families.map(|family| shown(&room.prepare(task(&path, Format::SuperNi, family)))).to_vec();
    // The definition stands once, before the exemplars.
    let few = SourceConfig { shots: Shots::Mixed, ..task(&path, Format::SuperNi, None) };
    all.push(shown(&room.prepare(few)[..1]));
    insta::assert_snapshot!(all.join("\n=====\n"));
}

#[test]
fn chains_of_thought_questions_with_letters_and_big_bench() {
    let room = Room::new();
    let cot = room.write("sums_train.tsv", "What is 1+1?\\nThink.\t2\tOne and one are two.\n");
    let mmlu = room.write(
        "high_school_maths_test.csv",
        "\"What is, say, \"\"two\"\"?\",1,2,3,4,B\n\"A\nB?\",w,x,y,z,D\r\nC?,w,x,y,z,A\n",
    );
    let lines = room.try_prepare(task(&mmlu, Format::Mmlu, None)).unwrap().train;
    let lines: Vec<_> = lines.iter().map(|example| example.origin.line).collect();
    assert_eq!(lines, [1, 2, 4], "a row may have several lines");
    let bbh = room.write(
        "sorting.json",
        r#"{"canary": "x", "examples": [{"input": "b a", "target": "a b"}]}"#,
    );
    let all = [
        room.prepare(task(&cot, Format::Cot, None)),
        room.prepare(SourceConfig { inverted: true, ..task(&cot, Format::Cot, None) }),
        room.prepare(task(&mmlu, Format::Mmlu, None)),
        room.prepare(task(&bbh, Format::Bbh, None)),
    ];
    insta::assert_snapshot!(all.map(|examples| shown(&examples)).join("\n=====\n"));
}

#[test]
fn a_dialog_ends_where_the_answer_begins() {
    let room = Room::new();
    let turns = r#"{"turns": ["Hello!", {"content": "Hi."}, "How are you?", "Fine."]}"#;
    let path = room.write("talk.jsonl", turns);
    insta::assert_snapshot!(shown(&room.prepare(task(path, Format::Task, Some("dialog")))));
}

#[test]
fn what_is_wrong_is_told_with_its_file_line_and_field() {
    let room = Room::new();
    let bad = room.write(
        "bad.jsonl",
        "{\"premise\": \"a\", \"hypothesis\": \"b\", \"answer\": \"perhaps\"}\n\
         {\"premise\": \"a\", \"answer\": \"yes\"}\n\
         {\"premise\": \"a\", \"hypothesis\": \"b\", \"answer\": 3}\n\
         {\"premise\": \"a\", \"hypothesis\": \"b\", \"answer\": \" \"}\n\
         {\"premise\": \"a\", \"hypothesis\": \"b\"}\n",
    );
    let options = ["yes", "no"].map(String::from).to_vec();
    let records = SourceConfig { options, ..task(&bad, Format::Task, Some("nli")) };
    let unknown = room.write(
        "mine.toml",
        "about = \"one\"\nfields = [\"text\", \"answer\"]\n\n[[templates]]\ninput = \"{txt}\"\ntarget = \"{answer}\"\n",
    );
    let row = room.write("rows.tsv", "a\tb\n");
    let told = [
        room.refused(records),
        room.refused(task(&bad, Format::Task, Some(unknown.to_str().unwrap()))),
        room.refused(task(&bad, Format::Task, Some("nly"))),
        room.refused(SourceConfig {
            inverted: true,
            ..task(&bad, Format::Task, Some("tk_instruct"))
        }),
        room.refused(task(&row, Format::Cot, None)),
        room.refused(task(&bad, Format::SuperNi, None)),
    ];
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn held_out_tasks_and_categories_are_left_out_by_name_and_one_must_remain() {
    let room = Room::new();
    room.write("ni/task1_opposites.json", SUPER_NI);
    room.write("ni/task2_opposites.json", SUPER_NI);
    room.write("ni/task31_titles.json", &SUPER_NI.replace("Antonyms", "Title Generation"));
    let folder = room.folder.path().join("ni");
    let names = |source: SourceConfig| {
        let weight = Some(Weight::Proportional);
        let sources = vec![SourceConfig { weight, ..source }];
        let config = DataConfig { sources, ..DataConfig::default() };
        let mixture = Mixture::open(&config, 0).map_err(|error| error.to_string())?;
        let names = mixture.rates().into_iter().map(|task| task.task);
        Ok::<_, String>(names.collect::<Vec<_>>())
    };
    let all = task(&folder, Format::SuperNi, None);
    let without = |exclude: &[&str], categories: &[&str]| SourceConfig {
        exclude: exclude.iter().map(|name| (*name).to_owned()).collect(),
        exclude_categories: categories.iter().map(|name| (*name).to_owned()).collect(),
        ..all.clone()
    };
    assert_eq!(names(all.clone()).unwrap().len(), 3);
    assert_eq!(names(without(&["task?_*"], &[])).unwrap(), ["task31_titles"]);
    assert_eq!(
        names(without(&["task1_opposites"], &["Title Generation"])).unwrap(),
        ["task2_opposites"]
    );
    let typo = names(without(&["task1_oposites", "nothing*"], &[])).unwrap_err();
    let wanted =
        "`data.sources[0].exclude` names `task1_oposites`, wanted the name of one of its 3 tasks";
    assert_eq!(typo, wanted);
    let none = names(without(&["task*"], &[])).unwrap_err();
    assert!(none.ends_with("is left: all are excluded") && none.contains("3 tasks"), "{none}");
    room.write(
        "ni/task4_empty.json",
        &(SUPER_NI.split("\"Instances\"").next().unwrap().to_owned() + "\"Instances\": []}"),
    );
    let empty = names(all.clone()).unwrap_err();
    assert!(
        empty.contains("the task `task4_empty`") && empty.ends_with("has no examples left"),
        "{empty}"
    );
}

/// Rows of text in row groups of so many.
pub(crate) fn write_parquet(path: &Path, rows: &[(String, String)], group: usize) {
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    let schema =
        "message row { REQUIRED BYTE_ARRAY prompt (UTF8); REQUIRED BYTE_ARRAY completion (UTF8); }";
    let schema = Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    let properties = Arc::new(
        WriterProperties::builder().set_compression(parquet::basic::Compression::SNAPPY).build(),
    );
    let file = std::fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    for rows in rows.chunks(group) {
        let mut group = writer.next_row_group().unwrap();
        for column in 0..2 {
            let values: Vec<ByteArray> =
                rows.iter().map(|row| ByteArray::from([&row.0, &row.1][column].as_str())).collect();
            let mut writer = group.next_column().unwrap().unwrap();
            writer.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
            writer.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn parquet_has_the_same_records_as_json_lines_and_a_pass_has_each_once() {
    let room = Room::new();
    let rows: Vec<_> = (0..70).map(|n| (format!("p{n} "), format!("c{n}"))).collect();
    for (file, rows) in rows.chunks(40).enumerate() {
        write_parquet(&room.folder.path().join(format!("rows-{file}.parquet")), rows, 16);
    }
    let source = SourceConfig::new(room.folder.path().join("rows-*.parquet"));
    assert_eq!(room.prepare(source.clone()), rows);

    let weighed = SourceConfig { weight: Some(Weight::Proportional), ..source };
    let drawn = room.prepare(weighed.clone());
    // As many are made to look at as there are: one pass.
    let mut sorted = drawn.clone();
    sorted.sort();
    let mut wanted = rows.clone();
    wanted.sort();
    assert_eq!(sorted, wanted);
    assert_ne!(drawn, rows, "in another order");
    // Row groups are read one after the other.
    let group = |(prompt, _): &(String, String)| {
        let row: usize = prompt.trim()[1..].parse().unwrap();
        row / 40 * 100 + row % 40 / 16
    };
    let mut groups: Vec<_> = drawn.iter().map(group).collect();
    groups.dedup();
    assert_eq!(groups.len(), 5, "{groups:?}");
}
