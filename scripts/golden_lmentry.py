"""Scores replies to questions of our own with LMentry's published scorers, for crates/eval/tests/lmentry.rs.

    git clone https://github.com/aviaefrat/lmentry && git -C lmentry checkout 646ae908
    pip install num2words numpy pandas && python scripts/golden_lmentry.py lmentry

Questions and words are ours. A reply is a sentence that a model might say, with its parts filled in from the
question, then changed at random: case, marks, articles, doubled blanks, other scripts, more text around
it. The last part of the golden is the published robustness of accuracies drawn at random.
"""

import json
import logging
import random
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
logging.disable()
from lmentry.analysis import robustness  # noqa: E402
from lmentry.scorers.scorer_mapping import task_name_to_scorer  # noqa: E402

GOLDEN = Path(__file__).parent.parent / "crates/eval/tests/golden/lmentry.json"
REPLIES = 44

SHARED = """{a}|{b}|{q}|{a} is the answer|The answer is {a}|The correct answer is {a}|Answer: {a}|the answer is {b}|
{a} {a}|{a}, {a} and {a}|{a} or {b}|I think it is {a}|{a} I guess||?!|...|日本|{a}é|²|no|yes|The word|{a}: {b}"""
NUMBERS = """{a} is bigger|{a} is larger than {b}|{a} is the smaller number|The bigger number is {a}|
{b} is smaller than {a}|{b} is larger|Of the numbers {p} and {r}, {a} is bigger|{b} is the bigger number|
Between the numbers {p} and {r}, {a} is smaller than {b}|{w}|the number {w}|{w} is the answer|{w} is bigger|
the number {a} is smaller|{a}{a}|{w} {w}|٣|{a}."""
LETTERS = """{a} has more letters|{a} has fewer letters than {b}|{a} has {n} more letters|{a} has {m} more letters|
{a} has {n} less letters than {b}|{a} is longer|{a} is shorter than {b} by {n} letters|{a} is longer by {m} letters|
The word that has more letters is {a}|{a} is the word that is shorter|{b} is longer|{b} is longer by {n} letters|
The longer word is {b}|{b} has fewer letters|Of the words {p} and {r}, {a} has more letters|a single letter|
{a} has a single more letter|The shorter word is {a}|{b} is the word that is longer|{a} is longer than {b} by {m} letter"""
ALPHABET = """{a} comes first|{a} is first alphabetically|{b} is second|{b} comes after {a}|{a} does|
In alphabetical order, {a} comes before {b}|Alphabetically, {a} is first in the dictionary|{b} does|{b} comes first|
Of the words {p} and {r}, {a} comes first in alphabetical order|{b} comes after in an alphabetical order"""
RHYMES = """{q} rhymes with {a}|{a} rhymes with {q} and not with {b}|{a} is a rhyme of {q}|{q} and {a} rhyme|
A word that rhymes with {q} is {a}|the rhyme of {a} is {q} and not {b}|{b} doesn't rhyme with {q}|
{b} does not rhyme with {q}\n{a} rhymes with {q}|{q} and {a} both rhyme with each other, but {b} does not rhyme with either word|
{a} rhymes with {q}\xa0{b} does not rhyme with {q}|{q} and {a} are words that rhyme|{q} rhymes with {b}"""
SOUNDS = """{q} sounds like {a}|{a} sounds similar to {q}|{q} sounds like {a}., but not like {b}|{q} and {a} sound alike|
{q} sounds like {a} and {b} does not|{q} sounds more like {a} than {b} does|{a} is a homophone of {q}|
{q} and {a} are homophones of each other|The homophone of {a} is {q}|{q} sounds most like {b}|{q} sounds most like {a}"""
ASSOCIATED = """The word most associated with {q} is {a}|The word least commonly related to {q} is {a}|{q} - {a}|
{q} is most related to {a}|{a} are the most commonly associated with {q}|{a} is the word least associated to {q}|
The word that relates to {q} the most is {a}|{a} relates to {q} the least|Of the words {l}, {a} is the answer|
from the given options, the answer is {a}|{a} is the answer, of the words listed|{q} relates to {a} the most|
The word least related to {q} of the words above is {a}|{l}|of {l} {a} is the answer"""
CATEGORY = """yes.|no.|Yes, the list contains only {q}|No, all of these words are types of {q}|yes, they all represent {q}|
Yes, all of the words in the list are types of clothing|no they are not|yes yes|yes no|not yes|The answer is yes.|
The answer is no|yesterday|nothing|yes, all of those words listed refer to types of pieces of furniture|yes, the list contains only fruits"""
ENDS = """The first word is {a}|The last word of {s} is {a}|{a} is the last word|{a} is the first word in {s}|{s} begins with {a}|
{s} ends with {a}|First word: {a}|first wordy{a}|{s}|In {s} the first word is {a}|In the sentence {a} is the last word|
The first word in the sentence is {a}|The sentence ends with {a}"""
END_LETTERS = """The first letter is {a}|The last letter in {q} is {a}|{a} is the last letter of {q}|{q} starts with {a}|
{q} ends with the letter {a}|The letter that {q} begins with is {a}|{a} is the starting letter of {q}|{q}: {a}|
{a} is the final letter in {q}|first letter: {a}|Last letter: {a}|{a} as in {q}|{a}é"""
NEIGHBOURS = """{a} comes after {q}|{a} comes right before {q}|{a} is the word that comes immediately after {q}|{a} succeeds {q}|
{q} precedes {a}|{a} follows {q}|{q} follows {a}|The word that comes before {q} in {s} is {a}|{q} is followed by {a}|{s}|
{a} is followed by {q}|{q} comes before {a}|{q} comes after {a}|In {s} {a} comes after {q}|{q} is succeeded by {a}|{s}!|
The word that succeeds {q} is {a}|The word that follows {q} is {a} in the sentence|{a} immediately precedes {q}"""
SENTENCES = """We saw {a} today.|{a} is what we saw|{a}|{a}s are common|The sentence is {a} is here starts with {a}|
A sentence that starts with {a} is {a} is a colour|One sentence whose last word is {a} is we like {a}|{a} é|
A sentence ending with {a}: we went to see {a}|{a} {a}|dogs bark|Dogs|We know {a}ing|日本 {a}|a {a}|x {a}|é {a}|
{a} a|{a} x|{a} starts with {a}|The sentence {a} and us is a sentence whose first word is {a}|we went\nto {a}"""
WORDS = """{x}|{y}|{x} starts with {a}|{x} ends with the letter {a}|{x} is a word that begins with {a}|{a} is for {x}|
How about {x}|May I suggest {x}|One possible word is {x}|{x} is a possible such answer|A word starting with {a} is {x}|
A word ending with {a} is {x}|{x} is a word whose last letter is {a}|{x} is one word that ends with {a}|{x} {y}|
{x} contains {a}|{x} is a word which uses {a}|{y} does not contain {a}|{y} is a word that doesn't use {a}|
A word not containing {a} is {y}|A word that does not have {a} is {y}|{y} is a word without {a}|{a}-mail|{a}{a}|é{x}|
{i}|{x} {x}|a {y}|i|a|{x} is a word whose first letter is {a}"""


def cases():
    """Every task with two questions: metadata, other parts of replies, and the forms of these."""
    for n1, n2, w1, w2 in [(57, 121, "fifty-seven", "one hundred and twenty-one"), (900, 84, "nine hundred", "eighty-four")]:
        for task, pick in [("bigger_number", max), ("smaller_number", min)]:
            a = pick(n1, n2)
            meta = dict(n1=n1, n2=n2, answer=a, distractor=n1 + n2 - a, answer_index=int(a == n2))
            yield task, meta, dict(b=n1 + n2 - a, p=n1, r=n2, w=w1 if a == n1 else w2), NUMBERS
    for w1, w2 in [("harbour", "moss"), ("lemon", "anymore")]:
        for task, pick in [("more_letters", max), ("less_letters", min)]:
            a = pick(w1, w2, key=len)
            b = w2 if a == w1 else w1
            meta = dict(word1=w1, word2=w2, answer=a, distractor=b, answer_index=int(a == w2))
            yield task, meta, dict(b=b, p=w1, r=w2, n="three" if w1 == "harbour" else 2, m=5), LETTERS
        a, b = sorted([w1, w2])
        yield "first_alphabetically", dict(word1=w1, word2=w2, answer=a, distractor=b, answer_index=0), dict(b=b, p=w1, r=w2), ALPHABET
    for q, a, b in [("kite", "height", "kit"), ("moan", "loan", "moon")]:
        yield "rhyming_word", dict(query=q, answer=a, distractor=b, answer_index=0), dict(b=b, q=q), RHYMES
    for q, a, b in [("flour", "flower", "floor"), ("pair", "pear", "pier")]:
        yield "homophones", dict(query=q, answer=a, distractor=b, answer_index=1), dict(b=b, q=q), SOUNDS
    for q, a, others in [("birds", "gull", ["spade", "drill", "saw"]), ("tools", "saw", ["gull", "finch", "wren"])]:
        words = others[:1] + [a] + others[1:]
        for task in ["most_associated_word", "least_associated_word"]:
            meta = dict(category=q, answer=a, distractors=others, answer_index=1)
            yield task, meta, dict(b=others[0], q=q, l=", ".join(words[:-1]) + ", and " + words[-1]), ASSOCIATED
    for q, wrong in [("fruit", 0), ("items of clothing", 1), ("furniture", 5)]:
        meta = dict(category=q, num_words=5, num_distractors=wrong)
        yield "all_words_from_category", meta, dict(a="yes", b="no", q=q), CATEGORY
        yield "any_words_from_category", meta, dict(a="yes", b="no", q=q), CATEGORY
    for s, a, z in [("Clara mends old clocks", "Clara", "clocks"), ("Rain fell on Lisbon", "Rain", "Lisbon")]:
        yield "first_word", dict(sentence=s, answer=a), dict(b=z, q=z, s=s), ENDS
        yield "last_word", dict(sentence=s, answer=z), dict(b=a, q=a, s=s), ENDS
        w = s.split()
        yield "word_after", dict(sentence=s, query=w[1], answer=w[2]), dict(b=w[0], q=w[1], s=s), NEIGHBOURS
        yield "word_before", dict(sentence=s, query=w[1], answer=w[0]), dict(b=w[2], q=w[1], s=s), NEIGHBOURS
    for w in ["harbour", "atlas"]:
        yield "first_letter", dict(word=w, answer=w[0]), dict(b=w[-1], q=w), END_LETTERS
        yield "last_letter", dict(word=w, answer=w[-1]), dict(b=w[0], q=w), END_LETTERS
    for w in ["kettle", "Walk"]:
        for task in ["sentence_containing", "sentence_not_containing", "starts_with_word", "ends_with_word"]:
            yield task, dict(word=w), dict(a=w, b="spoon", q=w), SENTENCES
    for letter, x, y in [("t", "tent", "moss"), ("a", "alga", "moss")]:
        for task in ["starts_with_letter", "ends_with_letter", "word_containing", "word_not_containing"]:
            yield task, dict(letter=letter), dict(a=letter, b="z", q=x, x=x, y=y), WORDS


def changed(rng, text):
    """A reply that says about the same."""
    if rng.random() < 0.3:
        text = rng.choice([str.lower, str.upper, str.capitalize])(text)
    for odds, change in [
        (0.35, lambda t: t + "."),
        (0.1, lambda t: '"' + t + '"'),
        (0.1, lambda t: "The word " + t),
        (0.08, lambda t: t + " " + rng.choice(["indeed", "日本", "(sure)", "…", "\nQ: next", "_", "\u00e9"])),
        (0.08, lambda t: rng.choice(["Well, ", "So ", "\u00a0", "\u00e9 ", "A: "]) + t),
        (0.1, lambda t: t.replace(" ", rng.choice(["  ", " ", "\u00a0"]), 1)),
    ]:
        if rng.random() < odds:
            text = change(text)
    return text


def scored():
    rng = random.Random(17)
    for task, meta, parts, forms in cases():
        scorer = task_name_to_scorer[task]()
        question = f'Write a word without the letter "{meta.get("letter")}":\n'
        parts = {"a": meta.get("answer", meta.get("letter")), "q": "spoon", "i": question, **parts}
        quoted = {key: f'"{part}"' for key, part in parts.items()}
        own, shared = ([form.strip("\n") for form in forms.split("|")] for forms in (forms, SHARED))
        replies = []
        for place in range(REPLIES):
            form = own[place] if place < len(own) else rng.choice(own + shared)
            text = form.format(**(quoted if rng.random() < 0.3 else parts))
            text = text if rng.random() < 0.3 else changed(rng, text)
            cut = rng.random() < 0.15
            mark = scorer.score_prediction(text, {"input": question, "metadata": dict(meta)}, cut)
            replies.append([text, cut, *mark])
        yield dict(task=task, input=question, metadata=meta, replies=replies)


def robust():
    """The published robustness of accuracies drawn at random, kind by kind."""
    rng = random.Random(4)
    files = {}

    def accuracy(name, model):
        if name not in files:
            files[name] = [[rng.randint(0, 1000) for _ in range(3)], [rng.randint(0, 500) for _ in range(2)]]
        right = files[name][0]
        templates = {f"template{n}": {"accuracy": round(part / 1000 * 100, 1)} for n, part in enumerate(right)}
        return {**templates, "task": {"accuracy": round(sum(right) / 3000 * 100, 2)}}

    def order(name, model):
        accuracy(name, model)
        shares = {f"accuracy_answer_index_{n}": round(part / 500 * 100, 2) for n, part in enumerate(files[name][1])}
        return {"task": shares}

    robustness.get_accuracy_and_certainty = accuracy
    robustness.get_simple_answer_index_bias = order
    kinds = {name: float(kind(model_name="")) for name, kind in robustness.main_metric_name_to_metric.items()}
    return dict(files=files, kinds=kinds, robustness=float(robustness.get_model_robustness("")))


questions = list(scored())
assert {question["task"] for question in questions} == set(task_name_to_scorer)
marks = [tuple(reply[2:]) for question in questions for reply in question["replies"]]
print({mark: marks.count(mark) for mark in set(marks)})
GOLDEN.parent.mkdir(exist_ok=True)
lines = ",\n".join(json.dumps(question, ensure_ascii=False) for question in questions)
GOLDEN.write_text(f'{{"questions": [\n{lines}\n],\n"robust": {json.dumps(robust())}}}\n')
