"""python -m benchmarks.toolbox: what each remedy of the model `gan` does to one and the same short run.

Every setting is trained on fashion-mini with the same networks, rates and number of steps, and differs from the first
one in what its name says. 3,000 samples of the averaged generator stand beside the 3,000 pictures: FD-LeNet-fashion,
precision, recall, coverage. Each run is kept in `--json FILE` as it ends, and not done again; the table is made of what
is there, seed by seed.
"""

import argparse

from benchmarks import pairing
from benchmarks.mixtures import mean_and_error
from benchmarks.training import samples_of, trained
from minigan import data, metrics
from minigan.metrics.judges import judge_for

COMMON = dict(model="gan", recipe="annealed", objective="gan", width=32, batch_size=64, lr_g=2e-3, lr_d=2e-3,
              lr_decay=0.02, ema=0.995)
STEPS, SAMPLES, SEEDS = 1000, 3000, 2
MEASURES = ("FD-LeNet-fashion", "precision", "recall", "coverage")

PLAIN = dict(d_norm="none")  # batch norm and penalties exclude each other
SETTINGS = {  # options beside COMMON; what costs most comes last
    "nothing added": {},
    "spectral norm in D": dict(d_norm="spectral"),
    "layer norm in D": dict(d_norm="layer"),
    "no norm in D": PLAIN,
    "relativistic": dict(objective="relativistic"),
    "translation": dict(augment="translation"),
    "translation, cutout, colour": dict(augment="all"),
    "the same, adaptive": dict(augment="all", adaptive=0.6, adaptive_images=50_000),
    "labels of 0.9": dict(label_smoothing=0.1),
    "instance noise of 0.2": dict(instance_noise=0.2),
    "minibatch standard deviation": dict(minibatch="deviation"),
    "dropout of 0.3 in D": dict(dropout=0.3),
    "minibatch discrimination": dict(minibatch="discrimination"),
    "no norm in D, R₁ every 8 steps": PLAIN | dict(r1=0.1, penalty_every=8),
    "no norm in D, R₁": PLAIN | dict(r1=0.1),
    "no norm in D, R₁ and R₂": PLAIN | dict(r1=0.1, r2=0.1),
    "relativistic, no norm in D, R₁ and R₂": PLAIN | dict(objective="relativistic", r1=0.1, r2=0.1),
    "layer norm in D, DRAGAN": dict(d_norm="layer", dragan=10.0)}


def train(options, steps, seed, dataset, judge, samples=SAMPLES):
    """One run: the measures of its samples, None where it diverged, and its seconds."""
    model, seconds, error = trained(dataset, COMMON | options | dict(steps=steps), seed)
    if error:
        return dict.fromkeys(MEASURES) | dict(seconds=round(seconds), failed=error)
    images = samples_of(model, samples, seed)
    both = judge.features, judge.features_of(images)
    numbers = (metrics.frechet_distance(*both), *metrics.precision_recall(*both),
               metrics.density_coverage(*both).coverage)
    return {name: round(float(number), 4) for name, number in zip(MEASURES, numbers)} | dict(seconds=round(seconds))


def runs_of(steps, seeds):
    """What is to be done, as {"setting", "steps", "seed"}, every setting with one seed before the next seed."""
    return [dict(setting=name, steps=steps, seed=seed) for seed in range(seeds) for name in SETTINGS]


def table(runs):
    """Markdown: a row for each setting that was run."""
    lines = [f"| added | seeds | {' | '.join(MEASURES)} |", "|---|--:|--:|--:|--:|--:|"]
    for name in SETTINGS:
        of_it = [run for run in runs if run["setting"] == name]
        if of_it:
            columns = [mean_and_error([run[measure] for run in of_it]) for measure in MEASURES]
            failed = sum("failed" in run for run in of_it)
            diverged = f" ({failed} diverged)" if failed else ""
            lines.append(f"| {name}{diverged} | {len(of_it)} | {' | '.join(columns)} |")
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--steps", type=int, default=STEPS)
    p.add_argument("--seeds", type=int, default=SEEDS)
    p.add_argument("--json", metavar="FILE", help="keep the runs here, and go on with those that are missing")
    given = p.parse_args()
    dataset = data.load("fashion-mini")
    judge = judge_for("fashion-mini", dataset.x)
    runs = pairing.done_one_by_one(
        runs_of(given.steps, given.seeds),
        lambda run: train(SETTINGS[run["setting"]], run["steps"], run["seed"], dataset, judge),
        given.json, common=COMMON, samples=SAMPLES)
    print(table(runs))


if __name__ == "__main__":
    main()
