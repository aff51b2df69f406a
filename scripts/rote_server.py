"""A language model by rote on loopback, for the scripts that kill data runs: kill_bootstrap.py and kill_ranking.py.

What it says follows from the request alone, and each answer has a number of its own, in `usage`, by which the journal of
a run is compared with what was asked.
"""
import hashlib
import http.server
import json
import random
import threading
import time


class Rote(http.server.ThreadingHTTPServer):
    """`choose(body, draw)` gives the choice of a reply; `asked` has the numbers of all answers that were wanted."""
    daemon_threads = True

    def __init__(self, choose):
        super().__init__(("127.0.0.1", 0), Handler)
        self.choose, self.asked, self.lock = choose, [], threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        pass  # connections of those that were killed


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        digest = hashlib.sha256(json.dumps([question, body["seed"]]).encode()).digest()
        number = int.from_bytes(digest[:6], "big")
        with self.server.lock:
            self.server.asked.append(number)
        time.sleep(0.02)
        choice = {**self.server.choose(body, random.Random(digest)), "finish_reason": "stop"}
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
