//! Rules on one text, and how they are named.

use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde_json::Value;

use super::{Sameness, keyword};
use crate::rouge::{Tokenization, is_python_space, tokens};
use crate::script::Script;

/// What a text may not be, or must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// Not blank.
    Empty,
    /// Words, as blanks separate them: at least and at most so many.
    Words(RangeInclusive<usize>),
    /// Characters: at least and at most so many.
    Characters(RangeInclusive<usize>),
    /// None of these as whole words, whatever their case.
    Keyword(Vec<String>),
    /// Does not start with any of these, letter for letter.
    Start(Vec<String>),
    /// Does not start with ASCII punctuation.
    PunctuationStart,
    /// Starts with an ASCII character.
    NonAsciiStart,
    /// At least this share of the letters is of one script. A text without letters passes.
    Script(Script, f64),
    /// At most this share of the runs of so many words are repetitions of an earlier run.
    Repetition(usize, f64),
    /// None of these phrases, with which models refuse or speak of themselves.
    Refusal(Vec<String>),
}

/// Self-Instruct's words that ask for what a language model cannot see or make.
const KEYWORDS: [&str; 13] = [
    "image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps",
    "draw", "plot", "go to",
];

/// What Alpaca adds to them.
const MORE_KEYWORDS_OF_ALPACA: [&str; 5] = ["video", "audio", "music", "flowchart", "diagram"];

/// Self-Instruct's start of instructions that leave open whether the program is to be run.
const START: &str = "Write a program";

/// How models refuse, and how they speak of themselves.
const REFUSALS: [&str; 24] = [
    "as an ai",
    "as a language model",
    "as a large language model",
    "i am just an ai",
    "i'm just an ai",
    "i'm sorry, but",
    "i am sorry, but",
    "i apologize, but",
    "i cannot assist",
    "i can't assist",
    "i cannot help with",
    "i can't help with",
    "i cannot fulfill",
    "i can't fulfill",
    "i cannot comply",
    "i can't comply",
    "i cannot provide",
    "i can't provide",
    "i am unable to",
    "i'm unable to",
    "i am not able to",
    "i'm not able to",
    "i must decline",
    "against my guidelines",
];

impl Rule {
    /// The rules of Self-Instruct's first stage, in its order (`bootstrap_instructions.py`): what it
    /// asks of an instruction before it looks whether it is novel.
    pub fn self_instruct() -> Vec<Self> {
        vec![
            Self::Empty,
            Self::Words(4..=150),
            Self::Keyword(owned(&KEYWORDS)),
            Self::Start(vec![START.into()]),
            Self::PunctuationStart,
            Self::NonAsciiStart,
        ]
    }

    /// The rules of Alpaca (`generate_instruction.py`): those of Self-Instruct with five more keywords.
    pub fn alpaca() -> Vec<Self> {
        let mut rules = Self::self_instruct();
        for rule in &mut rules {
            if let Self::Keyword(keywords) = rule {
                keywords.extend(owned(&MORE_KEYWORDS_OF_ALPACA));
            }
        }
        rules
    }

    /// What is wrong with a text, if anything is: a count, a share, or what was found in it.
    ///
    /// ```
    /// use albacore_data::Rule;
    /// let rejects = |text| Rule::self_instruct().into_iter().find(|rule| rule.rejects(text).is_some());
    /// assert_eq!(rejects("Draw a map of Rome.").map(|rule| rule.name()), Some("keyword"));
    /// assert_eq!(rejects("Name the hills of Rome."), None);
    /// ```
    pub fn rejects(&self, text: &str) -> Option<Value> {
        let start = text.trim_start_matches(is_python_space);
        let first = start.chars().next();
        let shown = |c: char| Value::from(c.to_string());
        match self {
            Self::Empty => first.is_none().then(|| 0.into()),
            Self::Words(wanted) => {
                let words = text.split(is_python_space).filter(|word| !word.is_empty()).count();
                (!wanted.contains(&words)).then(|| words.into())
            }
            Self::Characters(wanted) => {
                let characters = text.chars().count();
                (!wanted.contains(&characters)).then(|| characters.into())
            }
            Self::Keyword(keywords) | Self::Refusal(keywords) => {
                keyword::find(text, keywords).map(Value::from)
            }
            Self::Start(starts) => {
                let found = starts.iter().find(|known| start.starts_with(known.as_str()));
                found.map(|found| found.as_str().into())
            }
            Self::PunctuationStart => first.filter(char::is_ascii_punctuation).map(shown),
            Self::NonAsciiStart => first.filter(|c| !c.is_ascii()).map(shown),
            Self::Script(script, wanted) => {
                script.share(text).filter(|share| share < wanted).map(Value::from)
            }
            Self::Repetition(length, most) => {
                Some(repetition(text, *length)).filter(|share| share > most).map(Value::from)
            }
        }
    }

    /// The name, without what follows it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Words(_) => "words",
            Self::Characters(_) => "characters",
            Self::Keyword(_) => "keyword",
            Self::Start(_) => "start",
            Self::PunctuationStart => "punctuation-start",
            Self::NonAsciiStart => "non-ascii-start",
            Self::Script(..) => "script",
            Self::Repetition(..) => "repetition",
            Self::Refusal(_) => "refusal",
        }
    }
}

/// The share of runs of `length` words that stand in the text before; words as a Unicode-wide
/// tokenizer sees them.
fn repetition(text: &str, length: usize) -> f64 {
    let words = tokens(text, Tokenization::Unicode);
    let runs = words.windows(length);
    let all = runs.len();
    let different = runs.collect::<HashSet<_>>().len();
    (all - different) as f64 / all.max(1) as f64
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

/// As it is named on the command line. A list that is the default is left out.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Words(range) | Self::Characters(range) => match (*range.start(), *range.end()) {
                (0, end) => write!(f, "=..{end}"),
                (start, usize::MAX) => write!(f, "={start}.."),
                (start, end) => write!(f, "={start}..{end}"),
            },
            Self::Keyword(list) if *list != KEYWORDS => write!(f, "={}", list.join(",")),
            Self::Start(list) if *list != [START] => write!(f, "={}", list.join(",")),
            Self::Refusal(list) if *list != REFUSALS => write!(f, "={}", list.join(",")),
            Self::Script(script, share) => write!(f, "={script}:{share}"),
            Self::Repetition(length, share) => write!(f, "={length}:{share}"),
            _ => Ok(()),
        }
    }
}

/// What one `--rule` names: rules on one text, or that of duplicates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// The rules on one text.
    pub rules: Vec<Rule>,
    /// Whether duplicates go, and what they are.
    pub duplicates: Option<Sameness>,
}

impl FromStr for Rules {
    type Err = String;

    /// `NAME` or `NAME=…`: `words=4..150`, `keyword=image,go to`, `script=latin:0.5`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let list = |default: &[&str]| match value {
            "" => Ok(owned(default)),
            _ if value.split(',').any(|item| item.trim().is_empty()) => {
                Err(format!("wanted `{name}=TEXT,TEXT,…` without empty texts"))
            }
            _ => Ok(value.split(',').map(|item| item.trim().to_owned()).collect()),
        };
        let rule = match name {
            "words" => Rule::Words(range(name, value)?),
            "characters" => Rule::Characters(range(name, value)?),
            "keyword" => Rule::Keyword(list(&KEYWORDS)?),
            "start" => Rule::Start(list(&[START])?),
            "refusal" => Rule::Refusal(list(&REFUSALS)?),
            "script" => {
                let (script, least) = value.split_once(':').unwrap_or((value, "0.5"));
                Rule::Script(script.parse()?, share(least)?)
            }
            "repetition" => {
                let value = if value.is_empty() { "3:0.3" } else { value };
                let parts = value.split_once(':');
                let (length, most) = parts.ok_or("wanted `repetition=WORDS:SHARE`")?;
                let length = length.parse().ok().filter(|length| *length > 0);
                let length = length.ok_or("wanted a number of words, at least 1")?;
                Rule::Repetition(length, share(most)?)
            }
            "duplicate" => {
                let duplicates = Some(value.parse()?);
                return Ok(Self { rules: Vec::new(), duplicates });
            }
            _ if !value.is_empty() => return Err(unknown(name)),
            "empty" => Rule::Empty,
            "punctuation-start" => Rule::PunctuationStart,
            "non-ascii-start" => Rule::NonAsciiStart,
            "self-instruct" => {
                return Ok(Self { rules: Rule::self_instruct(), duplicates: None });
            }
            "alpaca" => return Ok(Self { rules: Rule::alpaca(), duplicates: None }),
            _ => return Err(unknown(name)),
        };
        Ok(Self { rules: vec![rule], duplicates: None })
    }
}

fn unknown(name: &str) -> String {
    const PLAIN: [&str; 5] =
        ["empty", "punctuation-start", "non-ascii-start", "self-instruct", "alpaca"];
    if PLAIN.contains(&name) {
        return format!("`{name}` takes no value");
    }
    if name == "rouge-l" {
        return "wanted `--rouge-l T`, which is an option of its own".into();
    }
    "wanted `empty`, `words=MIN..MAX`, `characters=MIN..MAX`, `keyword[=WORD,…]`, `start[=TEXT,…]`, \
     `punctuation-start`, `non-ascii-start`, `script=NAME[:SHARE]`, `repetition[=WORDS:SHARE]`, \
     `refusal[=PHRASE,…]`, `duplicate[=exact]`, `self-instruct` or `alpaca`"
        .into()
}

/// `4..150`, `4..` or `..150`, both ends included.
fn range(name: &str, text: &str) -> Result<RangeInclusive<usize>, String> {
    let wanted = || format!("wanted `{name}=MIN..MAX`, `{name}=MIN..` or `{name}=..MAX`");
    let (least, most) = text.split_once("..").ok_or_else(wanted)?;
    let number = |text: &str, default| match text {
        "" => Ok(default),
        _ => text.parse().map_err(|_| wanted()),
    };
    let (least, most) = (number(least, 0)?, number(most, usize::MAX)?);
    if least > most || text == ".." { Err(wanted()) } else { Ok(least..=most) }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "wanted a share between 0 and 1".into())
}
