"""python -m benchmarks.family: every model that makes pictures of noise, for as many minutes each.

Each is trained on Fashion-MNIST with its defaults, but for the steps. How many fit into `--minutes`
of one thread of the processor is told by a short run of each, through all stages of its training.
All are measured one after the other on one processor, in three rounds, before the first training,
and kept; only a model that is new is measured later. So the trainings may be made on another one,
and no model has a faster machine than the next. Rates fall, and pictures grow, in so many steps as
there are. Models of classes, sagan among them, see the labels, semisupervised 100 of them, others
none. 10,000 samples of the averaged generator stand beside the test pictures: FD-LeNet-fashion,
precision, recall, coverage. Beside them are the milliseconds of a step and the lines of the model's
file. What a model shares with others is in other files, and not counted. Each run is kept in
benchmarks/results/family.json as it ends, and not done again, whatever the defaults have become;
the table is made of what is there.
"""

import argparse
import os
import time
from pathlib import Path
from statistics import fmean

if __name__ == "__main__":
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
FEW = 48  # steps: a multiple of how often lazy penalties are due, and enough for each stage
MEASURES = "FD-LeNet-fashion", "precision", "recall", "coverage"


def paces(dataset, names, few=FEW, rounds=3):
    """{model: milliseconds of a step}, of the processor's time: the least of all rounds, for what
    kernels take to compile, or other work on the machine, can only be added to it."""
    found = dict.fromkeys(names, np.inf)
    for _ in range(rounds):
        for name in names:
            seconds = trained(dataset, FAMILY[name] | dict(steps=few), 0, time.process_time)[1]
            found[name] = min(found[name], round(1000.0 * seconds / few, 2))
            print(f"{name}: {1000.0 * seconds / few:.1f} ms a step", flush=True)
    return found


def train(run, dataset, judge, samples=SAMPLES):
    """{measures} of one run, or why it failed."""
    options = FAMILY[run["name"]] | dict(steps=run["steps"])
    model, seconds, failed = trained(dataset, options, run["seed"], time.process_time)
    found = dict(seconds=round(seconds))
    drawn = None if failed else samples_of(model, samples, run["seed"])
    if failed or not np.isfinite(drawn).all():
        return found | dict(failed=failed or "samples that are not finite")
    both = judge.features, judge.features_of(drawn)
    numbers = (metrics.frechet_distance(*both), *metrics.precision_recall(*both),
               metrics.density_coverage(*both).coverage)
    return found | {name: round(float(number), 4) for name, number in zip(MEASURES, numbers)}


def due_of(names, pace, minutes, seeds):
    """What is to be done, as {"name", "minutes", "steps", "seed"}: every model, then the next seed.
    """
    return [dict(name=name, minutes=minutes, seed=seed,
                 steps=max(1, round(minutes * 60_000.0 / pace[name])))
            for seed in range(seeds) for name in names]


def lines_of(name):
    """How many lines the model's file has."""
    path = models.ZOO / f"{FAMILY[name]['model']}.py"
    return len(path.read_text(encoding="utf-8").splitlines())


def table(runs, pace):
    """Markdown: a row for each model that was run, the best one first."""
    rows = []
    for name in FAMILY:
        of_it = [run for run in runs if run["name"] == name]
        if of_it:
            cells = [mean_and_error([run.get(measure) for run in of_it]) for measure in MEASURES]
            distance = fmean(run.get(MEASURES[0], np.inf) for run in of_it)
            rows.append((distance, f"| {name} | {pairing.seeds(of_it)} | {' | '.join(cells)} | "
                                   f"{of_it[0]['steps']:,} | {pace[name]:.1f} | {lines_of(name)} |"))
    return "\n".join([f"| model | seeds | {' | '.join(MEASURES)} | steps | ms a step | lines |",
                      f"|---|--:|{'--:|' * len(MEASURES)}--:|--:|--:|",
                      *[row for _, row in sorted(rows)]])


def main():
    p = argparse.ArgumentParser(description=" ".join(__doc__.split("\n\n")[1].split()))
    p.add_argument("name", nargs="*", help="only these (default: all)")
    p.add_argument("--minutes", type=float, default=MINUTES)
    p.add_argument("--seeds", type=int, default=1)
    p.add_argument("--pace", action="store_true", help="only measure how long steps take")
    given = p.parse_args()
    for name in given.name:
        if name not in FAMILY:
            p.error(f"there is no {name!r}: expected some of {', '.join(FAMILY)}")
    if not 0.0 < given.minutes < np.inf or given.seeds < 1:
        p.error(f"expected minutes above 0 and a seed or more, got {given.minutes} and {given.seeds}")
    try:
        dataset, test = data.load("fashion"), data.load("fashion", split="test")
    except data.DataError as error:
        p.error(str(error))
    judge = judge_for("fashion", test.x)
    kept = pairing.kept(str(RESULTS)) or dict(pace={}, runs=[])
    pace = kept["pace"].get("milliseconds", {})
    if missing := [name for name in FAMILY if name not in pace]:
        pace |= paces(dataset, missing)
        kept["pace"] = dict(machine=pairing.machine()) | kept["pace"] | dict(milliseconds=pace)
        pairing.keep(str(RESULTS), {name: kept[name] for name in ("pace", "runs")})
    due = [] if given.pace else due_of(given.name or FAMILY, pace, given.minutes, given.seeds)
    runs = pairing.done_one_by_one(due, lambda run: train(run, dataset, judge), str(RESULTS),
                                   judge=judge.name, samples=SAMPLES, pace=kept["pace"])
    print(table(pairing.asked_for(due_of(FAMILY, pace, given.minutes, given.seeds), runs), pace))


if __name__ == "__main__":
    main()
