"""python -m benchmarks.codes: what the codes of a vqgan are worth.

A run with the defaults, on emoji with `--mirror` and a shorter second stage, is trained as `python
-m minigan.train --model vqgan` does it, and looked at on the test split, which it never saw: how
near the pictures made of its codes are to those that were encoded (PSNR, and the Fréchet distance
of both sets), which share of the codebook they use, and in how many bits the transformer writes a
code. Of samples of the transformer: their Fréchet distance to at most 3,000 test pictures, and the
seconds that they take. Each run is kept in benchmarks/results/codes.json as it ends, and not done
again, whatever the defaults have become; pictures of the first seed lie beside it.
"""

import argparse
import shutil
import tempfile
import time
from functools import partial
from math import log
from pathlib import Path

import numpy as np

from benchmarks import pairing
from benchmarks.zoo import RESULTS, SHORT_PRIOR, command
from minigan import backend, data, metrics, ops
from minigan.metrics import judges
from minigan.runs import models
from minigan.tensor import no_grad

OPTIONS = {"mnist": "", "emoji": f"--mirror {SHORT_PRIOR}"}
NETWORKS = {"mnist": None, "emoji": "fashion"}  # whose features are compared
MOST = 3000                                     # pictures in a Fréchet distance


def train(run, steps=None):
    """The figures of one run; `steps` for fewer than the default."""
    given = [*run["options"].split(), *(["--steps", steps] if steps else [])]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command("train", "--model", "vqgan", "--data", run["data"], "--seed", run["seed"],
                "--out", folder, *given)
        seconds = round(time.perf_counter() - began)
        [made] = Path(folder).iterdir()
        if run["seed"] == 0 and not steps:
            show(made, run["data"])
        return measured(models.load(made), run["data"]) | {"seconds": seconds}


def show(made, source):
    """Put what a run drew, what it restored and its codebook beside the results."""
    pictures = {"samples": sorted((made / "samples").glob("*.png"))[-1],
                **{name: made / f"{name}.png" for name in ("reconstructions", "codebook")}}
    for name, path in pictures.items():
        shutil.copy(path, RESULTS / f"codes_{source}_{name}.png")


def measured(trained, source):
    """Of what a run has learned, beside the test split of `source`."""
    model, x = trained.model, data.to_unit(data.load(source, split="test").x)
    codes, rebuilt = codes_of(model, x), model.reconstructed(x)
    counts = codes.reshape(-1, codes.shape[-1]).sum(0)
    n = min(MOST, len(x))
    judge = judges.judge_for(source, x[:n], NETWORKS[source])
    distance = lambda pictures: metrics.frechet_distance(
        judge.features, judge.features_of(pictures))
    began = time.perf_counter()
    drawn = trained.sample(n)
    drawing = time.perf_counter() - began
    return {"pixels_per_code": x[0, ..., 0].size / codes.shape[1],
            "psnr": float(metrics.psnr(x, rebuilt).mean()),
            "used": float((counts > 0).mean()),
            "bits_per_code": surprise(model, codes) / log(2),
            "fd_reconstructed": float(distance(rebuilt[:n])), "fd_samples": float(distance(drawn)),
            "n": n, "seconds_of_drawing": round(drawing, 1)}


def codes_of(model, x, block=256):
    """Pictures (N, H, W, C) → one-hot codes (N, T, K)."""
    with no_grad():
        vectors = [model.encoder(model.real(x[i:i + block])).data for i in range(0, len(x), block)]
        return np.concatenate([backend.to_numpy(model.codebook.nearest(z)) for z in vectors])


def surprise(model, codes, block=256):
    """The mean of −ln p of a code, given those before it, by the transformer."""
    with no_grad():
        found = [(ops.log_softmax(model.transformer(some)) * some).sum((1, 2)).numpy()
                 for some in (codes[i:i + block] for i in range(0, len(codes), block))]
    return float(-np.concatenate(found).mean() / codes.shape[1])


def main():
    p = argparse.ArgumentParser(description=" ".join(__doc__.split("\n\n")[1].split()))
    p.add_argument("--data", choices=OPTIONS, action="append", help="only on these data")
    p.add_argument("--seeds", type=int, default=1)
    p.add_argument("--steps", type=int, help="fewer than the default, to try it; nothing is kept")
    given = p.parse_args()
    due = [dict(data=source, options=OPTIONS[source], seed=seed)
           for source in given.data or OPTIONS for seed in range(given.seeds)]
    path = None if given.steps else str(RESULTS / "codes.json")
    pairing.done_one_by_one(due, partial(train, steps=given.steps), path)


if __name__ == "__main__":
    main()
