"""python -m benchmarks.growing: what growing gains in the same time.

`--model progan` is trained on fashion-mini with its defaults, and again with `--grow 0` and the
same seed for as many seconds: early steps are cheap, so the one that grows makes more of them.
Rates fall to the last step, so the number of steps of the other side is set beforehand: a run of 60
steps tells how long one takes. Seconds are those of the processor, with one thread, so that another
process does not lengthen them; without those that measuring takes. FD-LeNet-fashion of 3,000
samples of the averaged generator is measured all along. Each seed is kept in
benchmarks/results/growing.json as it ends, and not done again, whatever the defaults have become.
"""

import argparse
import os
import time
from pathlib import Path
from statistics import fmean

if __name__ == "__main__":
    os.environ |= {"MINIGAN_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

from benchmarks import pairing  # noqa: E402 (the threads come first)
from benchmarks.mixtures import mean_and_error  # noqa: E402
from benchmarks.training import samples_of  # noqa: E402
from minigan import backend, data, metrics  # noqa: E402
from minigan.metrics.judges import judge_for  # noqa: E402
from minigan.runs import models  # noqa: E402
from minigan.zoo.progan import ProGAN  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "growing.json"
SIDES = {"growing": {}, "whole": dict(grow=0.0)}
SAMPLES, POINTS, FEW = 3000, 20, 60


def train(options, dataset, judge, seed, points=POINTS):
    """[[seconds, step, FD], …] along a run."""
    facts, streams = models.facts_of(dataset), backend.Streams(seed)
    options = models.complete(dict(model="progan") | options, facts)
    model = models.made(options, facts, streams)
    batches = data.Batches(dataset.x, options["batch_size"], streams["data"])
    spent, curve = 0.0, []
    while model.steps < options["steps"]:
        began = time.process_time()
        model.step(batches.deal(model.batches_per_step))
        spent += time.process_time() - began
        if model.steps * points >= options["steps"] * (len(curve) + 1):
            curve.append([round(spent, 2), model.steps, distance(model, judge, seed)])
            print(curve[-1], flush=True)
    model.check_finite()
    return curve


def distance(model, judge, seed):
    features = judge.features_of(samples_of(model, SAMPLES, seed))
    return round(float(metrics.frechet_distance(judge.features, features)), 2)


def both(options, dataset, judge, seed):
    """{side: its curve}, the second of as many steps as take as many seconds as the first."""
    growing = train(options | SIDES["growing"], dataset, judge, seed)
    [(few_seconds, few, _)] = train(SIDES["whole"] | dict(steps=FEW), dataset, judge, seed, 1)
    steps = max(1, round(growing[-1][0] * few / few_seconds))
    whole = train(options | SIDES["whole"] | dict(steps=steps), dataset, judge, seed)
    return {"growing": growing, "whole": whole}


def seconds_to(curve, level):
    """When the distance is first as small as this, or None."""
    return next((seconds for seconds, _, found in curve if found <= level), None)


def table(runs):
    """Markdown: the ends, and when each was first as good as the worse of both ends of its seed."""
    lines = ["| | seeds | steps | seconds | FD-LeNet-fashion | seconds to the worse end |",
             "|---|--:|--:|--:|--:|--:|"]
    for side in SIDES:
        curves = [run[side] for run in runs]
        ends = [curve[-1] for curve in curves]
        worse = [max(run[other][-1][2] for other in SIDES) for run in runs]
        reached = [seconds_to(curve, level) for curve, level in zip(curves, worse)]
        seconds, _, found = map(mean_and_error, zip(*ends))
        steps = f"{fmean(end[1] for end in ends):,.0f}"
        lines.append(f"| {side} | {len(runs)} | {steps} | {seconds} | {found} | "
                     f"{mean_and_error(reached)} |")
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--steps", type=int, default=ProGAN.OPTIONS["steps"][0],
                   help="of the side that grows (default: the model's)")
    given = p.parse_args()
    dataset = data.load("fashion-mini")
    judge = judge_for("fashion-mini", dataset.x)
    runs = pairing.done_one_by_one(
        [dict(seed=seed, steps=given.steps) for seed in range(given.seeds)],
        lambda run: both(dict(steps=run["steps"]), dataset, judge, run["seed"]), str(RESULTS),
        samples=SAMPLES)
    print(table([run for run in runs if run["steps"] == given.steps]))


if __name__ == "__main__":
    main()
