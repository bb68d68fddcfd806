"""`load` turns a name or a path into a `Dataset`."""

import difflib
import hashlib
import os
from typing import NamedTuple

import numpy as np

from minigan.data import companions, files, made, pictures, zipped
from minigan.data.emoji import read_emoji
from minigan.data.figures import read_shapes
from minigan.data.files import DataError
from minigan.data.mixtures import MIXTURES
from minigan.data.published import MADE_OF, PUBLISHED, read_published
from minigan.data.stacked import read_stacked

_DATASETS = os.path.join(os.path.dirname(__file__), "datasets")
BUNDLED = {name: os.path.join(_DATASETS, name + ".npz") for name in ("fashion-mini", "digits")}
WITH_TEST = (*PUBLISHED, *MADE_OF, "emoji", "shapes")  # the data sets that have a test split
NAMES = (*MIXTURES, *BUNDLED, *WITH_TEST)


class _Labelled(NamedTuple):
    x: np.ndarray
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()


class Dataset(_Labelled):
    """What `load` returns; it unpacks as `x, labels, classes = load(...)`.

    x: pictures (N, H, W, C), uint8 or float32 in [−1, 1], C = 1 (grey) or 3 (RGB);
        or points (N, d), float32
    labels: (N,) int64, `classes[labels[i]]` names the class of `x[i]`; None where the source has no
        classes
    classes: the names, a tuple of printable one-line strings; () where there are no labels
    other: of pairs the second picture of each, (N, H, W, C′), from which `x` is to be made; or None
    captions: (N,) text, what is said of each; or None
    """

    other = captions = None

    def with_companions(self, other=None, captions=None):
        """The same with pairs and captions, each as long as `x` or None."""
        found = Dataset(*self)
        found.other, found.captions = other, captions
        return found


def load(source, image_size=None, split="train", seed=0, n=100_000, pairs=False):
    """The `Dataset` that `source` names.

    source: one of `NAMES`, or the path of a folder of pictures (see `files.read_folder`), of a
        `.zip` of them, or of an `.npz` (see `files.read_npz`). A name wins over a path; write
        `./digits` for a folder of that name. `edges:SOURCE`, `half:SOURCE`, `masked:SOURCE` and
        `small:SOURCE` make pairs of the pictures of another source (see `made`).
        `shapes:ATTRIBUTE`, such as shapes:colour, has the values of that as labels; `shapes` has
        the kinds. `emoji:style` has the pictures of both styles, with the styles as labels; `emoji`
        has one, and the groups.
    image_size: to which the pictures of a folder or `.zip` are cropped and resized: a side in
        pixels, or (height, width), or "48x64", which is 48 high; 64 unless given. Other sources are
        never resized, and refused if they are of another size.
    split: "train" or "test"; the published sets (`mnist`, `fashion`, `cifar10`) and
        `stacked-mnist` have the latter.
    seed: what a mixture, `shapes` and `stacked-mnist` are drawn from; others don't look at it.
    n: how many points of a mixture are drawn.
    pairs: whether a folder has two sub-folders whose pictures of equal names are pairs: `other`
        those of the first one, `x` those of the second.

    `DataError` if there is no such source, or what is there cannot be used.
    """
    source = os.fspath(source)
    prefix, base = without_prefix(source)
    if prefix:
        return _made_pairs(prefix[:-1], load(base, image_size, split, seed, n))
    size = None if image_size is None else pictures.sides(image_size)
    if split not in ("train", "test"):
        raise DataError(f"split: expected train or test, got {split}")
    if split == "test" and not has_test(source):
        raise DataError(f"{source} has no test split: only {', '.join(WITH_TEST)} have one")
    if source in MIXTURES:
        dataset = _draw(MIXTURES[source], n, seed)
    elif source in PUBLISHED:
        dataset = Dataset(*read_published(source, split))
    elif source == "stacked-mnist":
        dataset = Dataset(*read_stacked(split, _stream("stacked-mnist", seed)))
    elif source.split(":")[0] == "shapes":
        found = read_shapes(split, _stream("shapes", seed), source.partition(":")[2] or "kind")
        dataset = Dataset(found.x, found.labels, found.classes).with_companions(
            found.other, found.captions)
    elif source in ("emoji", "emoji:style"):
        x, labels, classes, other, captions = read_emoji(split, size, source == "emoji:style")
        dataset = Dataset(x, labels, classes).with_companions(other, captions)
    elif source not in BUNDLED and os.path.isfile(source) and source.lower().endswith(".zip"):
        dataset = Dataset(*zipped.read_zip(source, size or (64, 64)))
    elif source in BUNDLED or os.path.isfile(source):
        *found, other = files.read_npz(BUNDLED.get(source, source))
        dataset = Dataset(*found).with_companions(other)
    elif os.path.isdir(source):
        *found, names = files.read_folder(source, size or (64, 64))
        dataset = companions.read_companions(source, Dataset(*found), names, pairs)
    else:
        near = difflib.get_close_matches(source.lower(), NAMES)
        raise DataError(f"there is no data set, folder, .zip or .npz file '{source}'"
                        + (f": did you mean {' or '.join(near)}?" if near else "")
                        + f" (data sets: {', '.join(NAMES)})")
    if size and dataset.x.shape[1:-1] != size:
        raise DataError(f"{source}: image size {image_size} was asked for, its samples are "
                        f"{dataset.x.shape[1:]}: only a folder or a .zip of pictures is resized")
    return dataset


def has_test(source):
    """Whether the source has a test split."""
    base = without_prefix(source)[1]
    return base in (*WITH_TEST, "emoji:style") or base.startswith("shapes:")


def without_prefix(source):
    """("edges:", NAME) of "edges:NAME", and likewise of what else makes pairs; ("", source) of any
    other source."""
    prefix = next((f"{kind}:" for kind in made.MADE if source.startswith(f"{kind}:")), "")
    return prefix, source[len(prefix):]


def _made_pairs(kind, dataset):
    if dataset.x.ndim != 4 or dataset.x.dtype != np.uint8:
        raise DataError(f"{kind}: pairs are made of pictures, uint8 (N, H, W, C), and these are "
                        f"{dataset.x.dtype} {dataset.x.shape}")
    return dataset.with_companions(made.MADE[kind](dataset.x), dataset.captions)


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


def fingerprint(x, labels=None, other=None, captions=None):
    """What must be the same when a run goes on or is judged: shape, dtype and content of its data,
    and the labels, the other pictures of pairs or the captions where it learns them."""
    found = {"shape": list(x.shape), "dtype": str(x.dtype), "sha256": _hash(x)}
    text = None if captions is None else np.frombuffer("\0".join(captions).encode(), np.uint8)
    beside = {"labels": labels, "other": other, "captions": text}
    return found | {name: _hash(array) for name, array in beside.items() if array is not None}


def _hash(array):
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def is_image(sample_shape):
    """Whether samples are images (H, W, C), and not points (features,)."""
    return len(sample_shape) == 3
