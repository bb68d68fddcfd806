"""`load` turns a name or a path into a `Dataset`."""

import difflib
import hashlib
import os
from typing import NamedTuple

import numpy as np

from minigan.data import files, pictures, zipped
from minigan.data.files import DataError
from minigan.data.mixtures import MIXTURES
from minigan.data.published import MADE_OF, PUBLISHED, read_published
from minigan.data.stacked import read_stacked

_DATASETS = os.path.join(os.path.dirname(__file__), "datasets")
BUNDLED = {name: os.path.join(_DATASETS, name + ".npz") for name in ("fashion-mini", "digits")}
WITH_TEST = (*PUBLISHED, *MADE_OF)  # the data sets that have a test split
NAMES = (*MIXTURES, *BUNDLED, *WITH_TEST)


class Dataset(NamedTuple):
    """What `load` returns; it unpacks as `x, labels, classes = load(...)`.

    x: pictures (N, H, W, C), uint8 or float32 in [−1, 1], C = 1 (grey) or 3 (RGB);
        or points (N, d), float32
    labels: (N,) int64, `classes[labels[i]]` names the class of `x[i]`; None where the source has no
        classes
    classes: the names, a tuple of printable one-line strings; () where there are no labels
    """
    x: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]


def load(source, image_size=None, split="train", seed=0, n=100_000):
    """The `Dataset` that `source` names.

    source: one of `NAMES`, or the path of a folder of pictures (see `files.read_folder`), of a
        `.zip` of them, or of an `.npz` (see `files.read_npz`). A name wins over a path; write
        `./digits` for a folder of that name.
    image_size: to which the pictures of a folder or `.zip` are cropped and resized: a side in
        pixels, or (height, width), or "48x64", which is 48 high; 64 unless given. Other sources are
        never resized, and refused if they are of another size.
    split: "train" or "test"; the published sets (`mnist`, `fashion`, `cifar10`) and
        `stacked-mnist` have the latter.
    seed: what a mixture and `stacked-mnist` are drawn from; other sources don't look at it.
    n: how many points of a mixture are drawn.

    `DataError` if there is no such source, or what is there cannot be used.
    """
    source = os.fspath(source)
    size = None if image_size is None else pictures.sides(image_size)
    if split not in ("train", "test"):
        raise DataError(f"split: expected train or test, got {split}")
    if split == "test" and source not in WITH_TEST:
        raise DataError(f"{source} has no test split: only {', '.join(WITH_TEST)} have one")
    if source in MIXTURES:
        dataset = _draw(MIXTURES[source], n, seed)
    elif source in PUBLISHED:
        dataset = Dataset(*read_published(source, split))
    elif source == "stacked-mnist":
        dataset = Dataset(*read_stacked(split, _stream("stacked-mnist", seed)))
    elif source not in BUNDLED and os.path.isfile(source) and source.lower().endswith(".zip"):
        dataset = Dataset(*zipped.read_zip(source, size or (64, 64)))
    elif source in BUNDLED or os.path.isfile(source):
        dataset = Dataset(*files.read_npz(BUNDLED.get(source, source)))
    elif os.path.isdir(source):
        dataset = Dataset(*files.read_folder(source, size or (64, 64)))
    else:
        near = difflib.get_close_matches(source.lower(), NAMES)
        raise DataError(f"there is no data set, folder, .zip or .npz file '{source}'"
                        + (f": did you mean {' or '.join(near)}?" if near else "")
                        + f" (data sets: {', '.join(NAMES)})")
    if size and dataset.x.shape[1:-1] != size:
        raise DataError(f"{source}: image size {image_size} was asked for, its samples are "
                        f"{dataset.x.shape[1:]}: only a folder or a .zip of pictures is resized")
    return dataset


def _draw(mixture, n, seed):
    if n < 1:
        raise DataError(f"a mixture: expected n ≥ 1 points, got n {n}")
    points, labels = mixture.sample(n, _stream("mixture", seed))
    return Dataset(points, labels, tuple(str(k) for k in range(len(mixture.modes))))


def _stream(name, seed):
    """A stream of the data's own, derived as `backend.Streams` does: training with the same seed
    draws other numbers."""
    if seed < 0:
        raise DataError(f"{name}: expected a seed ≥ 0, got {seed}")
    key = np.random.SeedSequence(seed, spawn_key=tuple(name.encode()))
    return np.random.Generator(np.random.Philox(key))


def fingerprint(x, labels=None):
    """What must be the same when a run goes on or is judged: shape, dtype and content of its data,
    and the labels where it learns them."""
    found = {"shape": list(x.shape), "dtype": str(x.dtype), "sha256": _hash(x)}
    return found if labels is None else found | {"labels": _hash(labels)}


def _hash(array):
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def is_image(sample_shape):
    """Whether samples are images (H, W, C), and not points (features,)."""
    return len(sample_shape) == 3
