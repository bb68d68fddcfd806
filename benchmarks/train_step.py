"""python -m benchmarks.train_step: milliseconds per training step, minigan against PyTorch eager.

On the CPU, or with `--backend cupy` on the GPU; with `--engines` minigan's plain engine too. Before
anything is timed, all sides do three steps in float64 from the same weights, data and noise, and
their losses must agree to eight digits. Then float32 is timed, each side in a process of its own,
in turn.
"""

import argparse
import functools
import json
import statistics
import sys

import numpy as np

from benchmarks import pairing, works
from minigan import backend, fast

PLAIN = "minigan-plain"  # the plain engine, with the matrix library on all cores
SIDES = ("minigan", PLAIN, "torch", "torch-channels-last")


def worker(side, name, options):
    """Losses in float64 and the time of a step in float32, as one line of JSON."""
    ours = side in ("minigan", PLAIN)
    make, wait, about = (minigan_side if ours else torch_side)(side, options)
    work = works.WORKS[name]
    exact = make(work, "float64")
    losses = [[float(backend.to_numpy(loss) if ours else loss) for loss in exact()]
              for _ in range(3)]
    step = make(work)
    if options.backend == "numpy":  # where the plain engine may be ten times as slow
        seconds = pairing.timed(step, options.steps if side != PLAIN else -(-options.steps // 5))
    else:
        seconds = pairing.timed_on_device(step, wait, options.steps)
        about["launches"] = launches(step, wait)
    if ours:
        about["engine"] = engine()
    print(json.dumps({"losses": losses, "seconds": seconds, **about}))


def minigan_side(side, options):
    """(how to make a step, how to wait for the device, what the rest of the figures need)."""
    if options.backend == "numpy":
        return works.minigan_step, None, {} if side == PLAIN else {"sgemm": sgemm_rate()}
    if options.tf32:
        backend.allow_tf32()
    backend.use_backend(options.backend)
    xp = backend.current().xp
    about = {"device": pairing.card(xp), "cupy": xp.__version__}
    return works.minigan_step, xp.cuda.Device().synchronize, about


def torch_side(side, options):
    torch = pairing.needs_torch()
    device = "cpu" if options.backend == "numpy" else "cuda"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.tf32
    torch.backends.cudnn.benchmark = True  # as an expert would: the shapes stay the same
    make = functools.partial(works.torch_step, channels_last=side == "torch-channels-last",
                             device=device)
    return make, torch.cuda.synchronize, {}


def engine():
    """The engine that was measured: "fast", "plain", or why there are no compiled kernels."""
    from minigan.fast import native
    return "plain" if not fast.is_on() else native.why_not or "fast"


def launches(step, wait):
    """Kernels and copies that one step puts on the GPU, counted by PyTorch's profiler; None without
    PyTorch."""
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
    seconds = pairing.timed(lambda: np.matmul(a, b, out=out), 20)
    return 2 * a.size * b.shape[1] / seconds


def measure(name, options):
    sides = [side for side in SIDES
             if (options.engines or side != PLAIN)
             and not (name.startswith("mlp") and side == "torch-channels-last")]
    passed_on = ["--work", name, "--steps", str(options.steps), "--backend", options.backend]
    results = pairing.alternate("benchmarks.train_step", sides, options.rounds,
                                passed_on + ["--tf32"] * options.tf32)
    seconds = {side: [r["seconds"] for r in found] for side, found in results.items()}
    in_ms = lambda side: 1e3 * statistics.median(seconds[side])
    ours, about = seconds["minigan"], results["minigan"][0]
    check_equal(name, {side: found[0]["losses"] for side, found in results.items()})
    row = {"work": name, "minigan_ms": in_ms("minigan"), "engine": about["engine"],
           "gflops": works.step_flops(works.WORKS[name]) / in_ms("minigan") / 1e6}
    if "sgemm" in about:
        row["sgemm_gflops"] = statistics.median(r["sgemm"] for r in results["minigan"]) / 1e9
    row |= {key: about[key] for key in ("device", "cupy", "launches") if key in about}
    if PLAIN in results:
        row |= {"plain_ms": in_ms(PLAIN), "plain_ratio": pairing.ratios(ours, seconds[PLAIN])}
        if "launches" in results[PLAIN][0]:
            row["plain_launches"] = results[PLAIN][0]["launches"]
    if others := [side for side in sides if side.startswith("torch") and side in results]:
        best = min(others, key=in_ms)
        row |= {"torch_ms": in_ms(best), "torch_side": best,
                "ratio": pairing.ratios(ours, seconds[best])}
        if "launches" in results[best][0]:
            row["torch_launches"] = results[best][0]["launches"]
    return row


def check_equal(name, losses):
    for side, theirs in losses.items():
        if not np.allclose(losses["minigan"], theirs, rtol=1e-8, atol=1e-8):
            raise SystemExit(f"{name}: the losses of the first three steps differ, so the two do "
                             f"not do the same work: minigan {losses['minigan']}, {side} {theirs}")


def lines(row):
    """One row of the table, a second line for the plain engine, and a third where something is
    missing."""
    said = "{:.2f} ({:.2f} … {:.2f})".format
    ratio = said(*row["ratio"]) if "ratio" in row else ""
    if "sgemm_gflops" in row:
        share = f"{row['gflops'] / row['sgemm_gflops']:.0%} of sgemm"
    else:
        share = f"{row['launches']} launches, PyTorch {row.get('torch_launches')}"
    yield (f"{row['work']:14} {row['minigan_ms']:8.2f} ms {row.get('torch_ms', float('nan')):8.2f} "
           f"ms   {ratio:26} {row['gflops']:8.0f}  {share}")
    if "plain_ms" in row:
        yield (f"{'':14} {row['plain_ms']:8.2f} ms with the plain engine: fast / plain "
               f"{said(*row['plain_ratio'])}")
    if row["engine"] != "fast":
        yield f"{'':14} measured without compiled kernels: {row['engine']}"


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--backend", choices=("numpy", "cupy"), default="numpy")
    p.add_argument("--tf32", action="store_true", help="on the GPU, on both sides")
    p.add_argument("--engines", action="store_true", help="measure the plain engine as well")
    p.add_argument("--work", nargs="+", choices=works.WORKS,
                   help="(default: those of the tables)")
    p.add_argument("--rounds", type=int, default=5, help="how often the sides take turns")
    p.add_argument("--steps", type=int, default=25,
                   help="timed steps in each turn; the plain engine takes a fifth on the CPU")
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
    print(pairing.machine_line())
    print(f"{'work':14} {'minigan':>11} {'PyTorch':>11}   {'ratio (least … greatest)':26} "
          f"{'GFLOP/s':>8}")
    for name in options.work or (works.ON_CPU if options.backend == "numpy" else works.ON_GPU):
        rows.append(measure(name, options))
        print(*lines(rows[-1]), sep="\n", flush=True)
    if options.json:
        pairing.keep(options.json, {
            "rounds": options.rounds, "steps": options.steps, "backend": options.backend,
            "tf32": options.tf32, "rows": rows})


if __name__ == "__main__":
    sys.exit(main())
