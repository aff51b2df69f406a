#!/usr/bin/env python3
"""Writes the tasks of configs/quickstart-t5.toml: data/quickstart-t5/tasks/NAME.jsonl, all of it ours and drawn by a seed.

Each file is a task with the fields of a family of templates in data/templates. `where`, `gives` and `gets` are not trained on:
they ask of known words what no other task asks.

    python scripts/quickstart_tasks.py

Needs: Python alone. A second run writes the same bytes.
"""
import json
import pathlib
import random

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "quickstart-t5" / "tasks"
NAMES = "Anna Ben Carla David Emma Felix Greta Hugo Ingrid Jonas Klara Liam Mona Nils Omar Petra Rosa Sven Tilda Viktor".split()
KINDS = {
    "animals": "eel hippo goat fox crow bee horse duck mouse wolf".split(),
    "food": "mango melon banana pear bean onion cake bread carrot plum".split(),
    "tools": "file hammer saw rake broom spade drill brush axe wrench".split(),
    "plants": "oak rose fern tulip pine lily birch moss ivy cactus".split(),
}
THINGS = [thing for things in KINDS.values() for thing in things]
PLACES = "box garden kitchen barn bag boat shed tower".split()
NUMBERS = "two three four five six seven eight nine".split()
GOOD, BAD = "lovely sweet bright clean fresh fine".split(), "broken dirty sour dull old cracked".split()


def several(thing):
    return {"mouse": "mice", "wolf": "wolves", "fox": "foxes", "brush": "brushes", "wrench": "wrenches", "lily": "lilies", "cactus": "cactuses",
            "moss": "mosses", "ivy": "ivies"}.get(thing, thing + "s")


def a(thing):
    return ("an " if thing[0] in "aeio" else "a ") + thing


def two(draw, items):
    return draw.sample(items, 2)


def wants(draw):
    (one, other), (this, that) = two(draw, NAMES), two(draw, THINGS)
    who, what = draw.choice([(one, this), (other, that)])
    return {"context": f"{one} wants the {this}. {other} wants the {that}.", "question": f"What does {who} want?", "answer": f"the {what}"}


def count(draw):
    (one, _), (this, that), (some, more) = two(draw, NAMES), two(draw, THINGS), two(draw, NUMBERS)
    what, many = draw.choice([(this, some), (that, more)])
    return {"context": f"{one} has {some} {several(this)} and {more} {several(that)}.", "question": f"How many {several(what)} does {one} have?", "answer": many}


def who(draw):
    (one, other), (this, that) = two(draw, NAMES), two(draw, THINGS)
    person, thing = draw.choice([(one, this), (other, that)])
    return {"context": f"{one} has the {this}. {other} has the {that}.", "question": f"Who has the {thing}?", "answer": person}


def follows(draw):
    (one, other), (this, that) = two(draw, NAMES), two(draw, THINGS)
    true = draw.random() < 0.5
    person = one if true or draw.random() < 0.5 else other
    thing = this if person == one and true else that if person == one else this
    return {"premise": f"{one} has {a(this)}.", "hypothesis": f"{person} has {a(thing)}.", "answer": "yes" if true else "no", "options": ["yes", "no"]}


def opinion(draw):
    good, thing, place = draw.random() < 0.5, draw.choice(THINGS), draw.choice(PLACES)
    words = two(draw, GOOD if good else BAD)
    return {"text": f"The {thing} from the {place} is {words[0]} and {words[1]}.", "answer": "good" if good else "bad", "options": ["good", "bad"]}


def kind(draw):
    name = draw.choice(list(KINDS))
    one, other = two(draw, KINDS[name])
    return {"text": f"{draw.choice(NAMES)} has {several(one)} and {several(other)}.", "answer": name, "options": list(KINDS)}


def sums(draw):
    person, thing = draw.choice(NAMES), several(draw.choice(THINGS))
    some, more = draw.randint(2, 9), draw.randint(2, 9)
    return {"question": f"{person} has {some} {thing} and finds {more} more. How many {thing} does {person} have?",
            "rationale": f"{person} had {some} and found {more}. {some} + {more} = {some + more}.", "answer": str(some + more)}


def short(draw):
    (one, other), thing, place = two(draw, NAMES), draw.choice(THINGS), draw.choice(PLACES)
    return {"text": f"It was a {draw.choice(GOOD)} day. {one} went to the {place} with {other}. There {one} found {a(thing)}.", "answer": f"{one} found {a(thing)}."}


def facts(draw):
    person, thing, some = draw.choice(NAMES), draw.choice(THINGS), draw.choice(NUMBERS)
    return {"data": f"name: {person}\nthing: {thing}\nnumber: {some}", "answer": f"{person} has {some} {several(thing)}."}


def alike(draw):
    (one, other), (this, that) = two(draw, NAMES), two(draw, THINGS)
    same = draw.random() < 0.5
    second = f"The {this} is what {one} wants." if same else f"The {that} is what {draw.choice([one, other])} wants."
    return {"first": f"{one} wants the {this}.", "second": second, "answer": "yes" if same else "no", "options": ["yes", "no"]}


def choose(draw):
    name = draw.choice(list(KINDS))
    right = draw.choice(KINDS[name])
    others = [draw.choice(KINDS[other]) for other in KINDS if other != name]
    options = draw.sample([right, *others], 4)
    return {"question": f"Which of these belongs to {name}?", "answer": right, "options": options}


def where(draw):
    (this, that), (here, there) = two(draw, THINGS), two(draw, PLACES)
    thing, place = draw.choice([(this, here), (that, there)])
    return {"context": f"The {this} is in the {here}. The {that} is in the {there}.", "question": f"Where is the {thing}?", "answer": f"in the {place}"}


def gives(draw):
    (one, other), thing = two(draw, NAMES), draw.choice(THINGS)
    asked = draw.choice([("Who gives something?", one), ("Who gets something?", other), ("What is given?", f"the {thing}")])
    return {"context": f"{one} gives the {thing} to {other}.", "question": asked[0], "answer": asked[1]}


def gets(draw):
    (one, other), (this, that) = two(draw, NAMES), two(draw, THINGS)
    true = draw.random() < 0.5
    thing, person = (this, other) if true else draw.choice([(that, other), (this, one)])
    return {"premise": f"{one} gives the {this} to {other}.", "hypothesis": f"{person} gets the {thing}.", "answer": "yes" if true else "no", "options": ["yes", "no"]}


# A name, and how many records.
TASKS = [(wants, 400), (count, 400), (who, 400), (follows, 400), (opinion, 400), (kind, 400), (sums, 400), (short, 400), (facts, 400), (alike, 400), (choose, 400),
         (where, 100), (gives, 100), (gets, 100)]


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for task, records in TASKS:
        draw, known = random.Random(f"quickstart {task.__name__}"), {}
        while len(known) < records:
            record = task(draw)
            known[json.dumps(record)] = record
        (OUT / f"{task.__name__}.jsonl").write_text("".join(f"{line}\n" for line in known))
        print(f"{task.__name__}: {records} records")


if __name__ == "__main__":
    main()
