//! Conversations: which part of the rendered text each answer is, and its ids.
//!
//! The rendered text is tokenised as a whole, as transformers does; only where a token would cover
//! the seam between a prompt and an answer is the text cut there, and both sides tokenised apart.

use std::ops::Range;

use crate::template::conversation;
use crate::{Body, ChatTemplate, Defect, Encoded, Encoder, Learn, Message, Reason, Tokens};

/// The marks around the text of message 0; those of the others follow. Both are private use areas of
/// Unicode, each with room for 65,534 messages.
const CONTENT_STARTS: u32 = 0xF_0000;
const CONTENT_ENDS: u32 = 0x10_0000;

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
        let rendered = Rendered { chat, messages: &messages, tools, whole: text };
        let contents = rendered.contents();
        let spans = if self.learn == Learn::All {
            vec![]
        } else if chat.marks_answers() && self.learn.wants("assistant") {
            whole.answers
        } else {
            rendered.spans(&self.learn, &contents)?
        };
        let skipped = if self.learn == Learn::Last { spans.len().saturating_sub(1) } else { 0 };
        let spans = &spans[skipped..];

        let mut tokens = Tokens::default();
        let seams: Vec<usize> = spans.iter().flat_map(|span| [span.start, span.end]).collect();
        self.tokenize(&mut tokens, text, 0, &seams)?;

        let learn_all = self.learn == Learn::All;
        for (id, bytes) in tokens.ids.iter().zip(&tokens.bytes) {
            let inside = |content: &Range<usize>| content.contains(&bytes.start);
            let reason = match contents.iter().position(|range| range.as_ref().is_some_and(inside))
            {
                Some(index) if messages[index].role == "assistant" => Reason::Answer,
                Some(_) => Reason::Prompt,
                None => Reason::Template,
            };
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
        let found = self.tokenizer.encode_with_bytes(text)?;
        // A seam before `start` wraps to a place that no token covers.
        let mut cuts: Vec<usize> = seams.iter().map(|seam| seam.wrapping_sub(start)).collect();
        cuts.retain(|cut| found.bytes.iter().any(|bytes| bytes.start < *cut && *cut < bytes.end));
        cuts.dedup();
        if cuts.is_empty() {
            tokens.ids.extend(found.ids);
            let bytes = found.bytes.into_iter();
            tokens.bytes.extend(bytes.map(|bytes| start + bytes.start..start + bytes.end));
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
        let ends_text = |token: usize| self.tokenizer.eos_ids().contains(&out.ids[token]);
        let shown = |token: &usize| !is_blank(text, &tokens.bytes[*token]);
        let last = (start..end).rev().find(shown);
        if let Some(last) = last.filter(|last| self.tokenizer.is_special(out.ids[*last])) {
            end = last + 1;
        }
        let next = (end..out.len()).find(shown);
        if let Some(next) = next.filter(|next| ends_text(*next) && !last.is_some_and(ends_text)) {
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
        let blank = |token: usize| is_blank(text, &tokens.bytes[token]);
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

/// Whether a token stands for nothing but whitespace.
fn is_blank(text: &str, bytes: &Range<usize>) -> bool {
    text.get(bytes.clone()).is_some_and(|text| text.trim().is_empty())
}

/// A conversation and its text, in which its messages are to be found.
struct Rendered<'a> {
    chat: &'a ChatTemplate,
    messages: &'a [Message],
    tools: Option<&'a serde_json::Value>,
    whole: &'a str,
}

/// The bytes of a message's own text, without the whitespace around it.
type Content = Option<Range<usize>>;

impl Rendered<'_> {
    /// The bytes of each message that is learned: what it adds to the text of those before it.
    fn spans(&self, learn: &Learn, contents: &[Content]) -> Result<Vec<Range<usize>>, Defect> {
        let wanted = |index: &usize| learn.wants(&self.messages[*index].role);
        let mut indices: Vec<usize> = (0..self.messages.len()).filter(wanted).collect();
        if *learn == Learn::Last {
            // Only the last must be told from the rest, which more templates allow.
            indices.drain(..indices.len().saturating_sub(1));
        }
        indices.into_iter().map(|index| self.span(index, contents[index].clone())).collect()
    }

    fn span(&self, index: usize, content: Content) -> Result<Range<usize>, Defect> {
        let number = index + 1;
        let end = self.render(&self.messages[..number], false)?;
        if !self.whole.starts_with(&end) {
            return Err(Defect::Nesting { number });
        }
        if self.messages[index].role == "assistant" {
            match self.render(&self.messages[..index], true) {
                Ok(before) if end.starts_with(&before) => return Ok(before.len()..end.len()),
                // Many templates fail on a conversation without a message.
                Err(_) if index == 0 => {}
                Ok(_) => return Err(Defect::Nesting { number }),
                Err(defect) => return Err(defect),
            }
        }
        // No prompt opens this turn: it begins with its own text, behind the header.
        let content = content.filter(|content| content.end <= end.len());
        Ok(content.ok_or(Defect::Rewritten { number })?.start..end.len())
    }

    /// Where each message's own text stands: the conversation is rendered once more with a mark on
    /// both sides of every text. Nothing is found if the template then says something else.
    fn contents(&self) -> Vec<Content> {
        let mut found = vec![None; self.messages.len()];
        let mark = |base: u32, index: usize| char::from_u32(base + index as u32);
        let marked = self.messages.iter().enumerate().map(|(index, message)| {
            let text = message.content.trim();
            let (starts, ends) = (mark(CONTENT_STARTS, index)?, mark(CONTENT_ENDS, index)?);
            // The whitespace stays outside, where the template may trim it.
            let marked = format!("{starts}{text}{ends}");
            let content = match text {
                "" => message.content.clone(),
                _ => message.content.replacen(text, &marked, 1),
            };
            Some(Message { content, ..message.clone() })
        });
        let Some(marked) = marked.collect::<Option<Vec<_>>>() else { return found };
        let Ok(marked) = self.render(&marked, false) else { return found };
        let mut plain = String::with_capacity(self.whole.len());
        let mut starts = vec![0; self.messages.len()];
        for c in marked.chars() {
            let index_after = |base: u32| {
                let index = (c as u32).checked_sub(base)? as usize;
                (index < self.messages.len()).then_some(index)
            };
            if let Some(index) = index_after(CONTENT_STARTS) {
                starts[index] = plain.len();
            } else if let Some(index) = index_after(CONTENT_ENDS) {
                found[index] = Some(starts[index]..plain.len());
            } else {
                plain.push(c);
            }
        }
        if plain != self.whole {
            found.fill(None);
        }
        found
    }

    fn render(&self, messages: &[Message], open: bool) -> Result<String, Defect> {
        Ok(self.chat.render(messages, self.tools, open)?.text)
    }
}
