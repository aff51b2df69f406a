//! Conversations: which part of the rendered text each answer is, and its ids.
//!
//! The rendered text is tokenised as a whole, as transformers does; only where a token would cover
//! the seam between a prompt and an answer is the text cut there, and both sides tokenised apart.

use std::ops::Range;

use crate::template::conversation;
use crate::{Body, ChatTemplate, Defect, Encoded, Encoder, Learn, Message, Reason};

/// The ids of a text and the bytes that each stands for.
#[derive(Default)]
struct Tokens {
    ids: Vec<u32>,
    bytes: Vec<Range<usize>>,
}

impl Encoder<'_> {
    pub(crate) fn encode_turns(
        &self,
        out: &mut Encoded,
        chat: &ChatTemplate,
        body: &Body,
    ) -> Result<(), Defect> {
        let Some(messages) = conversation(body) else {
            unreachable!("ids and plain text need no template");
        };
        let tools = match body {
            Body::Messages { tools, .. } => tools.as_ref(),
            _ => None,
        };
        let whole = chat.render(&messages, tools, false)?;
        let text = whole.text.as_str();
        let spans = if self.learn == Learn::All {
            vec![]
        } else if chat.marks_answers() && self.learn.wants("assistant") {
            whole.answers
        } else {
            Prefixes { chat, messages: &messages, tools, whole: text }.spans(&self.learn)?
        };
        let skipped = if self.learn == Learn::Last { spans.len().saturating_sub(1) } else { 0 };
        let spans = &spans[skipped..];

        let mut tokens = Tokens::default();
        let seams: Vec<usize> = spans.iter().flat_map(|span| [span.start, span.end]).collect();
        self.tokenize(&mut tokens, text, 0, &seams)?;

        let contents = contents(text, &messages);
        let learn_all = self.learn == Learn::All;
        for (id, bytes) in tokens.ids.iter().zip(&tokens.bytes) {
            let inside = |(range, _): &&(Range<usize>, Reason)| range.contains(&bytes.start);
            let reason = contents.iter().find(inside).map_or(Reason::Template, |(_, kind)| *kind);
            out.push(*id, learn_all, reason);
        }
        for span in spans {
            self.learn_span(out, &tokens, text, span);
        }
        self.name_bos(out);
        let answered = messages.last().is_some_and(|last| last.role == "assistant");
        if answered && self.learn.wants("assistant") && self.eos {
            self.close(out, &tokens, text);
        }
        if !self.eos {
            for (learned, reason) in out.learned.iter_mut().zip(&out.reasons) {
                *learned &= *reason != Reason::AnswerEnd;
            }
        }
        Ok(())
    }

    /// Tokenises `text`, which begins at byte `start` of the whole; no token covers a seam.
    fn tokenize(
        &self,
        tokens: &mut Tokens,
        text: &str,
        start: usize,
        seams: &[usize],
    ) -> Result<(), Defect> {
        let (ids, offsets) = self.tokenizer.encode_with_offsets(text)?;
        let mut cuts: Vec<usize> = seams.iter().map(|seam| seam.wrapping_sub(start)).collect();
        cuts.retain(|cut| offsets.iter().any(|(from, to)| from < cut && cut < to));
        cuts.dedup();
        if cuts.is_empty() {
            tokens.ids.extend(ids);
            tokens.bytes.extend(offsets.iter().map(|(from, to)| start + from..start + to));
            return Ok(());
        }
        cuts.push(text.len());
        let mut from = 0;
        for to in cuts {
            self.tokenize(tokens, &text[from..to], start + from, seams)?;
            from = to;
        }
        Ok(())
    }

    /// Marks the tokens of a span: up to its end-of-turn token if it has one, without the newline
    /// that many templates write behind it; and with the EOS that follows if the span stops short of
    /// it.
    fn learn_span(&self, out: &mut Encoded, tokens: &Tokens, text: &str, span: &Range<usize>) {
        let start = tokens.bytes.partition_point(|bytes| bytes.start < span.start);
        let mut end = tokens.bytes.partition_point(|bytes| bytes.start < span.end);
        let blank = |token: &usize| text[tokens.bytes[*token].clone()].trim().is_empty();
        let last = (start..end).rev().find(|token| !blank(token));
        if let Some(last) = last.filter(|last| self.tokenizer.is_special(out.ids[*last])) {
            end = last + 1;
        } else if let Some(next) = (end..out.len()).find(|token| !blank(token))
            && self.tokenizer.eos_ids().contains(&out.ids[next])
        {
            end = next + 1;
        }
        for token in start..end {
            out.learned[token] = token > 0;
            if out.reasons[token] == Reason::Template {
                out.reasons[token] = Reason::Answer;
            }
        }
        if end > start && self.tokenizer.is_special(out.ids[end - 1]) {
            out.reasons[end - 1] = Reason::AnswerEnd;
        }
    }

    /// Sees to it that the last answer ends with EOS: what the template writes behind it and is not
    /// learned gives way if it is blank.
    fn close(&self, out: &mut Encoded, tokens: &Tokens, text: &str) {
        let blank = |token: usize| text[tokens.bytes[token].clone()].trim().is_empty();
        let last = (0..out.len()).rev().find(|token| !blank(*token));
        if last.is_some_and(|last| self.tokenizer.eos_ids().contains(&out.ids[last])) {
            return;
        }
        while out.len() > 0 && !out.learned[out.len() - 1] && blank(out.len() - 1) {
            out.truncate(out.len() - 1);
        }
        out.push(self.tokenizer.eos(), true, Reason::AnswerEnd);
        out.eos_added = true;
    }
}

/// Finds what a message adds to the text by rendering the conversation up to it and with it.
struct Prefixes<'a> {
    chat: &'a ChatTemplate,
    messages: &'a [Message],
    tools: Option<&'a serde_json::Value>,
    whole: &'a str,
}

impl Prefixes<'_> {
    /// The bytes of each message that is learned.
    fn spans(&self, learn: &Learn) -> Result<Vec<Range<usize>>, Defect> {
        let wanted = |index: &usize| learn.wants(&self.messages[*index].role);
        let indices = (0..self.messages.len()).filter(wanted);
        match learn {
            // Only the last must be told from the rest, which more templates allow.
            Learn::Last => indices.last().into_iter().map(|index| self.span(index)).collect(),
            _ => indices.map(|index| self.span(index)).collect(),
        }
    }

    fn span(&self, index: usize) -> Result<Range<usize>, Defect> {
        let number = index + 1;
        let message = &self.messages[index];
        let answer = message.role == "assistant";
        let end = self.render(number, false)?;
        let before = match self.render(index, answer) {
            Ok(before) => before,
            // Many templates fail on a conversation without a message.
            Err(_) if index == 0 => String::new(),
            Err(defect) => return Err(defect),
        };
        if !end.starts_with(&before) || !self.whole.starts_with(&end) {
            return Err(Defect::Nesting { number });
        }
        if answer && !before.is_empty() {
            return Ok(before.len()..end.len());
        }
        // Nothing opens this turn, so its header is told from its text by the text.
        let content = message.content.trim();
        let header = end[before.len()..].find(content);
        let header = header.ok_or(Defect::Rewritten { number })?;
        Ok(before.len() + header..end.len())
    }

    /// The first `count` messages as text.
    fn render(&self, count: usize, open: bool) -> Result<String, Defect> {
        Ok(self.chat.render(&self.messages[..count], self.tools, open)?.text)
    }
}

/// Where the messages' own text stands, as far as the template shows it as it is.
fn contents(text: &str, messages: &[Message]) -> Vec<(Range<usize>, Reason)> {
    let mut from = 0;
    let found = messages.iter().filter_map(|message| {
        let content = message.content.trim();
        let start = from + text[from..].find(content).filter(|_| !content.is_empty())?;
        from = start + content.len();
        let reason = if message.role == "assistant" { Reason::Answer } else { Reason::Prompt };
        Some((start..from, reason))
    });
    found.collect()
}
