//! What a judge is shown.

use super::{JudgeForm, Pair};

const SYSTEM: &str = "You compare the answers of two assistants, fairly and exactly. Neither the place nor the length of \
     an answer counts for it.";

/// The system line and the user's message for a pair, its answers as they are or exchanged.
pub(super) fn prompt(pair: &Pair, form: JudgeForm, is_exchanged: bool) -> (&'static str, String) {
    let [mut first, mut second] = [&pair.answers[0], &pair.answers[1]];
    if is_exchanged {
        (first, second) = (second, first);
    }
    let question = &pair.question;
    let reference = pair.reference.as_ref().map_or(String::new(), |reference| {
        format!("[Right answer begins]\n{reference}\n[Right answer ends]\n\n")
    });
    let (looks, form) = (looks_at(&pair.category), answers_in(form, &pair.category));
    let user = format!(
        "[Question]\n{question}\n\n{reference}\
         [Answer 1 begins]\n{first}\n[Answer 1 ends]\n\n\
         [Answer 2 begins]\n{second}\n[Answer 2 ends]\n\n\
         {looks}\n{form}"
    );
    (SYSTEM, user)
}

/// What counts, by category.
fn looks_at(category: &str) -> &'static str {
    match category {
        "coding" => {
            "Say how well each answer solves the task as a program: whether it is correct, whether it \
             does all that is asked, whether it is readable and efficient. Work out what the code does \
             before you judge it."
        }
        "math" => {
            "Solve the problem yourself first, then compare: an answer with the right result is better \
             than one without, and one with sound steps better than one without."
        }
        _ => "Say how good each answer is by how helpful, relevant, accurate and detailed it is.",
    }
}

fn answers_in(form: JudgeForm, category: &str) -> &'static str {
    match form {
        // A problem is to be worked out before a number is given.
        JudgeForm::Scores if category == "math" => {
            "Give each answer a score from 1 to 10, the higher the better. Your last line holds these two \
             numbers and nothing else, that of answer 1 first, with a blank between them."
        }
        JudgeForm::Scores => {
            "Give each answer a score from 1 to 10, the higher the better. Your first line holds these two \
             numbers and nothing else, that of answer 1 first, with a blank between them. Give your reasons \
             from the second line on."
        }
        JudgeForm::Verdict => {
            "Give your reasons first. End with `[[A]]` if answer 1 is better, with `[[B]]` if answer 2 is, \
             and with `[[C]]` if they are equally good."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_names_question_reference_and_answers_in_order() {
        let pair = Pair {
            id: "1".into(),
            category: "math".into(),
            question: "2 + 2?".into(),
            reference: Some("4".into()),
            answers: ["four".into(), "five".into()],
        };
        let places = |is_exchanged, form| {
            let (_, user) = prompt(&pair, form, is_exchanged);
            ["2 + 2?", "4\n[Right", "four", "five", "Solve"].map(|part| user.find(part).unwrap())
        };
        let as_it_is = places(false, JudgeForm::Scores);
        assert!(as_it_is.is_sorted(), "{as_it_is:?}");
        let exchanged = places(true, JudgeForm::Verdict);
        assert!(exchanged[2] > exchanged[3], "{exchanged:?}");
        let (_, verdict) = prompt(&pair, JudgeForm::Verdict, false);
        assert!(verdict.ends_with("`[[C]]` if they are equally good."));
        let categories = ["coding", "math", "writing"].map(looks_at);
        assert!(categories[0] != categories[1] && categories[1] != categories[2]);
    }
}
