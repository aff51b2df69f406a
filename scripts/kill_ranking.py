#!/usr/bin/env python3
"""Kills `albacore sample` and `albacore rank` again and again, and shows that nothing of it can be told from the result.

Shows: both commands, SIGKILLed at random moments and started again each time with the same command, end with the same
bytes in every file that they make as runs that were never stopped, and never ask for an answer that they had recorded.
A server on loopback answers and judges: what it says follows from the request alone, and each answer has a number of its
own (in `usage`), by which the journal is compared with what was asked. Some replies of the judge cannot be read.

    python scripts/kill_ranking.py --albacore target/release/albacore

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

WORDS = "river planet poem breakfast bridge number song train colour bird garden clock".split()
FILES = {"sample": ["settings.json", "candidates.jsonl", "summary.json"],
         "rank": ["settings.json", "ranked.jsonl", "unranked.jsonl", "judgements.jsonl", "summary.json"]}


def say(draw):
    """A few words, often the same: some sets are to be asked again."""
    return " ".join(draw.choice(WORDS[:2 if draw.random() < 0.5 else None]) for _ in range(6))


def judge(question, draw):
    own = question.count("###Response ") - 1
    ranks = list(range(own + 1))
    draw.shuffle(ranks)
    if draw.random() < 0.3:
        ranks.pop()
    return f"###Response {own}:\n{say(draw)}\n###End\nduplicates: none\nrank: {ranks}"


def choose(body, draw):
    if "messages" in body:
        return {"message": {"content": judge(body["messages"][-1]["content"], draw)}}
    tokens = [" " + word for word in say(draw).split()]
    logprobs = {"tokens": tokens, "token_logprobs": [-draw.uniform(1, 12) for _ in tokens]}
    return {"text": "".join(tokens), "logprobs": logprobs}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--albacore", default="target/release/albacore", help="the binary")
    parser.add_argument("--kills", type=int, default=15, help="of each command")
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    binary = pathlib.Path(arguments.albacore).resolve()
    server = Rote(choose)
    draw = random.Random(arguments.seed)
    wrong = 0
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        head = f'[run]\ndir = {json.dumps(str(work))}\n[server]\nendpoint = "http://127.0.0.1:{server.server_port}/v1"\n' \
               'model = "rote"\nconcurrency = 8\n'
        records = (json.dumps({"instruction": f"Say {number}.", "output": "river song"}) for number in range(arguments.prompts))
        (work / "records.jsonl").write_text("\n".join(records))
        (work / "sample.toml").write_text(f'{head}[[data.sources]]\npath = {json.dumps(str(work / "records.jsonl"))}\n')
        candidates = json.dumps(str(work / "sample-whole" / "candidates.jsonl"))
        (work / "rank.toml").write_text(f'{head}api = "chat"\n[rank]\nkind = "contextual"\ncandidates = {candidates}\n')

        def start(command, name):
            line = [binary, command, work / f"{command}.toml", "--set", f"run.name={command}-{name}", "--quiet"]
            return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

        def finish(process):
            _, errors = process.communicate()
            if process.returncode != 0:
                sys.exit(f"exit {process.returncode}: {errors}")

        for command, files in FILES.items():
            whole, killed = work / f"{command}-whole", work / f"{command}-killed"
            began = time.monotonic()
            finish(start(command, "whole"))
            took = time.monotonic() - began
            print(f"{command}: never stopped, {len(recorded(whole))} requests in {took:.1f} s")
            again = 0
            for kill in range(arguments.kills + 1):
                before = set(recorded(killed))
                server.asked.clear()
                process = start(command, "killed")
                if kill == arguments.kills:
                    finish(process)
                else:
                    time.sleep(draw.uniform(0.0, 1.5 * took / arguments.kills))
                    if process.poll() is not None:
                        sys.exit("the run ended before all kills: ask for more prompts")
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                again += len(before & set(server.asked))
            answers = recorded(killed)
            checks = {
                "recorded answers asked for again": again,
                "answers recorded twice": len(answers) - len(set(answers)),
                "answers recorded by one run alone": len(set(answers) ^ set(recorded(whole))),
                "files that differ": sum((whole / name).read_bytes() != (killed / name).read_bytes() for name in files),
            }
            print(f"{command}: killed {arguments.kills} times")
            for what, number in checks.items():
                print(f"{number:6}  {what}")
            for name in files:
                print(f"{(killed / name).stat().st_size:9} bytes  {name}")
            wrong += sum(checks.values())
    sys.exit(bool(wrong))


main()
