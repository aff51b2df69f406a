"""A run of `albacore train` as a child that is watched: its config, its log, its end, the memory it holds on a GPU.

For check_gpu.py and benches/gpu_peers.py. Memory is what the driver says of the process, or, where it cannot tell
processes apart, of the card less what was in use before: the process's context is part of it.
"""
import json
import shutil
import signal
import subprocess
import time


class Failure(Exception):
    """A run that did not end well; the text says which, and what it printed."""


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_lines(path):
    """Whole lines only: the last one may be on its way."""
    return [json.loads(row) for row in path.read_text().splitlines(keepends=True) if row.endswith("\n")] if path.exists() else []


def write_config(path, tables):
    """A config of these tables; a key that is None is left to its default."""
    def text(keys):
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items() if value is not None)

    path.write_text("".join(f"[{name}]\n{text(keys)}" for name, keys in tables.items()))
    return path


def start(albacore, config, log, device, threads=None):
    command = [str(albacore), "train", str(config), "--device", device, "--quiet"]
    command += ["--threads", str(threads)] if threads else []
    with open(log, "ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


def finish(child, log, limit, each=lambda: time.sleep(0.002)):
    """Waits for a child, calling `each` meanwhile; raises Failure if it fails (SIGKILL is ours) or takes over `limit` seconds."""
    end = time.monotonic() + limit
    while child.poll() is None:
        each()
        if time.monotonic() > end and child.poll() is None:
            child.kill()
            child.wait()
            raise Failure(f"{log.stem}: not done after {limit:.0f} s\n{log.read_text()[-2000:]}")
    if child.returncode not in (0, -signal.SIGKILL):
        raise Failure(f"{log.stem}: exit status {child.returncode}\n{log.read_text()[-2000:]}")


class Card:
    """What the driver says of memory in use, in MiB: of a process, and of the whole card; None where it says nothing."""

    def __init__(self):
        self.handle, self.nvml, self.tool = None, None, shutil.which("nvidia-smi")
        try:
            import pynvml
            pynvml.nvmlInit()
            self.handle, self.nvml = pynvml.nvmlDeviceGetHandleByIndex(0), pynvml
        except Exception:  # no such package, no such library, no card: then nvidia-smi, or nothing
            pass

    def ask(self, query):
        done = subprocess.run([self.tool, "-i", "0", f"--query-{query}", "--format=csv,noheader,nounits"], capture_output=True, text=True)
        return [[int(field) for field in row.split(",") if field.strip().isdigit()] for row in done.stdout.splitlines()]

    def used(self, pid=None):
        own, whole = [], None
        if self.handle is not None:
            whole = self.nvml.nvmlDeviceGetMemoryInfo(self.handle).used // 2**20
            own = [row.usedGpuMemory // 2**20 for row in self.nvml.nvmlDeviceGetComputeRunningProcesses(self.handle)
                   if row.pid == pid and row.usedGpuMemory]
        elif self.tool:
            whole = max((row[0] for row in self.ask("gpu=memory.used") if row), default=None)
            own = [row[1] for row in self.ask("compute-apps=pid,used_memory") if len(row) == 2 and row[0] == pid]
        return max(own, default=None), whole


class PeakMemory:
    """The most memory that a process was seen to hold."""

    def __init__(self, card):
        self.card, self.before, self.own, self.whole = card, card.used()[1], 0, 0

    def look(self, pid):
        own, whole = self.card.used(pid)
        self.own, self.whole = max(self.own, own or 0), max(self.whole, whole or 0)

    def result(self):
        """MiB, and where they were read."""
        if self.before is None:
            return None, "no card"
        return (self.own, "process") if self.own else (max(self.whole - self.before, 0), "card less before")
