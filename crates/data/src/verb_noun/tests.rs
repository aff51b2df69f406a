//! Instructions of many forms, and what they ask for.

use super::*;

#[test]
fn instructions_ask_for_a_verb_and_its_object() {
    let wanted = [
        ("Write a short story about a lighthouse.", "write story"),
        ("Please write me a short, funny poem on autumn.", "write poem"),
        ("Classify the given sentence as positive or negative.", "classify sentence"),
        ("Give me a list of ten cities.", "give list"),
        ("Tell me how a bicycle stays upright.", "tell -"),
        ("Explain why the sea is salty.", "explain -"),
        ("Explain the difference between rain and hail", "explain difference"),
        ("Given a list of words, sort them by length.", "sort them"),
        ("Given the name of a city, find out its population.", "find population"),
        (
            "In this task, you need to translate an English sentence into French.",
            "translate sentence",
        ),
        (
            "You are given a paragraph. Summarise the paragraph in one sentence.",
            "summarize paragraph",
        ),
        ("Your task is to identify all the verbs in a text.", "identify verb"),
        ("Can you suggest some good names for a cat?", "suggest name"),
        ("Could you please recommend a movie?", "recommend movie"),
        ("Generate a 5-step plan for learning chess.", "generate plan"),
        ("Convert 10 kilometres to miles.", "convert kilometre"),
        ("Sort the numbers below from small to large.", "sort number"),
        ("Write a job description for a baker.", "write description"),
        ("Write a poem describing the sea.", "write poem"),
        ("Write a wedding greeting for a friend.", "write greeting"),
        ("Compare cats and dogs.", "compare cat"),
        ("Compare and contrast the two poems.", "compare poem"),
        ("Edit this sentence for grammar.", "edit sentence"),
        ("Name three rivers of Europe.", "name river"),
        ("Write one or two sentences about tea.", "write sentence"),
        ("Rewrite the sentence's ending so that it rhymes.", "rewrite ending"),
        ("Answer the following question: why is the sky blue?", "answer question"),
        ("Find all countries whose names begin with C.", "find country"),
        ("Describe how bread is made.", "describe -"),
        ("Briefly outline the main causes of the war.", "outline cause"),
        ("Come up with a title for this book.", "come -"),
        ("I want you to act as a travel guide.", "act guide"),
        ("Help me write an email to my landlord.", "write email"),
        ("Analyse the data, then draw a conclusion.", "analyze data"),
        ("Read the article and answer two questions.", "read article"),
        ("Determine whether two strings are anagrams.", "determine -"),
        ("Make up a story in which nobody speaks.", "make story"),
        ("Write down the species of these birds", "write species"),
        ("Suggest boxes, dishes and other gifts.", "suggest box"),
        ("Calculate 15% of 80.", "calculate -"),
        ("Replace each noun with a synonym.", "replace noun"),
        ("Translate \"good morning\" into Welsh.", "translate morning"),
    ];
    for (instruction, wanted) in wanted {
        let found = verb_and_object(instruction);
        let found =
            found.map(|(verb, object)| format!("{verb} {}", object.as_deref().unwrap_or("-")));
        assert_eq!(found.as_deref(), Some(wanted), "{instruction}");
    }
}

#[test]
fn what_is_no_imperative_has_no_verb() {
    for text in [
        "What is the capital of France?",
        "The weather is nice today.",
        "Quelle heure est-il ?",
        "東京について説明してください。",
        "",
        "...",
        "Is it going to rain?",
        "Two teams play a match. Do you know who wins?",
    ] {
        assert_eq!(verb_and_object(text), None, "{text}");
    }
}

#[test]
fn a_text_of_megabytes_is_looked_at_for_its_beginning_only() {
    let text = format!("Sort {}", "the ".repeat(1_000_000));
    assert_eq!(verb_and_object(&text), Some(("sort".into(), None)));
}
