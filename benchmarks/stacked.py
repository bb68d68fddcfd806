"""python -m benchmarks.stacked: PacGAN's yardstick on stacked MNIST, 1,000 triples of digits.

25,600 samples of the averaged generator are judged as the papers do it: a network of single digits,
on each channel, tells the modes that were found and KL(q ‖ 1/1000), q the modes' shares of the
samples. The test split, judged as if it were samples, shows what chance and unequal digits leave of
a divergence. Each run is kept in `--json FILE` as it ends, and not done again; the table is made of
what is there.
"""

import argparse
from typing import NamedTuple

from benchmarks import pairing
from benchmarks.mixtures import mean_and_error
from benchmarks.training import samples_of, trained
from minigan import data, metrics
from minigan.metrics import classifiers
from minigan.metrics.channels import ByChannel

SAMPLES, STEPS = 25_600, 24_000
COMMON = dict(width=64, batch_size=64)


class Setting(NamedTuple):
    options: dict      # of the model, beside COMMON and its defaults
    seeds: int
    part: float = 1.0  # of the steps: about as many seconds


# What is missing from the samples is sharp digits, not modes: poor ones are all taken for the same
# few.
SETTINGS = {"the default recipe, `spectral`, without its dense layer": Setting(dict(dense=0), 3),
            "`r3gan`": Setting(dict(model="r3gan", width=32), 3, 0.75),
            "`gan` as DCGAN's paper has it": Setting(dict(recipe="dcgan"), 1, 0.5)}

# (modes, KL) as published, of other networks, longer training and other classifiers.
PUBLISHED = {"PacDCGAN2 (arXiv:1712.04086)": ("1000", "0.06")}


class Judge:
    """{"modes", "reverse_kl"} of pictures (N, 28, 28, 3), by LeNet-mnist on each channel."""

    def __init__(self):
        self.network = ByChannel(classifiers.load("mnist"))
        self.name = self.network.name

    def __call__(self, images):
        triples = self.network.judge(images)[1].argmax(axis=1)
        return metrics.class_coverage(triples, len(self.network.classes))._asdict()


def train(dataset, options, steps, seed, judge):
    """One run: the measures of its samples, and its seconds. A run that diverges covers nothing."""
    model, seconds, error = trained(dataset, COMMON | options | dict(steps=steps), seed)
    if error:
        return dict(modes=0, reverse_kl=None, seconds=round(seconds), failed=error)
    return judge(samples_of(model, SAMPLES, seed)) | {"seconds": round(seconds)}


def runs_of(steps):
    """What is to be done, as {"setting", "steps", "seed"}: a seed of every setting, then the next.
    """
    due = [dict(setting=name, steps=round(setting.part * steps), seed=seed)
           for name, setting in SETTINGS.items() for seed in range(setting.seeds)]
    return sorted(due, key=lambda run: run["seed"])


def table(ideal, runs):
    """Markdown: the data themselves, ours with the modes of each seed, then the published rows."""
    lines = ["| trained with | steps | modes of 1,000 | KL | minutes |", "|---|--:|--:|--:|--:|",
             f"| the data: the test split | | {ideal['modes']} | {ideal['reverse_kl']:.3g} | |"]
    for name in SETTINGS:
        of_it = [run for run in runs if run["setting"] == name]
        if of_it:
            columns = [f"{of_it[0]['steps']:,}", " ".join(str(run["modes"]) for run in of_it),
                       mean_and_error([run["reverse_kl"] for run in of_it]),
                       f"{max(run['seconds'] for run in of_it) / 60:.0f}"]
            lines.append(f"| {name} | {' | '.join(columns)} |")
    for name, columns in PUBLISHED.items():
        lines.append(f"| published: {name} | | {' | '.join(columns)} | |")
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--steps", type=int, default=STEPS, help=f"of each run (default: {STEPS})")
    p.add_argument("--json", metavar="FILE",
                   help="keep the runs here, and go on with those that are missing")
    given = p.parse_args()
    try:
        judge, test = Judge(), data.load("stacked-mnist", split="test")
    except data.DataError as error:
        p.error(str(error))
    ideal = judge(test.x)
    due = runs_of(given.steps)
    runs = pairing.done_one_by_one(
        due, lambda run: train(
            data.load("stacked-mnist", seed=run["seed"]), SETTINGS[run["setting"]].options,
            run["steps"], run["seed"], judge),
        given.json, judge=judge.name, samples=SAMPLES, test_split=ideal)
    print(table(ideal, pairing.asked_for(due, runs)))


if __name__ == "__main__":
    main()
