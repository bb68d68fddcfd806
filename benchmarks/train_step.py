"""python -m benchmarks.train_step: milliseconds per training step, minigan against PyTorch eager on the same CPU.

Before anything is timed, both sides do three steps in float64 from the same weights, data and noise, and their losses
must agree to eight digits. Then float32 is timed, each side in a process of its own, in turn.
"""

import argparse
import functools
import json
import statistics
import sys

import numpy as np

from benchmarks import pairing, works

SIDES = ("minigan", "torch", "torch-channels-last")


def worker(side, name, repetitions):
    work = works.WORKS[name]
    if side == "minigan":
        from minigan import parallel
        parallel.use_all_cores()
        make = works.minigan_step
    else:
        pairing.needs_torch()
        make = functools.partial(works.torch_step, channels_last=side == "torch-channels-last")
    exact = make(work, "float64")
    losses = [[float(loss) for loss in exact()] for _ in range(3)]
    seconds = pairing.timed(make(work), repetitions)
    print(json.dumps({"losses": losses, "seconds": seconds, "sgemm": sgemm_rate(side)}))


def sgemm_rate(side):
    """Operations per second of a large float32 matrix product in NumPy."""
    if side != "minigan":
        return None
    from minigan import parallel
    a = np.ones((2048, 1024), np.float32)
    b = np.ones((1024, 512), np.float32)
    out = np.empty((2048, 512), np.float32)
    halves = lambda part, begin, end: np.matmul(a[begin:end], b, out=out[begin:end])
    return 2 * a.size * b.shape[1] / pairing.timed(lambda: parallel.split(halves, len(a), a.size), 20)


def measure(name, rounds, repetitions):
    sides = SIDES[:2] if name.startswith("mlp") else SIDES
    results = pairing.alternate("benchmarks.train_step", sides, rounds, ["--work", name, "--steps", str(repetitions)])
    ours = [r["seconds"] for r in results["minigan"]]
    work, median = works.WORKS[name], statistics.median(ours)
    sgemm = statistics.median(r["sgemm"] for r in results["minigan"])
    row = {"work": name, "minigan_ms": 1e3 * median, "gflops": works.step_flops(work) / median / 1e9,
           "sgemm_gflops": sgemm / 1e9}
    others = [side for side in sides[1:] if results.get(side)]
    if others:
        check_equal(name, results["minigan"][0]["losses"], {side: results[side][0]["losses"] for side in others})
        best = min(others, key=lambda side: statistics.median(r["seconds"] for r in results[side]))
        theirs = [r["seconds"] for r in results[best]]
        row |= {"torch_ms": 1e3 * statistics.median(theirs), "torch_side": best, "ratio": pairing.ratios(ours, theirs)}
    return row


def check_equal(name, ours, others):
    for side, theirs in others.items():
        if not np.allclose(ours, theirs, rtol=1e-8, atol=1e-8):
            raise SystemExit(f"{name}: the losses of the first three steps differ, so the two do not do the same work: "
                             f"minigan {ours}, {side} {theirs}")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--work", nargs="+", choices=works.WORKS, default=list(works.WORKS))
    p.add_argument("--rounds", type=int, default=5, help="how often the sides take turns")
    p.add_argument("--steps", type=int, default=25, help="timed steps in each turn")
    p.add_argument("--json", metavar="FILE")
    p.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    options = p.parse_args()
    if options.worker:
        return worker(options.worker, options.work[0], options.steps)
    rows = []
    print(f"{'work':12} {'minigan':>9} {'torch':>9}   {'ratio (least … greatest)':26} {'GFLOP/s':>8} {'of sgemm':>8}")
    for name in options.work:
        row = measure(name, options.rounds, options.steps)
        rows.append(row)
        ratio = "{:.2f} ({:.2f} … {:.2f})".format(*row["ratio"]) if "ratio" in row else ""
        print(f"{name:12} {row['minigan_ms']:6.1f} ms {row.get('torch_ms', float('nan')):6.1f} ms   {ratio:26} "
              f"{row['gflops']:8.0f} {row['gflops'] / row['sgemm_gflops']:8.0%}", flush=True)
    if options.json:
        pairing.keep(options.json, {"rounds": options.rounds, "steps": options.steps, "rows": rows})


if __name__ == "__main__":
    sys.exit(main())
