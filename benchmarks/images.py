"""python -m benchmarks.images DATA: every objective on MNIST or Fashion-MNIST, trained by minigan and by PyTorch.

Both train the same networks from the same weights on the same batches for the same number of steps; their noise is
their own. 10,000 samples of the averaged generator are judged by minigan's feature network against the test set. Where
an objective has several seeds, the means of both sides are compared: a fault hidden in minigan would show as a gap.
Each run is kept in `--json FILE` as it ends, and not done again; the table is made of what is there.
"""

import argparse
import math
import os
import statistics
import time

import numpy as np

from benchmarks import pairing
from benchmarks.mixtures import mean_and_error
from minigan import backend, data, metrics, plots
from minigan.metrics import classifiers, judges
from minigan.runs import models
from minigan.trainer import RECIPES, Facts
from minigan.zoo.gan import GAN

OBJECTIVES = [name for name in RECIPES if name != "relativistic"]  # that one is a row of benchmarks.toolbox
SIDES = ("minigan", "torch")
SEEDS = {"mnist": {"gan": 3, "lsgan": 3}, "fashion": {}}  # of the other objectives, one
MEASURES = ("frechet", "precision", "recall", "class_divergence")
STEPS, SAMPLES = 1600, 10_000
# Small networks and batches, and learning rates 4 times the objectives' own: some 40 seconds on one core are to do.
SETTINGS, HASTE = dict(width=16, batch_size=32, ema=0.995), 4.0


def options_of(objective, sample_shape, steps):
    """All options of the trainer."""
    chosen = SETTINGS | dict(model="gan", recipe="dcgan", objective=objective, steps=steps)
    options = models.complete(chosen, Facts(sample_shape))
    return options | {name: HASTE * options[name] for name in ("lr_g", "lr_d")}


def minigan_samples(options, x, seed, noise):
    """Samples (n, H, W, C) of the averaged generator, from `noise` (n, latent), after `options["steps"]` steps."""
    streams = backend.Streams(seed)
    batches = data.Batches(x, options["batch_size"], streams["data"])
    trainer = models.made(options, Facts(x.shape[1:]), streams)
    with np.errstate(all="ignore"):
        for _ in range(options["steps"]):
            trainer.step(batches.deal(options["n_critic"]))
        return trainer.sample(noise)


def torch_samples(options, x, seed, noise):
    """The same in PyTorch, from the same weights and batches, with noise that PyTorch draws."""
    torch = pairing.needs_torch()
    from benchmarks import reference

    streams = backend.Streams(seed)
    batches = data.Batches(x, options["batch_size"], streams["data"])
    G, D = map(reference.converted, GAN.pair(Facts(x.shape[1:]), options, streams["init"]))
    average, random = reference.Average(G, options["ema"]), torch.Generator().manual_seed(seed)
    trainer = reference.Trainer(G, D, options["objective"],
                                noise=lambda n: torch.randn(n, options["latent"], generator=random),
                                mixing=lambda n: torch.rand(n, 1, 1, 1, generator=random), haste=HASTE)
    for _ in range(options["steps"]):
        trainer.step([reference.channels_first(batches.next()) for _ in range(options["n_critic"])])
        average.update()
    average.settle(options["latent"], "float32")
    with torch.no_grad():
        parts = [average.network(z) for z in torch.from_numpy(noise).split(256)]
    return torch.cat(parts).permute(0, 2, 3, 1).numpy()


class Judge:
    """The measures of images against the test set of `source`."""

    def __init__(self, source):
        self.network = classifiers.load(classifiers.for_data(source))
        self.features, probabilities = self.network.judge(data.load(source, split="test").x)
        self.shares = metrics.class_shares(probabilities)

    def __call__(self, images):
        """{name: number} by MEASURES, None where there is none: for infinity, and for images that are not numbers."""
        if not np.isfinite(images).all():
            return dict.fromkeys(MEASURES)
        features, probabilities = self.network.judge(images)
        both = self.features, features
        numbers = (metrics.frechet_distance(*both), *metrics.precision_recall(*both),
                   metrics.class_divergence(probabilities, self.shares))
        return {name: number if math.isfinite(number) else None for name, number in zip(MEASURES, numbers)}


def train(source, x, run, judge, pictures=None):
    """One run: its measures, and its seconds."""
    options = options_of(run["objective"], x.shape[1:], run["steps"])
    began = time.perf_counter()
    make = minigan_samples if run["side"] == "minigan" else torch_samples
    images = make(options, x, run["seed"], models.noise(SAMPLES, options["latent"], run["seed"]))
    seconds = round(time.perf_counter() - began)
    if pictures:
        plots.save_grid(os.path.join(pictures, f"{source}-{run['objective']}-{run['side']}-{run['seed']}.png"),
                        images[:64])
    return judge(images) | {"seconds": seconds}


def runs_of(source, steps):
    """What is to be done, as {"objective", "side", "steps", "seed"}: the objectives with most seeds first,
    then those with fewest critic steps."""
    seeds = {objective: SEEDS[source].get(objective, 1) for objective in OBJECTIVES}
    due = [dict(objective=objective, side=side, steps=steps, seed=seed)
           for objective in OBJECTIVES for seed in range(seeds[objective]) for side in SIDES]
    return sorted(due, key=lambda run: (-seeds[run["objective"]], run["seed"], RECIPES[run["objective"]].n_critic))


def table(ideal, runs):
    """Markdown: the training data themselves, judged as samples are, and every objective on both sides."""
    lines = ["| trained with | in | seeds | FD-LeNet | precision | recall | class divergence |",
             "|---|---|--:|--:|--:|--:|--:|",
             f"| the training data | | | {' | '.join(columns([ideal]))} |"]
    for objective in OBJECTIVES:
        for side, name in zip(SIDES, ("minigan", "PyTorch")):
            of_it = [run for run in runs if (run["objective"], run["side"]) == (objective, side)]
            if of_it:
                lines.append(f"| `{objective}` | {name} | {len(of_it)} | {' | '.join(columns(of_it))} |")
    return "\n".join(lines)


def columns(measured):
    return [mean_and_error([each[name] for each in measured]) for name in MEASURES]


def gaps(runs):
    """Of each objective with several seeds on both sides, how the means of the Fréchet distance differ:
    {objective: (minigan's − PyTorch's, standard error of that)}."""
    found = {}
    for objective in OBJECTIVES:
        ours, theirs = ([run["frechet"] for run in runs if (run["objective"], run["side"]) == (objective, side)
                         and run["frechet"] is not None] for side in SIDES)
        if min(len(ours), len(theirs)) > 1:
            error = math.hypot(*[statistics.stdev(values) / math.sqrt(len(values)) for values in (ours, theirs)])
            found[objective] = statistics.fmean(ours) - statistics.fmean(theirs), error
    return found


def sentence(objective, difference, error):
    return (f"`{objective}`: the means of FD-LeNet differ by {difference:+.2f} ± {error:.2f}, "
            f"{abs(difference) / error:.1f} standard errors")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("data", choices=SEEDS)
    p.add_argument("--steps", type=int, default=STEPS, help="generator updates of each run")
    p.add_argument("--json", metavar="FILE", help="keep the runs here, and go on with those that are missing")
    p.add_argument("--pictures", metavar="FOLDER", help="leave a grid of each run's samples there")
    given = p.parse_args()
    pairing.needs_torch()
    try:
        x, judge = data.load(given.data).x, Judge(given.data)
    except data.DataError as error:
        p.error(str(error))
    ideal = judge(judges.some(x, SAMPLES, backend.Streams(0)["training"]))
    runs = pairing.done_one_by_one(
        runs_of(given.data, given.steps), lambda run: train(given.data, x, run, judge, given.pictures), given.json,
        data=given.data, judge=judge.network.name, training_data=ideal, settings=SETTINGS | {"haste": HASTE})
    print(table(ideal, runs))
    for objective, gap in gaps(runs).items():
        print(sentence(objective, *gap))


if __name__ == "__main__":
    main()
