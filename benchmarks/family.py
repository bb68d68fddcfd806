"""python -m benchmarks.family: every model that makes pictures of noise, for as many minutes each.

Each is trained on Fashion-MNIST with its defaults, but for the steps. A short run, which goes
through all stages, tells how many fit into `--minutes` of the processor's time, on one thread.
Rates fall, and pictures grow, in so many steps as there are. Models of classes, sagan and
semisupervised among them, see the labels; others do not. 10,000 samples of the averaged generator
stand beside the test pictures: FD-LeNet-fashion, precision, recall, coverage. Beside them are the
milliseconds of a step and the lines of the model's file. What a model shares with others is in
other files, and not counted. Each run is kept in benchmarks/results/family.json as it ends, and
not done again, whatever the defaults have become; the table is made of what is there.
"""

import argparse
import os
import time
from pathlib import Path
from statistics import fmean

os.environ |= {"MINIGAN_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

import numpy as np  # noqa: E402 (the threads come first)

from benchmarks import pairing  # noqa: E402
from benchmarks.mixtures import mean_and_error  # noqa: E402
from benchmarks.training import samples_of, trained  # noqa: E402
from minigan import data, metrics  # noqa: E402
from minigan.metrics.judges import judge_for  # noqa: E402
from minigan.runs import models  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "family.json"
FAMILY = {name: dict(model=name) for name in (
    "gan", "cgan", "acgan", "projection", "infogan", "semisupervised", "gman", "d2gan", "r3gan",
    "sagan", "biggan", "progan", "stylegan2", "vae", "vaegan", "vqgan")}
FAMILY["gan, the paper's recipe"] = dict(model="gan", recipe="dcgan")
SAMPLES, MINUTES = 10_000, 20.0
FEW = 96  # steps: a multiple of how often lazy penalties are due, and enough for each stage
MEASURES = "FD-LeNet-fashion", "precision", "recall", "coverage"


def train(run, dataset, judge, few=FEW, samples=SAMPLES):
    """{steps, milliseconds of a step, measures} of one run, or why it failed."""
    options, seed = FAMILY[run["name"]], run["seed"]
    for _ in range(2):  # in the first one, kernels are compiled and caches filled
        seconds = trained(dataset, options | dict(steps=few), seed, time.process_time)[1]
    steps = max(1, round(run["minutes"] * 60.0 * few / seconds))
    model, seconds, failed = trained(dataset, options | dict(steps=steps), seed, time.process_time)
    found = dict(steps=steps, milliseconds=round(1000.0 * seconds / steps, 1))
    drawn = None if failed else samples_of(model, samples, seed)
    if failed or not np.isfinite(drawn).all():
        return found | dict(failed=failed or "samples that are not finite")
    both = judge.features, judge.features_of(drawn)
    numbers = (metrics.frechet_distance(*both), *metrics.precision_recall(*both),
               metrics.density_coverage(*both).coverage)
    return found | {name: round(float(number), 4) for name, number in zip(MEASURES, numbers)}


def lines_of(name):
    """How many lines the model's file has."""
    path = models.ZOO / f"{FAMILY[name]['model']}.py"
    return len(path.read_text(encoding="utf-8").splitlines())


def table(runs):
    """Markdown: a row for each model that was run, the best one first."""
    rows = []
    for name in FAMILY:
        of_it = [run for run in runs if run["name"] == name]
        if of_it:
            cells = [mean_and_error([run.get(measure) for run in of_it]) for measure in MEASURES]
            steps, each = [fmean(run[column] for run in of_it)
                           for column in ("steps", "milliseconds")]
            distance = fmean(run.get(MEASURES[0], np.inf) for run in of_it)
            rows.append((distance, f"| {name} | {len(of_it)} | {' | '.join(cells)} | {steps:,.0f} | "
                                   f"{each:.1f} | {lines_of(name)} |"))
    return "\n".join([f"| model | seeds | {' | '.join(MEASURES)} | steps | ms a step | lines |",
                      f"|---|--:|{'--:|' * len(MEASURES)}--:|--:|--:|",
                      *[row for _, row in sorted(rows)]])


def main():
    p = argparse.ArgumentParser(description=" ".join(__doc__.split("\n\n")[1].split()))
    p.add_argument("name", nargs="*", help="only these (default: all)")
    p.add_argument("--minutes", type=float, default=MINUTES)
    p.add_argument("--seeds", type=int, default=1)
    given = p.parse_args()
    for name in given.name:
        if name not in FAMILY:
            p.error(f"there is no {name!r}: expected some of {', '.join(FAMILY)}")
    try:
        dataset, test = data.load("fashion"), data.load("fashion", split="test")
    except data.DataError as error:
        p.error(str(error))
    judge = judge_for("fashion", test.x)
    due = [dict(name=name, minutes=given.minutes, seed=seed)
           for seed in range(given.seeds) for name in given.name or FAMILY]
    runs = pairing.done_one_by_one(due, lambda run: train(run, dataset, judge), str(RESULTS),
                                   judge=judge.name, samples=SAMPLES)
    print(table([run for run in runs if run["minutes"] == given.minutes]))


if __name__ == "__main__":
    main()
