"""python -m benchmarks.ring8: what each objective, trained with its defaults, reaches on eight Gaussians on a ring.

For every objective, a run of `--steps` generator updates for each of `--seeds` seeds, judged by 2,500 samples of the
averaged generator. Prints a table; `--json FILE` keeps it with the versions it was made with.
"""

import argparse
import json
import platform
import statistics

import numpy as np

from benchmarks.training import samples_of, trained
from minigan import __version__, data, metrics
from minigan.trainer import RECIPES


def train(objective, steps, seed):
    """(modes, high-quality share, seconds) of one run with the command line's defaults."""
    options = dict(objective=objective, ema=0.999, steps=steps)
    model, seconds, error = trained(data.load("ring8", seed=seed), options, seed)
    if error:
        raise SystemExit(error)
    coverage = metrics.mode_coverage(samples_of(model, 2500, seed), *data.MIXTURES["ring8"])
    return coverage.modes, coverage.high_quality, seconds


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
