"""python -m benchmarks.zoo MODEL: from nothing to a model's picture and number.

The model is trained with its defaults on its example, as `python -m minigan.train` does it, with
three seeds, and measured as `python -m minigan.evaluate` does it. Beside a model of classes stands
the unconditional `gan` with the same width, rates and steps; beside other ones the same model
without what makes it what it is; beside `gan` the paper's recipe. Each run is kept in
benchmarks/results/zoo.json as it ends, and not done again, whatever the defaults have become since;
the pictures of the first seed lie beside it. The table is made of what is there.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import pairing
from benchmarks.mixtures import mean_and_error
from minigan import data, metrics
from minigan.metrics import judges
from minigan.runs import models
from minigan.tensor import no_grad

RESULTS = Path(__file__).parent / "results"


class Beside(NamedTuple):
    """What a model is compared with: a model, how it is asked for, and at most how many seeds."""
    model: str
    options: str | None = None  # None: the same width, rates and steps
    seeds: int = 3


class Example(NamedTuple):
    data: str
    shown: tuple            # the measures in the table, by how their names begin
    options: str = ""
    beside: Beside | None = Beside("gan")
    judged: str = ""        # options of `evaluate`


CLASSES = "class_agreement", "FD-", "coverage"
LIKENESS = "L1", "PSNR", "SSIM", "SWD-32"
REBUILT = "FD-", "precision", "recall", "coverage", "PSNR-reconstructed"
QUALITY, PAPER = ("FD-", "precision", "recall", "coverage"), Beside("gan", "--recipe dcgan")
SHORT_PRIOR = "--steps 4000 --prior 0.4 --lr-prior 0.001"  # few pictures are soon known by heart
NO_ATTENTION = Beside("sagan", "--attention False")
EXAMPLES = {
    "gan": [Example("fashion-mini", (*QUALITY, "training_distance"), beside=PAPER),
            *[Example(source, QUALITY, beside=PAPER._replace(seeds=1)) for source in (
                "digits", "mnist")],
            Example("emoji", QUALITY, beside=PAPER._replace(seeds=1),
                    judged="--classifier fashion")],
    "cgan": [Example("mnist", CLASSES), Example("fashion-mini", CLASSES)],
    "acgan": [Example("mnist", CLASSES), Example("fashion-mini", CLASSES)],
    "projection": [Example("mnist", CLASSES), Example("fashion-mini", CLASSES)],
    "sagan": [Example("fashion", (*CLASSES, "precision", "recall"), beside=NO_ATTENTION),
              Example("emoji", QUALITY, "--mirror --steps 2000", NO_ATTENTION,
                      "--classifier fashion")],
    "biggan": [Example("mnist", (*CLASSES, "precision", "recall"), beside=None)],
    "infogan": [Example("mnist", ("code_agreement", "FD-", "coverage"), beside=None)],
    "gman": [Example("fashion-mini", ("FD-", "coverage"))],
    "d2gan": [Example("fashion-mini", ("FD-", "coverage"))],
    "r3gan": [Example("fashion-mini", (*QUALITY, "training_distance"), beside=None)],
    "progan": [Example("fashion-mini", (*QUALITY, "training_distance"), beside=None)],
    "stylegan2": [Example("fashion", QUALITY, beside=PAPER)],
    "pix2pix": [Example("edges:emoji", LIKENESS, "--mirror", Beside("pix2pix", "--gan 0"))],
    "cyclegan": [
        Example("shapes:texture", ("right_all_plain", "right_all_striped", "right_texture",
                                   "right_kind", "right_colour", "L1"),
                beside=Beside("cyclegan", "--cycle 0", 1)),
        Example("emoji", ("L1-input", "L1", "SWD-32"), "--mirror", None)],
    "inpaint": [Example("masked:emoji", ("PSNR-hole", "PSNR-hole-mean", *LIKENESS), "--mirror",
                        Beside("inpaint", "--adversarial 0"))],
    "srgan": [Example("small:emoji", ("PSNR-bicubic", *LIKENESS), "--mirror",
                      Beside("srgan", "--adversarial 0"))],
    "stargan": [
        Example("shapes:colour", ("right_colour", "right_kind", "right_size", "right_place",
                                  "right_texture", "right_all", "L1"),
                beside=Beside("stargan", "--rec 0", 1)),
        Example("emoji:style", ("L1-input", "L1", "SWD-32"), "--mirror", None)],
    "stackgan": [Example("shapes", ("right_all_seen", "right_all_unseen", "right_all",
                                    "right_all_stage_1", "right_kind", "right_colour"),
                         beside=None),
                 Example("emoji", ("L1", "SWD-32"), beside=None)],
    "vae": [Example(source, REBUILT, beside=None) for source in ("fashion-mini", "mnist")],
    "vaegan": [Example(source, REBUILT, beside=Beside("vae", ""))
               for source in ("fashion-mini", "mnist")],
    "vqgan": [Example("mnist", REBUILT, beside=Beside("vqgan", "--adversarial 0", 1)),
              Example("emoji", REBUILT, f"--mirror {SHORT_PRIOR}",
                      Beside("vqgan", "--adversarial 0", 1), "--classifier fashion")],
}
SHARED = "width", "lr_g", "lr_d", "lr_decay", "steps", "batch_size", "ema"  # with the `gan` beside


def runs_of(model, example, seeds):
    """What is to be done, as {"model", "data", "options", "seed"}: seed by seed the model, and what
    stands beside it."""
    sides = [(model, example.options, seeds)]
    if example.beside:
        other, options, count = example.beside
        own = same_budget(model, example) if options is None else f"{example.options} {options}"
        sides.append((other, own.strip(), count))
    return [dict(model=side, data=example.data, options=options, seed=seed)
            for seed in range(seeds) for side, options, count in sides if seed < count]


def same_budget(model, example):
    """The options of a `gan` with the model's width, rates and steps."""
    resolved = models.complete(dict(model=model), models.facts_of(data.load(example.data)))
    shared = " ".join(f"--{name.replace('_', '-')} {resolved[name]}" for name in SHARED)
    return f"--recipe annealed {shared}"


def train(model, example, run):
    """{"metrics", "seconds"} of a run of a model's example; of the model's first seed also its
    pictures."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command("train", "--model", run["model"], "--data", run["data"], "--seed", run["seed"],
                "--out", folder, *run["options"].split())
        seconds = round(time.perf_counter() - began)
        [made] = Path(folder).iterdir()
        command("evaluate", made, *example.judged.split())
        if run["seed"] == 0 and run["model"] == model:
            keep_pictures(made, run)
        table = json.loads((made / "metrics.json").read_text())["metrics"]
        measured = {name: row["value"] for name, row in table.items()}
        if "training_distance" in example.shown:
            measured["training_distance"] = training_distance(made)
        if (run["model"], run["data"]) == ("stackgan", "shapes"):
            measured["right_all_stage_1"] = right_in_stage_1(made)
    return dict(metrics=measured, seconds=seconds)


def keep_pictures(folder, run):
    """Put the last samples of a run beside the results, and what only its model can show."""
    path = RESULTS / picture_name(run)
    shutil.copy(sorted((folder / "samples").glob("*.png"))[-1], path)
    for name in models.model_class(run["model"]).EXHIBITS:
        if (shown := folder / f"{name}.png").exists():
            shutil.copy(shown, path.with_stem(f"{path.stem}_{name}"))


def training_distance(folder):
    """Of a run on `fashion-mini`, which has no test split: beside the test pictures of
    Fashion-MNIST, the set that its pictures are from. 1 is like new pictures, 0 is copied."""
    judge = judges.judge_for("fashion", data.load("fashion", split="test").x)
    known = judge.features_of(data.load("fashion-mini").x)
    samples = models.load(folder).sample(len(known))
    measure = judges.training_distance(known, judge.features, judge.features_of(samples))
    return measure.metric(*measure.arrays)


def right_in_stage_1(folder):
    """Which share of the first stage's pictures, of half the sides, show all of their captions, by
    the exact judge: those of the whole test split."""
    model, test = models.load(folder).model, data.load("shapes", split="test")
    noise = model.noise(len(test.captions), models.preview(0))
    with no_grad():
        small = model.averaged.stages(noise, model.told(test.captions))[0].numpy()
    codes = data.figures.codes_said(test.captions)
    return float((metrics.ShapesJudge(reduced=2).codes(small) == codes).mean())


def picture_name(run):
    """Such as zoo_cgan_mnist.png and zoo_pix2pix_edges-emoji_gan-0.png."""
    words = f"zoo {run['model']} {run['data']} {run['options'].replace('--', '').replace(' ', '-')}"
    return "_".join(words.replace(":", "-").split()) + ".png"


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
        title = f"{model} {options}".strip()
        lines.append(f"| {title} | {len(of_it)} | {' | '.join(cells)} | {seconds} |")
    return "\n".join(lines)


def named(measured, beginning):
    """The measure of this name, else the first whose name begins so, or None."""
    return next((measured[name] for name in (beginning, *measured)
                 if name in measured and name.startswith(beginning)), None)


def main():
    p = argparse.ArgumentParser(description=" ".join(__doc__.split("\n\n")[1].split()))
    p.add_argument("model", choices=EXAMPLES)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--data", help="only the example on these data")
    given = p.parse_args()
    for example in EXAMPLES[given.model]:
        if given.data in (None, example.data):
            due = runs_of(given.model, example, given.seeds)
            runs = pairing.done_one_by_one(
                due, partial(train, given.model, example), str(RESULTS / "zoo.json"))
            print(table(example, due, runs), flush=True)


if __name__ == "__main__":
    main()
