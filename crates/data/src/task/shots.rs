//! Exemplars: how examples of a task become the head of another one's input.
//!
//! ```text
//!  x-shot   25 exemplars are drawn, and those whose template is the query's are kept: 2 or 3 of ten; of a
//!           Super-NI task 2 are drawn
//!  mixed    5 exemplars, each by its place in another of the templates that are for mixing
//!
//!  head  (input_prefix input delimiter target_prefix target separator)*  input_prefix input delimiter target_prefix
//! ```
//! Exemplars go on from draw to draw through an order of their own, apart from that of the queries. The
//! longest row of them that fits the budget is kept; an example for which none fits is left out. A record that
//! cannot be used, or is the query itself, leaves its place in the row empty; a row without any has the first of
//! 64 further ones that can be used, and else the query cannot. Of up to 32 records that is every one.

use serde::{Deserialize, Serialize};

use crate::task::family::Template;
use crate::{Defect, Random};

/// The value of `shots`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shots {
    /// No exemplar.
    #[default]
    Zero,
    /// Two or three, in the query's own template; of a Super-NI task two.
    Same,
    /// Five, in templates of their own.
    Mixed,
    /// `same` and `mixed` in turn.
    Both,
}

/// Exemplars that are drawn for one query in its own template.
const DRAWN_SAME: usize = 25;
/// Exemplars of a mixed row.
const DRAWN_MIXED: usize = 5;
/// Exemplars of a Super-NI query in its own template.
const DRAWN_SUPER_NI: usize = 2;
/// Places that are tried for one exemplar where a row has none that can be used.
pub(crate) const FURTHER: u64 = 64;
/// What may stand behind each exemplar of a mixed row; one of them for each task.
pub(crate) const SEPARATORS: [&str; 3] = ["\n", "\n\n", "\n\n\n"];

/// One exemplar to be made: its place in the exemplars' order, and its template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) place: u64,
    pub(crate) template: usize,
}

/// The row of exemplars before a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// In the query's own template.
    Same,
    /// In templates of their own.
    Mixed,
}

/// The row that a draw has, if any.
pub(crate) fn row(shots: Shots, turn: u64) -> Option<Row> {
    match shots {
        Shots::Zero => None,
        Shots::Same => Some(Row::Same),
        Shots::Mixed => Some(Row::Mixed),
        // Templates go by turns too: pairs of passes through them, not every other template.
        Shots::Both if Random::new(turn, "both", 0).next() & 1 == 1 => Some(Row::Mixed),
        Shots::Both => Some(Row::Same),
    }
}

/// The exemplars for draw number `turn` of a task with `count` templates, of which those in `mix` are
/// for mixing.
pub(crate) fn wanted(row: Row, turn: u64, count: usize, mix: &[usize]) -> Vec<Wanted> {
    if row == Row::Mixed {
        let first = turn * DRAWN_MIXED as u64;
        let place = |index: u64| Wanted {
            place: first + index,
            template: mix[((turn + index) % mix.len() as u64) as usize],
        };
        return (0..DRAWN_MIXED as u64).map(place).collect();
    }
    let (first, own) = (turn * DRAWN_SAME as u64, turn % count as u64);
    // The templates of the exemplars are shifted by one from draw to draw, so that three of them are kept
    // as often as two.
    let template = |place: &u64| (place + turn) % count as u64;
    let places = (first..first + DRAWN_SAME as u64).filter(|place| template(place) == own);
    let kept = places.map(|place| Wanted { place, template: own as usize });
    // A family of few templates would keep many: three at most, as ten templates would.
    kept.take(3).collect()
}

/// The exemplars for draw number `turn` of a Super-NI task in the query's own template: two at random,
/// however many templates there are.
pub(crate) fn wanted_of_super_ni(turn: u64, count: usize) -> Vec<Wanted> {
    let (first, template) = (turn * DRAWN_SUPER_NI as u64, (turn % count as u64) as usize);
    (first..first + DRAWN_SUPER_NI as u64).map(|place| Wanted { place, template }).collect()
}

/// Places in an order of their own, for draw number `turn` of a task with `count` templates, where the row that
/// was wanted has nothing to show: in the template of the `first` of these, or the query's.
pub(crate) fn further(
    turn: u64,
    first: Option<&Wanted>,
    count: usize,
) -> impl Iterator<Item = Wanted> + use<> {
    let template = first.map_or((turn % count as u64) as usize, |first| first.template);
    (turn * FURTHER..(turn + 1) * FURTHER).map(move |place| Wanted { place, template })
}

/// An exemplar, or the query.
pub(crate) struct Shot {
    pub(crate) input: String,
    pub(crate) target: String,
}

/// The input of a query with exemplars before it, at least one; the tokens of it with the first
/// of them if not one fits. `outer` is the template
/// whose suffix and wrapping stand around it all; `separator` replaces those of the templates.
///
/// # Errors
/// If `tokens`, which counts those of a text, fails.
pub(crate) fn joined(
    head: &str,
    exemplars: &[(Shot, &Template)],
    query: (&Shot, &Template),
    outer: &Template,
    separator: Option<&str>,
    budget: usize,
    tokens: &dyn Fn(&str) -> Result<usize, Defect>,
) -> Result<Result<String, usize>, Defect> {
    let (query, template) = query;
    let kept = fitting(head, exemplars, query, budget, tokens)?;
    if kept == 0 {
        let (first, _) = &exemplars[0];
        let first = tokens(&first.input)? + tokens(&first.target)?;
        return Ok(Err(tokens(head)? + tokens(&query.input)? + first));
    }
    let mut text = String::new();
    for (shot, of) in &exemplars[..kept] {
        text += &of.input_prefix;
        text += &shot.input;
        text += &of.delimiter;
        text += &of.target_prefix;
        text += shot.target.trim();
        text += separator.unwrap_or(&of.separator);
    }
    text += &template.input_prefix;
    text += &query.input;
    text += &template.delimiter;
    text += template.target_prefix.trim_end();
    text += &outer.final_suffix;
    if let Some((before, behind)) = &outer.wrap {
        text = format!("{before}{text}{behind}");
    }
    let text = format!("{head}{text}");
    // Blanks, not line breaks: those are part of the template.
    Ok(Ok(text.trim_end_matches(' ').to_owned()))
}

/// How many of the exemplars, from the first, fit into the budget beside head and query.
fn fitting(
    head: &str,
    exemplars: &[(Shot, &Template)],
    query: &Shot,
    budget: usize,
    tokens: &dyn Fn(&str) -> Result<usize, Defect>,
) -> Result<usize, Defect> {
    let shots = exemplars.iter().flat_map(|(shot, _)| [&*shot.input, &*shot.target]);
    let texts: Vec<&str> = [head, &query.input].into_iter().chain(shots).collect();
    // No tokenizer makes more tokens than characters of plain ASCII, and one before the text.
    let most = |text: &&str| if text.is_ascii() { text.len() + 1 } else { usize::MAX };
    let mut counts: Vec<usize> = texts.iter().map(most).collect();
    // Mostly all fit, and then it is enough to count some: those that may have most to give.
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(counts[*index]));
    let mut uncounted = order.into_iter();
    while counts.iter().fold(0usize, |all, count| all.saturating_add(*count)) > budget {
        let Some(index) = uncounted.next() else {
            let mut left = budget.saturating_sub(counts[0] + counts[1]);
            let fits = |shot: &&[usize]| match left.checked_sub(shot[0] + shot[1]) {
                Some(rest) => {
                    left = rest;
                    true
                }
                None => false,
            };
            return Ok(counts[2..].chunks(2).take_while(fits).count());
        };
        counts[index] = tokens(texts[index])?;
    }
    Ok(exemplars.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::family::Family;

    #[test]
    fn ten_templates_keep_two_or_three_exemplars_of_25_and_each_place_is_drawn_once() {
        let kept: Vec<_> = (0..20).map(|turn| wanted(Row::Same, turn, 10, &[]).len()).collect();
        assert!(kept.iter().all(|kept| [2, 3].contains(kept)), "{kept:?}");
        assert_eq!(kept.iter().sum::<usize>(), 50, "2.5 in the mean");
        for turn in 0..20 {
            for Wanted { place, template } in wanted(Row::Same, turn, 10, &[]) {
                assert_eq!((place / 25, (place + turn) % 10), (turn, template as u64));
                assert_eq!(template as u64, turn % 10, "the query's own");
            }
        }
    }

    #[test]
    fn as_many_exemplars_fit_as_if_every_text_were_counted() -> Result<(), Defect> {
        let mut random = Random::new(0, "exemplars", 0);
        let (mut all, mut some, mut none) = (0, 0, 0);
        for turn in 0..2000 {
            let mut text = || {
                let letters = if random.below(8) == 0 { "é" } else { "ab" };
                letters.repeat(random.below(12))
            };
            let mut shot = || Shot { input: text(), target: text() };
            let template = Family::load("plain").unwrap();
            let exemplars: Vec<_> =
                (0..turn as usize % 6).map(|_| (shot(), &template.templates[0])).collect();
            let (query, head) = (shot(), shot().input);
            // Some tokens are a character, some more, and each text has one before it.
            let tokens = |text: &str| Ok(text.chars().filter(|c| *c != 'b').count() + 1);
            let budget = turn as usize % 97;
            let mut left = budget - (tokens(&head)? + tokens(&query.input)?).min(budget);
            let mut wanted = 0;
            for (shot, _) in &exemplars {
                let needed = tokens(&shot.input)? + tokens(&shot.target)?;
                if needed > left {
                    break;
                }
                left -= needed;
                wanted += 1;
            }
            let found = fitting(&head, &exemplars, &query, budget, &tokens)?;
            assert_eq!(found, wanted);
            match found {
                0 => none += 1,
                found if found == exemplars.len() => all += 1,
                _ => some += 1,
            }
        }
        assert!(all > 100 && some > 100 && none > 100, "{all} {some} {none}");
        Ok(())
    }

    #[test]
    fn a_mixed_row_has_five_places_in_five_templates() {
        let row = wanted(Row::Mixed, 3, 10, &[0, 2, 4, 6, 8, 9]);
        let places: Vec<_> = row.iter().map(|wanted| wanted.place).collect();
        assert_eq!(places, [15, 16, 17, 18, 19]);
        let templates: Vec<_> = row.iter().map(|wanted| wanted.template).collect();
        assert_eq!(templates, [6, 8, 9, 0, 2]);
    }

    #[test]
    fn a_super_ni_query_has_two_exemplars_whatever_the_number_of_templates() {
        for (turn, count) in [(0, 1), (1, 10), (7, 10), (30, 18)] {
            let row = wanted_of_super_ni(turn, count);
            let places: Vec<_> = row.iter().map(|wanted| wanted.place).collect();
            assert_eq!(places, [2 * turn, 2 * turn + 1], "each place is drawn once");
            assert!(row.iter().all(|wanted| wanted.template as u64 == turn % count as u64));
        }
    }
}
