"""python -m benchmarks.style: what the parts of StyleGAN2 are for.

`--model stylegan2` is trained on fashion with its defaults and without path length regularisation;
and so, twice as long, on 500 of its pictures, another 500 for each seed, with and without `--ada`.
DCGAN stands beside them, as its paper has it, with five sixths of the steps. Of 10,000 samples
beside the test pictures it gives FD-LeNet-fashion, and of StyleGAN2's generator the perceptual path
lengths by the features of the same network, in W and in Z. Of what was learned from few pictures it
tells how much was learned by heart, which a Fréchet distance does not see: 500 real pictures,
copied, have one of about 3. Each run is kept in benchmarks/results/style.json as it ends, and not
done again, whatever the defaults have become; the table is made of what is there.
"""

import argparse
import copy
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import pairing
from benchmarks.mixtures import mean_and_error
from benchmarks.training import samples_of, trained
from minigan import backend, data, metrics
from minigan.metrics import classifiers, judges
from minigan.metrics.latent import perceptual_path_length, straight
from minigan.tensor import Tensor, no_grad
from minigan.zoo.stylegan2 import StyleGAN2

RESULTS = Path(__file__).parent / "results" / "style.json"
SAMPLES, WAYS = 10_000, 4000
MEASURES = {"FD": ("FD-LeNet-fashion", 1.0),  # name: (title in the table, what it is counted in)
            "path_W": ("path length / 1000 in W", 1000.0), "path_Z": ("in Z", 1000.0),
            "training_distance": ("training distance", 1.0),
            "real_known": ("known pictures real, %", 0.01), "real_new": ("new ones, %", 0.01)}


class Setting(NamedTuple):
    options: dict                # beside the defaults of stylegan2
    pictures: int | None = None  # how many it learns from; None: all
    part: float = 1.0            # of the steps


SETTINGS = {"all pictures": Setting({}),
            "all, without path lengths": Setting(dict(path=0.0)),
            "500 pictures, `--ada`, `--path 0`": Setting(dict(path=0.0, ada=True), 500, 2.0),
            "500 pictures, `--path 0`": Setting(dict(path=0.0), 500, 2.0),
            "all, `gan --recipe dcgan`": Setting(dict(model="gan", recipe="dcgan"), None, 5 / 6)}


def train(run, dataset, test, judge):
    """One run: its measures and seconds. `test` has pictures that it does not learn from."""
    setting = SETTINGS[run["setting"]]
    if setting.pictures:
        rows = backend.Streams(run["seed"])["few"].permutation(len(dataset.x))[:setting.pictures]
        dataset = dataset._replace(x=dataset.x[rows], labels=dataset.labels[rows])
    options = dict(model="stylegan2") | setting.options | dict(steps=run["steps"])
    model, seconds, error = trained(dataset, options, run["seed"])
    if error:
        return dict(seconds=round(seconds), failed=error)
    features = judge.features_of(samples_of(model, SAMPLES, run["seed"]))
    found = dict(FD=metrics.frechet_distance(judge.features, features))
    if options["model"] == "stylegan2":
        found |= path_lengths(model)
    if setting.pictures:
        found |= by_heart(model, dataset.x, test.x, features, judge)
    return {name: round(float(number), 3) for name, number in found.items()} | dict(
        seconds=round(seconds))


def by_heart(model, known, new, features, judge):
    """{"training_distance"} of samples, given as features: 1 is as far from the known pictures as
    new ones are, 0 is copied. {"real_known", "real_new"}: the parts that D takes for real of the
    pictures it has learned from, as they are, and of new ones."""
    distance = judges.training_distance(judge.features_of(known), judge.features, features)
    return dict(training_distance=distance.metric(*distance.arrays),
                real_known=taken_for_real(model.discriminator, known),
                real_new=taken_for_real(model.discriminator, new))


def taken_for_real(D, x, batch=16):
    """Which part of pictures D takes for real. It sees how a batch varies, so each is a whole one.
    """
    with no_grad():
        return np.mean([D(Tensor(data.to_unit(x[i:i + batch]))).numpy() > 0.0
                        for i in range(0, len(x) - batch + 1, batch)])


def path_lengths(model):
    """{"path_W", "path_Z"}: on straight lines between styles, and on arcs between the noises they
    are made of. The layers have no noise of their own, which would be measured too."""
    G = copy.deepcopy(model.averaged).astype("float64")
    body = classifiers.load("fashion").network.astype("float64").body
    features, style = lambda x: body(x).numpy(), lambda z: G.mapping(Tensor(z)).numpy()
    measured = lambda generator, **way: perceptual_path_length(
        generator, features, model.latent, backend.Streams()["paths"], n=WAYS, **way).mean
    with no_grad():
        return dict(
            path_W=measured(lambda w: G.synthesis(G.layers * [Tensor(w)]),
                            way=lambda a, b, t: straight(style(a), style(b), t)),
            path_Z=measured(lambda z: G(Tensor(z))))


def runs_of(steps, seeds):
    """What is to be done, as {"setting", "steps", "seed"}: all settings with a seed, then the next.
    """
    return [dict(setting=name, steps=round(setting.part * steps), seed=seed)
            for seed in range(seeds) for name, setting in SETTINGS.items()]


def table(runs):
    """Markdown: a row for each setting that was run."""
    titles = [title for title, _ in MEASURES.values()]
    lines = [f"| learned from | seeds | steps | {' | '.join(titles)} | minutes |",
             f"|---|--:|--:|{'--:|' * len(titles)}--:|"]
    for name in SETTINGS:
        of_it = [run for run in runs if run["setting"] == name]
        if of_it:
            cells = [mean_and_error([run[measure] / unit for run in of_it if measure in run])
                     for measure, (_, unit) in MEASURES.items()]
            minutes = mean_and_error([run["seconds"] / 60 for run in of_it])
            lines.append(f"| {name} | {pairing.seeds(of_it)} | {of_it[0]['steps']:,} | {' | '.join(cells)} | "
                         f"{minutes} |")
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--steps", type=int, default=StyleGAN2.OPTIONS["steps"][0])
    given = p.parse_args()
    try:
        dataset, test = data.load("fashion"), data.load("fashion", split="test")
    except data.DataError as error:
        p.error(str(error))
    judge = judges.judge_for("fashion", test.x)
    due = runs_of(given.steps, given.seeds)
    runs = pairing.done_one_by_one(due, lambda run: train(run, dataset, test, judge), str(RESULTS),
                                   judge=judge.name, samples=SAMPLES, ways=WAYS)
    print(table(pairing.asked_for(due, runs)))


if __name__ == "__main__":
    main()
