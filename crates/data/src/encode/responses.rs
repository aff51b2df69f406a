//! Several responses to one prompt: the prompt's ids once, and behind them each response's.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Encoded, Encoder, Learn};
use crate::ranked::{Asked, Candidate, Ranked, Said};
use crate::template::Pair;
use crate::{Defect, Origin, Template, UNRIVALLED};

/// One of several responses that share a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Its first token, counted from the first of the prompt.
    pub start: usize,
    /// Higher is better.
    pub score: f32,
}

impl Encoded {
    /// The tokens of response `index`.
    pub fn response(&self, index: usize) -> Range<usize> {
        let end = self.responses.get(index + 1).map_or(self.len(), |next| next.start);
        self.responses[index].start..end
    }

    /// The response with the highest score, the first of several.
    pub fn best_response(&self) -> Option<usize> {
        let score = |index: usize| self.responses[index].score;
        (0..self.responses.len())
            .reduce(|best, next| if score(next) > score(best) { next } else { best })
    }

    /// How many tokens the longest sequence has that the model sees: the prompt and the longest of the
    /// responses that share it.
    pub fn longest_sequence(&self) -> usize {
        let responses = (0..self.responses.len()).map(|index| self.response(index).len());
        responses.max().map_or(self.len(), |longest| self.prompt().len() + longest)
    }

    /// Whether all its responses have the same score.
    pub fn is_tied(&self) -> bool {
        self.responses.windows(2).all(|pair| pair[0].score == pair[1].score)
    }

    /// Keeps of each response at most so many tokens, and nothing of those for which that is 0.
    pub(crate) fn keep_of_responses(&mut self, tokens: impl Fn(Range<usize>) -> usize) {
        let whole = std::mem::replace(self, Self::empty(self.origin.clone()));
        let prompt = whole.prompt().len();
        self.eos_added = whole.eos_added;
        self.append(&whole, 0..prompt);
        for (index, response) in whole.responses.iter().enumerate() {
            let range = whole.response(index);
            let kept = tokens(range.clone()).min(range.len());
            if kept > 0 {
                self.responses.push(Response { start: self.len(), score: response.score });
                self.append(&whole, range.start..range.start + kept);
            }
        }
    }

    /// Appends some tokens of another example.
    fn append(&mut self, other: &Self, range: Range<usize>) {
        self.ids.extend(&other.ids[range.clone()]);
        self.learned.extend(&other.learned[range.clone()]);
        self.reasons.extend(&other.reasons[range]);
    }
}

impl Encoder<'_> {
    /// The ids of a prompt and its candidates: of each the answer is learned, whatever `learn` says of
    /// other records.
    pub(super) fn encode_ranked(
        &self,
        ranked: &Ranked,
        origin: &Origin,
    ) -> Result<Encoded, Defect> {
        // One that has a score is good or bad by itself; one that has none is learned as an ordinary answer.
        let alone = matches!(&*ranked.candidates, [only] if only.score == UNRIVALLED);
        let mut out = Encoded::empty(origin.clone());
        for (index, candidate) in ranked.candidates.iter().enumerate() {
            let (one, answer) = self.encode_candidate(ranked, candidate, origin)?;
            let prompt = answer.start;
            let same = index == 0 || one.ids[..prompt] == *out.prompt();
            if prompt == 0 || !same || one.learned[answer.clone()].contains(&false) {
                return Err(Defect::Prompts { candidate: index + 1 });
            }
            if index == 0 {
                out.append(&one, 0..prompt);
            }
            out.eos_added |= one.eos_added;
            if !alone {
                out.responses.push(Response { start: out.len(), score: candidate.score });
            }
            out.append(&one, answer);
        }
        Ok(out)
    }

    /// The prompt and one candidate, and where the candidate stands.
    fn encode_candidate(
        &self,
        ranked: &Ranked,
        Candidate { said, .. }: &Candidate,
        origin: &Origin,
    ) -> Result<(Encoded, Range<usize>), Defect> {
        let answers = Self { template: self.template.clone(), learn: Learn::Last, ..*self };
        let mut one = Encoded::empty(origin.clone());
        match (&ranked.prompt, said, ranked.body(said), &*self.template) {
            (Asked::Text(prompt), Said::Text(response), ..) => {
                let pair = Pair { prompt: prompt.clone(), response: response.clone() };
                answers.encode_pair(&mut one, &pair)?;
            }
            (.., Some(body), Template::Chat(chat)) => {
                answers.encode_turns(&mut one, chat, &body)?
            }
            (Asked::Instruction { .. }, _, Some(body), template) => {
                answers.encode_pair(&mut one, &template.pair(&body)?)?;
            }
            _ => {
                let template = self.template.name().to_owned();
                return Err(Defect::Misfit { record: ranked.format, template });
            }
        }
        let start = one.learned.iter().position(|learned| *learned).unwrap_or(0);
        let end = one.learned.iter().rposition(|learned| *learned).map_or(0, |last| last + 1);
        Ok((one, start..end))
    }
}
