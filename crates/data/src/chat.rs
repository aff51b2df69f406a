//! Jinja chat templates, as transformers renders them.
//!
//! minijinja does the work. What Hugging Face adds to Jinja is added here: `trim_blocks` and
//! `lstrip_blocks`, `raise_exception`, `strftime_now`, a `tojson` that writes JSON as Python does,
//! Python's string and dict methods, `break` and `continue`, and `{% generation %}`, which marks
//! what the assistant says.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use jiff::civil::DateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{Environment, ErrorKind, Value, escape_formatter};

use crate::{Defect, Error, Message, Result, Tokenizer};

/// Stand around what `{% generation %}` encloses; Unicode keeps these two for such private use.
const ANSWER_STARTS: char = '\u{FDD0}';
const ANSWER_ENDS: char = '\u{FDD1}';

/// A model's chat template.
pub struct ChatTemplate {
    environment: Environment<'static>,
    special: BTreeMap<String, String>,
    source: String,
    marks_answers: bool,
}

/// A conversation as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendering {
    /// The text.
    pub text: String,
    /// The bytes of it that `{% generation %}` marks as said by the assistant.
    pub answers: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// The chat template of a model folder: the one named `default`, and for records with tools the
    /// one named `tool_use` if there is one. `date` is today for it; `None` is the real today.
    ///
    /// # Errors
    /// If the folder has none, or it is no valid Jinja.
    pub fn of(tokenizer: &Tokenizer, date: Option<DateTime>) -> Result<Self> {
        let templates = tokenizer.chat_templates();
        let named = |wanted: &str| templates.iter().find(|(name, _)| name == wanted);
        let Some((_, source)) = named("default") else {
            return Err(Error::NoChatTemplate { folder: tokenizer.folder().into() });
        };
        let in_file = |name| {
            let file = tokenizer.chat_template_file(name);
            move |error: Error| Error::ChatTemplate { file, message: error.to_string() }
        };
        let template = Self::new(source, tokenizer.special_tokens(), date);
        let mut template = template.map_err(in_file("default"))?;
        if let Some((_, source)) = named("tool_use") {
            template.add("tool_use", source).map_err(in_file("tool_use"))?;
        }
        Ok(template)
    }

    /// A template from its source; `special` are the texts of `bos_token` and the like.
    ///
    /// # Errors
    /// If it is no valid Jinja.
    pub fn new(
        source: &str,
        special: &BTreeMap<String, String>,
        date: Option<DateTime>,
    ) -> Result<Self> {
        let mut template = Self {
            environment: environment(date),
            special: special.clone(),
            source: String::new(),
            marks_answers: true,
        };
        template.add("default", source)?;
        Ok(template)
    }

    fn add(&mut self, name: &'static str, source: &str) -> Result<()> {
        let marked = mark_answers(source);
        self.marks_answers &= matches!(marked, Cow::Owned(_));
        self.source += source;
        let added = self.environment.add_template_owned(name, marked.into_owned());
        added.map_err(|error| Error::Template {
            place: format!("chat template, line {}", error.line().unwrap_or(1)),
            message: detail(&error),
        })
    }

    /// The source of the templates, for a hash of all that decides the ids.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the template itself says which text the assistant generates.
    pub fn marks_answers(&self) -> bool {
        self.marks_answers
    }

    /// Renders a conversation; `add_generation_prompt` opens the turn of the assistant at its end.
    ///
    /// # Errors
    /// If the template refuses the conversation or fails.
    pub fn render(
        &self,
        messages: &[Message],
        tools: Option<&serde_json::Value>,
        add_generation_prompt: bool,
    ) -> Result<Rendering, Defect> {
        let reserved = |text: &str| text.chars().find(|c| [ANSWER_STARTS, ANSWER_ENDS].contains(c));
        if self.marks_answers
            && let Some(found) = messages.iter().find_map(|message| reserved(&message.content))
        {
            return Err(Defect::Noncharacter(found.into()));
        }
        let special = self.special.iter();
        let mut context: BTreeMap<&str, Value> =
            special.map(|(name, text)| (name.as_str(), Value::from(text.as_str()))).collect();
        context.insert("messages", Value::from(Serde(messages)));
        context.insert("tools", Value::from(Serde(tools)));
        context.insert("documents", Value::from(()));
        context.insert("add_generation_prompt", Value::from(add_generation_prompt));
        let tool_use = tools.and_then(|_| self.environment.get_template("tool_use").ok());
        let template = match tool_use {
            Some(template) => Ok(template),
            None => self.environment.get_template("default"),
        };
        let text = template.and_then(|template| template.render(context));
        let text = text.map_err(|error| Defect::Template { message: explain(&error) })?;
        Ok(find_answers(text))
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Jinja as transformers sets it up.
fn environment(date: Option<DateTime>) -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the default delimiters are valid"));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(|out, state, value| match value.kind() {
        // Python prints these with a capital.
        ValueKind::None => Ok(out.write_str("None")?),
        ValueKind::Bool => Ok(out.write_str(if value.is_true() { "True" } else { "False" })?),
        _ => escape_formatter(out, state, value),
    });
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", |message: String| -> Result<(), _> {
        Err(failure(format!("it refuses the conversation: {message}")))
    });
    environment.add_function("strftime_now", move |format: &str| {
        let now = date.unwrap_or_else(|| jiff::Zoned::now().datetime());
        jiff::fmt::strtime::format(format, now).map_err(|error| failure(error.to_string()))
    });
    environment
}

fn failure(message: String) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, message)
}

fn detail(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

fn explain(error: &minijinja::Error) -> String {
    match error.line() {
        Some(line) => format!("{} (line {line} of the template)", detail(error)),
        None => detail(error),
    }
}

/// JSON as Python's `json.dumps` writes it: not escaped for HTML, a space after `,` and `:`.
fn to_json(value: &Value, options: Kwargs) -> Result<String, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Serde<(String, String)>> = options.get("separators")?;
    let sort_keys: Option<bool> = options.get("sort_keys")?;
    let ensure_ascii: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let mut value = serde_json::to_value(value).map_err(|error| failure(error.to_string()))?;
    if sort_keys == Some(true) {
        value.sort_all_objects();
    }
    let between = if indent.is_some() { "," } else { ", " };
    let (item, key) = separators.map_or((between.into(), ": ".into()), |given| given.0);
    let style = JsonStyle { indent, item, key, ascii: ensure_ascii == Some(true) };
    let mut out = String::new();
    style.write(&mut out, &value, 0);
    Ok(out)
}

struct JsonStyle {
    indent: Option<usize>,
    item: String,
    key: String,
    ascii: bool,
}

impl JsonStyle {
    fn write(&self, out: &mut String, value: &serde_json::Value, depth: usize) {
        use serde_json::Value as Json;
        match value {
            Json::Array(items) if !items.is_empty() => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.begin_item(out, index, depth + 1);
                    self.write(out, item, depth + 1);
                }
                self.new_line(out, depth);
                out.push(']');
            }
            Json::Object(entries) if !entries.is_empty() => {
                out.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    self.begin_item(out, index, depth + 1);
                    self.write_scalar(out, &Json::String(key.clone()));
                    out.push_str(&self.key);
                    self.write(out, value, depth + 1);
                }
                self.new_line(out, depth);
                out.push('}');
            }
            scalar => self.write_scalar(out, scalar),
        }
    }

    fn begin_item(&self, out: &mut String, index: usize, depth: usize) {
        if index > 0 {
            out.push_str(&self.item);
        }
        self.new_line(out, depth);
    }

    fn new_line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn write_scalar(&self, out: &mut String, scalar: &serde_json::Value) {
        let text = scalar.to_string();
        if !self.ascii {
            return out.push_str(&text);
        }
        let mut units = [0; 2];
        for c in text.chars() {
            match c {
                ' '..='~' => out.push(c),
                c => out
                    .extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}"))),
            }
        }
    }
}

/// Turns `{% generation %}` and `{% endgeneration %}`, which minijinja does not know, into blocks
/// that print a mark. `{%- generation -%}` becomes `{%- if true %}MARK{% endif -%}`, so that
/// whitespace is trimmed around the mark just as it would be around the tag.
fn mark_answers(source: &str) -> Cow<'_, str> {
    let mut marked = String::new();
    let (mut copied, mut from) = (0, 0);
    while let Some(found) = source[from..].find("{%") {
        let start = from + found;
        from = start + 2;
        let Some(length) = source[from..].find("%}") else { break };
        let tag = &source[from..from + length];
        let (left, tag) = split_sign(tag, str::strip_prefix);
        let (right, tag) = split_sign(tag, str::strip_suffix);
        let mark = match tag.trim() {
            "generation" => ANSWER_STARTS,
            "endgeneration" => ANSWER_ENDS,
            _ => continue,
        };
        marked += &source[copied..start];
        marked += &format!("{{%{left} if true %}}{{{{ \"{mark}\" }}}}{{% endif {right}%}}");
        copied = from + length + 2;
        from = copied;
    }
    if copied == 0 {
        return Cow::Borrowed(source);
    }
    Cow::Owned(marked + &source[copied..])
}

/// Takes a sign of whitespace control off one end of a tag.
fn split_sign<'a>(
    tag: &'a str,
    strip: impl Fn(&'a str, &'static str) -> Option<&'a str>,
) -> (&'static str, &'a str) {
    let found = ["-", "+"].into_iter().find_map(|sign| Some((sign, strip(tag, sign)?)));
    found.unwrap_or(("", tag))
}

/// Takes the marks out of the text and says where they stood.
fn find_answers(marked: String) -> Rendering {
    let mut rendering =
        Rendering { text: String::with_capacity(marked.len()), answers: Vec::new() };
    let mut start = None;
    for c in marked.chars() {
        let here = rendering.text.len();
        match (c, start) {
            (ANSWER_STARTS, None) => start = Some(here),
            (ANSWER_ENDS, Some(from)) => {
                rendering.answers.push(from..here);
                start = None;
            }
            _ => rendering.text.push(c),
        }
    }
    rendering.answers.retain(|answer| !answer.is_empty());
    rendering
}
