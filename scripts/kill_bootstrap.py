#!/usr/bin/env python3
"""Kills `albacore bootstrap` again and again, and shows that nothing of it can be told from the result.

Shows: a run that is SIGKILLed at 20 random moments and started again each time with the same command ends with the same
bytes in every file that it makes as a run that was never stopped, and never asks for an answer that it had recorded.
A server on loopback writes the text: what it answers follows from the request alone, and each answer has a number of its
own (in `usage`), by which the journal is compared with what was asked.

    python scripts/kill_bootstrap.py --albacore target/release/albacore

Needs: Python alone, Linux. Takes about a minute.
"""
import argparse
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from rote_server import Rote, recorded

VERBS = "Describe Compare List Translate Count Explain Summarise Rank Invent Sort".split()
THINGS = "rivers planets poems breakfasts bridges numbers songs trains colours birds gardens clocks".split()
COMPARED = ["settings.json", "instructions.jsonl", "rejected.jsonl", "classification.jsonl", "instances.jsonl", "records.jsonl",
            "train.jsonl", "held_out.jsonl", "funnel.json"]


def answer(prompt, draw):
    """Each kind of prompt is answered in its form; some of what is said is to be rejected."""
    def task():
        words = [draw.choice(THINGS) for _ in range(3)]
        return f"{draw.choice(VERBS)} {draw.randrange(90)} {words[0]} and {words[1]} near the {words[2]}."
    if prompt.endswith("Is it classification?"):
        return draw.choice([" Yes", " No", " No", "no"])
    if prompt.rstrip().endswith("9."):
        return f" {task()}\n10. {task()}\n11. Draw it on the wall.\n12. {task()}\n13. Go."
    number = draw.randrange(1000)
    return f"Class label: A{number}\nText: {number}\nExample 1\nWord: {number}\nOutput: {number + 1}"


def choose(body, draw):
    return {"text": answer(body["prompt"], draw)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--albacore", default="target/release/albacore", help="the binary")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--instructions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    binary = pathlib.Path(arguments.albacore).resolve()
    server = Rote(choose)
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        (work / "data.toml").write_text(f"""\
[run]
dir = {json.dumps(str(work))}
[server]
endpoint = "http://127.0.0.1:{server.server_port}/v1"
model = "rote"
concurrency = 8
[bootstrap]
instructions = {arguments.instructions}
held_out = 0.1
""")

        def start(name):
            command = [binary, "bootstrap", work / "data.toml", "--set", f"run.name={name}", "--quiet"]
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

        def finish(process):
            _, errors = process.communicate()
            if process.returncode != 0:
                sys.exit(f"exit {process.returncode}: {errors}")

        began = time.monotonic()
        finish(start("whole"))
        whole = time.monotonic() - began
        requests = len(recorded(work / "whole"))
        print(f"never stopped: {requests} requests in {whole:.1f} s")

        kills, again, stages = 0, 0, {}
        while kills < arguments.kills:
            before = set(recorded(work / "killed"))
            server.asked.clear()
            process = start("killed")
            # Later moments are reached by later starts, so each is short.
            time.sleep(draw.uniform(0.0, 1.3 * whole / arguments.kills))
            if process.poll() is not None:
                sys.exit("the run ended before all kills: ask for more instructions")
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            again += len(before & set(server.asked))
            lines = (work / "killed" / "requests.jsonl").read_bytes().split(b"\n") if (work / "killed" / "requests.jsonl").exists() else [b""]
            stage = json.loads(lines[-2])["key"].split("/")[0] if len(lines) > 1 else "nothing recorded"
            stages[stage] = stages.get(stage, 0) + 1
        before = set(recorded(work / "killed"))
        server.asked.clear()
        finish(start("killed"))
        again += len(before & set(server.asked))
        print(f"killed {kills} times ({', '.join(f'{stage}: {number}' for stage, number in stages.items())})")
        answers = recorded(work / "killed")
        checks = {
            "recorded answers asked for again": again,
            "answers recorded twice": len(answers) - len(set(answers)),
            "answers recorded by one run alone": len(set(answers) ^ set(recorded(work / "whole"))),
            "files that differ": sum((work / "whole" / name).read_bytes() != (work / "killed" / name).read_bytes() for name in COMPARED),
        }
        for what, number in checks.items():
            print(f"{number:6}  {what}")
        for name in COMPARED:
            print(f"{(work / 'killed' / name).stat().st_size:9} bytes  {name}")
        sys.exit(any(checks.values()))


main()
