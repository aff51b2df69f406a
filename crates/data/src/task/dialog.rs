//! Dialogs: turns as one text that ends where the next speaker begins.

use crate::Random;

/// What may stand before a dialog.
const STARTS: [&str; 12] = [
    "",
    "Read the conversation and continue it.\n\n",
    "What comes next in this dialog?\n\n",
    "Here is a conversation. Write the next turn.\n\n",
    "Dialog:\n",
    "Conversation so far:\n\n",
    "Go on with this chat.\n",
    "Two speakers are talking.\n\n",
    "Continue.\n\n",
    "A talk between two people:\n",
    "Answer as the next speaker would.\n\n",
    "The chat up to now:\n",
];

/// The names of the two speakers.
const SPEAKERS: [(&str, &str); 24] = [
    ("A: ", "B: "),
    ("A) ", "B) "),
    ("(A) ", "(B) "),
    ("[A] ", "[B] "),
    ("1: ", "2: "),
    ("(1) ", "(2) "),
    ("P1: ", "P2: "),
    ("P1 > ", "P2 > "),
    ("Person 1: ", "Person 2: "),
    ("Person A: ", "Person B: "),
    ("Speaker 1: ", "Speaker 2: "),
    ("Speaker A: ", "Speaker B: "),
    ("[Speaker 1] ", "[Speaker 2] "),
    ("First: ", "Second: "),
    ("Question: ", "Answer: "),
    ("Q: ", "A: "),
    ("User: ", "Assistant: "),
    ("USER: ", "ASSISTANT: "),
    ("Human: ", "Model: "),
    ("Guest: ", "Host: "),
    ("Caller: ", "Agent: "),
    ("Me: ", "You: "),
    ("- ", "- "),
    ("* ", "* "),
];

/// What may stand between two turns.
const ENDS: [&str; 3] = ["\n", "\n\n", "\n\n\n"];

/// The turns as one text; it ends with the mark of who speaks next.
pub(crate) fn shown(turns: &[String], random: &mut Random) -> String {
    let mut text = STARTS[random.below(STARTS.len())].to_owned();
    let (first, second) = SPEAKERS[random.below(SPEAKERS.len())];
    let end = ENDS[random.below(ENDS.len())];
    let mark = |turn: usize| if turn.is_multiple_of(2) { first } else { second };
    for (index, turn) in turns.iter().enumerate() {
        text += mark(index);
        text += turn;
        text += end;
    }
    text + mark(turns.len()).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialog_ends_with_the_mark_of_the_next_speaker() {
        let turns = ["Hello", "Hi", "How are you?"].map(String::from);
        insta::assert_snapshot!(shown(&turns, &mut Random::new(0, "dialog", 4)), @"
        Read the conversation and continue it.

        [Speaker 1] Hello
        [Speaker 2] Hi
        [Speaker 1] How are you?
        [Speaker 2]
        ");
        for number in 0..200 {
            let text = shown(&turns, &mut Random::new(0, "dialog", number));
            let places = turns.each_ref().map(|turn| text.find(turn.as_str()).unwrap());
            assert!(places.is_sorted() && !text.ends_with(' '), "{text}");
        }
    }
}
