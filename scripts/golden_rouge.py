"""Scores sentences and stems words with rouge-score and NLTK, for crates/data/tests/data/golden_rouge.rs.

    pip install rouge-score==0.1.2 nltk==3.10.4 numpy && python scripts/golden_rouge.py

Words are made of the stems and suffixes below, so that every rule of Porter's algorithm is reached with
its condition true and false (the script checks that). Sentences are our own, changed at random. Floats
are stored as the 16 hexadecimal digits of their bits.
"""

import itertools
import json
import random
import struct
from pathlib import Path

import numpy
from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer, scoring, tokenize

GOLDEN = Path(__file__).parent.parent / "crates/data/tests/golden"

STEMS = """a ab abb ag agr al am an ar art at b be bl bli boil by cann centr cl clay cod com comm cry
d dat decis dig dig2 dr dy e ed eg el elect en enj enl equ er ess f fall feed fil fizz fl flow fo form
fr g gen geo gl grow h happ hiss hop hopp how i id il in inn is ivy k l lamin le ll lo log lov m mat
measur mo n nat ne new nob o oat ob op or out oz p pain plan play plast pl pr proc pr1 qu r rat real
relat roll s sc sens ses siz sk sl sn spr st str succ sy syzyg t tan th tr tro troubl u un us v val var
vi w wat wax wil x xy y ye yy z zz 7 19 3d""".split()
SUFFIXES = """able ables abli abliy al alism aliti ality alize alized alizing all alli ally ance ancy
anci ant ants at ate ated ates ating ation ational ations ative ator ators bility biliti bl bled bli
bling bly e ed eded edly eed eeds el eli ell ely ement ements ence encies enci ency ent entli ently er
ers es ess fi ful fulli fully fulness ible ic ical icals icate iciti icity ie ied ies ing ings ion ious
ism iti ity ive iveness ives iviti ivity iz ize ized izer ization izing l ll lled ller ling logi logical
logies logy ly ment ments ness nesses nning o ogi ou ous ousli ously ousness pped s sing sion ss ssed
sses ssing t tion tional tted ty us w wed x xed y yed ying ys zz zzed""".split()
IRREGULAR = """sky skies dying lying tying news innings inning outings outing cannings canning howe
proceed exceed succeed proceeds exceeding die dies died tie ties tied lie spied flies enjoy enjoyment
happy say cease rate probate controlling rolling feed agreed freed bleed onion radically feudally
geologist theology philological""".split()

SENTENCES = """Name three rivers that flow into the Black Sea.
Write a short poem about the first snow of the year.
Explain to a child why the moon changes its shape.
Sort these numbers from the largest to the smallest.
Summarise the following article in two sentences.
Summarize the article above in no more than three sentences!
Give an example of a sentence that uses irony.
What is the difference between weather and climate?
What's the difference between a crocodile and an alligator?
Suggest five names for a bakery run by two sisters.
Translate this paragraph into plain English, please.
Rewrite the sentence so that it sounds more polite.
Classify the sentiment of the review as positive or negative.
Is the following statement true or false? Explain your answer.
Create a weekly plan for learning to juggle.
List the steps for repotting a cactus without being stung.
Compose a letter declining an invitation to a wedding.
Find the spelling mistakes in the text and correct them.
How many minutes are there in a leap year's February?
In 1969, 3 astronauts flew to the moon; 2 of them walked on it.
The quick brown foxes were jumping over lazily sleeping dogs.
Describe the smell of a forest after heavy rain, using similes.
Turn the list into a table with 2 columns: name and price.
Pick the odd one out: apple, pear, carrot, plum.
Imagine that you are a lighthouse; what did you see last night?
Étudiez la différence entre « savoir » et « connaître ».
Опишите погоду сегодня.
Compute 15% of 240 and show how you did it.
e-mail, re-enter, co-operate; don't, won't, shan't
naïve café ½ litre \u212Aelvin \u0130zmir ſtraße""".split("\n")


def bits(number):
    return struct.pack(">d", number).hex()


class Watched(PorterStemmer):
    """A stemmer that notes which suffixes were met, and whether their condition held."""

    met = set()

    def _apply_rule_list(self, word, rules):
        for suffix, replacement, condition in rules:
            if suffix == "*d" and self._ends_double_consonant(word):
                self.met.add((suffix, replacement in "lsz"))
                break
            if word.endswith(suffix):
                holds = condition is None or condition(word[: len(word) - len(suffix)])
                self.met.add((suffix, holds))
                break
        return super()._apply_rule_list(word, rules)


def stems():
    words = sorted({"".join(pair) for pair in itertools.product(STEMS, SUFFIXES)} | set(IRREGULAR))
    words = [word for word in words if len(word) > 3]
    # One of three is enough of the regular ones.
    words = [word for number, word in enumerate(words) if number % 3 == 0 or word in IRREGULAR]
    stemmer = Watched()
    pairs = [(word, stemmer.stem(word)) for word in words]
    unconditional = {"sses", "ies", "ss", "s", "at", "bl", "iz"}
    suffixes = {suffix for suffix, _ in stemmer.met}
    for suffix in suffixes:
        for holds in (True, False):
            # `alli` is met only where the rule before it did not hold.
            expected = suffix not in unconditional and (suffix, holds) != ("alli", True)
            assert not expected or (suffix, holds) in stemmer.met, (suffix, holds)
    assert len(suffixes) == 4 + 5 + 1 + 22 + 7 + 19 + 1, len(suffixes)
    return pairs


def changed(rng, sentence):
    words = sentence.split(" ")
    for _ in range(rng.randrange(6)):
        place = rng.randrange(len(words))
        match rng.randrange(8):
            case 0:
                words[place] = rng.choice(rng.choice(SENTENCES).split(" "))
            case 1 if len(words) > 1:
                del words[place]
            case 2:
                words.insert(place, words[rng.randrange(len(words))])
            case _:
                words[place] = words[place] + rng.choice(["s", "ing", "ed", "ly", "'s", ",", "2"])
    return " ".join(words)


def scores(rng, texts):
    scorers = [rouge_scorer.RougeScorer(["rougeL"], use_stemmer=stem) for stem in (False, True)]
    rows = []
    for _ in range(200):
        # Near-duplicates and strangers in equal parts.
        first = rng.choice(texts)
        second = changed(rng, first) if rng.randrange(2) else rng.choice(texts)
        row = [first, second]
        for scorer in scorers:
            for target, prediction in ((first, second), (second, first)):
                score = scorer.score(target, prediction)["rougeL"]
                row.append([bits(number) for number in score])
        rows.append(row)
    return rows


def around_seven_tenths():
    """Of all lengths below 64 that can have an F of exactly 0.7: L, lengths, and F; and L one to both sides."""
    rows, exact, above = [], 0, 0
    for a, b in itertools.product(range(1, 64), repeat=2):
        common, rest = divmod(7 * (a + b), 20)
        if rest or common > min(a, b):
            continue
        for nearby in (common - 1, common, common + 1):
            if 0 <= nearby <= min(a, b):
                f = scoring.fmeasure(nearby / a, nearby / b)
                rows.append([nearby, a, b, bits(f)])
                exact += nearby == common
                above += nearby == common and f > 0.7
    assert (exact, above) == (98, 54)
    return rows


def means(texts):
    """The mean of one text's scores over the first texts, as numpy takes it."""
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    rows = []
    for text in texts[:3]:
        f = [scorer.score(text, other)["rougeL"].fmeasure for other in texts]
        rows += [[text, n, bits(float(numpy.mean(f[:n])))] for n in (1, 7, 8, 9, 100, 127, 128, 129, 136, 300)]
    return rows


def main():
    rng = random.Random(11)
    texts = SENTENCES + [changed(rng, rng.choice(SENTENCES)) for _ in range(270)]
    # Python's lower case of what has an ASCII letter in it
    special = [[text, tokenize.tokenize(text, None)] for text in SENTENCES[-5:] + ["", " \x1c ", "A1b-C\n\u00c5"]]
    golden = {
        "tokens": special,
        "scores": scores(rng, texts),
        "seven_tenths": around_seven_tenths(),
        "texts": texts,
        "means": means(texts),
    }
    lines = ",\n".join(
        f"{json.dumps(key)}: [\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]"
        for key, rows in golden.items()
    )
    (GOLDEN / "rouge.json").write_text("{\n" + lines + "\n}\n")
    pairs = stems()
    (GOLDEN / "porter.tsv").write_text("".join(f"{word}\t{stem}\n" for word, stem in pairs))
    print(f"{len(pairs)} stems, {len(golden['scores'])} pairs, {len(golden['seven_tenths'])} combinations")


if __name__ == "__main__":
    main()
