//! Records of one prompt and several answers: what they say, their ids, and what is wrong with them.

use albacore_data::{
    BadRecords, DataConfig, Dataset, Encoded, OriginalAnswer, Preparation, Reason, Response,
    Result, SourceConfig, TemplateChoice, Tokenizer, TooLong, preview, read,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tiny::{EOS, Tiny};

/// A file of records, and how it is read.
struct Room {
    folder: TempDir,
    tokenizer: Tokenizer,
    config: DataConfig,
}

impl Room {
    fn new(records: &[Value]) -> Self {
        Self::of_text(&records.iter().map(|record| format!("{record}\n")).collect::<String>())
    }

    fn of_text(text: &str) -> Self {
        let folder = Tiny::default().write();
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, text).unwrap();
        let mut config = DataConfig { template: TemplateChoice::None, ..DataConfig::default() };
        config.sources.push(SourceConfig::new(path));
        Self { folder, tokenizer, config }
    }

    fn prepare(&self, cached: bool) -> Result<Dataset> {
        let (config, tokenizer, cache) = (&self.config, &self.tokenizer, self.folder.path());
        let cache = cached.then_some(cache);
        Preparation { config, tokenizer, seed: 0, cache, progress: None }.run()
    }

    fn run(&self) -> Dataset {
        self.prepare(false).unwrap()
    }

    /// The text of an example: its prompt, then each response and its score.
    fn shown(&self, example: &Encoded) -> Vec<String> {
        let tokens = preview(&self.tokenizer, example).unwrap();
        let text = |range: std::ops::Range<usize>| {
            tokens[range].iter().map(|token| token.text.as_str()).collect::<String>()
        };
        let prompt = text(0..example.prompt().len());
        let responses = (0..example.responses.len()).map(|index| {
            format!("{}={}", text(example.response(index)), example.responses[index].score)
        });
        [prompt].into_iter().chain(responses).collect()
    }

    fn first(&self) -> Vec<String> {
        self.shown(&self.run().train[0])
    }

    fn defects(&self) -> Vec<String> {
        let records = read(&self.config.sources[0]).unwrap();
        let shown = |text: String| text.replace(&format!("{}/", self.folder.path().display()), "");
        records.bad.iter().map(|bad| shown(bad.to_string())).collect()
    }
}

fn tuna() -> Value {
    json!({"id": "seed_7", "instruction": "Q:", "output": ["yes", "no", "?"], "score": [0.5, -1, 0.5]})
}

#[test]
fn a_tuna_record_is_its_prompt_once_and_each_answer_with_its_end() {
    let room = Room::new(&[tuna()]);
    let dataset = room.run();
    let example = &dataset.train[0];
    assert_eq!(room.shown(example), ["<s>Q:", "yes</s>=0.5", "no</s>=-1", "?</s>=0.5"]);
    let learned: Vec<_> = (0..example.len()).map(|at| at >= 3).collect();
    assert_eq!((&example.learned, example.supervised()), (&learned, 9));
    assert_eq!(example.ids[6], EOS);
    assert_eq!(example.reasons[6], Reason::AnswerEnd);
    assert_eq!((example.best_response(), example.longest_sequence()), (Some(0), 7));
    let report = &dataset.report;
    assert_eq!((report.responses, report.tokens, report.longest), (3, 12, 7));
    assert_eq!(report.tied, None);
}

#[test]
fn no_template_is_put_around_a_tuna_record() {
    let mut room = Room::new(&[tuna()]);
    let plain = room.first();
    for template in [TemplateChoice::Alpaca, TemplateChoice::Chat] {
        room.config.template = template;
        assert_eq!(room.first(), plain);
    }
}

#[test]
fn the_raw_files_of_tunas_authors_are_read() {
    let mut room = Room::new(&[json!({
        "orig": {"instruction": "Add.", "input": "1 2", "output": "3"}, "text": ["3", "12"],
        "avg_token_prob": [-0.25, -0.5], "length": [1, 2], "logprob": [-0.25, -1.0]
    })]);
    assert_eq!(room.first(), ["<s>Add.\n\n1 2", "3</s>=-0.25", "12</s>=-0.5"]);
    room.config.sources[0].original = Some(OriginalAnswer::Candidate);
    assert_eq!(room.first()[3], "3</s>=0");

    let judged = json!({
        "prompt": "Judge!", "instruct": "Q:", "generation": ["a", "b", "a", "c"], "id": 4,
        "gpt_eval": "rank: [3, 4, 0, 1]", "rank_str": "[3, 4, 0, 1]", "ranks": [3, 4, 0, 1],
        "response_4": "d"
    });
    let mut room = Room::new(std::slice::from_ref(&judged));
    // Answer 2 says what answer 0 says: the judge has named one of them.
    assert_eq!(room.first(), ["<s>Q:", "a</s>=1", "b</s>=0", "c</s>=3"]);
    room.config.sources[0].original = Some(OriginalAnswer::Candidate);
    assert_eq!(room.first(), ["<s>Q:", "a</s>=1", "b</s>=0", "c</s>=3", "d</s>=2"]);
}

#[test]
fn the_original_answer_joins_as_a_candidate_or_as_a_record_or_not_at_all() {
    let mut record = tuna();
    record["original"] = "sure".into();
    let mut room = Room::new(&[record, tuna()]);
    room.config.bad_records = BadRecords::Drop;
    let shown = |room: &Room| {
        room.run().train.iter().map(|example| room.shown(example).len() - 1).collect::<Vec<_>>()
    };
    assert_eq!(shown(&room), [3, 3]);
    room.config.sources[0].original = Some(OriginalAnswer::Candidate);
    // The best by as much as the others are apart: (0.5 - -1) / 2 above 0.5.
    assert_eq!(room.first()[4], "sure</s>=1.25");
    assert_eq!(shown(&room), [4]);
    room.config.sources[0].original = Some(OriginalAnswer::Record);
    assert_eq!(shown(&room), [3, 0]);
    let alone = &room.run().train[1];
    assert_eq!(room.shown(alone), ["<s>Q:"]);
    assert_eq!((alone.len(), alone.supervised()), (8, 5));
    assert_eq!(
        room.defects(),
        [
            "a.jsonl:2 (id `seed_7`): the record has no original answer, wanted for `original` of its source"
        ]
    );
}

#[test]
fn preferences_of_text_are_put_into_the_template() {
    let record = json!({"prompt": "Q", "chosen": "good", "rejected": "bad"});
    let mut room = Room::new(&[record]);
    assert_eq!(room.first(), ["<s>Q", "good</s>=1", "bad</s>=0"]);
    room.config.template = TemplateChoice::Chat;
    let chat = [
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n",
        "good<|im_end|></s>=1",
        "bad<|im_end|></s>=0",
    ];
    let shown = room.first();
    assert_eq!(shown[0], chat[0]);
    assert!(shown[1].starts_with("good<|im_end|>") && shown[1].ends_with("=1"), "{shown:?}");
}

#[test]
fn whole_texts_are_parted_where_they_differ_and_a_blank_goes_with_the_answers() {
    let both = |chosen: &str, rejected: &str| json!({"chosen": chosen, "rejected": rejected});
    let good = both("Q:\nA: a good", "Q:\nA: b bad");
    let room = Room::new(std::slice::from_ref(&good));
    assert_eq!(room.first(), ["<s>Q:\nA:", " a good</s>=1", " b bad</s>=0"]);
    let room = Room::new(&[good, both("say yes", "say yes, no")]);
    assert_eq!(
        room.defects(),
        [
            "a.jsonl:2: the answer is empty: `chosen` has nothing behind what both begin with, wanted text"
        ]
    );
}

#[test]
fn preferences_of_messages_have_a_prompt_or_begin_alike() {
    let says = |role: &str, content: &str| json!({"role": role, "content": content});
    let (ask, good, bad) = (says("user", "Q"), says("assistant", "good"), says("assistant", "bad"));
    let explicit = json!({"prompt": [ask], "chosen": [good], "rejected": [bad]});
    let implicit = json!({"chosen": [ask, good], "rejected": [ask, bad]});
    // The prompt as text beside whole conversations, and beside the answers alone.
    let beside = json!({"prompt": "Q", "chosen": [ask, good], "rejected": [ask, bad]});
    let before = json!({"prompt": "Q", "chosen": [good], "rejected": [bad]});
    let mut room = Room::new(&[explicit, implicit, beside, before]);
    room.config.template = TemplateChoice::Chat;
    let dataset = room.run();
    assert_eq!(dataset.train.len(), 4);
    for other in &dataset.train[1..] {
        assert_eq!(room.shown(&dataset.train[0]), room.shown(other));
    }
    assert_eq!(dataset.train[0].responses.len(), 2);

    room.config.template = TemplateChoice::None;
    let error = room.run_error();
    assert!(error.contains("a `preference` record does not fit `template = \"none\"`"), "{error}");
    assert!(error.contains("`data.template = \"chat\"`"), "{error}");
}

impl Room {
    fn run_error(&self) -> String {
        let error = self.prepare(false).unwrap_err();
        format!("{error}\n{}", error.hint().unwrap_or_default())
    }
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_its_id() {
    let record = |change: &dyn Fn(&mut Value)| {
        let mut record = tuna();
        change(&mut record);
        record
    };
    let records = [
        tuna(),
        json!({"id": 8, "instruction": "Q", "output": ["alone"], "score": [1]}),
        record(&|record| record["score"] = json!([1, 2])),
        record(&|record| record["score"][1] = Value::Null),
        record(&|record| record["score"][1] = "NaN".into()),
        record(&|record| record["score"][1] = json!(1e300)),
        record(&|record| record["output"][2] = " ".into()),
        record(&|record| record["output"][0] = json!(["list"])),
        record(&|record| record["instruction"] = "".into()),
        record(&|record| drop(record.as_object_mut().unwrap().remove("score"))),
    ];
    let mut room = Room::new(&records);
    room.config.sources[0].format = Some(albacore_data::Format::Tuna);
    insta::assert_snapshot!(room.defects().join("\n"), @"
    a.jsonl:2 (id `8`): the number of candidates in `output` is 1, wanted 2 or more
    a.jsonl:3 (id `seed_7`): `score` has 2 entries, wanted 3, one for each of `output`
    a.jsonl:4 (id `seed_7`): `score[1]` is null, wanted a finite number
    a.jsonl:5 (id `seed_7`): `score[1]` is a string, wanted a finite number
    a.jsonl:6 (id `seed_7`): `score[1]` is a number too large for f32, wanted a finite number
    a.jsonl:7 (id `seed_7`): the answer is empty: `output[2]` holds only whitespace, wanted text
    a.jsonl:8 (id `seed_7`): `output[0]` is a list, wanted a string
    a.jsonl:9 (id `seed_7`): the prompt is empty: `instruction`, wanted text
    a.jsonl:10 (id `seed_7`): the record has no field `score`, found `id`, `instruction`, `output`
    ");
}

#[test]
fn a_ranking_names_what_is_there_and_each_once() {
    let judged =
        |ranks: Value| json!({"instruct": "Q", "generation": ["a", "b"], "id": 1, "rank": ranks});
    let room = Room::new(&[
        judged(json!([0, 1])),
        judged(json!([0, 3])),
        judged(json!([1, 1])),
        judged(json!([1])),
        judged(json!([-1, 0])),
    ]);
    insta::assert_snapshot!(room.defects().join("\n"), @"
    a.jsonl:2 (id `1`): `rank` names answer 3, wanted an answer from 0 to 2
    a.jsonl:3 (id `1`): `rank` names answer 1, wanted each answer once
    a.jsonl:4 (id `1`): the number of candidates in `rank` is 1, wanted 2 or more
    a.jsonl:5 (id `1`): `rank` names answer -1, wanted an answer from 0 to 2
    ");
}

#[test]
fn an_answer_with_a_label_stands_alone_with_its_score() {
    let said = |label: Value| json!({"prompt": "Q", "completion": "good", "label": label, "id": 1});
    let room = |records: &[Value]| {
        let mut room = Room::new(records);
        room.config.sources[0].format = Some(albacore_data::Format::Preference);
        room
    };
    let good = room(&[said(json!(true)), said(json!(false))]);
    assert_eq!(good.first(), ["<s>Q", "good</s>=1"]);
    assert_eq!(good.shown(&good.run().train[1]), ["<s>Q", "good</s>=0"]);
    let bad = room(&[said(json!(true)), said(json!(1))]);
    assert_eq!(bad.defects(), ["a.jsonl:2 (id `1`): `label` is a number, wanted true or false"]);
}

#[test]
fn preferences_that_cannot_be_read_are_named() {
    let says = |role: &str, content: &str| json!({"role": role, "content": content});
    let room = Room::new(&[
        json!({"prompt": "a", "chosen": "b", "rejected": "c"}),
        json!({"chosen": "b", "rejected": "c"}),
        json!({"prompt": "a", "chosen": "", "rejected": "c"}),
        json!({"prompt": [says("user", "a")], "chosen": [says("user", "b")], "rejected": [says("assistant", "c")]}),
        json!({"chosen": [says("assistant", "b")], "rejected": [says("assistant", "c")]}),
        json!({"prompt": " ", "chosen": "b", "rejected": "c"}),
    ]);
    insta::assert_snapshot!(room.defects().join("\n"), @"
    a.jsonl:2: the record has no field `prompt`, found `chosen`, `rejected`
    a.jsonl:3: the answer is empty: `chosen` is `\"\"`, wanted text
    a.jsonl:4: `chosen` ends with 1 messages after the prompt, the last from `user`; wanted one from `assistant`
    a.jsonl:5: the prompt is empty: `prompt`, wanted text
    a.jsonl:6: the prompt is empty: `prompt`, wanted text
    ");
}

#[test]
fn a_score_that_python_wrote_as_nan_is_named_as_such() {
    let good = tuna();
    let bad = good.to_string().replace("-1", "NaN");
    let room = Room::of_text(&format!("{good}\n{bad}\n"));
    let defects = room.defects();
    assert_eq!(defects.len(), 1);
    assert!(defects[0].starts_with("a.jsonl:2: malformed JSON at column"), "{defects:?}");
    assert!(defects[0].ends_with(": `NaN` is no JSON number"), "{defects:?}");
}

#[test]
fn different_numbers_of_candidates_and_ties_are_legal_and_ties_are_counted() {
    let pair = json!({"instruction": "Q", "output": ["a", "b"], "score": [1, 1]});
    let room = Room::new(&[tuna(), pair]);
    let dataset = room.run();
    assert_eq!(dataset.report.responses, 5);
    let tied = dataset.report.tied.unwrap();
    assert_eq!((tied.count, tied.first[0].line), (1, 2));
}

#[test]
fn responses_that_are_too_long_are_cut_or_left_out_one_by_one() {
    // `<s>Q:` and answers of 4, 3 and 2 tokens with their ends.
    let mut room =
        Room::new(&[tuna(), json!({"instruction": "A", "output": ["a", "b"], "score": [1, 0]})]);
    room.config.max_tokens = 6;
    let mut shown = |too_long| {
        room.config.too_long = too_long;
        let dataset = room.run();
        (room.shown(&dataset.train[0]), dataset.report)
    };
    let (examples, report) = shown(TooLong::Drop);
    assert_eq!(examples, ["<s>Q:", "no</s>=-1", "?</s>=0.5"]);
    assert_eq!((report.fewer.unwrap().count, report.truncated, report.kept), (1, None, 2));
    let (examples, report) = shown(TooLong::Truncate);
    assert_eq!(examples, ["<s>Q:", "yes=0.5", "no</s>=-1", "?</s>=0.5"]);
    assert_eq!((report.fewer, report.truncated.unwrap().count), (None, 1));

    // Five tokens hold one whole answer, which has nobody to be compared with.
    room.config.max_tokens = 5;
    room.config.too_long = TooLong::Drop;
    let report = room.run().report;
    assert_eq!((report.kept, report.dropped[0].reason.as_str()), (1, "too long"));
    // Three are the prompt alone.
    room.config.max_tokens = 3;
    room.config.too_long = TooLong::Truncate;
    let report = room.run().report;
    assert_eq!((report.kept, &*report.dropped[0].reason), (1, "truncated before anything learned"));
    room.config.too_long = TooLong::Error;
    assert!(room.run_error().contains("a.jsonl:1: 7 tokens"), "{}", room.run_error());
}

#[test]
fn responses_and_scores_come_back_from_the_cache_and_change_the_fingerprint() {
    let mut record = tuna();
    record["score"][1] = json!(-0.1);
    let room = Room::new(&[record.clone()]);
    let [made, kept] = [(); 2].map(|()| room.prepare(true).unwrap());
    assert!(!made.from_cache && kept.from_cache);
    assert_eq!((&kept.train, &kept.fingerprint), (&made.train, &made.fingerprint));
    assert_eq!(kept.train[0].responses[1], Response { start: 7, score: -0.1 });
    record["score"][1] = json!(-0.2);
    let other = Room::new(&[record]).run();
    assert!(other.train[0].ids == made.train[0].ids && other.fingerprint != made.fingerprint);
}

#[test]
fn an_alpaca_record_with_a_score_is_still_one() {
    let room = Room::new(&[json!({"instruction": "Q", "output": "a", "score": 4.5})]);
    assert!(room.run().train[0].responses.is_empty());
}
