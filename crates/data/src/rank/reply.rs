//! What a judge's reply says, read strictly: an order of all responses, or none.

use std::sync::LazyLock;

use regex::Regex;

/// An order of responses, by the numbers under which they were shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// From the best to the worst; the judge's own has the number after the last.
    pub best_first: Vec<usize>,
    /// Responses that are not in it, because they say what one that is in it says.
    pub duplicates: Vec<usize>,
    /// The judge's own response, if it wrote one.
    pub reference: Option<String>,
}

/// `rank:`, in bold or not; `frank:` is another word.
static RANK: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\brank[*_]*\s*:"));
static RANKING: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\branking[*_]*\s*:"));
static DUPLICATES: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?im)\bduplicates[*_]*\s*:(.*)$"));
static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"[-+.]?[0-9]+(?:\.[0-9]+)?"));
/// A list that holds no other.
static LIST: LazyLock<Regex> = LazyLock::new(|| pattern(r"\[([^\[\]]*)\]"));
static HEADING: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?im)^[ \t]*##+[ \t]*response[ \t]*([0-9]+)[ \t]*:"));
static NEXT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?im)^[ \t]*##+[ \t]*(end|response)\b"));
static BLANK_LINE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\n[ \t]*\r?\n"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("it is well formed")
}

/// Reads a reply about `shown` responses, numbered from 0; the judge's own is number `shown`.
///
/// The order is the list after the first `rank:`, else the first `ranking:`, outside of the judge's own
/// response: what stands in brackets, else the first line that says something. A response may be missing
/// only if `duplicates:` puts it into one group with a response that is there.
///
/// # Errors
/// If there is no order, or it names a response that does not exist, names one twice, or leaves one out.
pub fn parse_reply(reply: &str, shown: usize) -> Result<Order, String> {
    let (reference, rest) = cut_reference(reply, shown);
    let found = RANK.find(&rest).or_else(|| RANKING.find(&rest));
    let list = list(&rest[found.ok_or("there is no `rank:`")?.end()..]);
    let best_first = numbers(list, shown)?;
    if best_first.is_empty() {
        return Err("no number follows `rank:`".into());
    }
    for (place, number) in best_first.iter().enumerate() {
        if best_first[..place].contains(number) {
            return Err(format!("response {number} is ranked twice"));
        }
    }
    let groups = duplicates(&rest, shown)?;
    let is_duplicate = |number: &usize| {
        let others = groups.iter().filter(|group| group.contains(number)).flatten();
        others.into_iter().any(|other| best_first.contains(other))
    };
    let missing: Vec<_> = (0..=shown).filter(|number| !best_first.contains(number)).collect();
    match missing.iter().find(|number| !is_duplicate(number)) {
        Some(hole) => Err(format!("response {hole} is not ranked")),
        None => Ok(Order { best_first, duplicates: missing, reference }),
    }
}

/// The judge's own response, and the reply without it.
fn cut_reference(reply: &str, own: usize) -> (Option<String>, String) {
    let is_own = |heading: &regex::Captures<'_>| heading[1].parse() == Ok(own);
    let Some(heading) = HEADING.captures_iter(reply).find(is_own).and_then(|found| found.get(0))
    else {
        return (None, reply.to_owned());
    };
    let after = &reply[heading.end()..];
    let skipped = after.len() - after.trim_start().len();
    let next = NEXT.captures(after).and_then(|next| Some((next.get(0)?.start(), next.get(1)?)));
    let end = match next {
        Some((end, word)) if word.as_str().eq_ignore_ascii_case("end") => end,
        // Without its end it goes to a blank line, as the published code has it: what comes before another
        // heading may be the judge's analysis.
        next => {
            let blank = BLANK_LINE.find(&after[skipped..]);
            let blank = blank.map_or(after.len(), |blank| skipped + blank.start());
            next.map_or(blank, |(other, _)| blank.min(other))
        }
    };
    let text = after[..end].trim();
    let reference = (!text.is_empty()).then(|| text.to_owned());
    (reference, format!("{}\n{}", &reply[..heading.start()], &after[end..]))
}

/// What stands in the brackets that come next, else on the next line that says something.
fn list(text: &str) -> &str {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || "*_`".contains(c));
    let inside = text.strip_prefix('[').and_then(|inside| Some(&inside[..inside.find(']')?]));
    inside.unwrap_or_else(|| text.lines().next().unwrap_or_default())
}

/// The numbers of responses in a text.
fn numbers(text: &str, highest: usize) -> Result<Vec<usize>, String> {
    let numbers = NUMBER.find_iter(text).map(|found| {
        let known = found.as_str().parse::<usize>().ok().filter(|number| *number <= highest);
        known.ok_or_else(|| {
            format!("there is no response {}, wanted 0 to {highest}", shortened(found.as_str()))
        })
    });
    numbers.collect()
}

/// Groups of responses that say the same: lists, or numbers between semicolons.
fn duplicates(text: &str, highest: usize) -> Result<Vec<Vec<usize>>, String> {
    let Some(line) = DUPLICATES.captures(text).and_then(|found| found.get(1)) else {
        return Ok(Vec::new());
    };
    let line = line.as_str();
    match line.contains('[') {
        true => LIST.captures_iter(line).map(|group| numbers(&group[1], highest)).collect(),
        false => line.split(';').map(|group| numbers(group, highest)).collect(),
    }
}

/// Enough of what may be endless.
fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(20).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(reply: &str) -> Vec<usize> {
        parse_reply(reply, 3).unwrap().best_first
    }

    fn wrong(reply: &str) -> String {
        parse_reply(reply, 3).unwrap_err()
    }

    #[test]
    fn an_order_is_read_however_it_is_dressed() {
        let dressed = [
            "rank: [2, 0, 3, 1]",
            "It is open-ended.\nResponse 2: [15]\n\n**Rank:** [2, 0, 3, 1]\n\nI hope that 2 helps.",
            "RANKING: 2 > 0 > 3 > 1\nResponse 2 is best.",
            "rank:\n\n2,0,3,1",
            "**rank**: `[2, 0, 3, 1]`",
            "ranking: [9]\nrank: [2, 0, 3, 1]",
            "frank: [1]\nRank : [Response 2, Response 0, Response 3, Response 1]",
            // The first one counts.
            "rank: [2, 0, 3, 1]\nrank: [1, 2, 0, 3]",
        ];
        for reply in dressed {
            assert_eq!(order(reply), [2, 0, 3, 1], "{reply}");
        }
    }

    #[test]
    fn what_is_no_whole_order_is_refused() {
        for (reply, why) in [
            ("", "there is no `rank:`"),
            ("I would rather not.", "there is no `rank:`"),
            ("rank: none\n[0, 1, 2, 3]", "no number follows `rank:`"),
            ("rank:", "no number follows `rank:`"),
            ("rank: [0, 1, 2, 4]", "there is no response 4, wanted 0 to 3"),
            ("rank: [0, 1, 2, -3]", "there is no response -3, wanted 0 to 3"),
            ("rank: [0, 1, 2.5, 3]", "there is no response 2.5, wanted 0 to 3"),
            ("rank: [0, 1, 1, 3]", "response 1 is ranked twice"),
            ("rank: [0, 3, 1]", "response 2 is not ranked"),
            ("rank: 0 > 1 > 2 > 3, for 0 is best", "response 0 is ranked twice"),
            (
                "rank: [99999999999999999999999]",
                "there is no response 99999999999999999999…, wanted 0 to 3",
            ),
            ("duplicates: [[0, 9]]\nrank: [0, 1, 2, 3]", "there is no response 9, wanted 0 to 3"),
            // Its only duplicate is left out as well.
            ("duplicates: [[1, 2]]\nrank: [0, 3]", "response 1 is not ranked"),
        ] {
            assert_eq!(wrong(reply), why, "{reply}");
        }
        // Other digits than ours are no numbers, and letters that grow in lower case move nothing.
        assert_eq!(wrong("İİİ rank: [٠, ١]"), "no number follows `rank:`");
        assert_eq!(order("İİİ\u{212A} rank: [0, 1, 2, 3]"), [0, 1, 2, 3]);
    }

    #[test]
    fn a_duplicate_may_be_left_out() {
        for line in [
            "duplicates: [[0, 2]]",
            "Duplicates: 0, 2",
            "**Duplicates:** [0, 2]",
            "duplicates: 1, 3; 2 and 0",
        ] {
            let read = parse_reply(&format!("{line}\nrank: [3, 0, 1]"), 3).unwrap();
            assert_eq!((read.best_first, read.duplicates), (vec![3, 0, 1], vec![2]), "{line}");
        }
        let read = parse_reply("duplicates: none\nrank: [3, 0, 1, 2]", 3).unwrap();
        assert!(read.duplicates.is_empty());
    }

    #[test]
    fn the_judge_s_own_response_is_kept_and_says_nothing_about_the_order() {
        let own = "First rank: [1].\n\nThen duplicates: [[0, 1]].";
        let reply = format!(
            "Open-ended.\n### Response 3: {own}\n###End\nduplicates: none\nrank: [3, 2, 1, 0]"
        );
        let read = parse_reply(&reply, 3).unwrap();
        assert_eq!((read.reference.as_deref(), read.best_first), (Some(own), vec![3, 2, 1, 0]));
        // Without an end it goes to the blank line.
        let read = parse_reply("###Response 3:\nMine.\nStill.\n\nrank: [0, 1, 2, 3]", 3).unwrap();
        assert_eq!(read.reference.as_deref(), Some("Mine.\nStill."));
        let reply = "###Response 3:\nMine.\n\n2. No two say the same.\nduplicates: [[0, 1]]\n\n3. Scores\n\
                     ### Response 0: 1\n### Response 1: 2\nrank: [3, 0, 2]";
        let read = parse_reply(reply, 3).unwrap();
        assert_eq!((read.reference.as_deref(), read.duplicates), (Some("Mine."), vec![1]));
        let read = parse_reply("###Response 3:\n###End\nrank: [0, 1, 2, 3]", 3).unwrap();
        assert_eq!(read.reference, None);
        let read = parse_reply("###Response 2:\nNot its own.\n\nrank: [0, 1, 2, 3]", 3).unwrap();
        assert_eq!(read.reference, None);
    }
}
