"""Writes data/quickstart-eval: three benchmarks in little, in the published layouts, to try `albacore eval` with.

    python scripts/quickstart_eval.py

The questions are ours. They measure nothing but whether an evaluation runs.
"""

import csv
import json
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "data" / "quickstart-eval"

# What is asked, and four answers of which the first is right; it is moved to another place in each row.
CHOICES = [
    ("How many days has a week?", "7", "5", "9", "12"),
    ("Which of these is a colour?", "green", "seven", "slowly", "under"),
    ("What is 2 + 3?", "5", "4", "6", "23"),
    ("Which animal barks?", "a dog", "a cat", "a fish", "a hen"),
    ("What falls from clouds?", "rain", "sand", "paper", "glass"),
    ("Which month comes after March?", "April", "June", "February", "May"),
    ("What do bees make?", "honey", "milk", "wool", "bread"),
    ("Which is the largest number?", "90", "19", "9", "29"),
    ("Where do fish live?", "in water", "in trees", "in books", "in sand"),
    ("What is the opposite of hot?", "cold", "warm", "wet", "high"),
    ("What is frozen water called?", "ice", "steam", "salt", "oil"),
    ("How many legs has a spider?", "8", "6", "4", "10"),
    ("Which of these can fly?", "a swallow", "a snail", "a cow", "a trout"),
    ("What do we read?", "a book", "a spoon", "a shoe", "a door"),
    ("What is 10 - 4?", "6", "5", "14", "7"),
    ("When does the sun rise?", "in the morning", "at noon", "at midnight", "in the evening"),
    ("Which is a metal?", "iron", "wood", "bread", "cotton"),
]

NAMES = ["Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ida", "Jon"]

WORDS = ["apple", "river", "stone", "cloud", "garden", "window", "table", "music", "bridge", "candle", "forest", "letter"]


def rows(choices, start):
    for number, (question, *answers) in enumerate(choices, start):
        place = number % 4
        others = answers[1:]
        answers = others[:place] + answers[:1] + others[place:]
        yield [question, *answers, "ABCD"[place]]


def problem(number):
    first, second = 3 + 2 * number, 2 + number % 5
    name = NAMES[number % len(NAMES)]
    return {
        "question": f"{name} has {first} nuts and finds {second} more. How many nuts has {name} now?",
        "answer": f"{first} + {second} = {first + second}.\n#### {first + second}",
    }


def task(definition, category, answer):
    examples = [{"input": word, "output": answer(word), "explanation": ""} for word in WORDS[:2]]
    instances = [
        {"id": f"{category.lower().replace(' ', '-')}-{number}", "input": word, "output": [answer(word)]}
        for number, word in enumerate(WORDS[2:])
    ]
    return {
        "Categories": [category],
        "Definition": [definition],
        "Positive Examples": examples,
        "Negative Examples": [],
        "Instances": instances,
    }


def write(name, text):
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_rows(name, choices):
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(choices)


def main():
    write_rows("mmlu/dev/daily_life_dev.csv", rows(CHOICES[:5], 0))
    write_rows("mmlu/test/daily_life_test.csv", rows(CHOICES[5:], 5))
    lines = [json.dumps(problem(number)) + "\n" for number in range(20)]
    write("gsm8k/train.jsonl", "".join(lines[:8]))
    write("gsm8k/test.jsonl", "".join(lines[8:]))
    tasks = {
        "task1_first_letter": task("Say the first letter of the word.", "Word Semantics", lambda word: word[0]),
        "task2_count_letters": task(
            "Say how many letters the word has.", "Answerability Classification", lambda word: str(len(word))
        ),
    }
    for name, content in tasks.items():
        write(f"super_ni/tasks/{name}.json", json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
