"""python -m benchmarks.zoo MODEL: from nothing to a model's picture and number.

The model is trained with its defaults on its example, as `python -m minigan.train` does it, with
three seeds, and measured as `python -m minigan.evaluate` does it. Beside it stands the
unconditional `gan` with the same width, rates and steps. Each run is kept in
benchmarks/results/zoo.json as it ends, and not done again; the picture of the first seed lies
beside it. The table is made of what is there.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks import pairing
from benchmarks.mixtures import mean_and_error
from minigan import data
from minigan.runs import models

RESULTS = Path(__file__).parent / "results"


class Example(NamedTuple):
    data: str
    shown: tuple           # the measures in the table, by how their names begin
    baseline: bool = True  # the `gan` beside it


CLASSES = "class_agreement", "FD-", "coverage"
EXAMPLES = {
    "cgan": [Example("mnist", CLASSES), Example("fashion-mini", CLASSES)],
    "acgan": [Example("mnist", CLASSES), Example("fashion-mini", CLASSES)],
    "projection": [Example("mnist", CLASSES), Example("fashion-mini", CLASSES)],
    "infogan": [Example("mnist", ("code_agreement", "FD-", "coverage"), baseline=False)],
    "gman": [Example("fashion-mini", ("FD-", "coverage"))],
    "d2gan": [Example("fashion-mini", ("FD-", "coverage"))],
}
SHARED = "width", "lr_g", "lr_d", "lr_decay", "steps", "batch_size", "ema"  # with the baseline


def runs_of(model, example, seeds):
    """What is to be done, as {"model", "data", "options", "seed"}: seed by seed the model, and the
    `gan` beside it."""
    facts = models.facts_of(data.load(example.data))
    resolved = models.complete(dict(model=model), facts)
    shared = " ".join(f"--{name.replace('_', '-')} {resolved[name]}" for name in SHARED)
    sides = [(model, "")] + [("gan", f"--recipe annealed {shared}")] * example.baseline
    return [dict(model=side, data=example.data, options=options, seed=seed)
            for seed in range(seeds) for side, options in sides]


def train(run):
    """{"metrics", "seconds"} of a run; of the first seed of a model also its picture."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command("train", "--model", run["model"], "--data", run["data"], "--seed", run["seed"],
                "--out", folder, *run["options"].split())
        seconds = round(time.perf_counter() - began)
        [made] = Path(folder).iterdir()
        command("evaluate", made)
        if run["seed"] == 0 and run["model"] != "gan":
            shutil.copy(sorted((made / "samples").glob("*.png"))[-1],
                        RESULTS / f"zoo_{run['model']}_{run['data']}.png")
        measured = json.loads((made / "metrics.json").read_text())["metrics"]
    return dict(metrics={name: row["value"] for name, row in measured.items()}, seconds=seconds)


def command(name, *arguments):
    subprocess.run([sys.executable, "-m", f"minigan.{name}", *map(str, arguments)], check=True,
                   stdout=subprocess.DEVNULL)


def table(example, due, runs):
    """Markdown: a row for each model that is due on the example's data."""
    lines = [f"| on {example.data} | seeds | {' | '.join(example.shown)} | seconds |",
             f"|---|--:|{'--:|' * len(example.shown)}--:|"]
    for model, options in dict.fromkeys((run["model"], run["options"]) for run in due):
        of_it = [run for run in runs if (run["model"], run["data"], run["options"]) == (
            model, example.data, options)]
        cells = [mean_and_error([named(run["metrics"], name) for run in of_it])
                 for name in example.shown]
        seconds = mean_and_error([run["seconds"] for run in of_it])
        lines.append(f"| {model} | {len(of_it)} | {' | '.join(cells)} | {seconds} |")
    return "\n".join(lines)


def named(measured, beginning):
    """The measure whose name begins so, or None."""
    return next((value for name, value in measured.items() if name.startswith(beginning)), None)


def main():
    p = argparse.ArgumentParser(description=" ".join(__doc__.split("\n\n")[1].split()))
    p.add_argument("model", choices=EXAMPLES)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--data", help="only the example on these data")
    given = p.parse_args()
    for example in EXAMPLES[given.model]:
        if given.data in (None, example.data):
            due = runs_of(given.model, example, given.seeds)
            runs = pairing.done_one_by_one(due, train, str(RESULTS / "zoo.json"))
            print(table(example, due, runs), flush=True)


if __name__ == "__main__":
    main()
