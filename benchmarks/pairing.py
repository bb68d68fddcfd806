"""Measuring two sides in turn, each in a process of its own: A B A B …, so that a drift of the
machine meets both."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time

# Which engine a side uses. minigan reads it when it is imported, so it is told to the process.
ENGINES = {"minigan": {"MINIGAN_FAST": "1"}, "minigan-plain": {"MINIGAN_FAST": "0"}}


def alternate(module, sides, rounds, arguments):
    """Run `python -m module --worker SIDE arguments` for each side in turn, `rounds` times over.
    Each prints one JSON object as its last line. Returns {side: [object, …]}; a side that cannot
    run is absent, and said."""
    results = {side: [] for side in sides}
    for _ in range(rounds):
        for side in list(results):
            done = subprocess.run([sys.executable, "-m", module, "--worker", side, *arguments],
                                  env=os.environ | ENGINES.get(side, {}), capture_output=True,
                                  text=True)
            if done.returncode == 3:
                print(f"{side}: {done.stderr.strip()}", flush=True)
                del results[side]
            elif done.returncode:
                raise SystemExit(f"{side} failed:\n{done.stderr}")
            else:
                results[side].append(json.loads(done.stdout.splitlines()[-1]))
    return results


def needs_torch():
    """Exit with status 3, which `alternate` understands, where PyTorch is missing."""
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed: pip install '.[benchmark]' to compare with it",
              file=sys.stderr)
        sys.exit(3)
    return torch


def timed(step, repetitions, warm_up=3):
    """Median seconds of `step()`."""
    for _ in range(warm_up):
        step()
    seconds = []
    for _ in range(repetitions):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def timed_on_device(step, wait, repetitions, warm_up=10):
    """Median seconds per step of ten times `repetitions` steps put on the device's queue one after
    another, `wait` waiting for the last: as in training, the host runs ahead."""
    for _ in range(warm_up):
        step()
    seconds = []
    for _ in range(10):
        wait()
        began = time.perf_counter()
        for _ in range(repetitions):
            step()
        wait()
        seconds.append((time.perf_counter() - began) / repetitions)
    return statistics.median(seconds)


def ratios(ours, theirs):
    """(median, least, greatest) of ours/theirs, pair by pair."""
    pairs = [a / b for a, b in zip(ours, theirs)]
    return statistics.median(pairs), min(pairs), max(pairs)


def card(xp):
    """The name of the GPU that CuPy works on; None for NumPy."""
    if not hasattr(xp, "cuda"):
        return None
    return xp.cuda.runtime.getDeviceProperties(xp.cuda.Device().id)["name"].decode()


def machine():
    """What a figure depends on."""
    import numpy
    about = {"cpus": os.cpu_count(), "machine": platform.machine(), "system": platform.system(),
             "python": platform.python_version(), "numpy": numpy.__version__}
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            about["cpu"] = next(line.split(":")[1].strip() for line in file
                                if line.startswith("model name"))
    except (OSError, StopIteration):
        about["cpu"] = platform.processor()
    try:
        from importlib.metadata import version
        about["torch"] = version("torch")
    except ImportError:
        about["torch"] = None
    return about


def machine_line():
    """`machine` for people: the processor first."""
    about = machine()
    torch = f"PyTorch {about['torch']}" if about["torch"] else "no PyTorch"
    return (f"{about['cpu'] or about['machine']}, {about['cpus']} cores; Python {about['python']}, "
            f"NumPy {about['numpy']}, {torch}")


def keep(path, table):
    """Write `table` with the machine it was measured on, in place of what was there once it is
    whole."""
    partial = path + ".partial"
    with open(partial, "w", encoding="utf-8") as file:
        json.dump({"machine": machine(), **table}, file, indent=1)
        file.write("\n")
    os.replace(partial, path)


def kept(path):
    """What `keep` wrote, or None."""
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def asked_for(due, runs):
    """Those of `runs` that are in `due`: not those of trials, or of other settings."""
    return [done for done in runs if any(run.items() <= done.items() for run in due)]


def seeds(runs):
    """How many runs there are, and where some failed how many of them did not: `3`, or `2 of 3`."""
    whole = sum("failed" not in run for run in runs)
    return str(len(runs)) if whole == len(runs) else f"{whole} of {len(runs)}"


def done_one_by_one(due, do, path, **about):
    """The runs in the file `path`, if there is one, and those of `due`, {what: which} each, that are
    missing there: each with the figures of do(run), printed and kept in the file as it ends."""
    runs = (kept(path) or {"runs": []})["runs"] if path else []
    for run in due:
        if asked_for([run], runs):
            continue
        runs.append(run | do(run))
        print(runs[-1], flush=True)
        if path:
            keep(path, {**about, "runs": runs})
    return runs
