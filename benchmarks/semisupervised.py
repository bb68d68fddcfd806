"""python -m benchmarks.semisupervised: what 100 labels are worth, with and without other samples.

The classifier of `--model semisupervised` is trained twice for each seed, which chooses the
labelled samples: with all samples of MNIST beside them, and on the labelled ones alone, in a tenth
of the steps, for it knows them by heart soon. First weights, labelled samples, dropout and learning
rates are the same. What counts is the test accuracy of the averaged classifier after the last step;
that after each tenth of the steps is kept too, and chooses nothing. Each run is kept in `--json
FILE` as it ends, and not done again; the table is made of what is there.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np

from benchmarks import pairing
from benchmarks.mixtures import mean_and_error
from minigan import backend, data
from minigan.metrics import lenet
from minigan.runs import models
from minigan.runs.options import DEFAULTS
from minigan.zoo.semisupervised import SemiSupervised


class Side(NamedTuple):
    name: str
    budget: float  # as a part of `--steps`


SIDES = {"alone": Side("the labelled samples alone", 0.1),
         "all": Side("all samples beside them", 1.0)}
# From the paper's Table 1: 93 ± 6.5 of the 10,000 test samples are called wrong, by a perceptron,
# which does not know which pixels are neighbours.
PUBLISHED = {"mnist": ["| published: 100 labels, all samples beside them | | | 99.07 ± 0.065 |"]}


def train(side, training, test, options):
    """One run: test accuracy, the same after each tenth of the steps, and seconds."""
    model, batches, _ = models.build(options, training)
    tenth, curve, began = max(1, options["steps"] // 10), [], time.perf_counter()
    with np.errstate(all="ignore"):
        while model.steps < options["steps"]:
            if side == "all":
                model.step(batches.deal())
            else:
                labelled_step(model, options["batch_size"])
            if model.steps % tenth == 0:
                curve.append(accuracy(model, test))
                print(f"{side}, step {model.steps}: {curve[-1]:.2%}", flush=True)
    model.check_finite()
    return dict(accuracy=accuracy(model, test), curve=curve,
                seconds=round(time.perf_counter() - began))


def labelled_step(model, n):
    """What is left of the model's step without unlabelled samples."""
    model.steps += 1
    rows = model.streams["labelled"].permutation(model.count)[:n]
    logits = model.discriminator(model.seen(model.real(model.labelled.x[rows])))
    model.descend(model.d_optimizer, lenet.cross_entropy(logits, model.labelled.labels[rows]))
    model.classifier_average.update(model.steps)


def accuracy(model, test):
    return float((model.classify(test.x) == test.labels).mean())


def runs_of(seeds, steps, labelled):
    """What is to be done, as {"side", "steps", "labelled", "seed"}: the short runs first."""
    return [dict(side=side, steps=max(1, round(SIDES[side].budget * steps)), labelled=labelled,
                 seed=seed) for side in SIDES for seed in range(seeds)]


def table(source, runs):
    """Markdown: ours, then the published row."""
    lines = ["| trained on | steps | seeds | test accuracy, % |", "|---|--:|--:|--:|"]
    kinds = dict.fromkeys([(run["labelled"], run["side"], run["steps"]) for run in runs])
    for labelled, side, steps in kinds:
        of_it = [100 * run["accuracy"] for run in runs
                 if (run["labelled"], run["side"], run["steps"]) == (labelled, side, steps)]
        lines.append(f"| {labelled} labels, {SIDES[side].name} | {steps:,} | {len(of_it)} | "
                     f"{mean_and_error(of_it)} |")
    return "\n".join([*lines, *PUBLISHED.get(source, ())])


def main():
    default = {name: value for name, (value, *_) in SemiSupervised.OPTIONS.items()}
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--data", default="mnist", help="its test split, or a tenth that is held out")
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--labelled", type=int, default=default["labelled"])
    p.add_argument("--steps", type=int, default=default["steps"])
    p.add_argument("--json", metavar="FILE",
                   help="keep the runs here, and go on with those that are missing")
    given = p.parse_args()
    try:
        training, test = lenet.train_and_test(given.data, None, backend.Streams(0))
    except data.DataError as error:
        p.error(str(error))

    def do(run):
        chosen = {name: value for name, value in run.items() if name != "side"}
        options = DEFAULTS | dict(model="semisupervised", data=given.data) | chosen
        options = models.complete(options, models.facts_of(training))
        return train(run["side"], training, test, options)
    runs = pairing.done_one_by_one(runs_of(given.seeds, given.steps, given.labelled), do,
                                   given.json, data=given.data)
    print(table(given.data, runs))


if __name__ == "__main__":
    main()
