"""Writes crates/cli/src/benchmarks.toml: where benchmarks are published, with the size and checksum of each file.

    python scripts/benchmarks.py --clone lmentry=CLONE --clone opro=CLONE … > crates/cli/src/benchmarks.toml

A clone is a git folder that holds the commit named below; files of a repository without one, and files outside of
git, are listed without checksum, their commit pins them. Sizes and checksums come from the commit, never from a
working tree.
"""

import argparse
import hashlib
import subprocess

# name, what it is, licence, home, note, parts: (repository, commit, path inside, folder under --data, which files)
CANARY = "Its authors ask that it never be trained on: a model that has seen it is measured for nothing."
BENCHMARKS = [
    ("super_ni", "Super-NaturalInstructions: 119 test tasks and their list", "Apache-2.0; each task keeps its source's",
     "https://github.com/allenai/natural-instructions",
     "Its test tasks are for testing: train on the tasks of its `train_tasks.txt` alone.",
     [("allenai/natural-instructions", "b00871c954282e35d14de77c546918ee8b9d90da", "splits/default", "natural-instructions/splits/default", ["test_tasks.txt"]),
      ("allenai/natural-instructions", "8540acd3faaea51b4a379570b542e9123904cac2", "tasks", "natural-instructions/tasks", "TASKS")]),
    ("mmlu", "MMLU: 57 subjects, and the Flan paper's reasoned exemplars", "MIT (questions); none stated (exemplars)",
     "https://github.com/hendrycks/test", "Leave its questions out of training data, those of its auxiliary files too.",
     [("google-deepmind/opro", "e81b2f573ce4e15755c70c2535279d6fb940b4b7", "data/MMLU-data/test", "mmlu/test", "_test.csv"),
      ("jasonwei20/flan-2", "d87762acfd45f44bf4613d4f4bd4b43df5d21779", "", "mmlu", ["mmlu-cot.json"])]),
    ("bbh", "BIG-Bench Hard: 27 tasks and their exemplars", "MIT", "https://github.com/suzgunmirac/BIG-Bench-Hard", CANARY,
     [("suzgunmirac/BIG-Bench-Hard", "9ee07bd481feebf959a6b59d61ea57bdcf30964d", "bbh", "bbh/bbh", ".json"),
      ("suzgunmirac/BIG-Bench-Hard", "9ee07bd481feebf959a6b59d61ea57bdcf30964d", "cot-prompts", "bbh/cot-prompts", ".txt")]),
    ("gsm8k", "GSM8K: 1,319 problems, and those that exemplars come from", "MIT",
     "https://github.com/openai/grade-school-math", "`test.jsonl` is for testing; its `train.jsonl` may be trained on.",
     [("openai/grade-school-math", "3101c7d5072418e28b9008a6636bde82a006892c", "grade_school_math/data", "gsm8k", ["test.jsonl", "train.jsonl"])]),
    ("mgsm", "MGSM: 250 problems in 11 languages and their exemplars", "CC-BY-4.0",
     "https://github.com/google-research/url-nlp", "It translates problems of GSM8K's test: leave it out of training data.",
     [("google-research/url-nlp", "452a21ad3dae5668c06ceeac21ff073e1e40f9be", "mgsm", "mgsm", ["exemplars.py", ".tsv"])]),
    ("lmentry", "LMentry: 25 tasks, and 16 files for its robustness", "none stated",
     "https://github.com/aviaefrat/lmentry", CANARY,
     [("aviaefrat/lmentry", "646ae9080dad00a194fa32cb0f330d7acf3ce60c", "data", "lmentry/data", ".json")]),
    ("tydiqa", "TyDi QA: gold passages in 9 languages, to ask and for exemplars", "Apache-2.0",
     "https://github.com/google-research-datasets/tydiqa", "`dev` is for testing; its `train` may be trained on.",
     [("https://storage.googleapis.com/tydiqa/v1.1", None, None, "tydiqa", ["tydiqa-goldp-v1.1-dev.json", "tydiqa-goldp-v1.1-train.json"])]),
    ("user_oriented", "252 tasks of users (Self-Instruct)", "Apache-2.0", "https://github.com/yizhongw/self-instruct",
     "Its authors made it to evaluate with: never train on it.",
     [("yizhongw/self-instruct", "0b26ccaa415992100fa32df62d41b994cf928e23", "human_eval", "self-instruct", ["user_oriented_instructions.jsonl"])]),
    ("vicuna", "80 open questions in 9 categories, whose answers are judged", "Apache-2.0", "https://github.com/lm-sys/vicuna-blog-eval",
     "Its questions are for comparing answers: do not train on them.",
     [("lm-sys/vicuna-blog-eval", "29e5d378309de4efe28a87fc0d1f1002df4a448c", "eval/table", "vicuna", ["question.jsonl"])]),
]


def git(clone, *arguments):
    return subprocess.run(["git", "--git-dir", clone, *arguments], check=True, capture_output=True).stdout


def entries(repository, commit, path, which, clones, known):
    """Name, bytes and checksum of each file."""
    if repository in clones:
        names = git(clones[repository], "ls-tree", "--name-only", commit, f"{path}/" if path else ".").decode().split("\n")
        names = [name.rsplit("/", 1)[-1] for name in names if name]
        endings = tuple(which) if isinstance(which, list) else (which,)
        for name in sorted(name for name in names if name.endswith(endings)):
            content = git(clones[repository], "show", f"{commit}:{path}/{name}".replace(":/", ":"))
            yield name, len(content), hashlib.sha256(content).hexdigest()
        return
    listed = {origin.rsplit("/", 1)[-1]: rest for origin, rest in known.get((repository, commit), {}).items()
              if origin.startswith(path or "") and origin.count("/") == (path.count("/") + 1 if path else 0)}
    if which == "TASKS":
        names = [f"{name}.json" for name in known["tasks"]]
    elif isinstance(which, list):
        names = which
    else:
        names = sorted(name for name in listed if name.endswith(which))
    for name in names:
        yield name, *listed.get(name, (None, None))


def manifest(path, tasks):
    """Sizes and checksums that a table with the columns file, repo, commit, path, licence, records, bytes, sha256 knows."""
    known = {"tasks": open(tasks).read().split()}
    for line in open(path).read().splitlines()[1:]:
        _, repository, commit, origin, _, _, size, checksum, *_ = line.split("\t")
        known.setdefault((repository, commit), {})[origin] = (int(size), checksum)
    return known


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clone", action="append", default=[], metavar="OWNER/NAME=GIT_DIR")
    parser.add_argument("--manifest", required=True, help="a table of files whose checksums are known")
    parser.add_argument("--tasks", required=True, help="the list of Super-NaturalInstructions' test tasks")
    options = parser.parse_args()
    clones = dict(clone.split("=", 1) for clone in options.clone)
    known = manifest(options.manifest, options.tasks)
    print("# Where benchmarks are published: `albacore data get NAME` downloads them, `albacore data list` lists them.\n"
          "# Every address is pinned by a commit. `bytes` and `sha256` are of that commit; where they are missing nobody has\n"
          "# looked yet, and the download says so. Made by scripts/benchmarks.py.")
    for name, about, licence, home, note, parts in BENCHMARKS:
        print(f'\n[[benchmark]]\nname = "{name}"\nabout = "{about}"\nlicence = "{licence}"\nhome = "{home}"\nnote = "{note}"')
        for repository, commit, path, folder, which in parts:
            url = repository if commit is None else "/".join(filter(None, ["https://raw.githubusercontent.com", repository, commit, path]))
            print(f'\n[[benchmark.parts]]\nurl = "{url}"\nfolder = "{folder}"\nfiles = [')
            if commit is None:
                found = [(file, None, None) for file in which]
            else:
                found = entries(repository, commit, path, which, clones, known)
            for file, size, checksum in found:
                more = "" if checksum is None else f', bytes = {size}, sha256 = "{checksum}"'
                print(f'    {{ name = "{file}"{more} }},')
            print("]")


main()
