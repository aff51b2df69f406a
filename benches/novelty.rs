//! How long the novelty filter takes, on instructions made up with natural frequencies of words.
//!
//! ```sh
//! cargo bench -p albacore-data --bench novelty -- --texts 10000,52000,1000000 --threads 1
//! cargo bench -p albacore-data --bench novelty -- --texts 52000 --write instructions.jsonl
//! ```
//!
//! Words follow the law of Zipf and Mandelbrot over a vocabulary that grows with the text; two fifths of the
//! instructions begin with one of 400 openings, as people's do; lengths are log-normal, 12 words in
//! the mean; one in eight is an earlier one with a few words replaced, left out, put in or moved.

use std::io::Write;
use std::time::Instant;

use albacore_data::{Novelty, Random, Tokenization};

/// What can be said after `--`.
struct Options {
    texts: Vec<usize>,
    threads: usize,
    threshold: f64,
    rounds: usize,
    write: Option<String>,
}

fn main() {
    let options = options();
    rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build_global()
        .expect("threads can be started");
    let most = options.texts.iter().copied().max().unwrap_or(0);
    let texts = instructions(most);
    let words: usize = texts.iter().map(|text| text.split(' ').count()).sum();
    println!("{most} instructions, {:.1} words in the mean", words as f64 / most.max(1) as f64);
    if let Some(path) = &options.write {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
        for text in &texts {
            writeln!(file, "{{\"instruction\": \"{text}\"}}").expect("the file can be written");
        }
    }
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    println!("{:>9} {:>9} {:>10} {:>10} {:>8}", "texts", "kept", "best (s)", "all (s)", "µs/text");
    for &count in &options.texts {
        let mut seconds: Vec<f64> = Vec::new();
        let mut kept = 0;
        for _ in 0..options.rounds {
            let began = Instant::now();
            let mut known = Novelty::new(options.threshold, Tokenization::Ascii);
            known.accept(&texts[..count]);
            seconds.push(began.elapsed().as_secs_f64());
            kept = known.len();
        }
        let best = seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let all: Vec<_> = seconds.iter().map(|seconds| format!("{seconds:.2}")).collect();
        let each = best * 1e6 / count as f64;
        println!("{count:>9} {kept:>9} {best:>10.3} {:>10} {each:>8.1}", all.join("/"));
    }
    if let Some(peak) = peak_memory() {
        println!("peak memory {peak}");
    }
}

fn options() -> Options {
    let mut options =
        Options { texts: vec![52_000], threads: 1, threshold: 0.7, rounds: 1, write: None };
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_else(|| panic!("`{name}` takes a value"));
        let number = || value.parse().expect("a whole number");
        match name.as_str() {
            "--texts" => {
                let counts = value.split(',').map(|count| count.parse().expect("a whole number"));
                options.texts = counts.collect();
            }
            "--threads" => options.threads = number(),
            "--rounds" => options.rounds = number(),
            "--threshold" => options.threshold = value.parse().expect("a number"),
            "--write" => options.write = Some(value),
            _ => panic!("`--texts`, `--threads`, `--rounds`, `--threshold`, `--write` are known"),
        }
    }
    options
}

/// Instructions, the same for every machine.
fn instructions(count: usize) -> Vec<String> {
    let mut random = Random::new(1, "instructions", 0);
    let openings: Vec<Vec<usize>> = (0..400)
        .map(|_| (0..2 + random.below(4)).map(|_| word(&mut random, 5000)).collect())
        .collect();
    let mut texts: Vec<Vec<usize>> = Vec::with_capacity(count);
    for number in 0..count {
        if number > 100 && random.below(8) == 0 {
            let earlier = texts[random.below(number)].clone();
            texts.push(changed(earlier, &mut random));
            continue;
        }
        let mut words = Vec::new();
        if random.below(5) < 2 {
            words.extend(&openings[word(&mut random, openings.len())]);
        }
        let length = length(&mut random);
        // New words keep coming, with the square root of the text (Heaps' law).
        let vocabulary = 5_000 + 150 * (number as f64).sqrt() as usize;
        while words.len() < length {
            words.push(word(&mut random, vocabulary));
        }
        texts.push(words);
    }
    texts
        .iter()
        .map(|words| words.iter().map(|w| spelled(*w)).collect::<Vec<_>>().join(" "))
        .collect()
}

/// A number between 0 and 1.
fn uniform(random: &mut Random) -> f64 {
    (random.next() >> 11) as f64 / (1u64 << 53) as f64
}

/// A word by the law of Zipf and Mandelbrot: the n-th is drawn in proportion to (n + 1.6)^-1.1. The
/// most frequent word is then 8 % of a text, ten are 30 % and a hundred 57 %, as in Alpaca's
/// instructions.
fn word(random: &mut Random, vocabulary: usize) -> usize {
    const SHIFT: f64 = 1.6;
    let share = 1.0 - ((vocabulary as f64 + SHIFT) / SHIFT).powf(-0.1);
    let number = SHIFT * (1.0 - uniform(random) * share).powi(-10) - SHIFT;
    (number as usize).min(vocabulary - 1)
}

/// Log-normal by twelve uniform numbers: 12 in the mean, from 3 to 80.
fn length(random: &mut Random) -> usize {
    let normal: f64 = (0..12).map(|_| uniform(random)).sum::<f64>() - 6.0;
    (2.37 + 0.48 * normal).exp().clamp(3.0, 80.0) as usize
}

/// An instruction with one to four words changed.
fn changed(mut words: Vec<usize>, random: &mut Random) -> Vec<usize> {
    for _ in 0..1 + random.below(4) {
        let place = random.below(words.len());
        match random.below(4) {
            0 => words[place] = word(random, 10_000),
            1 if words.len() > 3 => drop(words.remove(place)),
            2 => words.insert(place, word(random, 10_000)),
            _ => {
                let other = random.below(words.len());
                words.swap(place, other);
            }
        }
    }
    words
}

/// A word of letters for a number.
fn spelled(mut number: usize) -> String {
    const CONSONANTS: &[u8] = b"bdfgklmnprstvz";
    const VOWELS: &[u8] = b"aeiou";
    let mut word = String::new();
    loop {
        word.push(CONSONANTS[number % 14].into());
        word.push(VOWELS[number / 14 % 5].into());
        number /= 70;
        if number == 0 {
            return word;
        }
    }
}

/// The most memory this process ever had, where the system tells.
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.trim_start_matches("VmHWM:").trim().to_owned())
}
