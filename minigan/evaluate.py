"""python -m minigan.evaluate: how good are the samples of a run? A table with error bars, a file, a picture."""

import json
import sys
from pathlib import Path

import numpy as np

from minigan import backend, data, experiment, judges, metrics, models, parallel
from minigan.commandline import USER_ERRORS, Parser, fail, non_negative, one_of, positive
from minigan.files import printable

PROG = "minigan.evaluate"


def parser():
    p = Parser(prog=PROG, description="Measure the samples of a run: a table, and in the run's folder metrics.json and "
               "evaluation.png.")
    p.add_argument("run", metavar="RUN", help="a run folder")
    p.add_argument("--n", type=positive, help="how many samples (default: 10000 images, 2500 points)")
    p.add_argument("--against", metavar="SPLIT", type=one_of(["test", "train"]),
                   help="which part of the data, test or train (default: test where there is one)")
    p.add_argument("--classifier", metavar="NAME|FILE", help="the feature network: mnist, fashion, or a file that "
                   "python -m minigan.classifier wrote (default: by the run's data)")
    p.add_argument("--seed", type=non_negative, default=0, help="of all random numbers (default: 0)")
    p.add_argument("--backend", type=one_of(backend.names()), default="numpy", metavar="NAME",
                   help=" or ".join(backend.names()))
    return p


def main(arguments=None):
    given = parser().parse_args(arguments)
    try:
        backend.use_backend(given.backend)
        if backend.current().xp is np:
            parallel.use_all_cores()
        evaluate(Path(given.run), given)
    except USER_ERRORS as error:
        return fail(PROG, error, 2)
    except KeyboardInterrupt:
        return fail(PROG, "interrupted", 130)
    return 0


def evaluate(folder, given):
    record = experiment.read_options(folder)
    generator, options, streams = models.load(folder), record["options"], backend.Streams(given.seed)
    training = data.load(options["data"], image_size=options["image_size"], seed=options["seed"]).x
    if data.fingerprint(training) != record.get("data"):
        raise ValueError(f"{options['data']} has changed since {folder} was started: nothing to compare with is left")
    against, real = compared_with(options, training, given.against)
    n = min(given.n or (10_000 if models.is_image(real.shape[1:]) else 2500), len(real))
    new = against == "test"
    chosen = judges.some(real, n, streams["real"])
    judge = judges.judge_for(options, chosen, given.classifier, training if new else None)
    samples = generator.sample(n, given.seed)

    print(printable(f"{folder}, step {generator.steps}: {n} samples beside {n} of {options['data']} ({against})"),
          flush=True)
    print(f"{'':20}   {'samples':>18}" + ("   training data in their place" if new else ""))
    # What a perfect generator would get. Of the very data that is compared with it would be too good.
    perfect = judge.measures(data.to_unit(judges.some(training, n, streams["training"]))) if new else []
    table = {}
    for i, measure in enumerate(judge.measures(samples)):
        estimate = metrics.half_sampling(measure.metric, *measure.arrays, rng=streams["halves"])
        values, errors = measure.numbers(estimate.value), measure.numbers(estimate.standard_error)
        ideal = measure.numbers(perfect[i].metric(*perfect[i].arrays)) if new else {}
        for name, better in measure.names.items():
            table[name] = {"value": values[name], "standard_error": errors[name], "training_data": ideal.get(name)}
            print(f"{name:20} {better:1} {values[name]:9.4g} ± {errors[name]:<8.2g}"
                  + (f" {ideal[name]:9.4g}" if new else ""), flush=True)
    judge.draw(folder / "evaluation.png", samples, training)
    save(folder / "metrics.json", {"step": generator.steps, "n": n, "against": against, "seed": given.seed,
                                   "metrics": table})
    print(printable(f"{folder / 'metrics.json'}, {folder / 'evaluation.png'}"))


def compared_with(options, training, against):
    """("test" or "train", its samples). A mixture's test data are other points of it."""
    source = options["data"]
    has_test = source in data.MIXTURES or source in data.PUBLISHED
    if against == "train" or against is None and not has_test:
        return "train", training
    if source in data.MIXTURES:
        return "test", data.load(source, seed=options["seed"] + 1).x
    return "test", data.load(source, split="test").x


def save(path, record):
    """As JSON, which knows no NaN and no infinity: null."""
    for row in record["metrics"].values():
        row.update({name: number if number is not None and np.isfinite(number) else None
                    for name, number in row.items()})
    experiment.write_whole(path, json.dumps(record, indent=1, ensure_ascii=False).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
