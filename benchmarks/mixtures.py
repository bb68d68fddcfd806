"""python -m benchmarks.mixtures MIXTURE: PacGAN's yardstick on a ring of 8 and on a grid of 25 normal distributions.

The best setting is trained in full with five seeds, every objective and `r3gan` for a fifth of that with three, all
with the same networks and falling learning rates. 2,500 samples of the averaged generator are judged by modes covered,
share within 3σ of a mode, and reverse KL divergence. Each run is kept in `--json FILE` as it ends, and not done again;
the table is made of what is there.
"""

import argparse
import math
import statistics
from typing import NamedTuple

from benchmarks import pairing
from benchmarks.training import samples_of, trained
from minigan import data, metrics
from minigan.trainer import RECIPES

COMMON = dict(width=256, lr_decay=0.02)
STEPS = {"ring8": 20_000, "grid25": 40_000}  # of the best setting: three and five minutes on a quiet core


class Setting(NamedTuple):
    options: dict     # of the trainer, beside COMMON
    budget: float     # as a part of `--steps`
    seeds: int


# Each with its own defaults, rates too, but for the penalty three critic steps at three times the rate: half the cost.
SETTINGS = {"gan, packs of 2": Setting(dict(objective="gan", pack=2), 1.0, 5)} | {
    objective: Setting(dict(objective=objective), 0.2, 3) for objective in RECIPES if objective != "wgan-gp"} | {
    "wgan-gp, 3 critic steps, 3e-4": Setting(dict(objective="wgan-gp", n_critic=3, lr_g=3e-4, lr_d=3e-4), 0.2, 3),
    "r3gan": Setting(dict(model="r3gan"), 0.2, 3)}

# (modes, high-quality share in %, reverse KL) as published, ± the standard error where there is one: by the same
# measure and from 2,500 samples too, but with other networks and a longer training, 400,000 steps in PacGAN's case.
# Sources: VEEGAN, arXiv:1705.07761, and PacGAN, arXiv:1712.04086.
PUBLISHED = {
    "ring8": {"GAN (VEEGAN's authors)": ("1", "99.3", ""), "GAN (PacGAN's authors)": ("6.3 ± 0.5", "98.2", ""),
              "VEEGAN": ("8", "52.9", ""), "PacGAN2": ("7.9 ± 0.1", "95.6", "")},
    "grid25": {"GAN (VEEGAN's authors)": ("3.3", "0.5", ""), "GAN (PacGAN's authors)": ("17.3 ± 0.8", "94.8", "0.70"),
               "Unrolled GAN, 5 steps": ("23.6", "16", ""), "VEEGAN": ("24.6", "40", ""),
               "PacGAN2": ("23.8 ± 0.7", "91.3", ""), "PacGAN4": ("24.8 ± 0.2", "93.6", "0.04")},
}


def train(mixture, options, steps, seed):
    """One run: the measures of 2,500 samples, and its seconds. A run that diverges covers nothing."""
    chosen = COMMON | options | dict(steps=steps)
    model, seconds, error = trained(data.load(mixture, seed=seed), chosen, seed)
    if error:
        return dict(modes=0, high_quality=0.0, reverse_kl=None, seconds=round(seconds), failed=error)
    modes, high_quality, reverse_kl = metrics.mode_coverage(samples_of(model, 2500, seed), *data.MIXTURES[mixture])
    return dict(modes=int(modes), high_quality=high_quality,
                reverse_kl=None if math.isnan(reverse_kl) else reverse_kl, seconds=round(seconds))


def runs_of(steps):
    """What is to be done, as {"setting", "steps", "seed"}: the best setting first, then the others, seed by seed."""
    due = [dict(setting=name, steps=round(setting.budget * steps), seed=seed)
           for name, setting in SETTINGS.items() for seed in range(setting.seeds)]
    return sorted(due, key=lambda run: (run["steps"] < steps, run["seed"]))


def mean_and_error(values):
    """`mean ± standard error`, the latter where there are two values or more."""
    values = [value for value in values if value is not None]
    if not values:
        return "–"
    mean = f"{statistics.fmean(values):.3g}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values) / math.sqrt(len(values)):.2g}"


def table(mixture, runs):
    """Markdown: ours, then the published rows."""
    lines = ["| trained with | steps | seeds | modes | within 3σ, % | reverse KL |", "|---|--:|--:|--:|--:|--:|"]
    for name in SETTINGS:
        of_it = [run for run in runs if run["setting"] == name]
        if of_it:
            columns = [mean_and_error([run["modes"] for run in of_it]),
                       mean_and_error([100 * run["high_quality"] for run in of_it]),
                       mean_and_error([run["reverse_kl"] for run in of_it])]
            lines.append(f"| {name} | {of_it[0]['steps']:,} | {len(of_it)} | {' | '.join(columns)} |")
    for name, columns in PUBLISHED[mixture].items():
        lines.append(f"| published: {name} | | | {' | '.join(columns)} |")
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("mixture", choices=PUBLISHED)
    p.add_argument("--steps", type=int,
                   help=f"of the best setting; every objective has a fifth (default: {STEPS})")
    p.add_argument("--json", metavar="FILE", help="keep the runs here, and go on with those that are missing")
    given = p.parse_args()
    runs = pairing.done_one_by_one(
        runs_of(given.steps or STEPS[given.mixture]),
        lambda run: train(given.mixture, SETTINGS[run["setting"]].options, run["steps"], run["seed"]),
        given.json, mixture=given.mixture)
    print(table(given.mixture, runs))


if __name__ == "__main__":
    main()
