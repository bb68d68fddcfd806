"""Kill a training run again and again, go on each time, and compare the end with a run that nobody killed.

    python -m benchmarks.kills --kills 200 --json benchmarks/results/kills.json

One kill in two comes at a random moment from outside, the others in the middle of a write: half of what was to be
written is, then the process is gone. The network is tiny and everything is written in every step, so that a kill finds
the run writing more often than not.
"""

import argparse
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from minigan.data import disk
from minigan.fast import native
from minigan.runs import checkpoints, run_folder

ROOT = Path(__file__).parent.parent
RUN = ("--data", "few.npz", "--recipe", "dcgan", "--width", "2", "--batch-size", "8", "--latent", "3",
       "--log-every", "1", "--snapshot-every", "3", "--checkpoint-every", "2", "--name", "run")
ENDLESS = 10_000_000
CALLS = {"file": 800, "line": 8, "picture": 4, "entry": 20}  # of each kind, about as many as in four steps
MOMENT = 0.3  # seconds


# The process that is killed

def die_in_call(n, *kinds):
    """From now on this process kills itself in the n-th of all calls of these `kinds`: half way through writing to a
    "file", a "line" of text or a "picture", or just before it flushes, renames or removes an "entry" of a folder."""
    left = n

    def now(kind):
        nonlocal left
        left -= kind in kinds
        return left == 0 and kind in kinds

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def deadly(function):
        def call(*args, **kwargs):
            if now("entry"):
                die()
            return function(*args, **kwargs)
        return staticmethod(call)  # which stays a function also where a class holds it, as in pathlib of Python 3.10

    def opened(*args, **kwargs):
        file = open(*args, **kwargs)
        write, kind = file.write, "file" if "b" in file.mode else "line"

        def halfway(content):
            if now(kind):
                write(content[:len(content) // 2])
                file.flush()
                die()
            return write(content)
        file.write = halfway
        return file

    def save(picture, file, save=Image.Image.save, **options):
        if now("picture"):
            whole = io.BytesIO()
            save(picture, whole, **options)
            file.write(whole.getvalue()[:whole.tell() // 2])
            file.flush()
            die()
        save(picture, file, **options)

    os.fsync, os.replace, os.unlink = deadly(os.fsync), deadly(os.replace), deadly(os.unlink)
    disk.open = opened
    Image.Image.save = save


def start(where, *arguments, die=(0,)):
    """The command line in a process of its own, in the folder `where`, after `die_in_call(*die)`."""
    code = (f"import sys; from benchmarks import kills; from minigan import train; kills.die_in_call(*{die}); "
            "sys.exit(train.main(sys.argv[1:]))")
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], cwd=where, text=True,
                            env=os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(where, *arguments):
    """Run to the end; returns what was said."""
    process = start(where, *arguments)
    out, err = process.communicate()
    if (process.returncode, err) != (0, ""):
        raise SystemExit(f"a run that nobody killed ended with {process.returncode}: {err}")
    return out


# Killing and comparing

def survive(where, kills, seed=0):
    """Kill a run in the folder `where` so many times. Returns what was found, ready for JSON."""
    native.functions(np.dtype("float32"))  # compiled now: what a run says about it is no error
    moments, found = random.Random(seed), Counter()
    images = np.random.default_rng(seed).integers(256, size=(40, 8, 8), dtype=np.uint8)
    np.savez(Path(where, "few.npz"), images=images)
    finish(where, *RUN, "--steps", 1)
    folder = Path(where, "runs", "00000-run")
    for kill in range(kills):
        before = run_folder.checkpoints(folder)[0]
        inside = kill % 2 == 0
        kind = moments.choice(list(CALLS))
        process = start(where, "--resume", "--steps", ENDLESS,
                        die=(moments.randint(1, CALLS[kind]), kind) if inside else (0,))
        first = "" if inside else process.stdout.readline()
        if not inside:
            time.sleep(moments.uniform(0, MOMENT))
            process.kill()
        out, err = process.communicate()
        found["survived"] += process.returncode == -signal.SIGKILL and err == ""
        found["killed before it went on"] += "going on after step" not in first + out
        found["killed later"] += "going on after step" in first + out
        found["no way back"] += run_folder.checkpoints(folder)[0].stem < before.stem
        found.update(halves(folder))
    steps = int(run_folder.checkpoints(folder)[0].stem) + 5
    finish(where, "--resume", "--steps", steps)
    finish(where, *RUN, "--steps", steps, "--out", "whole")
    whole = Path(where, "whole", "00000-run")
    logged = [record["step"] for record in map(json.loads, (folder / "stats.jsonl").read_text().splitlines())]
    return {"kills": kills, "survived": found["survived"], "in_the_middle_of_a_write": (kills + 1) // 2,
            "at_a_random_moment": kills // 2, "while_it_was_resuming": found["killed before it went on"],
            "left_half_written": {name: found[name] for name in ("checkpoint or statistics", "line", "picture")},
            "checkpoints_lost": found["no way back"], "steps": steps,
            "arrays_that_differ": differing(folder, whole),
            "lines_lost": len(set(range(1, steps + 1)) - set(logged)),
            "lines_doubled": len(logged) - len(set(logged)),
            "lines_that_differ": sum(a != b for a, b in zip(statistics(folder), statistics(whole), strict=True)),
            "pictures_that_differ": sum(contents(folder / "samples")[name] != content
                                        for name, content in contents(whole / "samples").items()),
            "files_left_over": len(list(folder.rglob("*.partial")))}


def halves(folder):
    """What the kill left half written."""
    left = {path.name.split(".")[1] for path in folder.rglob("*.partial")}
    if left - {"png", "gif"}:
        yield "checkpoint or statistics"
    if not (folder / "stats.jsonl").read_bytes().endswith(b"\n"):
        yield "line"
    if left & {"png", "gif"}:
        yield "picture"


def differing(folder, other):
    """How many arrays of the last checkpoints are not the same bytes."""
    a, b = (checkpoints.load_checkpoint(run_folder.checkpoints(each)[0]) for each in (folder, other))
    return len(a.keys() ^ b.keys()) + sum(a[name].tobytes() != b[name].tobytes() for name in a.keys() & b.keys())


def statistics(folder):
    """The lines of stats.jsonl without what depends on the clock."""
    return [line.partition(', "steps_per_s"')[0] for line in (folder / "stats.jsonl").read_text().splitlines()]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as where:
        result = survive(where, options.kills, options.seed)
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        Path(options.json).write_text(text + "\n")


if __name__ == "__main__":
    main()
