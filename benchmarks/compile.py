"""python -m benchmarks.compile: what the compiled kernels cost. Seconds to compile them at first
use, in an empty cache, and milliseconds to load them at first use in every later process."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import pairing

DTYPES = ("float32", "float64")


def worker(dtype):
    """The seconds of first use in this process, why there are no kernels, and the compiler."""
    import numpy as np
    from minigan.fast import compiling, native
    began = time.perf_counter()
    native.functions(np.dtype(dtype))
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "why_not": native.why_not,
                      "compiler": compiling.compiler()}))


def first_use(dtype, cache):
    """What `worker` finds, in a new process with its cache in this folder."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.compile", "--worker", dtype],
                          env=os.environ | {"XDG_CACHE_HOME": cache}, text=True,
                          capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def measure(dtype, rounds):
    compiling, loading = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            empty, full = first_use(dtype, cache), first_use(dtype, cache)
            if empty["why_not"]:
                raise SystemExit(f"there are no compiled kernels: {empty['why_not']}")
            [library] = Path(cache).rglob(f"{dtype}-*.so")
            size = library.stat().st_size
        compiling.append(empty["seconds"])
        loading.append(1e3 * full["seconds"])
    return {"dtype": dtype, "compiler": " ".join(empty["compiler"]), "compile_s": compiling,
            "load_ms": loading, "kib": round(size / 1024)}


def main():
    p = argparse.ArgumentParser(description=" ".join(__doc__.split()))
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--json", metavar="FILE")
    p.add_argument("--worker", choices=DTYPES, help=argparse.SUPPRESS)
    options = p.parse_args()
    if options.worker:
        return worker(options.worker)
    rows = []
    print(pairing.machine_line())
    for dtype in DTYPES:
        rows.append(measure(dtype, options.rounds))
        print("{dtype}: compiled by {compiler} in {:.1f} s, loaded in {:.0f} ms, {kib} KiB".format(
            *(statistics.median(rows[-1][name]) for name in ("compile_s", "load_ms")), **rows[-1]),
            flush=True)
    if options.json:
        pairing.keep(options.json, {"rounds": options.rounds, "rows": rows})


if __name__ == "__main__":
    sys.exit(main())
