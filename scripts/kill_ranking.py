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
import hashlib
import http.server
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

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


class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked, lock = [], threading.Lock()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][-1]["content"] if "messages" in body else None
        digest = hashlib.sha256(json.dumps([question or body["prompt"], body["seed"]]).encode()).digest()
        number, draw = int.from_bytes(digest[:6], "big"), random.Random(digest)
        with self.lock:
            self.asked.append(number)
        time.sleep(0.02)
        if question:
            choice = {"message": {"content": judge(question, draw)}, "finish_reason": "stop"}
        else:
            tokens = [" " + word for word in say(draw).split()]
            logprobs = {"tokens": tokens, "token_logprobs": [-draw.uniform(1, 12) for _ in tokens]}
            choice = {"text": "".join(tokens), "finish_reason": "stop", "logprobs": logprobs}
        usage = {"prompt_tokens": 100, "completion_tokens": number}
        reply = json.dumps({"choices": [choice], "usage": usage}).encode()
        try:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)
        except OSError:
            pass  # whoever asked was killed

    def log_message(self, *_):
        pass


def recorded(folder):
    """The numbers of the answers whose lines in the journal are whole."""
    path = folder / "requests.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line)["completion"]["usage"]["completion_tokens"] for line in lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--albacore", default="target/release/albacore", help="the binary")
    parser.add_argument("--kills", type=int, default=15, help="of each command")
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    binary = pathlib.Path(arguments.albacore).resolve()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
    server.handle_error = lambda *_: None  # connections of those that were killed
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
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
                Model.asked.clear()
                process = start(command, "killed")
                if kill == arguments.kills:
                    finish(process)
                else:
                    time.sleep(draw.uniform(0.0, 1.5 * took / arguments.kills))
                    if process.poll() is not None:
                        sys.exit("the run ended before all kills: ask for more prompts")
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                again += len(before & set(Model.asked))
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
