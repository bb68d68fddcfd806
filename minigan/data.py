"""What a GAN learns from: 2-D mixtures, bundled pictures, published sets, your own folder or `.npz`; and batches of it.

`load` turns a name or a path into a `Dataset`; `Batches` deals it out, shuffled anew each epoch. Pictures stay uint8
until their batch is due: `to_unit` then takes 0 … 255 to [−1, 1], the range of a generator that ends in tanh. The
reading is in `files.py` (yours) and `published.py` (the known sets).
"""

import difflib
import hashlib
import os
from typing import NamedTuple

import numpy as np

from minigan import backend, files
from minigan.files import DataError
from minigan.published import PUBLISHED, read_published


class Dataset(NamedTuple):
    """What `load` returns; it unpacks as `x, labels, classes = load(...)`.

    x: pictures (N, H, W, C), uint8 or float32 in [−1, 1], C = 1 (grey) or 3 (RGB); or points (N, 2), float32
    labels: (N,) int64, `classes[labels[i]]` names the class of `x[i]`; None where the source has no classes
    classes: the names, a tuple of printable one-line strings; () where there are no labels
    """
    x: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]


class Mixture(NamedTuple):
    """Normal distributions of equal weight in the plane: where they stand, and how wide each one is.

    A mixture's modes are known, so a generator that has lost some of them (mode collapse) can be told by counting.
    """
    modes: np.ndarray  # (K, 2)
    sigma: float

    def sample(self, n, rng):
        """`n` points (n, 2) float32 drawn with the generator `rng`, and the mode (n,) int64 that each one is from."""
        labels = rng.integers(len(self.modes), size=n)
        noise = self.sigma * rng.standard_normal((n, 2))
        return (self.modes[labels] + noise).astype(np.float32), labels


def _ring(count):
    angles = 2 * np.pi * np.arange(count) / count  # arange, for a linspace would end where it began: one mode fewer
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _lattice(ticks):
    return np.array([(x, y) for x in ticks for y in ticks], dtype=np.float64)


# The two mixtures of PacGAN: Lin et al. 2018, arXiv:1712.04086.
MIXTURES = {"ring8": Mixture(_ring(8), sigma=0.01), "grid25": Mixture(_lattice((-4, -2, 0, 2, 4)), sigma=0.05)}

ON_DEVICE = 1 << 30  # bytes

_DATASETS = os.path.join(os.path.dirname(__file__), "datasets")
BUNDLED = {name: os.path.join(_DATASETS, name + ".npz") for name in ("fashion-mini", "digits")}

NAMES = (*MIXTURES, *BUNDLED, *PUBLISHED)


def load(source, image_size=None, split="train", seed=0, n=100_000):
    """The `Dataset` that `source` names.

    source: one of `NAMES`, or the path of a folder of pictures (see `files.read_folder`) or of an `.npz` (see
        `files.read_npz`). A name wins over a path; write `./digits` for a folder of that name.
    image_size: side in pixels to which the pictures of a folder are cropped and resized, 64 unless given. Other
        sources are never resized, and refused if they are of another size.
    split: "train" or "test"; the published sets (`mnist`, `fashion`, `cifar10`) have the latter.
    seed, n: a mixture's `n` points are drawn anew from `seed`; other sources don't look at them.

    `DataError` if there is no such source, or what is there cannot be used.
    """
    source = os.fspath(source)
    if split not in ("train", "test"):
        raise DataError(f"split: expected train or test, got {split}")
    if split == "test" and source not in PUBLISHED:
        raise DataError(f"{source} has no test split: only {', '.join(PUBLISHED)} have one")
    if source in MIXTURES:
        dataset = _draw(MIXTURES[source], n, seed)
    elif source in PUBLISHED:
        dataset = Dataset(*read_published(source, split))
    elif source in BUNDLED or os.path.isfile(source):
        dataset = Dataset(*files.read_npz(BUNDLED.get(source, source)))
    elif os.path.isdir(source):
        dataset = Dataset(*files.read_folder(source, 64 if image_size is None else image_size))
    else:
        near = difflib.get_close_matches(source.lower(), NAMES)
        raise DataError(f"there is no data set, folder or .npz file '{source}'"
                        + (f": did you mean {' or '.join(near)}?" if near else "")
                        + f" (data sets: {', '.join(NAMES)})")
    if image_size is not None and dataset.x.shape[1:-1] != (image_size, image_size):
        raise DataError(f"{source}: image size {image_size} was asked for, its samples are {dataset.x.shape[1:]}: "
                        "only a folder of pictures is resized")
    return dataset


def _draw(mixture, n, seed):
    if n < 1 or seed < 0:
        raise DataError(f"a mixture: expected n ≥ 1 points and a seed ≥ 0, got n {n} and seed {seed}")
    # A stream of its own, derived as `backend.Streams` does: training with the same seed draws other numbers.
    stream = np.random.SeedSequence(seed, spawn_key=tuple(b"mixture"))
    points, labels = mixture.sample(n, np.random.Generator(np.random.Philox(stream)))
    return Dataset(points, labels, tuple(str(k) for k in range(len(mixture.modes))))


def fingerprint(x):
    """What must be the same when a run goes on or is judged: shape, dtype and content of its data."""
    return {"shape": list(x.shape), "dtype": str(x.dtype),
            "sha256": hashlib.sha256(np.ascontiguousarray(x)).hexdigest()}


def to_unit(x):
    """Pixels uint8 0 … 255 as float32 in [−1, 1]: x / 127.5 − 1. Float32 (in range since `load`) is returned as it is.

    Works on NumPy and CuPy arrays alike. `DataError` for any other dtype.
    """
    if x.dtype == np.uint8:
        return x.astype(np.float32) / 127.5 - 1
    if x.dtype == np.float32:
        return x
    raise DataError(f"to_unit: expected uint8 pixels or float32 values, got {x.dtype} {x.shape}")


class Batches:
    """Endless batches of `x`: each epoch is a fresh permutation, its incomplete last batch is dropped.

    x: (N, …) uint8 or float32. Up to ON_DEVICE bytes of it are kept on a GPU, to which then only indices are copied.
    rng: the NumPy generator that draws the permutations, one at the start of each epoch. Its state is its owner's
        to keep: restored together with `load_state_dict`, it makes the batches go on exactly where they were.

    `DataError` if a batch is empty or larger than the data.
    """

    def __init__(self, x, batch_size, rng):
        if not 1 <= batch_size <= len(x):
            raise DataError(f"batch size {batch_size}: expected 1 … {len(x)}, for there are {len(x)} samples")
        self.x = backend.current().xp.asarray(x) if x.nbytes <= ON_DEVICE else x
        self.batch_size, self.rng = batch_size, rng
        self._order = np.empty(0, np.int64)  # drawn when first needed, so that building draws nothing from `rng`
        self._position = 0

    def next_indices(self):
        """Which samples the next batch is made of: (batch_size,) int64."""
        if self._position + self.batch_size > len(self._order):
            self._order, self._position = self.rng.permutation(len(self.x)), 0
        start, self._position = self._position, self._position + self.batch_size
        return self._order[start:self._position]

    def next(self):
        """The next batch, (batch_size, …) float32; pictures in [−1, 1]."""
        return to_unit(self.x[backend.xp_of(self.x).asarray(self.next_indices())])

    def state_dict(self):
        """The epoch's order (empty before the first batch) and how much of it has been dealt, as NumPy arrays."""
        return {"order": self._order, "position": np.array(self._position)}

    def load_state_dict(self, state):
        """Go on from `state`; `DataError`, and no change, if it is no state of batches of this size and data."""
        order, position = np.asarray(state["order"]), np.asarray(state["position"])
        n, begun = len(self.x), order.size > 0
        if begun and not (order.dtype == np.int64 and np.array_equal(np.sort(order), np.arange(n))):
            raise DataError(f"Batches: the saved order, {order.dtype} {order.shape}, is no permutation of the {n} "
                            "samples: it was saved with other data")
        if position.shape != () or position.dtype.kind not in "iu" or int(position) not in range(
                0, order.size + 1, self.batch_size):
            raise DataError(f"Batches: the saved position {position} is not a multiple of the batch size "
                            f"{self.batch_size} within the {order.size} samples of the epoch")
        self._order, self._position = order, int(position)
