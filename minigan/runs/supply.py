"""What a model is supplied with from the data of its run: checked, in batches, and as examples."""

import numpy as np

from minigan import backend, data
from minigan.captioned import vocabulary
from minigan.data import DataError, domains, figures, made
from minigan.trainer import Batch

SECOND = {"pairs", "domains", *made.MADE}  # what a model needs that learns from second pictures


def load_data(options, needs):
    """The data of a run, as a model with these NEEDS takes them."""
    found = data.load(options["data"], options["image_size"], seed=options["seed"],
                      pairs="pairs" in needs)
    if "domains" not in needs or found.x.ndim != 4:  # points are refused by `check`
        return found
    return domains.in_domains(found, options["data"])


def check(options, dataset, needs):
    """DataError for data that a model with these NEEDS cannot learn from."""
    if "labels" in needs:
        check_labels(f"--model {options['model']} learns classes, and {options['data']}", dataset)
    of = "captions" if "captions" in needs else "pictures"
    what = f"--model {options['model']} makes pictures of {of}, and {options['data']} has "
    if (SECOND | {"pictures", "captions"}) & {*needs} and dataset.x.ndim != 4:
        raise DataError(f"{what}points {dataset.x.shape[1:]}")
    if kind := next((kind for kind in made.MADE if kind in needs), None):
        check_kind(kind, options)
    if "captions" in needs and dataset.captions is None:
        raise DataError(f"{what}no captions: a folder has them in a captions.csv, whose lines are "
                        "file,caption")
    if "captions" in needs and not vocabulary(dataset.captions):
        raise DataError(f"{what}captions without any word, such as '{dataset.captions[0]}'")
    if "pairs" in needs and dataset.other is None:
        raise DataError(f"{what}no pairs: edges:NAME, half:NAME and masked:NAME make pairs of any "
                        "pictures, and a folder has them as pictures of the same name in two "
                        "sub-folders")
    if "pairs" in needs and dataset.other.shape[:3] != dataset.x.shape[:3]:
        raise DataError(f"{options['data']}: the pictures of its pairs are "
                        f"{dataset.other.shape[:3]} and {dataset.x.shape[:3]}: expected the same "
                        "number and the same size")


def check_kind(kind, options):
    """DataError for other pairs than those that `data.made` makes in this way."""
    if not options["data"].startswith(f"{kind}:"):
        _, base = data.without_prefix(options["data"])
        raise DataError(f"--model {options['model']} learns from the pairs that {kind}:{base} "
                        f"makes, and not from {options['data']}")


def check_labels(what, dataset):
    if dataset.labels is None:
        raise DataError(f"{what} has none: in a folder each sub-folder is one, in an .npz `labels` "
                        "are")
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    if len(counts) < 2:
        raise DataError(f"{what} has one only, {dataset.classes[0]}")
    if not counts.all():
        raise DataError(f"{what} has no sample of class {dataset.classes[int(counts.argmin())]}")


def batches_of(options, dataset, needs, streams):
    size, rng = options["batch_size"], streams["data"]
    mirror = streams["mirror"] if options["mirror"] else None
    if "domains" in needs:
        return domains.UnpairedBatches(dataset.x, dataset.other, size, rng, mirror)
    return data.Batches(dataset.x, size, rng, mirror, dataset.labels,
                        dataset.other if SECOND & {*needs} else None,
                        dataset.captions if "captions" in needs else None)


def examples_of(options, dataset, needs, split="test"):
    """What a model that makes pictures of others, or of captions, is shown, as a `Batch` in an
    order that mixes kinds: of the test split if the source has one, which training never sees;
    else, or if "train" is asked for, of the data themselves."""
    if split == "test" and data.has_test(options["data"]):
        dataset = data.load(options["data"], options["image_size"], "test", options["seed"])
    elif "domains" in needs:
        dataset = data.load(options["data"], options["image_size"], seed=options["seed"])
    streams = backend.Streams()
    if "domains" in needs:
        found = domains.examples_in_domains(dataset)
    elif SECOND & {*needs}:
        found = Batch(data.to_unit(dataset.x), None, data.to_unit(dataset.other))
    elif "captions" in needs:
        found = Batch(data.to_unit(dataset.x), captions=dataset.captions)
    else:
        found = examples_of_classes(options["data"], dataset, streams["asked"])
    n = len(found.x if found.other is None else found.other)
    return found.where(streams["examples"].permutation(n))


def examples_of_classes(source, dataset, rng):
    """A `Batch` of pictures, each with a class other than its own, drawn from `rng`, that it is to
    become; and what it should then be, where that is known."""
    others = rng.integers(1, len(dataset.classes), len(dataset.x))
    asked = (dataset.labels + others) % len(dataset.classes)
    name, _, attribute = source.partition(":")
    targets = None
    if name == "shapes":
        codes = figures.codes_said(dataset.captions)
        targets = figures.render(figures.counterpart(codes, attribute or "kind", asked))
    elif source == "emoji:style":
        targets = dataset.other
    return Batch(None if targets is None else data.to_unit(targets), asked,
                 data.to_unit(dataset.x))
