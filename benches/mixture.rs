//! How fast a mixture is opened, and its examples templated, tokenised and packed.
//!
//! ```sh
//! cargo bench -p albacore-data --bench mixture -- --tokenizer models/smollm2 --threads 2
//! cargo bench -p albacore-data --bench mixture -- --tokenizer models/smollm2 --records flan/cot_data --family cot
//! ```
//!
//! Tasks are made up, in JSON lines of four families: natural language inference, sentiment, topics and
//! questions, with a few dozen to a few hundred records each and texts of 5 to 40 words; or they are the
//! files of a folder: Flan's chains of thought for the family `cot`, else JSON lines or Parquet with the
//! fields of the family. Three mixtures of them: without exemplars, half without and half with them as the recipes are, and with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use albacore_data::{
    DataConfig, Format, Mixture, MixtureSource, MixtureStream, OptionStyle, Preparation, Random,
    Shots, SourceConfig, TemplateChoice, Tokenizer, Weight,
};

/// What can be said after `--`.
struct Options {
    tokenizer: PathBuf,
    /// Files to take instead of tasks that are made up, and what they are.
    records: Option<PathBuf>,
    family: String,
    tasks: usize,
    examples: usize,
    threads: usize,
    rounds: usize,
}

fn main() {
    let options = options();
    rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build_global()
        .expect("threads can be started");
    let folder = tempfile::tempdir().expect("a folder");
    if options.records.is_none() {
        let records = write_tasks(folder.path(), options.tasks);
        println!("{} tasks with {records} records", options.tasks);
    }
    let tokenizer = Tokenizer::load(&options.tokenizer).expect("a tokenizer");
    for (name, shots) in [
        ("none", &[Shots::Zero][..]),
        ("in half", &[Shots::Zero, Shots::Both]),
        ("in all", &[Shots::Both]),
    ] {
        let config = config(&options, folder.path(), shots);
        let mut opened = Vec::new();
        let mut speeds = Vec::new();
        let (mut tokens, mut fill, mut cpu) = (0, 0.0, 0.0f64);
        for _ in 0..options.rounds {
            let began = Instant::now();
            let mixture = Mixture::open(&config, 0).expect("a mixture");
            opened.push(began.elapsed().as_secs_f64());
            let preparation = Preparation {
                config: &config,
                tokenizer: &tokenizer,
                seed: 0,
                cache: None,
                progress: None,
            };
            let encoder = preparation.encoder().expect("an encoder");
            let source = MixtureSource { mixture: &mixture, preparation, encoder: &encoder };
            let mut stream = MixtureStream::new(source);
            let (began, used) = (Instant::now(), cpu_seconds());
            let (mut examples, mut batches) = (0, 0);
            tokens = 0;
            while examples < options.examples {
                let batch = stream.batch(usize::MAX).expect("a batch");
                examples += batch.examples.len();
                tokens += batch.tokens();
                batches += 1;
            }
            let seconds = began.elapsed().as_secs_f64();
            speeds.push(examples as f64 / seconds);
            cpu = cpu.max(examples as f64 / (cpu_seconds() - used));
            tokens = (tokens as f64 / seconds) as usize;
            fill = examples as f64 / f64::from(batches);
        }
        let best = speeds.iter().copied().fold(0.0, f64::max);
        let all: Vec<_> = speeds.iter().map(|speed| format!("{speed:.0}")).collect();
        let open = opened.iter().copied().fold(f64::INFINITY, f64::min);
        println!(
            "exemplars {name}: opened in {open:.2} s; best {best:.0} examples/s (all {}), {cpu:.0} per second \
             of CPU time, last {tokens} tokens/s, {fill:.1} examples a batch",
            all.join("/")
        );
    }
    if let Some(peak) = peak_memory() {
        println!("peak memory {peak}");
    }
}

fn options() -> Options {
    let mut options = Options {
        tokenizer: PathBuf::from("models/smollm2"),
        records: None,
        family: "cot".to_owned(),
        tasks: 1800,
        examples: 100_000,
        threads: 2,
        rounds: 3,
    };
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_else(|| panic!("`{name}` takes a value"));
        let number = || value.parse().expect("a whole number");
        match name.as_str() {
            "--tokenizer" => options.tokenizer = value.into(),
            "--records" => options.records = Some(value.into()),
            "--family" => options.family = value,
            "--tasks" => options.tasks = number(),
            "--examples" => options.examples = number(),
            "--threads" => options.threads = number(),
            "--rounds" => options.rounds = number(),
            _ => panic!(
                "`--tokenizer`, `--records`, `--family`, `--tasks`, `--examples`, `--threads`, `--rounds` are known"
            ),
        }
    }
    options
}

/// The families, and the options of their answers.
const FAMILIES: [(&str, &[&str]); 4] = [
    ("nli", &["yes", "no", "it is not possible to tell"]),
    ("sentiment", &["positive", "negative"]),
    ("topic", &["World", "Sports", "Business", "Science"]),
    ("closed_book", &[]),
];

/// As many sources of each kind as there are ways to have exemplars, all weighed alike.
fn config(options: &Options, folder: &Path, shots: &[Shots]) -> DataConfig {
    let source = |path: PathBuf, shots| SourceConfig {
        weight: Some(Weight::Proportional),
        task_each: Some(true),
        cap: Some(300),
        shots,
        ..SourceConfig::new(path)
    };
    let made_up = |(family, options): (&str, &[&str]), shots| SourceConfig {
        format: Some(Format::Task),
        family: Some(family.to_owned()),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        option_style: OptionStyle::Random,
        ..source(folder.join(family), shots)
    };
    let all = |shots: &Shots| match &options.records {
        Some(records) => {
            let format = if options.family == "cot" { Format::Cot } else { Format::Task };
            vec![SourceConfig {
                format: Some(format),
                family: Some(options.family.clone()),
                ..source(records.clone(), *shots)
            }]
        }
        None => FAMILIES.iter().map(|family| made_up(*family, *shots)).collect(),
    };
    DataConfig {
        sources: shots.iter().flat_map(all).collect(),
        template: TemplateChoice::None,
        ..DataConfig::default()
    }
}

/// Writes the tasks, a quarter of each family; returns how many records they have.
fn write_tasks(folder: &Path, tasks: usize) -> usize {
    let mut random = Random::new(0, "benchmark", 0);
    let mut records = 0;
    for task in 0..tasks {
        let (family, options) = FAMILIES[task % FAMILIES.len()];
        let count = 30 + random.below(400);
        let mut text = String::new();
        for _ in 0..count {
            let mut words = || sentence(&mut random);
            text += &match family {
                "nli" => format!(r#"{{"premise": "{}", "hypothesis": "{}", "#, words(), words()),
                "closed_book" => format!(r#"{{"question": "{}?", "#, words()),
                _ => format!(r#"{{"text": "{}", "#, words()),
            };
            text += &match options {
                [] => format!("\"answer\": \"{}\"}}\n", sentence(&mut random)),
                options => format!("\"answer\": {}}}\n", random.below(options.len())),
            };
        }
        records += count;
        fs::create_dir_all(folder.join(family)).expect("a folder");
        fs::write(folder.join(family).join(format!("task{task}.jsonl")), text).expect("a file");
    }
    records
}

/// 5 to 40 words, short ones and long ones.
fn sentence(random: &mut Random) -> String {
    const WORDS: [&str; 32] = [
        "the",
        "of",
        "a",
        "in",
        "river",
        "government",
        "was",
        "is",
        "players",
        "that",
        "science",
        "found",
        "with",
        "seven",
        "market",
        "year",
        "and",
        "for",
        "small",
        "language",
        "house",
        "by",
        "from",
        "people",
        "said",
        "water",
        "international",
        "on",
        "it",
        "early",
        "morning",
        "which",
    ];
    let count = 5 + random.below(36);
    let words: Vec<_> = (0..count).map(|_| WORDS[random.below(WORDS.len())]).collect();
    words.join(" ")
}

/// Seconds that the process has computed, on all cores, on Linux; it is a hundredth exact.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// The most memory the process has had, on Linux.
fn peak_memory() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    Some(line.split_whitespace().skip(1).collect::<Vec<_>>().join(" "))
}
