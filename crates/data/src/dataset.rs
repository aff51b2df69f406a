//! All sources of a config as ids: read, encoded in parallel, counted, and split.

mod drawn;
mod fates;
mod tried;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use self::fates::{allowed_for, tasks_without_examples, windows};
use crate::cache::{CacheFile, Example, hex};
use crate::random::{Random, shuffled};
use crate::read::Records;
use crate::report::{Fate, Tally};
use crate::split::hold_out;
use crate::task::{keep_apart, open as open_source};
use crate::{
    DataConfig, Drawn, Encoded, Encoder, Error, Excluded, Mixture, Problem, Report, Result,
    SourceConfig, Spans, Template, TemplateChoice, Tokenizer, read,
};

/// What a run trains on.
#[derive(Debug)]
pub struct Dataset {
    /// The examples of an epoch in file order, those of a repeated source as often as it says.
    pub train: Vec<Arc<Encoded>>,
    /// The examples kept from training, in file order; those of sources that are held out as a whole are last.
    pub held_out: Vec<Arc<Encoded>>,
    /// What became of the records.
    pub report: Report,
    /// SHA-256 of all ids and of what is learned, in hexadecimal: a resumed run compares it.
    pub fingerprint: String,
    /// Whether the ids were found in the cache.
    pub from_cache: bool,
    /// Why the ids could not be stored in the cache, if they could not; the next start takes longer.
    pub cache_failure: Option<std::io::Error>,
    /// If the data are a mixture: what is drawn from. `train` then has the first examples that come, and
    /// `report` says what became of these.
    pub mixture: Option<Mixture>,
    /// What the rules of sources took out.
    pub excluded: Vec<Excluded>,
}

impl Dataset {
    /// The lengths of the training examples, for a [`crate::Plan`].
    pub fn lengths(&self) -> Vec<usize> {
        self.train.iter().map(|example| example.len()).collect()
    }
}

/// How far the preparation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Records encoded.
    pub done: usize,
    /// Of how many.
    pub total: usize,
}

/// Everything that decides the dataset.
#[derive(Clone, Copy)]
pub struct Preparation<'a> {
    /// The `[data]` table.
    pub config: &'a DataConfig,
    /// The model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Decides what is capped and held out.
    pub seed: u64,
    /// A folder for the encoded records, so that a restart need not make them again.
    pub cache: Option<&'a Path>,
    /// Told now and then how far it is, from any thread.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

impl Preparation<'_> {
    /// Reads, encodes, counts and splits.
    ///
    /// # Errors
    /// If a file cannot be read, the template cannot be used, a record is bad or too long and the
    /// config does not say to leave it out, or nothing is left to train on. All bad records of all
    /// sources are in one error.
    pub fn run(&self) -> Result<Dataset> {
        self.prepare(None)
    }

    /// The same of `text` records, cut into windows and corrupted as the first pass over them is. No
    /// template is put around them.
    ///
    /// # Errors
    /// As [`Self::run`]; if a record has something else than text, or the sources are a mixture.
    pub fn run_corrupted(&self, spans: &Spans) -> Result<Dataset> {
        if self.config.is_mixture() {
            return Err(Error::Config(Problem {
                key: "data.sources".into(),
                message: "are a mixture, wanted whole texts to take spans out of".into(),
                hint: Some(
                    "leave out `weight` and `[data.groups]`; `repeat` says how often".into(),
                ),
            }));
        }
        self.prepare(Some(spans))
    }

    fn prepare(&self, spans: Option<&Spans>) -> Result<Dataset> {
        let template = match spans {
            Some(_) => Template::load(&TemplateChoice::None, self.tokenizer, None)?,
            None => self.template()?,
        };
        if self.config.is_mixture() {
            let encoder = Encoder::new(self.tokenizer, template, self.config.learn.clone());
            return self.open(&encoder);
        }
        // Files that are read at once may be found in the cache; what the others are is known once they are open.
        let sources = self.config.sources.iter().enumerate();
        let at_once = sources.filter(|(_, source)| source.is_one_file());
        keep_apart(self.config, at_once.map(|(index, source)| (index, &*source.path)))?;
        let cache = self.cache_file(&template, spans);
        if let Some((examples, report)) = cache.as_ref().and_then(|(file, _)| file.load()) {
            let dataset = self.split(examples, report, spans)?;
            return Ok(Dataset { from_cache: true, ..dataset });
        }
        let encoder = Encoder::new(self.tokenizer, template, self.config.learn.clone());
        let sources = self.read()?;
        let hashes: Vec<_> = sources.iter().map(|source| source.hash).collect();
        let excluded = sources.iter().flat_map(|source| source.excluded.clone()).collect();
        let (examples, report) = self.make(&encoder, sources, spans)?;
        let stored = cache.map_or(Ok(()), |(file, known)| {
            self.unchanged(&known, &hashes)?;
            file.store(&examples, &report)
        });
        let dataset = self.split(examples, report, spans)?;
        Ok(Dataset { cache_failure: stored.err(), excluded, ..dataset })
    }

    /// What makes ids of this config's records.
    ///
    /// # Errors
    /// If the template cannot be used.
    pub fn encoder(&self) -> Result<Encoder<'_>> {
        Ok(Encoder::new(self.tokenizer, self.template()?, self.config.learn.clone()))
    }

    fn template(&self) -> Result<Template> {
        let today = self.config.date.at(0, 0, 0, 0);
        Template::load(&self.config.template, self.tokenizer, Some(today))
    }

    /// Encodes all sources.
    fn make(
        &self,
        encoder: &Encoder<'_>,
        sources: Vec<Records>,
        spans: Option<&Spans>,
    ) -> Result<(Vec<Example>, Report)> {
        let mut tally = Tally::default();
        let (mut examples, mut empty): (Vec<Example>, Vec<Error>) = Default::default();
        let total = sources.iter().map(|source| source.good.len()).sum();
        let done = AtomicUsize::new(0);
        for (source, records) in self.config.sources.iter().zip(sources) {
            let bad = records.bad.into_iter().map(Fate::Bad);
            let no_room = records.too_long.into_iter();
            let no_room = no_room.map(|(origin, tokens)| Fate::NoRoom(origin, allowed_for(tokens)));
            let mut fates: Vec<Fate> = bad.chain(no_room).collect();
            let advance = || self.tell(1 + done.fetch_add(1, Ordering::Relaxed), total);
            fates.extend(match spans {
                Some(spans) => {
                    let texts = records.good.par_chunks(spans.joined());
                    let fates = texts.flat_map_iter(|texts| {
                        texts.iter().for_each(|_| advance());
                        windows(encoder, spans, texts)
                    });
                    fates.collect::<Vec<_>>()
                }
                None => {
                    let fates = records.good.par_iter().flat_map_iter(|record| {
                        advance();
                        let alone = record.original_alone();
                        let alone = alone.map(|record| self.encode(encoder, &record));
                        [self.encode(encoder, record)].into_iter().chain(alone)
                    });
                    fates.collect()
                }
            });
            if source.is_task_each() {
                empty.extend(tasks_without_examples(source, &fates));
            }
            let kept = fates.into_iter().filter_map(|fate| tally.add(fate));
            // What is held out as a whole is in no epoch.
            let repeat = if source.held_out { 0 } else { source.repeat };
            examples.extend(kept.map(|example| (Arc::new(example), repeat)));
        }
        let report = tally.finish(self.config)?;
        Error::all(empty)?;
        Ok((examples, report))
    }

    /// Where the encoded records lie, if a cache is wanted and all files can be read: its name is
    /// the hash of whatever decides the ids. With it, the hash of each source's file: what is
    /// stored there must be made of these.
    fn cache_file(
        &self,
        template: &Template,
        spans: Option<&Spans>,
    ) -> Option<(CacheFile, Vec<[u8; 32]>)> {
        let folder = self.cache?;
        let DataConfig { shuffle, held_out, tokens_per_batch, .. } = DataConfig::default();
        // These three only matter later.
        let config = DataConfig { shuffle, held_out, tokens_per_batch, ..self.config.clone() };
        let mut key = Sha256::new_with_prefix(env!("CARGO_PKG_VERSION"));
        key.update(self.tokenizer.hash());
        key.update(Sha256::digest(template.source()));
        key.update(spans.map_or([0; 32], Spans::hash));
        key.update(Sha256::digest(serde_json::to_vec(&config).ok()?));
        let mut hashes = Vec::new();
        // What several files or templates decide is not known before they are read.
        if !config.sources.iter().all(SourceConfig::is_one_file) {
            return None;
        }
        for source in &config.sources {
            let hash = Sha256::digest(std::fs::read(&source.path).ok()?).into();
            key.update(hash);
            key.update(source.cap.map_or(0, |_| self.seed).to_le_bytes());
            hashes.push(hash);
        }
        Some((CacheFile::new(folder, key), hashes))
    }

    /// Fails if a source is not what the cache file is named by: it changed in between.
    fn unchanged(&self, known: &[[u8; 32]], read: &[[u8; 32]]) -> std::io::Result<()> {
        let changed = known.iter().zip(read).position(|(known, read)| known != read);
        changed.map_or(Ok(()), |index| {
            let path = self.config.sources[index].path.display();
            Err(std::io::Error::other(format!("`{path}` changed while it was read")))
        })
    }

    /// Reads all sources, and names all that cannot be read.
    fn read(&self) -> Result<Vec<Records>> {
        let mut errors = Vec::new();
        let mut sources = Vec::new();
        for (index, source) in self.config.sources.iter().enumerate() {
            let records = match source.is_one_file() {
                true => read(source).map(|records| self.cap(source, index, records)),
                false => self.read_tasks(index),
            };
            match records {
                Ok(records) => sources.push(records),
                Err(error) => errors.push(error),
            }
        }
        Error::all(errors)?;
        let files = sources.iter().enumerate().flat_map(|(index, records): (usize, &Records)| {
            records.files.iter().map(move |file| (index, &**file))
        });
        keep_apart(self.config, files)?;
        Ok(sources)
    }

    /// All records of a source's tasks, each once, through their templates.
    fn read_tasks(&self, index: usize) -> Result<Records> {
        let (mut good, mut bad, mut too_long, mut files) = Default::default();
        let mut hash = Sha256::new();
        let count = |text: &str| self.tokenizer.encode(text).map(|ids| ids.len());
        let (tasks, excluded) = open_source(self.config, index, self.seed)?;
        for task in tasks {
            task.hashes().for_each(|file| hash.update(file));
            Vec::extend(&mut files, task.files().map(Path::to_owned));
            let numbers = (0..task.examples()).into_par_iter();
            let drawn: Result<Vec<_>> =
                numbers.map(|number| task.in_order(number, &count)).collect();
            for drawn in drawn? {
                match drawn {
                    Drawn::Record(record) => Vec::push(&mut good, record),
                    Drawn::Bad(record) => Vec::push(&mut bad, record),
                    Drawn::NoRoom(origin, tokens) => Vec::push(&mut too_long, (origin, tokens)),
                }
            }
        }
        Ok(Records { good, bad, too_long, files, excluded, hash: hash.finalize().into() })
    }

    /// At most `cap` records: a random choice, in file order.
    fn cap(&self, source: &SourceConfig, index: usize, mut records: Records) -> Records {
        let Some(cap) = source.cap.filter(|cap| *cap < records.good.len()) else { return records };
        let random = Random::new(self.seed, "cap", index as u64);
        let mut chosen = shuffled(records.good.len(), random);
        chosen.truncate(cap);
        let mut keep = vec![false; records.good.len()];
        chosen.iter().for_each(|index| keep[*index as usize] = true);
        let mut keep = keep.into_iter();
        records.good.retain(|_| keep.next() == Some(true));
        records
    }

    /// About a hundred times in all.
    fn tell(&self, done: usize, total: usize) {
        if let Some(progress) = self.progress
            && (done.is_multiple_of((total / 100).max(1)) || done == total)
        {
            progress(Progress { done, total });
        }
    }

    fn split(
        &self,
        examples: Vec<Example>,
        mut report: Report,
        spans: Option<&Spans>,
    ) -> Result<Dataset> {
        let all: Vec<&Encoded> = examples.iter().map(|(example, _)| example.as_ref()).collect();
        look_at(&mut report, &all);
        let (train, mut held_out): (Vec<_>, Vec<_>) =
            examples.into_iter().partition(|(_, repeat)| *repeat > 0);
        let all: Vec<&Encoded> = train.iter().map(|(example, _)| example.as_ref()).collect();
        let is_held_out = hold_out(&all, self.config.held_out.of(all.len()), self.seed)?;
        let (chosen, train): (Vec<_>, Vec<_>) =
            train.into_iter().zip(is_held_out).partition(|(_, is_held_out)| *is_held_out);
        held_out.splice(..0, chosen.into_iter().map(|(example, _)| example));
        let mut held_out: Vec<_> = held_out.into_iter().map(|(example, _)| example).collect();
        let train = train.into_iter().map(|(example, _)| example);
        let train = train.flat_map(|(example, repeat)| std::iter::repeat_n(example, repeat));
        let mut train: Vec<_> = train.collect();
        if train.is_empty() {
            return Err(Error::HeldOut { wanted: held_out.len(), found: held_out.len() });
        }
        if let Some(spans) = spans {
            (train, held_out) =
                (spans.first_pass(&train, self.seed), spans.held_out(&held_out, self.seed));
            let longest = train.iter().chain(&held_out).max_by_key(|example| example.len());
            report.longest = longest.map_or(0, |longest| longest.len());
            report.longest_origin = longest.map(|longest| longest.origin.clone());
        }
        Ok(self.counted(train, held_out, report))
    }

    /// A dataset of these examples, and the rest of its report.
    fn counted(
        &self,
        train: Vec<Arc<Encoded>>,
        held_out: Vec<Arc<Encoded>>,
        mut report: Report,
    ) -> Dataset {
        report.held_out = held_out.len();
        report.train = train.len();
        report.responses = train.iter().map(|example| example.responses.len()).sum();
        report.tokens = train.iter().map(|example| example.len()).sum();
        report.supervised_tokens = train.iter().map(|example| example.supervised()).sum();
        let fingerprint = fingerprint(&train, &held_out);
        let (from_cache, cache_failure, mixture, excluded) = (false, None, None, Vec::new());
        Dataset {
            train,
            held_out,
            report,
            fingerprint,
            from_cache,
            cache_failure,
            mixture,
            excluded,
        }
    }
}

/// Reports what may surprise of all examples, held out or not.
fn look_at(report: &mut Report, all: &[&Encoded]) {
    let longest = all.iter().max_by_key(|example| example.longest_sequence());
    report.longest = longest.map_or(0, |longest| longest.longest_sequence());
    report.longest_origin = longest.map(|longest| longest.origin.clone());
    report.eos_added = all.iter().filter(|example| example.eos_added).count();
}

/// SHA-256 over the number of examples on each side, and each one's length, ids and learned flags, and
/// its responses if it has any.
fn fingerprint(train: &[Arc<Encoded>], held_out: &[Arc<Encoded>]) -> String {
    let mut hash = Sha256::new();
    for side in [train, held_out] {
        hash.update((side.len() as u64).to_le_bytes());
        for example in side {
            hash.update((example.len() as u64).to_le_bytes());
            let ids: Vec<u8> = example.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            hash.update(ids);
            let learned: Vec<u8> =
                example.learned.iter().map(|learned| u8::from(*learned)).collect();
            hash.update(learned);
            for response in &example.responses {
                hash.update((response.start as u64).to_le_bytes());
                hash.update(response.score.to_bits().to_le_bytes());
            }
        }
    }
    hex(&hash.finalize())
}
