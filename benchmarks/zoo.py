"""python -m benchmarks.zoo MODEL: from nothing to a model's picture and number.

The model is trained with its defaults on its example, as `python -m minigan.train` does it, with
three seeds, and measured as `python -m minigan.evaluate` does it. Beside it stands the
unconditional `gan` with the same networks, rates and steps. Each run is kept in
benchmarks/results/zoo_MODEL.json as it ends, and not done again; the picture of the first seed lies
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

RESULTS = Path(__file__).parent / "results"


class Example(NamedTuple):
    data: str
    shown: tuple          # the measures in the table, by how their names begin
    options: tuple = ()   # beside the defaults
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


def run(model, data, options, seed, picture=None):
    """{"metrics", "seconds", "options"} of one training."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command("train", "--model", model, "--data", data, "--seed", seed, "--out", folder, *options)
        seconds = round(time.perf_counter() - began)
        [made] = Path(folder).iterdir()
        command("evaluate", made)
        if picture:
            shutil.copy(sorted((made / "samples").glob("*.png"))[-1], picture)
        record = json.loads((made / "options.json").read_text())
        measured = json.loads((made / "metrics.json").read_text())["metrics"]
    return dict(metrics={name: row["value"] for name, row in measured.items()}, seconds=seconds,
                options=record["options"])


def command(name, *arguments):
    subprocess.run([sys.executable, "-m", f"minigan.{name}", *map(str, arguments)], check=True,
                   stdout=subprocess.DEVNULL)


def typed(options):
    return [word for name, value in options.items() if name in SHARED
            for word in (f"--{name.replace('_', '-')}", str(value))]


def table(example, runs):
    """Markdown: a row for each model that was trained on the example's data."""
    runs = [run for run in runs if run["data"] == example.data]
    names = [name for name in (runs[0]["metrics"] if runs else ()) if name.startswith(example.shown)]
    lines = [f"| on {example.data} | seeds | {' | '.join(names)} | seconds |",
             f"|---|--:|{'--:|' * len(names)}--:|"]
    for model in dict.fromkeys(run["model"] for run in runs):
        of_it = [run for run in runs if run["model"] == model]
        cells = [mean_and_error([run["metrics"].get(name) for run in of_it]) for name in names]
        seconds = mean_and_error([run["seconds"] for run in of_it])
        lines.append(f"| {model} | {len(of_it)} | {' | '.join(cells)} | {seconds} |")
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description=" ".join(__doc__.split("\n\n")[1].split()))
    p.add_argument("model", choices=EXAMPLES)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--data", help="only the example on these data")
    given = p.parse_args()
    path = str(RESULTS / f"zoo_{given.model}.json")
    runs = (pairing.kept(path) or {"runs": []})["runs"]

    def once(model, example, options, seed, picture=None):
        known = dict(model=model, data=example.data, seed=seed)
        if found := [run for run in runs if known.items() <= run.items()]:
            return found[0]
        runs.append(known | run(model, example.data, options, seed, picture))
        pairing.keep(path, {"model": given.model, "runs": runs})
        return runs[-1]

    for example in EXAMPLES[given.model]:
        if given.data in (None, example.data):
            for seed in range(given.seeds):
                name = f"zoo_{given.model}_{example.data}.png"
                own = once(given.model, example, example.options, seed,
                           RESULTS / name if seed == 0 else None)
                if example.baseline:
                    once("gan", example, typed(own["options"]), seed)
        print(table(example, runs), flush=True)


if __name__ == "__main__":
    main()
