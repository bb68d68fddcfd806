"""What a model is supplied with from the data of its run: checked, in batches, and as examples."""

import numpy as np

from minigan import backend, data
from minigan.data import DataError, domains, made
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
    what = f"--model {options['model']} makes pictures of pictures, and {options['data']} has "
    if SECOND & {*needs} and dataset.x.ndim != 4:
        raise DataError(f"{what}points {dataset.x.shape[1:]}")
    kind = next((kind for kind in made.MADE if kind in needs), None)
    if kind and not options["data"].startswith(f"{kind}:"):
        _, base = data.without_prefix(options["data"])
        raise DataError(f"--model {options['model']} learns from the pairs that {kind}:{base} "
                        f"makes, and not from {options['data']}")
    if "pairs" in needs and dataset.other is None:
        raise DataError(f"{what}no pairs: edges:NAME, half:NAME and masked:NAME make pairs of any "
                        "pictures, and a folder has them as pictures of the same name in two "
                        "sub-folders")
    if "pairs" in needs and dataset.other.shape[:3] != dataset.x.shape[:3]:
        raise DataError(f"{options['data']}: the pictures of its pairs are "
                        f"{dataset.other.shape[:3]} and {dataset.x.shape[:3]}: expected the same "
                        "number and the same size")


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
                        dataset.other if SECOND & {*needs} else None)


def examples_of(options, dataset, needs, split="test"):
    """What a model that makes pictures of others is shown, as a `Batch` in an order that mixes
    kinds: of the test split if the source has one, which training never sees; else, or if "train"
    is asked for, of the data themselves."""
    if split == "test" and data.has_test(options["data"]):
        dataset = data.load(options["data"], options["image_size"], "test", options["seed"])
    elif "domains" in needs:
        dataset = data.load(options["data"], options["image_size"], seed=options["seed"])
    if "domains" in needs:
        found = domains.examples_in_domains(dataset)
    else:
        found = Batch(data.to_unit(dataset.x), None, data.to_unit(dataset.other))
    order = backend.Streams()["examples"].permutation(len(found.other))
    return found.where(order)
