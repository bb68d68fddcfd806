"""python -m benchmarks.memory: peak memory of a short dcgan28 training, minigan against PyTorch.

Measured by the operating system as the greatest resident size of the process, less what it was
after the imports.
"""

import argparse
import json
import resource
import statistics
import sys

from benchmarks import pairing

SIDES = ("minigan", "torch")


def resident():
    """MiB resident now; on Linux."""
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def worker(side, name, steps):
    from benchmarks import works  # NumPy and minigan: both sides have them, and both subtract them
    if side == "torch":
        pairing.needs_torch()
    before = resident()
    step = (works.minigan_step if side == "minigan" else works.torch_step)(works.WORKS[name])
    for _ in range(steps):
        step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"mib": peak - before}))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--work", default="dcgan28-64")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--steps", type=int, default=30)
    p.add_argument("--json", metavar="FILE")
    p.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    options = p.parse_args()
    if options.worker:
        return worker(options.worker, options.work, options.steps)
    arguments = ["--work", options.work, "--steps", str(options.steps)]
    results = pairing.alternate("benchmarks.memory", SIDES, options.rounds, arguments)
    peaks = {side: [r["mib"] for r in found] for side, found in results.items()}
    for side, values in peaks.items():
        print(f"{side:8} {statistics.median(values):6.0f} MiB above imports")
    row = {"work": options.work, **peaks}
    if "torch" in peaks:
        row["ratio"] = pairing.ratios(peaks["minigan"], peaks["torch"])
        print("ratio    {:6.2f} ({:.2f} … {:.2f})".format(*row["ratio"]))
    if options.json:
        pairing.keep(options.json, {"rounds": options.rounds, "steps": options.steps,
                                    "rows": [row]})


if __name__ == "__main__":
    sys.exit(main())
