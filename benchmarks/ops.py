"""python -m benchmarks.ops: milliseconds per operation at the shapes of a 28-pixel DCGAN, minigan
against PyTorch."""

import argparse
import json
import statistics
import sys

import numpy as np

from benchmarks import pairing

SIDES = ("minigan", "torch", "torch-channels-last")
BATCH = 64


def arrays():
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape, dtype=np.float32)
    return {"x": draw(BATCH, 14, 14, 64), "w": draw(4, 4, 64, 128), "y": draw(BATCH, 7, 7, 128),
            "first x": draw(BATCH, 28, 28, 1), "first w": draw(4, 4, 1, 64),
            "first y": draw(BATCH, 14, 14, 64),
            "weight": draw(64), "bias": draw(64)}


def minigan_calls():
    import minigan as mg
    from minigan import conv
    from minigan.normalize import batch_norm
    a = {name: mg.Tensor(array, requires_grad=name in ("x", "weight", "bias"))
         for name, array in arrays().items()}

    def norm_backward():
        leaves = a["x"], a["weight"], a["bias"]
        return mg.grad(batch_norm(*leaves), leaves, a["first y"])
    calls = {"batch norm": lambda: batch_norm(a["x"], a["weight"], a["bias"]),
             "batch norm and gradient": norm_backward}
    for label, prefix in (("14×14×64 → 7×7×128", ""), ("28×28×1 → 14×14×64", "first ")):
        x, w, y = (a[prefix + name].detach() for name in "xwy")
        calls |= {f"conv2d {label}": lambda x=x, w=w: conv.conv2d(x, w, 2, 1),
                  f"conv_transpose2d {label}": lambda y=y, w=w: conv.conv_transpose2d(y, w, 2, 1),
                  f"conv2d_weight {label}": lambda x=x, y=y: conv.conv2d_weight(x, y, 4, 2, 1)}
    return calls


def torch_calls(channels_last):
    torch = pairing.needs_torch()
    from torch.nn import functional as F
    from torch.nn.grad import conv2d_weight
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def tensor(array):
        if array.ndim == 1:
            return torch.from_numpy(array)
        axes = (3, 2, 0, 1) if array.shape[0] == 4 else (0, 3, 1, 2)
        return torch.from_numpy(array.transpose(axes).copy()).contiguous(memory_format=layout)
    a = {name: tensor(array) for name, array in arrays().items()}
    leaves = [a[name].clone().requires_grad_() for name in ("x", "weight", "bias")]
    norm = lambda: F.batch_norm(leaves[0], None, None, leaves[1], leaves[2], training=True)
    norm_backward = lambda: torch.autograd.grad(norm(), leaves, a["first y"])
    calls = {"batch norm": norm, "batch norm and gradient": norm_backward}
    for label, prefix in (("14×14×64 → 7×7×128", ""), ("28×28×1 → 14×14×64", "first ")):
        x, w, y = (a[prefix + name] for name in "xwy")
        calls |= {f"conv2d {label}": lambda x=x, w=w: F.conv2d(x, w, stride=2, padding=1),
                  f"conv_transpose2d {label}":
                      lambda y=y, w=w: F.conv_transpose2d(y, w, stride=2, padding=1),
                  f"conv2d_weight {label}":
                      lambda x=x, w=w, y=y: conv2d_weight(x, w.shape, y, stride=2, padding=1)}
    return calls


def worker(side, repetitions):
    calls = minigan_calls() if side == "minigan" else torch_calls(side == "torch-channels-last")
    print(json.dumps({name: pairing.timed(call, repetitions, warm_up=10)
                      for name, call in calls.items()}))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=60, help="timed calls in each turn")
    p.add_argument("--json", metavar="FILE")
    p.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    options = p.parse_args()
    if options.worker:
        return worker(options.worker, options.steps)
    results = pairing.alternate("benchmarks.ops", SIDES, options.rounds,
                                ["--steps", str(options.steps)])
    others, rows = [side for side in SIDES[1:] if results.get(side)], []
    for name in results["minigan"][0]:
        ours = [r[name] for r in results["minigan"]]
        row = {"operation": name, "minigan_ms": 1e3 * statistics.median(ours)}
        if others:
            best = min(others, key=lambda side: statistics.median(r[name] for r in results[side]))
            theirs = [r[name] for r in results[best]]
            row |= {"torch_ms": 1e3 * statistics.median(theirs),
                    "ratio": pairing.ratios(ours, theirs)}
        rows.append(row)
        ratio = "{:.2f} ({:.2f} … {:.2f})".format(*row["ratio"]) if others else ""
        theirs = row.get("torch_ms", float("nan"))
        print(f"{name:40} {row['minigan_ms']:7.2f} ms {theirs:7.2f} ms   {ratio}")
    if options.json:
        pairing.keep(options.json, {"rounds": options.rounds, "steps": options.steps,
                                    "rows": rows})


if __name__ == "__main__":
    sys.exit(main())
