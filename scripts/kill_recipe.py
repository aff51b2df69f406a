#!/usr/bin/env python3
"""Kills `albacore tuna` in each of its stages, and shows that nothing of it can be told from the result.

Shows: a recipe on the quickstart's model (finetune, sample, rank, train on the ranking, and all but the first once more)
that is SIGKILLed in every stage, and at every arrow between two of them, and started again each time with the same command,
ends with the same bytes in the weights of every stage that trains and in every ranking as one that was never stopped.

    python scripts/kill_recipe.py --albacore target/release/albacore

Needs: Python alone, Linux. Takes some minutes.
"""
import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

QUICKSTART = pathlib.Path(__file__).resolve().parent.parent / "data" / "quickstart"
TUNE = '[data]\nmax_tokens = 128\ntokens_per_batch = 1024\ntemplate = "none"\n[model]\npath = "{base}"\n' \
       '[[data.sources]]\npath = "ranked.jsonl"\nformat = "tuna"\n[objective]\nkind = "tuna"\n[optim]\nlearning_rate = {rate}\n' \
       '[train]\ngroups_per_step = 8\nepochs = 2\n[checkpoint]\nevery = 5\n'
CONFIGS = {
    "sft.toml": '[model]\npath = "{base}"\n[data]\nmax_tokens = 128\ntokens_per_batch = 1024\ntemplate = "none"\n'
                '[[data.sources]]\npath = "{records}"\n[optim]\nlearning_rate = 2e-3\n[train]\nsteps = 30\n[checkpoint]\nevery = 7\n',
    "sample.toml": '[model]\npath = "{base}"\n[data]\ntemplate = "none"\n[[data.sources]]\npath = "{records}"\ncap = {prompts}\n'
                   '[sample]\nresponses = 3\nmax_tokens = 16\nrounds = 2\n',
    "reference.toml": '[rank]\nkind = "reference"\ncandidates = "candidates.jsonl"\noriginal = "candidate"\n',
    "likelihood.toml": '[model]\npath = "{base}"\n[rank]\nkind = "probabilistic"\nteacher = "model"\ncandidates = "candidates.jsonl"\n',
    "tune.toml": TUNE.replace("{rate}", "3e-4"),
    "again.toml": TUNE.replace("{rate}", "1e-4"),
}
MODEL = '"model.path" = "{model}"'
STAGES = [
    ("1-sft", "train", "sft.toml", ""),
    ("2-sample", "sample", "sample.toml", MODEL),
    ("2-rank", "rank", "reference.toml", '"rank.candidates" = "{2-sample}/candidates.jsonl"'),
    ("2-tune", "train", "tune.toml", MODEL + ', "data.sources" = [{ path = "{2-rank}/ranked.jsonl", format = "tuna" }]'),
    ("3-sample", "sample", "sample.toml", MODEL),
    ("3-rank", "rank", "likelihood.toml", '"rank.candidates" = "{3-sample}/candidates.jsonl"'),
    ("3-tune", "train", "again.toml", MODEL + ', "data.sources" = [{ path = "{3-rank}/ranked.jsonl", format = "tuna" }]'),
]


def done(run):
    path = run / "stages.json"
    return json.loads(path.read_text()) if path.exists() else {}


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def written(run, stage):
    """How far a stage is: a sentence for the report."""
    steps = sorted((run / stage / "checkpoints").glob("step-??????"))
    if steps:
        return f"newest checkpoint {steps[-1].name}, {lines(run / stage / 'metrics.jsonl')} steps told"
    if (run / stage / "requests.jsonl").exists():
        return f"{lines(run / stage / 'requests.jsonl')} answers recorded"
    return "begun" if (run / stage).exists() else "not begun"


def weights(run, stage):
    steps = sorted((run / stage / "checkpoints").glob("step-??????"))
    return (steps[-1] / "model.safetensors").read_bytes()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--albacore", default="target/release/albacore", help="the binary")
    parser.add_argument("--prompts", type=int, default=80, help="that are answered")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    binary = pathlib.Path(arguments.albacore).resolve()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        records = (QUICKSTART / "instructions.jsonl").read_text(encoding="utf-8").splitlines()[:600]
        (work / "records.jsonl").write_text("\n".join(records) + "\n", encoding="utf-8")
        for name, text in CONFIGS.items():
            for key, value in {"base": QUICKSTART / "base", "records": work / "records.jsonl", "prompts": arguments.prompts}.items():
                text = text.replace("{" + key + "}", str(value))
            (work / name).write_text(text)
        stages = "".join(f'[[stages]]\nname = "{name}"\ncommand = "{command}"\nconfig = "{work / config}"\nset = {{ {values} }}\n' for name, command, config, values in STAGES)
        (work / "recipe.toml").write_text(stages)

        def start(name):
            # A process group of its own: the whole of it is killed.
            line = [binary, "tuna", work / "recipe.toml", "--threads", str(arguments.threads), "--set", f"run.dir={json.dumps(str(work))}", "--set", f"run.name={name}", "--quiet"]
            return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)

        def finish(process):
            _, errors = process.communicate()
            if process.returncode != 0:
                sys.exit(f"exit {process.returncode}: {errors}")

        def kill(process):
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

        # How long each stage takes, from when it is begun until it stands in `stages.json`.
        whole, killed, took = work / "whole", work / "killed", {}
        process, since = start("whole"), time.monotonic()
        while process.poll() is None:
            for name in done(whole).keys() - took.keys():
                took[name], since = time.monotonic() - since, time.monotonic()
            time.sleep(0.005)
        finish(process)
        print("never stopped:", ", ".join(f"{name} {took.get(name, 0):.1f} s" for name, *_ in STAGES), flush=True)

        kills = 0
        for place, (stage, *_) in enumerate(STAGES):
            # In the midst of the stage; then as soon as it is done, while the next one begins.
            for midst in (True, False):
                process, begun = start("killed"), None
                until = None
                while process.poll() is None:
                    now = time.monotonic()
                    if midst and begun is None and (place == 0 or STAGES[place - 1][0] in done(killed)) and (killed / stage).exists():
                        begun, until = now, now + draw.uniform(0.3, 0.8) * took.get(stage, 0)
                    if not midst and stage in done(killed):
                        break
                    if until is not None and now >= until:
                        break
                    time.sleep(0.002)
                if process.poll() is not None:
                    _, errors = process.communicate()
                    sys.exit(f"the recipe ended before it was killed in `{stage}`: exit {process.returncode}: {errors}")
                kill(process)
                kills += 1
                late = midst and stage in done(killed)
                where = f"in `{stage}`" if midst else f"behind `{stage}`"
                print(f"killed {where}: {written(killed, stage)}{', which was done already' if late else ''}", flush=True)
        finish(start("killed"))

        trained = [name for name, command, *_ in STAGES if command == "train"]
        ranked = [name for name, command, *_ in STAGES if command == "rank"]
        differ = [name for name in trained if weights(whole, name) != weights(killed, name)]
        for name in ranked:
            # A source names the folder of its model, which has the run's name in it.
            mine, other = ((run / name / "ranked.jsonl").read_text(encoding="utf-8") for run in (whole, killed))
            differ += [name] if mine.replace(str(whole), "RUN") != other.replace(str(killed), "RUN") else []
        print(f"{kills} kills; {len(trained)} models ({len(weights(whole, trained[-1]))} bytes each) and {len(ranked)} rankings compared; differ: {', '.join(differ) or 'none'}")
        sys.exit(len(differ))


main()
