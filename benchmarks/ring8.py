"""python -m benchmarks.ring8: what each objective, trained with its defaults, reaches on eight Gaussians on a ring.

For every objective, a run of `--steps` generator updates for each of `--seeds` seeds, judged by 2,500 samples of the
averaged generator. Prints a table; `--json FILE` keeps it with the versions it was made with.
"""

import argparse
import json
import platform
import statistics
import time

import numpy as np

from minigan import __version__, backend, data, metrics
from minigan.runs import models
from minigan.trainer import RECIPES, Facts


def train(objective, steps, seed):
    """(modes, high-quality share, seconds) of one run with the command line's defaults."""
    backend.seed(seed)
    x = data.load("ring8", seed=seed).x
    options = models.complete({"model": "gan", "objective": objective, "ema": 0.999}, Facts(x.shape[1:]))
    batches = data.Batches(x, options["batch_size"], backend.streams["data"])
    trainer = models.made(options, Facts(x.shape[1:]), backend.streams)
    began = time.perf_counter()
    for _ in range(steps):
        trainer.step(batches.deal(trainer.batches_per_step))
    trainer.check_finite()
    samples = backend.to_numpy(trainer.sample(models.noise(2500, options["latent"], seed)))
    coverage = metrics.mode_coverage(samples, *data.MIXTURES["ring8"])
    return coverage.modes, coverage.high_quality, time.perf_counter() - began


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--objectives", nargs="+", choices=RECIPES, default=list(RECIPES))
    p.add_argument("--steps", type=int, default=10_000)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--json", metavar="FILE")
    options = p.parse_args()
    rows = []
    print(f"{'objective':10} {'modes of 8':>16} {'high quality':>24} {'seconds':>8}")
    for objective in options.objectives:
        runs = [train(objective, options.steps, seed) for seed in range(options.seeds)]
        modes, quality, seconds = zip(*runs)
        rows.append({"objective": objective, "modes": modes, "high_quality": [round(q, 4) for q in quality],
                     "seconds": [round(s) for s in seconds]})
        print(f"{objective:10} {' '.join(map(str, modes)):>16} {' '.join(f'{q:.1%}' for q in quality):>24} "
              f"{statistics.median(seconds):8.0f}", flush=True)
    if options.json:
        about = {"steps": options.steps, "minigan": __version__, "numpy": np.__version__,
                 "python": platform.python_version()}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(about | {"runs": rows}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
