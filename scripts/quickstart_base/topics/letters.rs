//! Short texts to somebody: greetings in two tones, invitations, and little stories.

use crate::topic::{Topic, ask, ask_about};
use crate::words::{Words, with_article};

pub fn topics(words: &Words) -> Vec<Topic<'_>> {
    vec![greetings(words), stories(words)]
}

fn greetings(words: &Words) -> Topic<'_> {
    Topic {
        title: "Letters",
        size: 400,
        row: Box::new(move |_, random| {
            let two = random.several(&words.names, 2);
            let thing = random.pick(&words.nouns);
            let day = words.sequences[0][1 + random.below(7)];
            vec![
                ("name", two[0][0].to_owned()),
                ("friend", two[1][0].to_owned()),
                ("thing", thing[0].to_owned()),
                ("a_thing", with_article(thing[0])),
                ("day", day.to_owned()),
            ]
        }),
        subject: "{name}, {friend}, {thing}",
        sentences: &[
            "Dear {name}, thank you very much for the {thing}. Yours, {friend}",
            "Hi {name}! Thanks for the {thing}! See you soon, {friend}",
            "Dear {name}, I would like to invite you on {day}. Yours, {friend}",
            "Hi {name}! Come over on {day}! {friend}",
            "Good morning, {name}. I hope you are well.",
            "Goodbye, {name}. It was nice to see you on {day}.",
            "Happy birthday, {name}! I hope you get {a_thing}.",
            "I am sorry, {name}. I lost your {thing}.",
        ],
        lines: &["Dear {name},", "To: {name}\nFrom: {friend}\n", "{day}: {name} and {friend}"],
        tasks: vec![
            ask(
                "Write a polite note that thanks {name} for the {thing}. Sign it {friend}.",
                "Dear {name}, thank you very much for the {thing}. Yours, {friend}",
            ),
            ask(
                "Write a casual note that thanks {name} for the {thing}. Sign it {friend}.",
                "Hi {name}! Thanks for the {thing}! See you soon, {friend}",
            ),
            ask(
                "Invite {name} politely for {day}. Sign as {friend}.",
                "Dear {name}, I would like to invite you on {day}. Yours, {friend}",
            ),
            ask(
                "Invite {name} for {day} in a casual tone. Sign as {friend}.",
                "Hi {name}! Come over on {day}! {friend}",
            ),
            ask("Greet {name} politely.", "Good morning, {name}. I hope you are well."),
            ask(
                "Wish {name} a happy birthday with {a_thing}.",
                "Happy birthday, {name}! I hope you get {a_thing}.",
            ),
            ask_about(
                "Apologise to {name} for losing this thing.",
                "Thing: {thing}",
                "I am sorry, {name}. I lost your {thing}.",
            ),
        ],
        weight: 7,
    }
}

fn stories(words: &Words) -> Topic<'_> {
    let animals: Vec<&str> =
        words.nouns.iter().filter(|row| row[2] == "animal").map(|row| row[0]).collect();
    let places: Vec<&str> =
        words.nouns.iter().filter(|row| row[2] == "place").map(|row| row[0]).collect();
    Topic {
        title: "Stories",
        size: 200,
        row: Box::new(move |_, random| {
            let person = random.pick(&words.names);
            let animal = *random.pick(&animals);
            vec![
                ("name", person[0].to_owned()),
                ("pronoun", person[1].to_owned()),
                ("animal", animal.to_owned()),
                ("an_animal", with_article(animal)),
                ("place", (*random.pick(&places)).to_owned()),
            ]
        }),
        subject: "{name}, {animal}, {place}",
        sentences: &[
            "One day {name} met {an_animal} near the {place}. {Pronoun} gave it some food, and they became friends.",
            "{name} lived near the {place} with {an_animal}. Every evening {pronoun} sang a song, and the {animal} listened.",
            "{name} lost the way in the {place}. Then {an_animal} came and showed {name} the way home.",
            "Once there was {an_animal} in the {place}. It was alone until {name} came.",
        ],
        lines: &["{name} and the {animal}", "The {animal} of the {place}"],
        tasks: vec![
            ask(
                "Tell a short story about {name} and {an_animal} near the {place}.",
                "One day {name} met {an_animal} near the {place}. {Pronoun} gave it some food, and they became friends.",
            ),
            ask(
                "Tell a story in which {an_animal} helps {name} in the {place}.",
                "{name} lost the way in the {place}. Then {an_animal} came and showed {name} the way home.",
            ),
            ask(
                "Write a title for a story about {name} and {an_animal}.",
                "{name} and the {animal}",
            ),
        ],
        weight: 6,
    }
}
