"""python -m benchmarks.train_step: milliseconds per training step, minigan against PyTorch eager.

On the CPU, or with `--backend cupy` on the GPU. Before anything is timed, both sides do three steps in float64 from the
same weights, data and noise, and their losses must agree to eight digits. Then float32 is timed, each side in a process
of its own, in turn.
"""

import argparse
import functools
import json
import statistics
import sys

import numpy as np

from benchmarks import pairing, works
from minigan import backend, parallel

SIDES = ("minigan", "torch", "torch-channels-last")


def worker(side, name, options):
    """Losses in float64 and the time of a step in float32, as one line of JSON."""
    make, wait, about = (minigan_side if side == "minigan" else torch_side)(side, options)
    work = works.WORKS[name]
    exact = make(work, "float64")
    losses = [[float(backend.to_numpy(loss) if side == "minigan" else loss) for loss in exact()] for _ in range(3)]
    step = make(work)
    if options.backend == "numpy":
        seconds = pairing.timed(step, options.steps)
    else:
        seconds = pairing.timed_on_device(step, wait, options.steps)
        about["launches"] = launches(step, wait)
    print(json.dumps({"losses": losses, "seconds": seconds, **about}))


def minigan_side(side, options):
    """(how to make a step, how to wait for the device, what the rest of the figures need)."""
    if options.backend == "numpy":
        parallel.use_all_cores()
        return works.minigan_step, None, {"sgemm": sgemm_rate()}
    if options.tf32:
        backend.allow_tf32()
    backend.use_backend(options.backend)
    xp = backend.current().xp
    return works.minigan_step, xp.cuda.Device().synchronize, {"device": pairing.card(xp), "cupy": xp.__version__}


def torch_side(side, options):
    torch = pairing.needs_torch()
    device = "cpu" if options.backend == "numpy" else "cuda"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.tf32
    torch.backends.cudnn.benchmark = True  # as an expert would: the shapes stay the same
    make = functools.partial(works.torch_step, channels_last=side == "torch-channels-last", device=device)
    return make, torch.cuda.synchronize, {}


def launches(step, wait):
    """Kernels and copies that one step puts on the GPU, counted by PyTorch's profiler; None without PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        wait()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events())


def sgemm_rate():
    """Operations per second of a large float32 matrix product in NumPy, on all cores."""
    a = np.ones((2048, 1024), np.float32)
    b = np.ones((1024, 512), np.float32)
    out = np.empty((2048, 512), np.float32)
    halves = lambda part, begin, end: np.matmul(a[begin:end], b, out=out[begin:end])
    return 2 * a.size * b.shape[1] / pairing.timed(lambda: parallel.split(halves, len(a), a.size), 20)


def measure(name, options):
    sides = SIDES[:2] if name.startswith("mlp") else SIDES
    passed_on = ["--work", name, "--steps", str(options.steps), "--backend", options.backend]
    results = pairing.alternate("benchmarks.train_step", sides, options.rounds,
                                passed_on + ["--tf32"] * options.tf32)
    ours = [r["seconds"] for r in results["minigan"]]
    work, median, about = works.WORKS[name], statistics.median(ours), results["minigan"][0]
    row = {"work": name, "minigan_ms": 1e3 * median, "gflops": works.step_flops(work) / median / 1e9}
    if "sgemm" in about:
        row["sgemm_gflops"] = statistics.median(r["sgemm"] for r in results["minigan"]) / 1e9
    row |= {key: about[key] for key in ("device", "cupy", "launches") if key in about}
    others = [side for side in sides[1:] if results.get(side)]
    if others:
        check_equal(name, about["losses"], {side: results[side][0]["losses"] for side in others})
        best = min(others, key=lambda side: statistics.median(r["seconds"] for r in results[side]))
        theirs = [r["seconds"] for r in results[best]]
        row |= {"torch_ms": 1e3 * statistics.median(theirs), "torch_side": best, "ratio": pairing.ratios(ours, theirs)}
        if "launches" in results[best][0]:
            row["torch_launches"] = results[best][0]["launches"]
    return row


def check_equal(name, ours, others):
    for side, theirs in others.items():
        if not np.allclose(ours, theirs, rtol=1e-8, atol=1e-8):
            raise SystemExit(f"{name}: the losses of the first three steps differ, so the two do not do the same work: "
                             f"minigan {ours}, {side} {theirs}")


def line(row):
    """One row of the table."""
    ratio = "{:.2f} ({:.2f} … {:.2f})".format(*row["ratio"]) if "ratio" in row else ""
    share = f"{row['gflops'] / row['sgemm_gflops']:.0%} of sgemm" if "sgemm_gflops" in row else (
        f"{row['launches']} launches, PyTorch {row.get('torch_launches')}")
    return (f"{row['work']:14} {row['minigan_ms']:7.2f} ms {row.get('torch_ms', float('nan')):7.2f} ms   {ratio:26} "
            f"{row['gflops']:8.0f}  {share}")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--backend", choices=("numpy", "cupy"), default="numpy")
    p.add_argument("--tf32", action="store_true", help="on the GPU, on both sides")
    p.add_argument("--work", nargs="+", choices=works.WORKS, help="(default: those of the tables)")
    p.add_argument("--rounds", type=int, default=5, help="how often the sides take turns")
    p.add_argument("--steps", type=int, default=25, help="timed steps in each turn")
    p.add_argument("--json", metavar="FILE")
    p.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    options = p.parse_args()
    if options.worker:
        return worker(options.worker, options.work[0], options)
    try:
        backend.use_backend(options.backend)
    except backend.BackendError as error:
        p.error(str(error))
    rows = []
    print(f"{'work':14} {'minigan':>10} {'PyTorch':>10}   {'ratio (least … greatest)':26} {'GFLOP/s':>8}")
    for name in options.work or (works.ON_CPU if options.backend == "numpy" else works.ON_GPU):
        rows.append(measure(name, options))
        print(line(rows[-1]), flush=True)
    if options.json:
        pairing.keep(options.json, {"rounds": options.rounds, "steps": options.steps, "backend": options.backend,
                                    "tf32": options.tf32, "rows": rows})


if __name__ == "__main__":
    sys.exit(main())
