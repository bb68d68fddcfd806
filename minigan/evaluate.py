"""python -m minigan.evaluate: how good are the samples of a run? A table with error bars, a file, a
picture."""

import json
import sys
from itertools import zip_longest
from pathlib import Path

import numpy as np

from minigan import backend, data, metrics
from minigan.data.files import printable
from minigan.metrics import judges
from minigan.pictures import report
from minigan.pictures.evaluation import save_evaluation, save_translations
from minigan.runs import models, run_folder, supply
from minigan.runs.commandline import (
    Parser, command, non_negative, one_of, path, positive, say)
from minigan.runs.options import classifier_of_run, data_of_run, recorded_options

PROG = "minigan.evaluate"
LEAST = 12  # samples: half of them have the five neighbours that `density_coverage` looks at


def parser():
    p = Parser(prog=PROG, description="Measure the samples of a run: a table, and in the run's "
               "folder metrics.json and evaluation.png.",
               examples=("python -m minigan.evaluate runs/00000-fashion-mini-gan-s0",
                         "python -m minigan.evaluate RUN --classifier fashion --checkpoint best"))
    p.add_argument("run", metavar="RUN", type=path, help="a run folder")
    p.add_argument("--n", type=positive, help="how many samples, at most as many as real ones "
                   "(default: 10000 images, 300 made from others or from captions, 2500 points)")
    p.add_argument("--against", metavar="SPLIT", type=one_of(["test", "train"]),
                   help="which part of the data, test or train (default: test where there is one)")
    p.add_argument("--classifier", metavar="NAME|FILE", type=path,
                   help="the feature network: mnist, fashion, digits, or a file that python -m "
                   "minigan.classifier wrote (default: the run's, or by its data)")
    p.add_argument("--checkpoint", metavar="STEP|best", help="of this step, or the best one that "
                   "--keep-best kept (default: the newest)")
    p.add_argument("--seed", type=non_negative, default=0,
                   help="of all random numbers (default: 0)")
    p.add_argument("--backend", type=one_of(backend.names()), default="numpy", metavar="NAME",
                   help=" or ".join(backend.names()))
    return p


def main(arguments=None):
    return command(PROG, lambda: run(parser().parse_args(arguments)))


def run(given):
    backend.use_backend(given.backend)
    evaluate(Path(given.run), given)


def evaluate(folder, given):
    record = run_folder.read_options(folder)
    options = recorded_options(record, folder, PROG)
    trained, streams = models.load(folder, given.checkpoint), backend.Streams(given.seed)
    dataset = data_of_run(record, options, folder)
    training, shows = dataset.x, models.shows_examples(trained.model)
    against, real = compared_with(options, training, given.against)
    if shows:
        trained.model.examples = supply.examples_of(options, dataset, trained.model.NEEDS, against)
        examples = trained.model.examples
        real = examples.other if examples.x is None else examples.x
    usual = 300 if shows else 10_000 if data.is_image(real.shape[1:]) else 2500
    n = min(given.n or usual, len(real))
    if n < LEAST:
        raise ValueError(f"{n} samples beside {len(real)} real ones: expected at least {LEAST}")
    real = judges.some(real, n, streams["real"])
    classifier = given.classifier or classifier_of_run(record, options, folder)
    judge = judges.judge_for(options["data"], real, classifier, shows)
    drawn = trained.draw(n, given.seed)
    samples, ideal = drawn.x, []
    known = None if judge.features is None else judge.features_of(training)
    measures = judge.measures(samples)
    if drawn.targets is not None:
        measures += judges.beside_targets(drawn, options["data"])
    elif against == "test" and known is not None:
        # What a perfect generator would get. Of the very data that is compared with it would be too
        # good.
        ideal = judge.measures(data.to_unit(judges.some(training, n, streams["training"])))
        measures.append(judges.training_distance(known, judge.features, judge.features_of(samples)))
    measures += trained.model.measures(drawn, judge)
    if not measures:
        raise ValueError(f"what should become of the pictures of {options['data']} is not known, "
                         "and no feature network: --classifier fashion compares the results with "
                         "the other kind by general features")

    say(printable(f"{folder}, step {trained.steps}: {n} samples beside {n} of "
                  f"{options['data']} ({against}), features: {judge.name}"))
    for line in judges.doubts(judge):
        say(printable(line))
    say("")
    table = measured(measures, ideal, streams["halves"])
    save(folder / "metrics.json", {"step": trained.steps, "n": n, "against": against,
                                   "features": judge.name, "seed": given.seed, "metrics": table})
    if shows:
        save_translations(folder / "evaluation.png", drawn)
    else:
        save_evaluation(folder / "evaluation.png", judge, samples, training, known)
    report.write(folder)
    say("\n" + printable(f"{folder / 'metrics.json'}, {folder / 'evaluation.png'}, "
                         f"{folder / 'report.html'}"))


def compared_with(options, training, against):
    """("test" or "train", its samples). A mixture's test data are other points of it."""
    source = options["data"]
    has_test = source in data.MIXTURES or data.has_test(source)
    if against == "train" or against is None and not has_test:
        return "train", training
    if source in data.MIXTURES:
        return "test", data.load(source, seed=options["seed"] + 1).x
    return "test", data.load(source, options["image_size"], split="test").x


def measured(measures, ideal, stream):
    """{name: {"value", "standard_error", "training_data", "better"}} of the measures, printed as
    they come. `training_data` is what `ideal`, the same measures of training data in the samples'
    place, has, or None."""
    width = max(len(name) for measure in measures for name in measure.names)
    say(f"{'':{width}}   {'samples':>9}   error"
        + (f"    {'training data':>13}" if ideal else ""))
    table = {}
    for measure, best in zip_longest(measures, ideal):
        found = metrics.half_sampling(measure.metric, *measure.arrays, rng=stream)
        values, errors = measure.numbers(found.value), measure.numbers(found.standard_error)
        reachable = best.numbers(best.metric(*best.arrays)) if best else {}
        for name, better in measure.names.items():
            table[name] = {"value": values[name], "standard_error": errors[name],
                           "training_data": reachable.get(name), "better": better}
            line = (f"{name:{width}} {better:1} {shown(values[name], '.4g'):>9} ± "
                    f"{shown(errors[name], '.2g'):7}"
                    + (f"  {shown(reachable[name], '.4g'):>13}" if best else ""))
            say(line.rstrip())
    say("\n↑ more is better, ↓ less is; the error is that of drawing other samples"
        + ("; training data: what as many of those would get" if ideal else ""))
    return table


def shown(number, form):
    """As text; a dash for what has no value, such as the divergence of no samples."""
    return "–" if np.isnan(number) else format(number, form)


def save(path, record):
    """As JSON, which knows no NaN and no infinity: null."""
    for row in record["metrics"].values():
        row.update({name: None for name, value in row.items()
                    if isinstance(value, float) and not np.isfinite(value)})
    run_folder.write_whole(path, json.dumps(record, indent=1, ensure_ascii=False).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
