//! Pairwise judging: which of two answers to a question is better, by the word of a model.
//!
//! ```text
//!  Pair ─prompt, in one order or both─► judge ─parse─► two scores, or a verdict ─► Judgement ─► totals
//! ```
//!
//! - A judge gives each answer a number from 1 to 10 in its first line, as for the Vicuna questions, or a
//!   verdict `[[A]]`, `[[B]]`, `[[C]]`. Questions of coding and of mathematics have prompts of their own.
//! - Judges favour a place. So each pair is shown in both orders: an answer wins if it does so in both, or
//!   wins in one and ties in the other; what changes with the order is a tie. In one order the verdict
//!   stands as it is.
//! - A request that failed and a reply without a verdict are counted, and are no judgement.

mod agreement;
mod contest;
mod contestants;
mod prompts;
mod reply;
mod totals;
mod vicuna;

use albacore_data::{Journal, Statistics};
use serde::{Deserialize, Serialize};

pub use agreement::{Agreement, JudgeAgreement, both_verdicts};
pub use contest::{Contest, Contested, contest, contests};
pub use contestants::{AnswerOf, Contestant, read_contestants};
pub use reply::parse_scores;
pub use totals::{Totals, totals};
pub use vicuna::{Review, VicunaQuestion, read_questions, read_reviews};

use crate::Result;
use crate::consult::{Asked, Exchange, Heard, Judge, NoOpinion, consult};

/// A question and two answers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Unique among the pairs.
    pub id: String,
    /// What it is counted under: `coding`, `math`, `writing`.
    pub category: String,
    /// What was asked.
    pub question: String,
    /// The right answer, where it is known: a judge of mathematics is shown it.
    pub reference: Option<String>,
    /// What the two models answered.
    pub answers: [String; 2],
}

/// Which answer is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The first.
    First,
    /// The second.
    Second,
    /// Neither.
    Tie,
}

impl Verdict {
    /// By two scores, the higher of which is better.
    pub fn of([first, second]: [f64; 2]) -> Self {
        if first > second {
            Self::First
        } else if second > first {
            Self::Second
        } else {
            Self::Tie
        }
    }

    /// The same if the answers change places.
    pub fn exchanged(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
            Self::Tie => Self::Tie,
        }
    }

    /// From both orders, each told of the same two answers: one that wins must not lose in either.
    pub fn of_both(one: Self, other: Self) -> Self {
        match (one, other) {
            (one, Self::Tie) => one,
            (Self::Tie, other) => other,
            (one, other) if one == other => one,
            _ => Self::Tie,
        }
    }
}

/// How a judge is asked to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgeForm {
    /// Two numbers from 1 to 10 in the first line, then the reasons.
    #[default]
    Scores,
    /// The reasons first, then `[[A]]`, `[[B]]` or `[[C]]`.
    Verdict,
}

/// In which order answers are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Orders {
    /// As they are and exchanged.
    #[default]
    Both,
    /// As they are only, as in the published reviews of the Vicuna questions.
    One,
}

/// What a judge said of one pair in one order, told of the pair as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Opinion {
    /// Which answer is better.
    pub verdict: Verdict,
    /// The scores, where numbers were asked for.
    pub scores: Option<[f64; 2]>,
}

/// What a judge said of one pair, order by order.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The pair's.
    pub id: String,
    /// The pair's.
    pub category: String,
    /// One or two.
    pub opinions: Vec<std::result::Result<Opinion, NoOpinion>>,
    /// What was said, order by order; nothing for what stands in a published review.
    pub exchanges: Vec<Exchange>,
}

impl Judgement {
    /// From scores that stand in a published review.
    pub fn from_scores(id: String, category: String, scores: [f64; 2]) -> Self {
        let opinion = Opinion { verdict: Verdict::of(scores), scores: Some(scores) };
        Self { id, category, opinions: vec![Ok(opinion)], exchanges: Vec::new() }
    }

    /// Which answer is better, all in all. `None` where an opinion is missing.
    pub fn verdict(&self) -> Option<Verdict> {
        let mut verdicts = self.opinions.iter().map(|opinion| opinion.as_ref().ok());
        let first = verdicts.next()??.verdict;
        verdicts.try_fold(first, |so_far, next| Some(Verdict::of_both(so_far, next?.verdict)))
    }

    /// The mean of its scores over the orders. `None` where one is missing.
    pub fn scores(&self) -> Option<[f64; 2]> {
        let scores = self.opinions.iter().map(|opinion| opinion.as_ref().ok()?.scores);
        let scores = scores.collect::<Option<Vec<_>>>()?;
        let mean = |place: usize| {
            scores.iter().map(|scores| scores[place]).sum::<f64>() / scores.len() as f64
        };
        (!scores.is_empty()).then(|| [mean(0), mean(1)])
    }

    /// Whether the verdict depends on the order in which the answers are shown.
    pub fn depends_on_order(&self) -> bool {
        let mut verdicts = self.opinions.iter().flatten().map(|opinion| opinion.verdict);
        let first = verdicts.next();
        verdicts.any(|verdict| Some(verdict) != first)
    }
}

/// Has a judge compare the answers of every pair; what `journal` knows is not asked again. `None` if it was
/// stopped before the end.
///
/// # Errors
/// If the journal cannot be used, or the judge can answer nothing more.
pub fn judge(
    judge: &Judge<'_>,
    journal: &mut Journal,
    name: &str,
    pairs: &[Pair],
    statistics: &mut Statistics,
) -> Result<Option<Vec<Judgement>>> {
    let (form, orders) = (judge.config.form, judge.config.orders.shown());
    let shown = pairs.iter().flat_map(|pair| orders.iter().map(move |&order| (pair, order)));
    let asked = shown.map(|(pair, is_exchanged)| {
        let order = if is_exchanged { "exchanged" } else { "as_it_is" };
        let (system, user) = prompts::prompt(pair, form, is_exchanged);
        Asked { key: format!("{name}/{}/{order}", pair.id), system, user }
    });
    let read = |number: usize, reply: &str| {
        let opinion = reply::opinion(reply, form)?;
        let is_exchanged = orders[number % orders.len()];
        Some(if is_exchanged { opinion.exchanged() } else { opinion })
    };
    let heard = consult(judge, journal, asked.collect(), statistics, read)?;
    Ok(heard.map(|heard| {
        let judgement = |(pair, of_pair): (&Pair, &[Heard<Opinion>])| Judgement {
            id: pair.id.clone(),
            category: pair.category.clone(),
            opinions: of_pair.iter().map(|heard| heard.found.clone()).collect(),
            exchanges: of_pair.iter().map(|heard| heard.exchange.clone()).collect(),
        };
        pairs.iter().zip(heard.chunks_exact(orders.len())).map(judgement).collect()
    }))
}

impl Orders {
    /// Whether the answers are exchanged, order by order.
    fn shown(self) -> &'static [bool] {
        match self {
            Self::Both => &[false, true],
            Self::One => &[false],
        }
    }
}

impl Opinion {
    fn exchanged(self) -> Self {
        let scores = self.scores.map(|[first, second]| [second, first]);
        Self { verdict: self.verdict.exchanged(), scores }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use albacore_data::{
        Completion, CompletionRequest, Effort, FinishReason, LanguageModel, OnReply, Prompt, Usage,
    };

    use super::*;
    use crate::JudgeConfig;

    /// Prefers the longer answer, and between equals the one that it is shown first.
    struct ByLength;

    impl LanguageModel for ByLength {
        fn name(&self) -> &str {
            "by length"
        }

        fn complete(
            &self,
            requests: &mut dyn Iterator<Item = CompletionRequest>,
            on_reply: &mut OnReply<'_>,
        ) {
            for (number, request) in requests.enumerate() {
                let Prompt::Messages(messages) = &request.prompt else { panic!("a conversation") };
                let shown = &messages[1].content;
                let length = |answer: &str| {
                    let start = format!("[Answer {answer} begins]\n");
                    let text = shown.split_once(&start).unwrap().1;
                    text.split_once(&format!("\n[Answer {answer} ends]")).unwrap().0.len()
                };
                let text = match (length("1"), length("2")) {
                    (0, _) => "I cannot say".to_owned(),
                    (one, two) if one >= two => "9 7.5\nThe first is longer.".to_owned(),
                    _ => "6, 8\nThe second is.".to_owned(),
                };
                let (usage, effort) = (Usage::default(), Effort::default());
                let finish_reason = FinishReason::Stop;
                let reply = Completion { text, finish_reason, logprobs: None, usage, effort };
                if on_reply(number, Ok(reply)) == ControlFlow::Break(()) {
                    return;
                }
            }
        }
    }

    fn pair(id: &str, answers: [&str; 2]) -> Pair {
        Pair {
            id: id.into(),
            category: "writing".into(),
            question: "Describe rain.".into(),
            reference: None,
            answers: answers.map(str::to_owned),
        }
    }

    fn judged(orders: Orders) -> Vec<Judgement> {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path().join("judge.jsonl")).unwrap();
        let pairs = [
            pair("1", ["Wet.", "Water that falls."]),
            pair("2", ["Wet.", "Dry."]),
            pair("3", ["", "Drops"]),
        ];
        let config = JudgeConfig { orders, ..JudgeConfig::default() };
        let judging = Judge {
            model: &ByLength,
            chats: true,
            config: &config,
            seed: 0,
            stop: &|| false,
            progress: &|_, _| {},
        };
        let mut took = Statistics::default();
        let judged = judge(&judging, &mut journal, "a, b", &pairs, &mut took).unwrap().unwrap();
        let requests = if orders == Orders::Both { 6 } else { 3 };
        // What cannot be read is asked once more.
        assert_eq!(took.answers, requests + 1);
        // Again: the same, and nothing is asked.
        let again = judge(&judging, &mut journal, "a, b", &pairs, &mut took).unwrap().unwrap();
        assert_eq!((again, journal.len() as u64), (judged.clone(), requests + 1));
        judged
    }

    #[test]
    fn what_changes_with_the_order_is_a_tie() {
        let judged = judged(Orders::Both);
        // 6 and 8; exchanged, 9 for the longer and 7.5: the mean of both.
        assert_eq!(judged[0].verdict(), Some(Verdict::Second));
        assert_eq!(judged[0].scores(), Some([6.75, 8.5]));
        assert_eq!(judged[1].verdict(), Some(Verdict::Tie));
        assert!(judged[1].depends_on_order() && !judged[0].depends_on_order());
        // Of the third one order has no verdict: there is none.
        assert_eq!((judged[2].verdict(), judged[2].scores()), (None, None));
        assert_eq!(judged[2].opinions[0], Err(NoOpinion::Unclear));
        assert_eq!(judged[2].exchanges[0].replies, ["I cannot say", "I cannot say"]);
    }

    #[test]
    fn in_one_order_the_verdict_stands() {
        let judged = judged(Orders::One);
        assert_eq!(judged[1].verdict(), Some(Verdict::First));
        assert_eq!(judged[1].opinions.len(), 1);
    }

    #[test]
    fn a_winner_may_tie_in_one_order() {
        use Verdict::{First, Second, Tie};
        let both = |one, other| Verdict::of_both(one, other);
        assert_eq!([both(First, Tie), both(Tie, Second)], [First, Second]);
        assert_eq!([both(First, Second), both(Tie, Tie), both(First, First)], [Tie, Tie, First]);
    }
}
