//! What there is in the world: kinds of things, countries, colours, materials, work, animals.

use crate::topic::{Topic, ask, ask_about};
use crate::words::{Words, with_article};

pub fn topics(words: &Words) -> Vec<Topic<'_>> {
    vec![
        kinds(words),
        capitals(words),
        continents(words),
        colours(words),
        materials(words),
        uses(words),
        work(words),
        young(words),
        sounds(words),
        facts(words),
    ]
}

fn kinds(words: &Words) -> Topic<'_> {
    let nouns = &words.nouns;
    Topic {
        title: "Kinds of things",
        size: nouns.len(),
        row: Box::new(move |index, random| {
            let row = &nouns[index];
            let mut other = random.pick(nouns)[2];
            while !are_apart(row[2], other) {
                other = random.pick(nouns)[2];
            }
            vec![
                ("noun", row[0].to_owned()),
                ("a_noun", with_article(row[0])),
                ("plural", row[1].to_owned()),
                ("kind", row[2].to_owned()),
                ("a_kind", with_article(row[2])),
                ("an_other", with_article(other)),
            ]
        }),
        subject: "{noun}",
        sentences: &[
            "{A_noun} is {a_kind}.",
            "The {noun} is {a_kind}.",
            "{A_noun} is {a_kind}, not {an_other}.",
            "Every {noun} is {a_kind}.",
            "We know that {a_noun} is {a_kind}.",
            "{A_noun} is not {an_other}. It is {a_kind}.",
        ],
        lines: &["{noun}: {kind}", "{noun}\n{kind}\n", "{Noun}, {a_kind}.", "{a_noun} is {a_kind}"],
        tasks: vec![
            ask("What kind of thing is {a_noun}?", "{A_noun} is {a_kind}."),
            ask("Say in a sentence what {a_noun} is.", "{A_noun} is {a_kind}."),
            ask("What is {a_noun}?", "{A_noun} is {a_kind}."),
            ask_about("Name the kind of this thing.", "Thing: {noun}", "{kind}"),
            ask_about("Classify the thing. Give only the class.", "Thing: {noun}", "{kind}"),
            ask("Is {a_noun} {a_kind}?", "Yes, {a_noun} is {a_kind}."),
            ask("Is {a_noun} {an_other}?", "No, {a_noun} is {a_kind}."),
        ],
        weight: 14,
    }
}

/// Whether no thing of one kind is of the other, in a wider sense either: a bird is an animal.
pub fn are_apart(kind: &str, other: &str) -> bool {
    wider(kind) != wider(other)
}

fn wider(kind: &str) -> &str {
    match kind {
        "bird" | "fish" | "insect" => "animal",
        "fruit" | "vegetable" => "food",
        "flower" => "tree",
        "worker" => "person",
        "building" => "place",
        _ => kind,
    }
}

fn capitals(words: &Words) -> Topic<'_> {
    let countries = &words.countries;
    Topic {
        title: "Capitals",
        size: countries.len(),
        row: Box::new(move |index, _| {
            let row = &countries[index];
            vec![("country", row[0].to_owned()), ("capital", row[1].to_owned())]
        }),
        subject: "{country}",
        sentences: &[
            "The capital of {country} is {capital}.",
            "{capital} is the capital of {country}.",
            "The capital city of {country} is called {capital}.",
            "{country} is a country, and its capital is {capital}.",
            "If you go to {country}, visit its capital, {capital}.",
            "The city of {capital} is the capital of {country}.",
        ],
        lines: &[
            "{country} - {capital}",
            "{capital} - {country}",
            "{country}\n{capital}\n",
            "{capital}\n{country}\n",
            "{{\"country\": \"{country}\", \"capital\": \"{capital}\"}}",
        ],
        tasks: vec![
            ask("What is the capital of {country}?", "The capital of {country} is {capital}."),
            ask(
                "Which city is the capital of {country}?",
                "{capital} is the capital of {country}.",
            ),
            ask(
                "{capital} is the capital of which country?",
                "{capital} is the capital of {country}.",
            ),
            ask("Name the capital of {country}. Give only the name.", "{capital}"),
            ask_about("Name the capital of this country.", "Country: {country}", "{capital}"),
            ask_about(
                "Write the country and its capital as JSON.",
                "Country: {country}",
                "{{\"country\": \"{country}\", \"capital\": \"{capital}\"}}",
            ),
        ],
        weight: 10,
    }
}

fn continents(words: &Words) -> Topic<'_> {
    let countries = &words.countries;
    Topic {
        title: "Continents",
        size: countries.len(),
        row: Box::new(move |index, _| {
            let row = &countries[index];
            vec![("country", row[0].to_owned()), ("continent", row[2].to_owned())]
        }),
        subject: "{country}",
        sentences: &[
            "{country} is in {continent}.",
            "{country} is a country in {continent}.",
            "In {continent} there is a country called {country}.",
            "You will find {country} on a map of {continent}.",
        ],
        lines: &["{country} - {continent}", "{country}\n{continent}\n", "{country} ({continent})"],
        tasks: vec![
            ask("On which continent is {country}?", "{country} is in {continent}."),
            ask("Where in the world is {country}?", "{country} is a country in {continent}."),
            ask("Which continent does {country} belong to? Give only the name.", "{continent}"),
            ask_about("Name the continent of this country.", "Country: {country}", "{continent}"),
        ],
        weight: 6,
    }
}

fn colours(words: &Words) -> Topic<'_> {
    let colours = &words.colours;
    Topic {
        title: "Colours",
        size: colours.len(),
        row: Box::new(move |index, _| {
            let row = &colours[index];
            vec![("thing", row[0].to_owned()), ("colour", row[1].to_owned())]
        }),
        subject: "{thing}",
        sentences: &[
            "The colour of {thing} is {colour}.",
            "{Thing} is {colour}.",
            "{Thing} has a {colour} colour.",
            "I painted {thing} and used {colour}.",
        ],
        lines: &[
            "{thing} - {colour}",
            "{thing}\n{colour}\n",
            "{Thing}: {colour}",
            "as {colour} as {thing}",
        ],
        tasks: vec![
            ask("What colour is {thing}?", "{Thing} is {colour}."),
            ask("Tell me the colour of {thing}.", "The colour of {thing} is {colour}."),
            ask("I want to paint {thing}. Which colour do I need? One word.", "{colour}"),
            ask_about("Name the colour of this thing.", "Thing: {thing}", "{colour}"),
        ],
        weight: 6,
    }
}

fn materials(words: &Words) -> Topic<'_> {
    let materials = &words.materials;
    Topic {
        title: "What things are made of",
        size: materials.len(),
        row: Box::new(move |index, _| {
            let row = &materials[index];
            vec![
                ("thing", row[0].to_owned()),
                ("a_thing", with_article(row[0])),
                ("material", row[1].to_owned()),
            ]
        }),
        subject: "{thing}",
        sentences: &[
            "The {thing} is made of {material}.",
            "People make the {thing} of {material}.",
            "{Material} is what the {thing} is made of.",
            "My {thing} is made of {material}.",
        ],
        lines: &[
            "{thing} - {material}",
            "{thing}\n{material}\n",
            "{Thing}: {material}",
            "{Thing}, made of {material}",
        ],
        tasks: vec![
            ask("What is the {thing} made of?", "The {thing} is made of {material}."),
            ask("Tell me what people make the {thing} of.", "The {thing} is made of {material}."),
            ask("The {thing} is made of what? Give only the material.", "{material}"),
            ask_about("Name the material of this thing.", "Thing: {thing}", "{material}"),
        ],
        weight: 6,
    }
}

fn uses(words: &Words) -> Topic<'_> {
    let uses = &words.uses;
    Topic {
        title: "What things are for",
        size: uses.len(),
        row: Box::new(move |index, _| {
            let row = &uses[index];
            vec![("thing", row[0].to_owned()), ("use", row[1].to_owned())]
        }),
        subject: "{thing}",
        sentences: &[
            "The {thing} is used to {use}.",
            "We use the {thing} to {use}.",
            "To {use}, take the {thing}.",
            "With the {thing} you can {use}.",
            "I took the {thing} because I wanted to {use}.",
        ],
        lines: &["{thing} - to {use}", "{Thing}: {use}", "{thing}\n{use}\n", "{use}\n{thing}\n"],
        tasks: vec![
            ask("What is the {thing} used for?", "The {thing} is used to {use}."),
            ask("What can you do with the {thing}?", "With the {thing} you can {use}."),
            ask("I want to {use}. What do I need?", "To {use}, take the {thing}."),
            ask_about(
                "Say what people do with this thing, without naming it.",
                "Thing: {thing}",
                "{use}",
            ),
        ],
        weight: 6,
    }
}

fn work(words: &Words) -> Topic<'_> {
    let jobs = &words.jobs;
    Topic {
        title: "People at work",
        size: jobs.len(),
        row: Box::new(move |index, _| {
            let row = &jobs[index];
            vec![
                ("job", row[0].to_owned()),
                ("a_job", with_article(row[0])),
                ("does", row[1].to_owned()),
                ("place", row[2].to_owned()),
            ]
        }),
        subject: "{job}",
        sentences: &[
            "{A_job} {does}.",
            "The {job} {does}.",
            "The {job} works at the {place}.",
            "At the {place}, the {job} {does}.",
            "A person who {does} is called {a_job}.",
        ],
        lines: &["{job} - {does}", "{Job}: {place}", "{job}\n{place}\n", "{Job}: {does}"],
        tasks: vec![
            ask("What does {a_job} do?", "{A_job} {does}."),
            ask("Where does the {job} work?", "The {job} works at the {place}."),
            ask("What do we call a person who {does}?", "A person who {does} is called {a_job}."),
            ask_about("Name the place where this person works.", "Worker: {job}", "{place}"),
            ask_about(
                "Say what the worker does. Begin with the word The.",
                "Worker: {job}",
                "The {job} {does}.",
            ),
        ],
        weight: 6,
    }
}

fn young(words: &Words) -> Topic<'_> {
    let animals = &words.animals;
    Topic {
        title: "Young animals",
        size: animals.len(),
        row: Box::new(move |index, _| {
            let row = &animals[index];
            vec![
                ("animal", row[0].to_owned()),
                ("an_animal", with_article(row[0])),
                ("young", row[1].to_owned()),
                ("a_young", with_article(row[1])),
            ]
        }),
        subject: "{animal}",
        sentences: &[
            "A young {animal} is called {a_young}.",
            "The young of the {animal} is the {young}.",
            "The {animal} takes care of its {young}.",
            "The {young} will grow into {an_animal}.",
        ],
        lines: &["{animal} - {young}", "{animal}\n{young}\n", "{Animal} and {young}"],
        tasks: vec![
            ask("What is a young {animal} called?", "A young {animal} is called {a_young}."),
            ask(
                "What do people call the young of the {animal}?",
                "A young {animal} is called {a_young}.",
            ),
            ask_about("Name the young of this animal.", "Animal: {animal}", "{young}"),
        ],
        weight: 3,
    }
}

fn sounds(words: &Words) -> Topic<'_> {
    let animals = &words.animals;
    Topic {
        title: "Animals at home",
        size: animals.len(),
        row: Box::new(move |index, _| {
            let row = &animals[index];
            vec![
                ("animal", row[0].to_owned()),
                ("sound", row[2].to_owned()),
                ("home", row[3].to_owned()),
            ]
        }),
        subject: "{animal}",
        sentences: &[
            "The {animal} {sound}.",
            "In the {home}, the {animal} {sound}.",
            "The {animal} lives in the {home}.",
            "The home of the {animal} is the {home}.",
        ],
        lines: &["{animal} - {sound}", "{animal}\n{home}\n", "{Animal}: {home}"],
        tasks: vec![
            ask("Where does the {animal} live?", "The {animal} lives in the {home}."),
            ask("What is the home of the {animal}?", "The home of the {animal} is the {home}."),
            ask("What does the {animal} do?", "The {animal} {sound}."),
            ask_about("Name the home of this animal.", "Animal: {animal}", "{home}"),
        ],
        weight: 3,
    }
}

fn facts(words: &Words) -> Topic<'_> {
    let facts = &words.facts;
    Topic {
        title: "Numbers around us",
        size: facts.len(),
        row: Box::new(move |index, _| {
            let row = &facts[index];
            vec![
                ("question", row[0].to_owned()),
                ("fact", row[1].to_owned()),
                ("answer", row[2].to_owned()),
            ]
        }),
        subject: "{question}",
        sentences: &["{fact}", "Now we know {question}: {answer}.", "{fact} Yes, {answer}."],
        lines: &["{question}: {answer}", "{fact}", "{question}\n{answer}\n"],
        tasks: vec![
            ask("Tell me {question}.", "{fact}"),
            ask("I forgot {question}. Can you help?", "{fact}"),
            ask("In one word, {question}?", "{answer}"),
        ],
        weight: 2,
    }
}
