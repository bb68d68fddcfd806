"""python -m benchmarks.semisupervised: what 100 labels are worth with and without the other samples.

The classifier of `--model semisupervised` is trained twice for each seed, which chooses the labelled samples: with all
samples of MNIST beside them, and on the labelled ones alone. Weights, samples, dropout, optimizer and number of steps
are the same, and it is always the averaged classifier that is tested, once, after the last step. Each run is kept in
`--json FILE` as it ends, and not done again; the table is made of what is there.
"""

import argparse
import time

import numpy as np

from benchmarks import pairing
from benchmarks.mixtures import mean_and_error
from minigan import backend, data
from minigan.metrics import lenet
from minigan.runs import models
from minigan.runs.options import DEFAULTS
from minigan.zoo.semisupervised import SemiSupervised

SIDES = {"alone": "the labelled samples alone", "all": "all samples beside them"}
# Test errors of the paper's Table 1, 93 ± 6.5 of 10,000 with 100 labels, over ten choices of them.
PUBLISHED = "| published: all samples beside them | | 10 | 99.07 ± 0.065 |"


def train(side, training, test, options):
    """One run: the share of the test samples that the averaged classifier calls right, and its seconds."""
    model, batches, _ = models.build(options, training)
    began = time.perf_counter()
    with np.errstate(all="ignore"):
        for _ in range(options["steps"]):
            if side == "all":
                model.step(batches.deal())
            else:
                labelled_step(model, options["batch_size"])
    model.check_finite()
    seconds = round(time.perf_counter() - began)
    return dict(accuracy=float((model.classify(test.x) == test.labels).mean()), seconds=seconds)


def labelled_step(model, n):
    """What is left of the model's step without unlabelled samples."""
    model.steps += 1
    rows = model.streams["labelled"].permutation(model.count)[:n]
    logits = model.discriminator(model.real(model.labelled.x[rows]))
    model.descend(model.d_optimizer, lenet.cross_entropy(logits, model.labelled.labels[rows]))
    model.classifier_average.update(model.steps)


def runs_of(seeds, steps, labelled):
    """What is to be done, as {"side", "steps", "labelled", "seed"}, seed by seed."""
    return [dict(side=side, steps=steps, labelled=labelled, seed=seed) for seed in range(seeds) for side in SIDES]


def table(runs):
    """Markdown: ours, then the published row."""
    lines = ["| trained on | steps | seeds | test accuracy, % |", "|---|--:|--:|--:|"]
    for steps, labelled in sorted({(run["steps"], run["labelled"]) for run in runs}):
        for side, name in SIDES.items():
            of_it = [100 * run["accuracy"] for run in runs
                     if (run["side"], run["steps"], run["labelled"]) == (side, steps, labelled)]
            if of_it:
                lines.append(f"| {labelled} labels, {name} | {steps:,} | {len(of_it)} | {accuracy(of_it)} |")
    return "\n".join([*lines, PUBLISHED])


def accuracy(values):
    return f"{values[0]:.2f}" if len(values) == 1 else mean_and_error(values)


def main():
    default = {name: value for name, (value, *_) in SemiSupervised.OPTIONS.items()}
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--data", default="mnist")
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--labelled", type=int, default=default["labelled"])
    p.add_argument("--steps", type=int, default=default["steps"])
    p.add_argument("--json", metavar="FILE", help="keep the runs here, and go on with those that are missing")
    given = p.parse_args()
    try:
        training, test = lenet.train_and_test(given.data, None, backend.Streams(0))
    except data.DataError as error:
        p.error(str(error))
    runs = (pairing.kept(given.json) or {"runs": []})["runs"] if given.json else []
    for run in runs_of(given.seeds, given.steps, given.labelled):
        if any(run.items() <= done.items() for done in runs):
            continue
        chosen = dict(model="semisupervised", data=given.data, **{name: run[name] for name in ("steps", "labelled",
                                                                                               "seed")})
        options = models.complete(DEFAULTS | chosen, models.facts_of(training))
        runs.append(run | train(run["side"], training, test, options))
        print(runs[-1], flush=True)
        if given.json:
            pairing.keep(given.json, {"data": given.data, "runs": runs})
    print(table(runs))


if __name__ == "__main__":
    main()
